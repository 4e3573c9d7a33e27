package sa

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // where a cloud still asks for it
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"vpngw/ipsec"
)

// Cipher seals or opens the encrypted payloads of one direction of an IKE SA: the
// bytes behind the generic header of SK, or behind the fragment numbers of SKF.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     Initialization Vector                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                    Encrypted IKE Payloads                     ~
//	+               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               |             Padding (0-255 octets)            |
//	+-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//	|                                               |  Pad Length   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                    Integrity Checksum Data                    ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// A CBC cipher is followed by an HMAC over the message from its first byte (RFC
// 7296 section 3.14). An AEAD authenticates the bytes before the IV as associated
// data (RFC 5282 section 5.1, RFC 7634 section 3).
//
// Not safe for concurrent use. Only one Cipher may seal with a key: the nonces
// of an AEAD are unique within a Cipher, not among several.
//
// It holds its keys as they are. Expanded they take twenty times as much, of an IKE SA that has a message every half a minute.
type Cipher struct {
	alg         *ipsec.Algorithm // of encryption
	encr, integ ipsec.Secret
	icv         int        // its length in bytes
	macs        *sync.Pool // of *macSpace; nil: it is an AEAD
	count       uint64     // the next IV of an AEAD
}

var (
	// ErrIntegrity is Open's error for every message that is not authentic.
	ErrIntegrity = errors.New("integrity check failed")
	// ErrPadding is Open's error for an authentic message whose Pad Length is larger
	// than the plaintext.
	ErrPadding = errors.New("the padding is longer than the plaintext")
)

// NewCipher takes the cipher and integrity algorithm of s, with SK_e (an AEAD's
// salt at its end) and SK_a (none for an AEAD) of one direction. It keeps the keys, which the caller wipes after its last use.
func NewCipher(s ipsec.Suite, encr, integ ipsec.Secret) (*Cipher, error) {
	alg := ipsec.Lookup(s.Encr)
	if alg == nil || alg.Type != ipsec.Encr || alg.Key == 0 {
		return nil, unsupported(s.Encr)
	}
	if len(encr) != alg.Key {
		return nil, fmt.Errorf("encryption %v: a key of %d bytes, not %d", s.Encr, len(encr), alg.Key)
	}
	c := &Cipher{alg: alg, encr: encr, integ: integ, icv: alg.ICV}
	if alg.AEAD {
		if aeadOf(alg.ID) == nil {
			return nil, unsupported(s.Encr)
		}
		if s.Integ.Type != 0 || len(integ) != 0 {
			return nil, fmt.Errorf("encryption %v: it brings its own integrity, %v cannot be added", s.Encr, s.Integ)
		}
		return c, nil
	}
	if err := c.setMAC(s.Integ); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cipher) aead() (cipher.AEAD, error) {
	key, _ := c.salted()
	return aeadOf(c.alg.ID)(key)
}

