package esp

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"vpngw/ipsec"
)

// A selector is an ipsec.Selector in a form that matches quickly.
type selector struct {
	start, end addr
	v6         bool
	protocol   uint8 // 0: any
	anyPort    bool
	opaque     bool // matches only packets whose ports are not available (RFC 4301 section 4.4.1.1)
	low, high  uint16
	// rank orders selectors by what they leave open: address bits, then, in narrowBits, protocol and port bits.
	// The less, the more specific.
	rank uint32
}

const narrowBits = 6

// compile checks the selectors and sorts them, the most specific first.
func compile(in []ipsec.Selector) ([]selector, error) {
	if len(in) == 0 {
		return nil, fmt.Errorf("esp: no selectors")
	}
	out := make([]selector, len(in))
	for i, s := range in {
		if !s.Valid() {
			return nil, fmt.Errorf("esp: selector %v is not valid", s)
		}
		c := selector{
			start: addrOf(s.Start), end: addrOf(s.End), v6: !s.Start.Is4(),
			protocol: s.Protocol, low: s.StartPort, high: s.EndPort,
			anyPort: s.StartPort == 0 && s.EndPort == 65535,
			opaque:  s.StartPort == 65535 && s.EndPort == 0,
		}
		c.rank = uint32(s.Width()) << narrowBits
		if c.protocol == 0 {
			c.rank |= 1 << 5
		}
		if !c.opaque {
			c.rank |= uint32(bits.Len16(c.high - c.low))
		}
		out[i] = c
	}
	slices.SortStableFunc(out, func(a, b selector) int { return cmp.Compare(a.rank, b.rank) })
	return out, nil
}

func (s *selector) covers(a addr, f *flow) bool {
	return s.v6 == f.v6 && !a.less(s.start) && !s.end.less(a) && (s.protocol == 0 || s.protocol == f.protocol)
}

// source reports whether s selects the source of f.
func (s *selector) source(f *flow) bool {
	if !s.covers(f.src, f) {
		return false
	}
	if s.anyPort {
		return true
	}
	if f.ports == noPorts {
		return s.opaque
	}
	return s.low <= f.sport && f.sport <= s.high
}

// destination reports whether s selects the destination of f. The
// one field of ICMP and Mobility Header belongs to the sender; the other end may leave
// it OPAQUE (RFC 4301 section 4.4.1.3).
func (s *selector) destination(f *flow) bool {
	if !s.covers(f.dst, f) {
		return false
	}
	if s.anyPort {
		return true
	}
	switch f.ports {
	case noPorts:
		return s.opaque
	case onePort:
		return s.opaque || s.low <= f.sport && f.sport <= s.high
	}
	return s.low <= f.dport && f.dport <= s.high
}

// sourceIn finds the first of ss that selects f's source.
func sourceIn(ss []selector, f *flow) *selector {
	for i := range ss {
		if ss[i].source(f) {
			return &ss[i]
		}
	}
	return nil
}

// destinationIn finds the first of ss that selects f's destination.
func destinationIn(ss []selector, f *flow) *selector {
	for i := range ss {
		if ss[i].destination(f) {
			return &ss[i]
		}
	}
	return nil
}

// prefix is the longest prefix that contains the address range.
func (s *selector) prefix() prefix {
	size := 32
	if s.v6 {
		size = 128
	}
	return prefix{s.start.key(s.v6), size - int(s.rank>>narrowBits)}
}

// unlimited reports whether s selects all traffic of its prefix.
func (s *selector) unlimited() bool {
	open := addr{s.start.hi ^ s.end.hi, s.start.lo ^ s.end.lo}
	ones := func(v uint64) bool { return v&(v+1) == 0 }
	return s.protocol == 0 && s.anyPort && s.start.hi&open.hi == 0 && s.start.lo&open.lo == 0 &&
		(open.hi == 0 && ones(open.lo) || open.lo == ^uint64(0) && ones(open.hi))
}
