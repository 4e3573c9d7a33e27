package sa

import (
	"fmt"
	"sync"

	"vpngw/ipsec"
)

// PRF is a pseudorandom function: HMAC over one of the hashes (RFC 2104, RFC
// 4868). Safe for concurrent use.
type PRF struct {
	macs *sync.Pool // of *macSpace
	size int
}

var prfSpaces = map[uint16]*sync.Pool{
	ipsec.PRFHMACMD5: md5Spaces, ipsec.PRFHMACSHA1: sha1Spaces,
	ipsec.PRFHMACSHA256: sha256Spaces, ipsec.PRFHMACSHA384: sha384Spaces, ipsec.PRFHMACSHA512: sha512Spaces,
}

// NewPRF returns the PRF of a transform of type ipsec.PRF.
func NewPRF(t ipsec.Transform) (*PRF, error) {
	macs := prfSpaces[t.ID]
	if t.Type != ipsec.PRF || t.KeyBits != 0 || macs == nil {
		return nil, fmt.Errorf("PRF %v: not supported", t)
	}
	m := macs.Get().(*macSpace)
	defer macs.Put(m)
	return &PRF{macs: macs, size: m.hash.Size()}, nil
}

// Size is the length of the output in bytes.
func (p *PRF) Size() int { return p.size }

// KeySize is the preferred key length in bytes, which for HMAC is Size (RFC 7296
// section 2.13).
func (p *PRF) KeySize() int { return p.size }

// Sum is prf(key, data[0] | data[1] | ...).
func (p *PRF) Sum(key []byte, data ...[]byte) []byte {
	m := p.macs.Get().(*macSpace)
	defer p.macs.Put(m)
	return m.sum(nil, key, data...)
}

// Hash returns H(data[0] | data[1] | ...), with the hash H that the PRF is an HMAC of.
func (p *PRF) Hash(data ...[]byte) []byte {
	m := p.macs.Get().(*macSpace)
	defer p.macs.Put(m)
	m.hash.Reset()
	for _, d := range data {
		m.hash.Write(d)
	}
	return m.hash.Sum(nil)
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
	m := p.macs.Get().(*macSpace)
	defer p.macs.Put(m)
	out := make([]byte, 0, (n+p.size-1)/p.size*p.size)
	var t []byte
	for i := byte(1); len(out) < n; i++ {
		out = m.sum(out, key, t, seed, []byte{i})
		t = out[len(out)-p.size:]
	}
	return out[:n:n]
}
