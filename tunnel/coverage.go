package tunnel

import (
	"net/netip"

	"vpngw/ipsec"
)

// selectorPair is a pair of address ranges; a Child SA may carry packets between the two.
type selectorPair struct{ local, remote ipsec.Selector }

func (p selectorPair) String() string { return p.local.String() + " === " + p.remote.String() }

// Bounds on the work that a peer's choice of selectors can cause.
const (
	maxPairs   = 256  // pieces into which SAs may cut the configured pairs
	maxProduct = 2048 // pairs of selectors looked at
)

// uncarried returns the parts of local × remote that no SA carries. A responder
// may get any number of Child SAs, each for any part of its selectors, so
// several SAs together can carry a pair. SAs limited to a protocol or port
// don't count.
func uncarried(local, remote []ipsec.Selector, sas []*ipsec.ChildSA) []selectorPair {
	var open []selectorPair
	for _, l := range local {
		for _, r := range remote {
			if l.Start.BitLen() == r.Start.BitLen() {
				open = append(open, selectorPair{l, r})
			}
		}
	}
	looked := 0
	for _, sa := range sas {
		for _, l := range sa.Local {
			for _, r := range sa.Remote {
				if looked++; len(open) == 0 || looked > maxProduct {
					return open
				}
				if l.AnyPort() && r.AnyPort() {
					open = without(open, selectorPair{l, r})
				}
			}
		}
	}
	return open
}

// without cuts p out of every pair of open.
func without(open []selectorPair, p selectorPair) []selectorPair {
	var out []selectorPair
	for _, o := range open {
		if len(out) > maxPairs {
			return open // as if p carried nothing: degraded, never a false up
		}
		l, ok1 := o.local.Intersect(p.local)
		r, ok2 := o.remote.Intersect(p.remote)
		if !ok1 || !ok2 {
			out = append(out, o)
			continue
		}
		// The rest of o surrounds l × r: beside l it has the full width, within
		// l it lies above and below r.
		for _, rest := range outside(o.local, l) {
			out = append(out, selectorPair{rest, o.remote})
		}
		for _, rest := range outside(o.remote, r) {
			out = append(out, selectorPair{l, rest})
		}
	}
	if len(out) > maxPairs {
		return open
	}
	return out
}

// outside returns the ranges of s before and after in, which is a part of s.
func outside(s, in ipsec.Selector) []ipsec.Selector {
	var out []ipsec.Selector
	add := func(from, to netip.Addr) {
		r := s
		r.Start, r.End = from, to
		out = append(out, r)
	}
	if s.Start.Less(in.Start) {
		add(s.Start, in.Start.Prev())
	}
	if in.End.Less(s.End) {
		add(in.End.Next(), s.End)
	}
	return out
}
