package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"vpngw/ipsec"
	"vpngw/lanes"
)

// A transform is the cryptographic state of one direction of an SA: an AEAD, or
// an HMAC with the cipher that a sealer or an opener adds. Not safe for concurrent use.
type transform struct {
	shape
	esn bool

	aead  cipher.AEAD // nil: no packet came yet; see sealsWith
	key   *aeadKey    // until then; nil: an HMAC
	nonce [12]byte    // salt(4) | IV(8): RFC 4106 section 4, RFC 7634 section 2
	aad   [12]byte    // with ESN: SPI | 64-bit sequence number (RFC 4106 section 5)

	mac *lanes.HMAC // nil: an AEAD
}

// newTransform makes the transform of s with the keys k, which it copies.
func newTransform(s ipsec.Suite, trunc96 bool, k ipsec.Keys) (transform, error) {
	f, ok := shapeOf(s, trunc96)
	if !ok {
		return transform{}, fmt.Errorf("esp: suite %v is unknown or incomplete", s)
	}
	t := transform{shape: f, esn: s.ESN}
	encr := ipsec.Lookup(s.Encr)
	if len(k.Encr) != encr.Key {
		return transform{}, fmt.Errorf("esp: %v needs a key of %d bytes, and got %d", s.Encr, encr.Key, len(k.Encr))
	}
	if encr.AEAD {
		if s.Encr.ID != ipsec.EncrAESGCM16 && s.Encr.ID != ipsec.EncrChaCha20Poly1305 {
			return transform{}, fmt.Errorf("esp: %v has no transform", s.Encr)
		}
		n := encr.Key - encr.Salt
		t.key = &aeadKey{id: s.Encr.ID, n: n}
		copy(t.key.key[:], k.Encr[:n])
		copy(t.nonce[:], k.Encr[n:])
		return t, nil
	}
	integ := ipsec.Lookup(s.Integ)
	if len(k.Integ) != integ.Key {
		return transform{}, fmt.Errorf("esp: %v needs a key of %d bytes, and got %d", s.Integ, integ.Key, len(k.Integ))
	}
	t.mac = lanes.NewHMAC(hashes[s.Integ.ID], k.Integ)
	return t, nil
}

// aeadKey is the key of an AEAD that no packet has needed yet. Expanded it takes a kilobyte, in each direction of each SA.
type aeadKey struct {
	id  uint16
	n   int
	key [32]byte
}

// sealsWith is the AEAD, which the first packet makes.
func (t *transform) sealsWith() cipher.AEAD {
	if t.aead == nil {
		k := t.key
		var err error
		if t.aead, err = newAEAD(k.id, k.key[:k.n]); err != nil {
			panic("esp: " + err.Error()) // newTransform has checked both
		}
		*k, t.key = aeadKey{}, nil
	}
	return t.aead
}

func newAEAD(id uint16, key []byte) (cipher.AEAD, error) {
	switch id {
	case ipsec.EncrAESGCM16:
		b, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(b)
	case ipsec.EncrChaCha20Poly1305:
		return chacha20poly1305.New(key)
	}
	return nil, fmt.Errorf("esp: AEAD %d has no transform", id)
}

var hashes = map[uint16]lanes.Hash{
	ipsec.IntegMD5_96:     lanes.MD5,
	ipsec.IntegSHA1_96:    lanes.SHA1,
	ipsec.IntegSHA256_128: lanes.SHA256,
	ipsec.IntegSHA384_192: lanes.SHA384,
	ipsec.IntegSHA512_256: lanes.SHA512,
}

// newDES makes the cipher of DES or 3DES.
func newDES(id uint16, key []byte) (cipher.Block, error) {
	if id == ipsec.EncrDES {
		return des.NewCipher(key)
	}
	return des.NewTripleDESCipher(key)
}

// resettable is a BlockMode whose IV can be set, as crypto/cipher's CBC modes are.
type resettable interface {
	cipher.BlockMode
	SetIV([]byte)
}

// additional is the AEAD's additional data for a packet that begins with header.
func (t *transform) additional(header []byte, seq uint64) []byte {
	if !t.esn {
		return header[:espHeader]
	}
	copy(t.aad[:4], header)
	binary.BigEndian.PutUint32(t.aad[4:], uint32(seq>>32))
	copy(t.aad[8:], header[4:espHeader])
	return t.aad[:]
}

// wipe overwrites the keys. No packet may come any more.
func (t *transform) wipe() {
	clear(t.nonce[:])
	if t.key != nil {
		*t.key, t.key = aeadKey{}, nil
	}
	if t.mac != nil {
		t.mac.Clear()
	}
}

// together is packets of one SA whose ICVs are computed side by side. Its owner has one for all SAs.
type together struct {
	n       int
	packets [lanes.Max][]byte
	seqs    [lanes.Max]uint64
	parts   [lanes.Max][]byte // of the packets, for lanes
	high    [lanes.Max]uint32
	scratch lanes.Scratch
}

func (g *together) add(b []byte, seq uint64) {
	g.packets[g.n], g.seqs[g.n] = b, seq
	g.n++
}

func (g *together) full() bool { return g.n == lanes.Max }

// icvs computes the ICVs of the packets in g: icv returns them until the next call. An ICV covers the high half of an extended
// sequence number too (RFC 4303 section 2.2.1).
func (t *transform) icvs(g *together) {
	for i, b := range g.packets[:g.n] {
		g.parts[i], g.high[i] = b[:len(b)-t.icvLen], uint32(g.seqs[i]>>32)
	}
	high := g.high[:g.n]
	if !t.esn {
		high = nil
	}
	t.mac.Sum(&g.scratch, g.parts[:g.n], high)
}

// icv is the ICV of packet i, with nothing cut off.
func (g *together) icv(i int) []byte { return g.scratch.Sums[i][:] }
