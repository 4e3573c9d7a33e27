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
	// rank orders selectors by what they leave open: address bits, protocol, port bits.
	// The less, the more specific.
	rank uint32
}

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
		c.rank = uint32(s.Width()) << 6
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

// mask is the mask of the prefix that the address range is. false: the range is no prefix.
func (s *selector) mask() (addr, bool) {
	open := addr{s.start.hi ^ s.end.hi, s.start.lo ^ s.end.lo}
	ones := func(v uint64) bool { return v&(v+1) == 0 }
	if open.hi != 0 && (open.lo != ^uint64(0) || !ones(open.hi)) || !ones(open.lo) {
		return addr{}, false
	}
	mask := addr{^open.hi, ^open.lo}
	return mask, s.start == s.start.and(mask) && s.end == addr{s.start.hi | open.hi, s.start.lo | open.lo}
}

func (a addr) and(m addr) addr { return addr{a.hi & m.hi, a.lo & m.lo} }
