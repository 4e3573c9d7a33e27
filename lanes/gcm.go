package lanes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// Sizes of AES-GCM in ESP (RFC 4106): the salt belongs to the key, the IV is in the packet, and both are the nonce.
const (
	GCMSalt = 4
	GCMIV   = 8
	GCMTag  = 16

	// GCMOverhead is how much longer a sealed packet is than its plaintext.
	GCMOverhead = GCMIV + GCMTag

	maxAAD = blockSize
)

// gcmKey is a key as the assembly has it.
type gcmKey struct {
	keys   roundKeys
	powers [17][blockSize]byte // of the hash's key, the highest first
	_      [3 * blockSize]byte // read with the last powers, and not used
}

// gcm is what sealing and opening have in common.
type gcm struct {
	nonce [GCMSalt + GCMIV]byte // its IV is for the standard library
	// raw is the key until the first packet needs it: expanded it takes forty times as much, and most SAs of a large gateway are idle.
	raw []byte

	// With assembly.
	rounds int
	key    *gcmKey

	std cipher.AEAD // without
}

func (g *gcm) set(key, salt []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(salt) != GCMSalt {
		return errors.New("lanes: a salt of AES-GCM has 4 bytes")
	}
	g.raw = bytes.Clone(key)
	copy(g.nonce[:], salt)
	return nil
}

// prepare expands the key.
func (g *gcm) prepare() {
	defer func() {
		clear(g.raw)
		g.raw = nil
	}()
	if gcmWide() {
		g.expand(g.raw)
		return
	}
	b, err := aes.NewCipher(g.raw)
	if err == nil {
		g.std, err = cipher.NewGCM(b)
	}
	if err != nil {
		panic("lanes: AES-GCM: " + err.Error()) // the length of the key is known to be right
	}
}

// Clear overwrites the key, where the standard library does not have it, and the salt. Nothing can be sealed or opened afterwards.
func (g *gcm) Clear() {
	clear(g.nonce[:])
	clear(g.raw)
	if g.key != nil {
		*g.key = gcmKey{}
	}
}

// A GCMSealer seals packets with AES-GCM as ESP has it (RFC 4106). It is not safe for concurrent use.
//
// Whoever sees two packets that were sealed with one nonce can forge others. So the IV is a counter, and a GCMSealer refuses
// one that is not higher than all before it. It cannot know of another GCMSealer with the same key and salt.
type GCMSealer struct {
	gcm
	last uint64 // counter
}

// NewGCMSealer makes the GCMSealer of a key of 16, 24 or 32 bytes and a salt of 4.
func NewGCMSealer(key, salt []byte) (*GCMSealer, error) {
	s := &GCMSealer{}
	if err := s.set(key, salt); err != nil {
		return nil, err
	}
	return s, nil
}

// Seal writes counter as the IV, the encrypted text and the tag to dst, which is GCMOverhead bytes longer than text.
// text may be dst[GCMIV:][:len(text)], and must not overlap dst in another way. aad has at most 16 bytes
// and does not overlap dst. Seal returns false, and has written nothing, if counter is 0 or not higher than every counter before.
func (s *GCMSealer) Seal(dst, text, aad []byte, counter uint64) bool {
	if len(dst) != len(text)+GCMOverhead || len(aad) > maxAAD {
		panic("lanes: dst is not as long as text sealed, or aad is longer than a block")
	}
	if counter <= s.last {
		return false
	}
	s.last = counter
	if s.raw != nil {
		s.prepare()
	}
	binary.BigEndian.PutUint64(dst, counter)
	if s.key != nil {
		s.seal(dst[GCMIV:], text, aad, counter)
		return true
	}
	binary.BigEndian.PutUint64(s.nonce[GCMSalt:], counter)
	s.std.Seal(dst[GCMIV:GCMIV], s.nonce[:], text, aad)
	return true
}

// A GCMOpener opens what a GCMSealer has sealed. It is not safe for concurrent use.
type GCMOpener struct{ gcm }

// NewGCMOpener makes the GCMOpener of a key of 16, 24 or 32 bytes and a salt of 4.
func NewGCMOpener(key, salt []byte) (*GCMOpener, error) {
	o := &GCMOpener{}
	if err := o.set(key, salt); err != nil {
		return nil, err
	}
	return o, nil
}

// Open decrypts sealed, an IV, a ciphertext and a tag, to dst, which is GCMOverhead bytes shorter. dst may be
// sealed[GCMIV:][:len(dst)], and must not overlap sealed in another way. aad has at most 16 bytes and does not overlap dst. Open returns false
// if the tag is wrong; dst is zeros then.
func (o *GCMOpener) Open(dst, sealed, aad []byte) bool {
	if len(sealed) != len(dst)+GCMOverhead || len(aad) > maxAAD {
		panic("lanes: sealed is not as long as dst sealed, or aad is longer than a block")
	}
	if o.raw != nil {
		o.prepare()
	}
	if o.key != nil {
		return o.open(dst, sealed, aad)
	}
	copy(o.nonce[GCMSalt:], sealed[:GCMIV])
	if _, err := o.std.Open(dst[:0:len(dst)], o.nonce[:], sealed[GCMIV:], aad); err != nil {
		clear(dst)
		return false
	}
	return true
}