// aeadOf makes an AEAD of a key; nil: there is none of that id.
func aeadOf(id uint16) func(key []byte) (cipher.AEAD, error) {
	switch id {
	case ipsec.EncrAESGCM16:
		return newGCM
	case ipsec.EncrChaCha20Poly1305:
		return chacha20poly1305.New
	}
	return nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// salted are an AEAD's key and its salt.
func (c *Cipher) salted() (key, salt []byte) {
	end := len(c.encr) - c.alg.Salt
	return c.encr[:end:end], c.encr[end:len(c.encr):len(c.encr)]
}

// setMAC takes the integrity algorithm of a CBC cipher.
func (c *Cipher) setMAC(t ipsec.Transform) error {
	if blockOf(c.alg.ID) == nil {
		return unsupported(c.alg.Transform)
	}
	mac := ipsec.Lookup(t)
	h := macSpaces[t.ID]
	if mac == nil || mac.Type != ipsec.Integ || h == nil {
		return fmt.Errorf("integrity %v: not supported", t)
	}
	if len(c.integ) != mac.Key {
		return fmt.Errorf("integrity %v: a key of %d bytes, not %d", t, len(c.integ), mac.Key)
	}
	c.icv, c.macs = mac.ICV, h
	return nil
}

func (c *Cipher) cbc() (cipher.Block, error) { return NewBlock(c.alg.Transform, c.encr) }

// NewBlock returns the block cipher of a transform with CBC mode.
func NewBlock(t ipsec.Transform, key []byte) (cipher.Block, error) {
	make := blockOf(t.ID)
	if make == nil {
		return nil, unsupported(t)
	}
	return make(key)
}

// blockOf makes a block cipher of a key; nil: there is none of that id.
func blockOf(id uint16) func(key []byte) (cipher.Block, error) {
	switch id {
	case ipsec.EncrAESCBC:
		return aes.NewCipher
	case ipsec.Encr3DES:
		return des.NewTripleDESCipher
	case ipsec.EncrDES:
		return des.NewCipher
	}
	return nil
}

func unsupported(encr ipsec.Transform) error {
	return fmt.Errorf("encryption %v: not supported for IKE", encr)
}

// Size is the length of n bytes of plaintext when sealed, from IV to ICV.
func (c *Cipher) Size(n int) int { return c.alg.IV + n + c.pad(n) + 1 + c.icv }

// pad is the shortest padding that makes whole blocks together with Pad Length. An
// AEAD has none: "There are no alignment requirements on the length of the
// Padding field" (RFC 5282 section 3).
func (c *Cipher) pad(n int) int { return (c.alg.Block - (n+1)%c.alg.Block) % c.alg.Block }

// Seal appends IV, ciphertext and ICV to msg, which has all bytes before the
// IV, with the final lengths in the header and the payload. The IV of a CBC cipher
// comes from rand; the IV of an AEAD is a counter.
func (c *Cipher) Seal(msg, plaintext []byte, rand io.Reader) ([]byte, error) {
	start, inner := len(msg), len(msg)+c.alg.IV
	out := slices.Grow(msg, c.Size(len(plaintext)))[:inner]
	iv := out[start:]

	if c.alg.AEAD {
		aead, err := c.aead()
		if err != nil {
			return nil, err
		}
		if c.count+1 == 0 {
			return nil, errors.New("the IV counter is used up")
		}
		binary.BigEndian.PutUint64(iv, c.count)
		c.count++
		return aead.Seal(out, c.nonce(iv), c.padded(out, plaintext)[inner:], msg), nil
	}

	if _, err := io.ReadFull(rand, iv); err != nil {
		return nil, err
	}
	cbc, err := c.cbc()
	if err != nil {
		return nil, err
	}
	out = c.padded(out, plaintext)
	encryptCBC(cbc, out[inner:], out[inner:], iv)
	return append(out, c.checksum(out)...), nil
}

// padded appends plaintext, padding and Pad Length, to be encrypted where they are.
func (c *Cipher) padded(b, plaintext []byte) []byte {
	pad := c.pad(len(plaintext))
	b = append(b, plaintext...)
	for range pad {
		b = append(b, 0)
	}
	return append(b, byte(pad))
}

// nonce returns the salt and the explicit IV (RFC 5282 section 4).
func (c *Cipher) nonce(iv []byte) []byte {
	_, salt := c.salted()
	return append(salt, iv...)
}

// checksum returns the HMAC, cut to the ICV's length.
func (c *Cipher) checksum(b []byte) []byte {
	m := c.macs.Get().(*macSpace)
	defer c.macs.Put(m)
	return m.sum(nil, c.integ, b)[:c.icv]
}

// Open checks and decrypts a whole message, whose IV is at off, and returns the
// plaintext without padding, in memory of its own. It decrypts nothing before it has
// verified the ICV.
func (c *Cipher) Open(msg []byte, off int) ([]byte, error) {
	if off < 0 || len(msg)-off < c.Size(0) {
		return nil, ErrIntegrity
	}
	iv, body := msg[off:off+c.alg.IV], msg[off+c.alg.IV:]
	var plain []byte
	if c.alg.AEAD {
		aead, err := c.aead()
		if err != nil {
			return nil, err
		}
		if plain, err = aead.Open(nil, c.nonce(iv), body, msg[:off]); err != nil {
			return nil, ErrIntegrity
		}
	} else {
		end := len(msg) - c.icv
		body = body[:len(body)-c.icv]
		if len(body)%c.alg.Block != 0 || !hmac.Equal(c.checksum(msg[:end]), msg[end:]) {
			return nil, ErrIntegrity
		}
		cbc, err := c.cbc()
		if err != nil {
			return nil, err
		}
		plain = make([]byte, len(body))
		decryptCBC(cbc, plain, body, iv)
	}
	// "the recipient MUST accept any length that results in proper alignment"
	// (RFC 7296 section 3.14).
	n := len(plain) - 1 - int(plain[len(plain)-1])
	if n < 0 {
		return nil, ErrPadding
	}
	return plain[:n:n], nil
}
