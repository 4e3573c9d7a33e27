package lanes

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// Hash is a hash function.
type Hash uint8

const (
	MD5 Hash = iota
	SHA1
	SHA256
	SHA384
	SHA512
)

// function is what a Hash is.
type function struct {
	std   func() hash.Hash
	size  int       // of a digest
	block int       // 64, or 128 with words of 64 bits
	words int       // of the state
	big   bool      // endian
	first [8]uint64 // state
}

var functions = [...]function{
	MD5:  {md5.New, md5.Size, md5.BlockSize, 4, false, [8]uint64{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}},
	SHA1: {sha1.New, sha1.Size, sha1.BlockSize, 5, true, [8]uint64{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}},
	SHA256: {sha256.New, sha256.Size, sha256.BlockSize, 8, true, [8]uint64{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}},
	SHA384: {sha512.New384, sha512.Size384, sha512.BlockSize, 8, true, [8]uint64{
		0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
		0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4,
	}},
	SHA512: {sha512.New, sha512.Size, sha512.BlockSize, 8, true, [8]uint64{
		0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
		0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
	}},
}

// Size is the length of a digest.
func (h Hash) Size() int { return functions[h].size }

// An HMAC computes the HMACs of one key (RFC 2104). It is not safe for concurrent use.
type HMAC struct {
	hash Hash
	use  kernels
	std  hash.Hash // where use has nothing for a single message

	// inner and outer have the states once the key is hashed, and outer behind its own the last words of the block that it hashes, whose
	// first are the inner digest. Words of 32 bits lie two in one, as in memory.
	inner, outer [16]uint64
}

// NewHMAC makes the HMAC of a key.
func NewHMAC(h Hash, key []byte) *HMAC {
	f := &functions[h]
	m := &HMAC{hash: h, use: kernelsOf(h)}
	if !m.use.alone() {
		m.std = hmac.New(f.std, key)
	}
	if !m.use.any() {
		return m
	}
	var k [128]byte
	if len(key) > f.block {
		d := f.std()
		d.Write(key)
		d.Sum(k[:0])
	} else {
		copy(k[:], key)
	}
	for i := range k {
		k[i] ^= 0x36
	}
	compress(h, &m.inner, &k)
	for i := range k {
		k[i] ^= 0x36 ^ 0x5c
	}
	compress(h, &m.outer, &k)
	m.pad()
	clear(k[:])
	return m
}

// Clear overwrites the key, where the assembly has it. Nothing can be summed afterwards.
func (m *HMAC) Clear() {
	clear(m.inner[:])
	clear(m.outer[:])
}

// Scratch is the space that Sum works in, and its results. One Scratch serves any number of HMACs, one call at a time.
type Scratch struct {
	// Sums has the digest of message i in Sums[i]; bytes behind the digest mean nothing.
	Sums [Max][64]byte

	state [64]uint64 // of all lanes, word by word
	sums  [Max][64]byte
	last  [Max][2 * 128]byte
}

// Sum computes the HMACs of up to Max messages into s.Sums. With tails, message i is followed by tails[i], 4 bytes with the
// highest first.
func (m *HMAC) Sum(s *Scratch, messages [][]byte, tails []uint32) {
	if len(messages) > Max || tails != nil && len(tails) != len(messages) {
		panic("lanes: too many messages, or not as many tails")
	}
	if m.use.any() {
		m.sum(s, messages, tails)
		return
	}
	for i := range messages {
		m.one(s, i, messages, tails)
	}
}

// one computes the HMAC of message i by the standard library.
func (m *HMAC) one(s *Scratch, i int, messages [][]byte, tails []uint32) {
	m.std.Reset()
	m.std.Write(messages[i])
	if tails != nil {
		b := s.last[i][:4]
		binary.BigEndian.PutUint32(b, tails[i])
		m.std.Write(b)
	}
	m.std.Sum(s.Sums[i][:0])
}
