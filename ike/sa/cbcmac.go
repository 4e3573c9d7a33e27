package sa

import (
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"sync"

	"vpngw/ipsec"
)

// A daemon of ten thousand tunnels seals and opens a liveness check all the time, each under keys of its own that it keeps
// unexpanded. crypto/hmac and crypto/cipher would make objects of a kilobyte for each, and the garbage collector
// would take more time than the checks.

// encryptCBC encrypts whole blocks (NIST SP 800-38A section 6.2).
func encryptCBC(b cipher.Block, dst, src, iv []byte) {
	for n := b.BlockSize(); len(src) > 0; dst, src = dst[n:], src[n:] {
		subtle.XORBytes(dst[:n], src[:n], iv)
		b.Encrypt(dst[:n], dst[:n])
		iv = dst[:n]
	}
}

// decryptCBC decrypts whole blocks. dst does not overlap src.
func decryptCBC(b cipher.Block, dst, src, iv []byte) {
	for n := b.BlockSize(); len(src) > 0; dst, src = dst[n:], src[n:] {
		b.Decrypt(dst[:n], src[:n])
		subtle.XORBytes(dst[:n], dst[:n], iv)
		iv = src[:n]
	}
}

// macSpace is what one computation of an HMAC needs.
type macSpace struct {
	hash  hash.Hash
	pad   [sha512.BlockSize]byte
	inner [sha512.Size]byte
}

// macSpaces has those of each integrity algorithm that are not in use.
var macSpaces = map[uint16]*sync.Pool{
	ipsec.IntegMD5_96:     spacesOf(md5.New),
	ipsec.IntegSHA1_96:    spacesOf(sha1.New),
	ipsec.IntegSHA256_128: spacesOf(sha256.New),
	ipsec.IntegSHA384_192: spacesOf(sha512.New384),
	ipsec.IntegSHA512_256: spacesOf(sha512.New),
}

func spacesOf(h func() hash.Hash) *sync.Pool {
	return &sync.Pool{New: func() any { return &macSpace{hash: h()} }}
}

// sum is H(K XOR opad, H(K XOR ipad, text)) (RFC 2104 section 2). The key is no longer than a block.
func (m *macSpace) sum(key, text []byte) []byte {
	const ipad, opad = 0x36, 0x5c
	pad := m.pad[:m.hash.BlockSize()]
	clear(pad[copy(pad, key):])
	for i := range pad {
		pad[i] ^= ipad
	}
	m.hash.Reset()
	m.hash.Write(pad)
	m.hash.Write(text)
	inner := m.hash.Sum(m.inner[:0])
	for i := range pad {
		pad[i] ^= ipad ^ opad
	}
	m.hash.Reset()
	m.hash.Write(pad)
	m.hash.Write(inner)
	out := m.hash.Sum(nil)
	clear(pad)
	m.hash.Reset()
	return out
}
