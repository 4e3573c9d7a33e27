package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"

	"vpngw/ipsec"
)

// A transform is the cryptographic state of one direction of an SA: an AEAD, or
// a block cipher (none for NULL) with an HMAC. It also has the scratch space of a
// call, so that a packet costs no allocation. Not safe for concurrent use.
type transform struct {
	shape
	esn bool

	aead  cipher.AEAD
	nonce [12]byte // salt(4) | IV(8): RFC 4106 section 4, RFC 7634 section 2
	aad   [12]byte // with ESN: SPI | 64-bit sequence number (RFC 4106 section 5)

	block cipher.Block // nil: NULL
	mac   hash.Hash
	sum   [sha512.Size]byte
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
		key := k.Encr[:encr.Key-encr.Salt]
		copy(t.nonce[:], k.Encr[len(key):])
		var err error
		t.aead, err = newAEAD(s.Encr.ID, key)
		return t, err
	}
	integ := ipsec.Lookup(s.Integ)
	if len(k.Integ) != integ.Key {
		return transform{}, fmt.Errorf("esp: %v needs a key of %d bytes, and got %d", s.Integ, integ.Key, len(k.Integ))
	}
	t.mac = hmac.New(hashes[s.Integ.ID], k.Integ)
	var err error
	switch s.Encr.ID {
	case ipsec.EncrAESCBC:
		t.block, err = aes.NewCipher(k.Encr)
	case ipsec.Encr3DES:
		t.block, err = des.NewTripleDESCipher(k.Encr)
	case ipsec.EncrDES:
		t.block, err = des.NewCipher(k.Encr)
	case ipsec.EncrNull:
	default:
		err = fmt.Errorf("esp: %v has no transform", s.Encr)
	}
	return t, err
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

var hashes = map[uint16]func() hash.Hash{
	ipsec.IntegMD5_96:     md5.New,
	ipsec.IntegSHA1_96:    sha1.New,
	ipsec.IntegSHA256_128: sha256.New,
	ipsec.IntegSHA384_192: sha512.New384,
	ipsec.IntegSHA512_256: sha512.New,
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

// icvOf is the ICV of b. It covers the high half of an extended sequence number
// too (RFC 4303 section 2.2.1). It is valid until the next call.
func (t *transform) icvOf(b []byte, seq uint64) []byte {
	t.mac.Reset()
	t.mac.Write(b)
	if t.esn {
		binary.BigEndian.PutUint32(t.aad[:], uint32(seq>>32))
		t.mac.Write(t.aad[:4])
	}
	return t.mac.Sum(t.sum[:0])[:t.icvLen]
}
