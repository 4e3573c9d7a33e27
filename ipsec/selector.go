package ipsec

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
)

// Selector is one traffic selector (RFC 7296 section 3.13.1): a range of
// addresses of one family, a protocol, and a range of ports.
type Selector struct {
	Start, End         netip.Addr // inclusive, one family, never 4-in-6
	Protocol           uint8      // 0: any
	StartPort, EndPort uint16     // inclusive; 0-65535: any
}

// SelectorOf is the selector for all traffic of a prefix.
func SelectorOf(p netip.Prefix) Selector {
	return Selector{Start: p.Masked().Addr(), End: lastAddr(p), EndPort: 65535}
}

// SelectorsOf are the selectors of several prefixes.
func SelectorsOf(ps []netip.Prefix) []Selector {
	out := make([]Selector, len(ps))
	for i, p := range ps {
		out[i] = SelectorOf(p)
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// AnyPort reports whether the selector covers every protocol and port.
func (s Selector) AnyPort() bool {
	return s.Protocol == 0 && s.StartPort == 0 && s.EndPort == 65535
}

// Valid reports whether the ranges are in order and of one family.
func (s Selector) Valid() bool {
	return s.Start.IsValid() && s.End.IsValid() && s.Start.BitLen() == s.End.BitLen() &&
		!s.End.Less(s.Start) && (s.StartPort <= s.EndPort || s.opaque())
}

// opaque is RFC 4301's OPAQUE port selector: start 65535, end 0.
func (s Selector) opaque() bool { return s.StartPort == 65535 && s.EndPort == 0 }

// Contains reports whether s selects all traffic that t selects.
func (s Selector) Contains(t Selector) bool {
	return s.Start.BitLen() == t.Start.BitLen() && !t.Start.Less(s.Start) && !s.End.Less(t.End) &&
		(s.Protocol == 0 || s.Protocol == t.Protocol) &&
		(s.StartPort <= t.StartPort && t.EndPort <= s.EndPort)
}

// Intersect is the selector of the traffic that both select. false: there is no such traffic.
func (s Selector) Intersect(t Selector) (Selector, bool) {
	if s.Start.BitLen() != t.Start.BitLen() {
		return Selector{}, false
	}
	r := s
	if r.Start.Less(t.Start) {
		r.Start = t.Start
	}
	if t.End.Less(r.End) {
		r.End = t.End
	}
	switch {
	case r.Protocol == 0:
		r.Protocol = t.Protocol
	case t.Protocol != 0 && t.Protocol != r.Protocol:
		return Selector{}, false
	}
	r.StartPort, r.EndPort = max(s.StartPort, t.StartPort), min(s.EndPort, t.EndPort)
	return r, r.Start.Compare(r.End) <= 0 && r.StartPort <= r.EndPort
}

// MaxSelectors is how many selectors one traffic selector payload can count.
const MaxSelectors = 255

// Narrow returns the intersection of offer with own (RFC 7296 section 2.9): each offered selector
// with each of own, without repeats. It stops at MaxSelectors, for a part of the intersection is
// valid too.
func Narrow(offer, own []Selector) []Selector {
	var out []Selector
	for _, o := range offer {
		for _, w := range own {
			if len(out) == MaxSelectors {
				return out
			}
			r, ok := o.Intersect(w)
			if ok && !slices.ContainsFunc(out, func(s Selector) bool { return s.Contains(r) }) {
				out = append(slices.DeleteFunc(out, func(s Selector) bool { return r.Contains(s) }), r)
			}
		}
	}
	return out
}

// Covers reports whether each selector of t lies within one of s.
func Covers(s, t []Selector) bool {
	for _, x := range t {
		if !slices.ContainsFunc(s, func(y Selector) bool { return y.Contains(x) }) {
			return false
		}
	}
	return true
}

// Prefixes is the address range as the fewest prefixes.
func (s Selector) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for a := s.Start; a.IsValid() && !s.End.Less(a); {
		n := a.BitLen()
		for n > 0 {
			p := netip.PrefixFrom(a, n-1)
			if p.Masked().Addr() != a || s.End.Less(lastAddr(p)) {
				break
			}
			n--
		}
		p := netip.PrefixFrom(a, n)
		out = append(out, p)
		a = lastAddr(p).Next()
	}
	return out
}

// Width is the number of address bits that the selector leaves open, rounded
// up; 0 for a single host. The smaller, the more specific.
func (s Selector) Width() int {
	a, b := s.Start.As16(), s.End.As16()
	for i := range a {
		if d := a[i] ^ b[i]; d != 0 {
			return (15-i)*8 + bits.Len8(d)
		}
	}
	return 0
}

// String is a prefix if the range is one, with protocol and ports behind it if they are limited.
func (s Selector) String() string {
	out := s.Start.String() + "-" + s.End.String()
	if ps := s.Prefixes(); len(ps) == 1 {
		out = ps[0].String()
	}
	if s.AnyPort() {
		return out
	}
	out += "[" + strconv.Itoa(int(s.Protocol))
	switch {
	case s.StartPort == 0 && s.EndPort == 65535:
	case s.opaque():
		out += "/opaque"
	case s.StartPort == s.EndPort:
		out += fmt.Sprintf("/%d", s.StartPort)
	default:
		out += fmt.Sprintf("/%d-%d", s.StartPort, s.EndPort)
	}
	return out + "]"
}
