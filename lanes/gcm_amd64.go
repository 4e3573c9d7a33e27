//go:build !purego

package lanes

import (
	"crypto/subtle"
	"encoding/binary"
	"unsafe"
)

// The assembly reads three blocks behind the powers.
const _ = uint(unsafe.Sizeof(gcmKey{}) - unsafe.Offsetof(gcmKey{}.powers) - 20*blockSize)

// gcmWide reports whether there is assembly for AES-GCM.
func gcmWide() bool { return detected == avx512 }

func (g *gcm) expand(key []byte) {
	g.key = &gcmKey{}
	g.rounds = g.key.keys.expand(key)
	gcmPowers(g.key, g.rounds)
}

// A number is a block as a number, low half first.
type number [2]uint64

// counterBlock is the block that a tag is encrypted with (NIST SP 800-38D section 7.1, J0); those of the text follow.
func (g *gcm) counterBlock(iv uint64) number {
	return number{iv<<32 | 1, uint64(binary.BigEndian.Uint32(g.nonce[:]))<<32 | iv>>32}
}

// additional is the block of additional data.
func additional(aad []byte) number {
	switch len(aad) {
	case 8: // ESP
		return number{0, binary.BigEndian.Uint64(aad)}
	case 12: // ESP with extended sequence numbers
		return number{uint64(binary.BigEndian.Uint32(aad[8:])) << 32, binary.BigEndian.Uint64(aad)}
	}
	var b [blockSize]byte
	copy(b[:], aad)
	return number{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[:])}
}

func first(b []byte) *byte {
	if len(b) == 0 {
		return nil
	}
	return &b[0]
}

// seal writes the ciphertext and the tag to dst.
func (g *gcm) seal(dst, text, aad []byte, iv uint64) {
	c, a := g.counterBlock(iv), additional(aad)
	tag := (*[GCMTag]byte)(dst[len(text):])
	gcmSeal(g.key, g.rounds, &dst[0], first(text), len(text), c[0], c[1], a[0], a[1], uint64(len(aad))*8, tag)
}

func (g *gcm) open(dst, sealed, aad []byte) bool {
	c, a := g.counterBlock(binary.BigEndian.Uint64(sealed)), additional(aad)
	var tag [GCMTag]byte
	gcmOpen(g.key, g.rounds, first(dst), &sealed[GCMIV], len(dst), c[0], c[1], a[0], a[1], uint64(len(aad))*8, &tag)
	if subtle.ConstantTimeCompare(tag[:], sealed[len(sealed)-GCMTag:]) != 1 {
		clear(dst)
		return false
	}
	return true
}
