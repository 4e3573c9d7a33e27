package ipsec

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func sel(s string) Selector { return SelectorOf(netip.MustParsePrefix(s)) }

func TestSelectorString(t *testing.T) {
	a := netip.MustParseAddr
	for want, s := range map[string]Selector{
		"10.0.0.0/8":            sel("10.1.2.3/8"),
		"0.0.0.0/0":             sel("0.0.0.0/0"),
		"2001:db8::/32":         sel("2001:db8::/32"),
		"10.0.0.1-10.0.0.6":     {Start: a("10.0.0.1"), End: a("10.0.0.6"), EndPort: 65535},
		"10.0.0.0/24[6/80]":     {Start: a("10.0.0.0"), End: a("10.0.0.255"), Protocol: 6, StartPort: 80, EndPort: 80},
		"10.0.0.0/24[17]":       {Start: a("10.0.0.0"), End: a("10.0.0.255"), Protocol: 17, EndPort: 65535},
		"10.0.0.0/24[6/1-2]":    {Start: a("10.0.0.0"), End: a("10.0.0.255"), Protocol: 6, StartPort: 1, EndPort: 2},
		"10.0.0.1/32[6/opaque]": {Start: a("10.0.0.1"), End: a("10.0.0.1"), Protocol: 6, StartPort: 65535},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestWidthIsTheOpenBits(t *testing.T) {
	for s, want := range map[string]int{"10.0.0.1/32": 0, "10.0.0.0/24": 8, "0.0.0.0/0": 32, "2001:db8::/32": 96, "::/0": 128} {
		if got := sel(s).Width(); got != want {
			t.Errorf("%s: got %d, want %d", s, got, want)
		}
	}
}

func TestNarrowKeepsWhatBothWant(t *testing.T) {
	for _, row := range []struct{ offer, own, want []Selector }{
		{[]Selector{sel("0.0.0.0/0")}, []Selector{sel("10.0.0.0/8"), sel("192.168.0.0/16")}, []Selector{sel("10.0.0.0/8"), sel("192.168.0.0/16")}},
		{[]Selector{sel("10.1.0.0/16")}, []Selector{sel("10.0.0.0/8")}, []Selector{sel("10.1.0.0/16")}},
		{[]Selector{sel("10.1.0.0/16"), sel("10.0.0.0/8")}, []Selector{sel("10.0.0.0/8")}, []Selector{sel("10.0.0.0/8")}},
		{[]Selector{sel("10.1.0.0/16")}, []Selector{sel("10.2.0.0/16")}, nil},
		{[]Selector{sel("::/0"), sel("10.0.0.0/8")}, []Selector{sel("10.0.0.0/8")}, []Selector{sel("10.0.0.0/8")}},
	} {
		if got := Narrow(row.offer, row.own); !slices.Equal(got, row.want) {
			t.Errorf("%v of %v: got %v, want %v", row.own, row.offer, got, row.want)
		}
	}
}

// random is a selector in a space so small that selectors meet.
func random(r *rand.Rand) Selector {
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	a, b := r.IntN(16), r.IntN(16)
	p, q := r.IntN(4), r.IntN(4)
	s := Selector{Start: at(min(a, b)), End: at(max(a, b)), EndPort: 65535}
	if r.IntN(2) == 0 {
		s.Protocol = uint8(r.IntN(3))
	}
	if s.Protocol != 0 {
		s.StartPort, s.EndPort = uint16(min(p, q)), uint16(max(p, q))
	}
	return s
}

// has is one packet against one selector, written out.
func has(s Selector, addr, proto, port int) bool {
	a := netip.AddrFrom4([4]byte{10, 0, 0, byte(addr)})
	return s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0 && (s.Protocol == 0 || int(s.Protocol) == proto) &&
		int(s.StartPort) <= port && port <= int(s.EndPort)
}

func TestIntersectAndContainsAgainstPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s, u := random(r), random(r)
		both, ok := s.Intersect(u)
		contains := true
		for addr := range 16 {
			for proto := 1; proto < 3; proto++ {
				for port := range 4 {
					inS, inU := has(s, addr, proto, port), has(u, addr, proto, port)
					if got := ok && has(both, addr, proto, port); got != (inS && inU) {
						t.Fatalf("%v ∩ %v = %v %v: wrong for address %d, protocol %d, port %d", s, u, both, ok, addr, proto, port)
					}
					contains = contains && (inS || !inU)
				}
			}
		}
		if s.Contains(u) && !contains {
			t.Fatalf("%v does not contain %v", s, u)
		}
		if !both.Valid() && ok {
			t.Fatalf("%v ∩ %v = %v is not valid", s, u, both)
		}
	}
}

func TestPrefixesAreTheRangeExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		a, b := r.Uint32N(1<<12), r.Uint32N(1<<12)
		at := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
		s := Selector{Start: at(min(a, b)), End: at(max(a, b)), EndPort: 65535}
		next := s.Start
		for _, p := range s.Prefixes() {
			if p.Addr() != next || p.Masked() != p {
				t.Fatalf("%v: %v", s, s.Prefixes())
			}
			next = lastAddr(p).Next()
		}
		if next.Prev() != s.End {
			t.Fatalf("%v: %v", s, s.Prefixes())
		}
	}
	all := Selector{Start: netip.MustParseAddr("0.0.0.0"), End: netip.MustParseAddr("255.255.255.255"), EndPort: 65535}
	if got := all.Prefixes(); len(got) != 1 || got[0].Bits() != 0 {
		t.Errorf("everything is %v", got)
	}
}

func TestLastAddressOfAPrefix(t *testing.T) {
	for p, want := range map[string]string{"10.0.0.0/8": "10.255.255.255", "10.0.0.7/32": "10.0.0.7", "0.0.0.0/0": "255.255.255.255", "fd00::/16": "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "10.1.2.128/25": "10.1.2.255"} {
		if got := SelectorOf(netip.MustParsePrefix(p)).End.String(); got != want {
			t.Errorf("%s: got %s, want %s", p, got, want)
		}
	}
}
