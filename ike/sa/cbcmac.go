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
// would take more time than the checks. A handshake computes a dozen of HMACs, each under another key.

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

// The spaces that are not in use, by their hash.
var (
	md5Spaces    = spacesOf(md5.New)
	sha1Spaces   = spacesOf(sha1.New)
	sha256Spaces = spacesOf(sha256.New)
	sha384Spaces = spacesOf(sha512.New384)
	sha512Spaces = spacesOf(sha512.New)
)

// macSpaces has those of each integrity algorithm.
var macSpaces = map[uint16]*sync.Pool{
	ipsec.IntegMD5_96: md5Spaces, ipsec.IntegSHA1_96: sha1Spaces,
	ipsec.IntegSHA256_128: sha256Spaces, ipsec.IntegSHA384_192: sha384Spaces, ipsec.IntegSHA512_256: sha512Spaces,
}

func spacesOf(h func() hash.Hash) *sync.Pool {
	return &sync.Pool{New: func() any { return &macSpace{hash: h()} }}
}

// sum appends H(K XOR opad, H(K XOR ipad, text)) (RFC 2104 section 2).
func (m *macSpace) sum(to, key []byte, text ...[]byte) []byte {
	const ipad, opad = 0x36, 0x5c
	pad := m.pad[:m.hash.BlockSize()]
	m.hash.Reset()
	if len(key) > len(pad) {
		m.hash.Write(key)
		key = m.hash.Sum(m.inner[:0])
		m.hash.Reset()
	}
	clear(pad[copy(pad, key):])
	for i := range pad {
		pad[i] ^= ipad
	}
	m.hash.Write(pad)
	for _, t := range text {
		m.hash.Write(t)
	}
	inner := m.hash.Sum(m.inner[:0])
	for i := range pad {
		pad[i] ^= ipad ^ opad
	}
	m.hash.Reset()
	m.hash.Write(pad)
	m.hash.Write(inner)
	to = m.hash.Sum(to)
	clear(pad)
	m.hash.Reset()
	return to
}
