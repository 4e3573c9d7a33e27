package lanes

import (
	"crypto/aes"
	"crypto/cipher"
)

const blockSize = aes.BlockSize

// roundKeys are those of 14 rounds at most.
type roundKeys [15][blockSize]byte

// resettable is crypto/cipher's CBC mode.
type resettable interface {
	cipher.BlockMode
	SetIV([]byte)
}

// checkKey wants one of AES's three lengths.
func checkKey(key []byte) error {
	switch len(key) {
	case 16, 24, 32:
		return nil
	}
	return aes.KeySizeError(len(key))
}

// schedule is a key of AES, expanded for the assembly.
type schedule struct {
	level  level
	keys   roundKeys
	rounds int
}

// set expands a key of 16, 24 or 32 bytes. Without assembly it leaves that to the standard library, whose cipher it returns: two
// schedules of a key would be one that nobody can clear.
func (s *schedule) set(key []byte) (cipher.Block, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if s.level = detected; s.level == plain {
		return aes.NewCipher(key)
	}
	s.rounds = s.keys.expand(key)
	return nil, nil
}

// Clear overwrites the key, where the assembly has it. It is of no use afterwards.
func (s *schedule) Clear() { clear(s.keys[:]) }

// An Encrypter encrypts with an AES key. It is not safe for concurrent use.
type Encrypter struct {
	schedule

	// Without assembly.
	block cipher.Block
	mode  resettable
}

// NewEncrypter makes the Encrypter of a key of 16, 24 or 32 bytes.
func NewEncrypter(key []byte) (*Encrypter, error) {
	e := &Encrypter{}
	b, err := e.set(key)
	if err != nil {
		return nil, err
	}
	if e.level == plain {
		e.block, e.mode = b, cipher.NewCBCEncrypter(b, make([]byte, blockSize)).(resettable)
	}
	return e, nil
}

// CBC encrypts each buffer in place. A buffer is an IV of 16 bytes, which stays as it is, and
// whole blocks of plaintext. The buffers must not overlap.
func (e *Encrypter) CBC(bufs [][]byte) {
	for _, b := range bufs {
		if len(b) < blockSize || len(b)%blockSize != 0 {
			panic("lanes: a buffer is not an IV and whole blocks")
		}
	}
	if e.level != plain {
		e.cbc(bufs)
		return
	}
	for _, b := range bufs {
		e.mode.SetIV(b[:blockSize])
		e.mode.CryptBlocks(b[blockSize:], b[blockSize:])
	}
}

// Blocks encrypts the first n blocks of b, in place and each by itself. What is behind them means nothing afterwards.
func (e *Encrypter) Blocks(b *[Max * blockSize]byte, n int) {
	if e.level != plain {
		e.blocks(b, n)
		return
	}
	for i := range n {
		e.block.Encrypt(b[blockSize*i:], b[blockSize*i:])
	}
}

// A Decrypter decrypts with an AES key. It is not safe for concurrent use.
type Decrypter struct {
	schedule
	mode resettable // without assembly
}

// NewDecrypter makes the Decrypter of a key of 16, 24 or 32 bytes.
func NewDecrypter(key []byte) (*Decrypter, error) {
	d := &Decrypter{}
	b, err := d.set(key)
	if err != nil {
		return nil, err
	}
	if d.level == plain {
		d.mode = cipher.NewCBCDecrypter(b, make([]byte, blockSize)).(resettable)
	} else {
		d.keys.invert(d.rounds)
	}
	return d, nil
}

// CBC decrypts src, an IV of 16 bytes and whole blocks, into dst, which is 16 bytes shorter. dst may be
// src[16:], and must not overlap src in another way. CBC decrypts the blocks of one buffer side by side, so it needs no others.
func (d *Decrypter) CBC(dst, src []byte) {
	if len(src) < blockSize || len(src)%blockSize != 0 || len(dst) != len(src)-blockSize {
		panic("lanes: src is not an IV and whole blocks, or dst is not as long as they")
	}
	if d.level != plain {
		d.cbc(dst, src)
		return
	}
	d.mode.SetIV(src[:blockSize])
	d.mode.CryptBlocks(dst, src[blockSize:])
}
