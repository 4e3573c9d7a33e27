package esp

import (
	"cmp"
	"net/netip"
	"slices"

	"vpngw/ipsec"
)

// A peer may use what its selectors cover, and for some that is every address. Some addresses stay out all the same,
// because they would make a packet pass for one of this host itself, and Linux lets some of them in from a TUN: loopback
// as a destination where route_localnet is set, as container networks do; an IPv4 address in an IPv6 header
// (::ffff:0:0/96), which a program that serves both takes for that IPv4 address; our own IPv6 addresses as a
// source. Nor is a group of hosts, or none, the source of a packet.
var (
	neverFrom = spansOf("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/127", "::ffff:0:0/96", "ff00::/8")
	neverTo   = spansOf("127.0.0.0/8", "::1/128", "::ffff:0:0/96")
)

// spans are ranges of addresses, by family and in order. None overlaps another.
type spans [2][]span

type span struct{ first, last addr }

func spansOf(prefixes ...string) (s spans) {
	for _, p := range prefixes {
		s.add(ipsec.SelectorOf(netip.MustParsePrefix(p)))
	}
	return s
}

// add adds a range that comes last, or order must follow.
func (s *spans) add(r ipsec.Selector) {
	f := familyOf(r.Start.Is6())
	s[f] = append(s[f], span{addrOf(r.Start), addrOf(r.End)})
}

func (s *spans) order() {
	for _, list := range s {
		slices.SortFunc(list, func(a, b span) int { return a.first.compare(b.first) })
	}
}

// within are the spans of which some selector covers a part. As a rule there are none.
func (s *spans) within(ss []selector) (in spans) {
	for family, list := range s {
		for _, x := range list {
			if slices.ContainsFunc(ss, func(c selector) bool {
				return c.v6 == (family == 1) && !x.last.less(c.start) && !c.end.less(x.first)
			}) {
				in[family] = append(in[family], x)
			}
		}
	}
	return in
}

// has reports whether a lies in one of the spans.
func (s *spans) has(a addr, v6 bool) bool {
	list := s[familyOf(v6)]
	if len(list) == 0 {
		return false
	}
	i, found := slices.BinarySearchFunc(list, a, func(x span, a addr) int { return x.first.compare(a) })
	return found || i > 0 && !list[i-1].last.less(a)
}

func (s spans) equal(t spans) bool { return slices.Equal(s[0], t[0]) && slices.Equal(s[1], t[1]) }

func (a addr) compare(b addr) int { return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo)) }

// martian reports whether an address of the packet of f is out of place, whatever the selectors cover.
func (in *inbound) martian(f *flow) bool {
	return in.notFrom.has(f.src, f.v6) || in.notTo.has(f.dst, f.v6)
}

// SetOwn tells the plane this host's addresses, which are of single hosts: no packet comes in from them.
func (p *Plane) SetOwn(addresses []netip.Addr) {
	s := spans{slices.Clone(neverFrom[0]), slices.Clone(neverFrom[1])}
	for _, a := range addresses {
		if !neverFrom.has(addrOf(a), a.Is6()) {
			s.add(ipsec.Selector{Start: a, End: a})
		}
	}
	s.order()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.equal(p.notFrom) {
		return
	}
	p.notFrom = s
	for _, t := range p.tunnels {
		for _, pr := range t.pairs {
			in := s.within(pr.in.remote)
			p.receiving.Lock()
			pr.in.notFrom = in
			p.receiving.Unlock()
		}
	}
}
