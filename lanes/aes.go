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

// An Encrypter encrypts with an AES key. It is not safe for concurrent use.
type Encrypter struct {
	keys   roundKeys
	rounds int
	level  level

	// Without assembly.
	block cipher.Block
	mode  resettable
}

// NewEncrypter makes the Encrypter of a key of 16, 24 or 32 bytes.
func NewEncrypter(key []byte) (*Encrypter, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	e := &Encrypter{level: detected}
	if e.level == plain {
		e.block, e.mode = b, cipher.NewCBCEncrypter(b, make([]byte, blockSize)).(resettable)
	} else {
		e.rounds = e.keys.expand(key)
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

// Clear overwrites the key, where the assembly has it. Nothing can be encrypted afterwards.
func (e *Encrypter) Clear() { clear(e.keys[:]) }

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
	keys   roundKeys
	rounds int
	level  level
	mode   resettable // without assembly
}

// NewDecrypter makes the Decrypter of a key of 16, 24 or 32 bytes.
func NewDecrypter(key []byte) (*Decrypter, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	d := &Decrypter{level: detected}
	if d.level == plain {
		d.mode = cipher.NewCBCDecrypter(b, make([]byte, blockSize)).(resettable)
	} else {
		d.rounds = d.keys.expand(key)
		d.keys.invert(d.rounds)
	}
	return d, nil
}

// Clear overwrites the key, where the assembly has it. Nothing can be decrypted afterwards.
func (d *Decrypter) Clear() { clear(d.keys[:]) }

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
