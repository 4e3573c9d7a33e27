package sa

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"vpngw/ipsec"
)

// PRF is a pseudorandom function: HMAC over one of the hashes (RFC 2104, RFC
// 4868). Safe for concurrent use.
type PRF struct {
	hash func() hash.Hash
	size int
}

var prfHashes = map[uint16]func() hash.Hash{
	ipsec.PRFHMACMD5:    md5.New,
	ipsec.PRFHMACSHA1:   sha1.New,
	ipsec.PRFHMACSHA256: sha256.New,
	ipsec.PRFHMACSHA384: sha512.New384,
	ipsec.PRFHMACSHA512: sha512.New,
}

// NewPRF returns the PRF of a transform of type ipsec.PRF.
func NewPRF(t ipsec.Transform) (*PRF, error) {
	h := prfHashes[t.ID]
	if t.Type != ipsec.PRF || t.KeyBits != 0 || h == nil {
		return nil, fmt.Errorf("PRF %v: not supported", t)
	}
	return &PRF{hash: h, size: h().Size()}, nil
}

// Size is the length of the output in bytes.
func (p *PRF) Size() int { return p.size }

// KeySize is the preferred key length in bytes, which for HMAC is Size (RFC 7296
// section 2.13).
func (p *PRF) KeySize() int { return p.size }

// Sum is prf(key, data[0] | data[1] | ...).
func (p *PRF) Sum(key []byte, data ...[]byte) []byte {
	m := hmac.New(p.hash, key)
	for _, d := range data {
		m.Write(d)
	}
	return m.Sum(nil)
}

// Hash returns H(data[0] | data[1] | ...), with the hash H that the PRF is an HMAC of.
func (p *PRF) Hash(data ...[]byte) []byte {
	h := p.hash()
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

// Plus is the first n bytes of prf+(key, seed) (RFC 7296 section 2.13):
//
//	prf+ (K,S) = T1 | T2 | T3 | T4 | ...
//
//	T1 = prf (K, S | 0x01)
//	T2 = prf (K, T1 | S | 0x02)
//	T3 = prf (K, T2 | S | 0x03)
//
// It panics for more than 255 times Size, where prf+ is not defined.
func (p *PRF) Plus(key, seed []byte, n int) []byte {
	if n > 255*p.size {
		panic(fmt.Sprintf("prf+ gives no more than %d bytes", 255*p.size))
	}
	m := hmac.New(p.hash, key)
	out := make([]byte, 0, (n+p.size-1)/p.size*p.size)
	var t []byte
	for i := byte(1); len(out) < n; i++ {
		m.Reset()
		m.Write(t)
		m.Write(seed)
		m.Write([]byte{i})
		out = m.Sum(out)
		t = out[len(out)-p.size:]
	}
	return out[:n:n]
}
