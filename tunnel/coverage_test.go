package tunnel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"vpngw/ipsec"
)

func selectors(s string) []ipsec.Selector {
	return ipsec.SelectorsOf(prefixes(strings.Fields(s)...))
}

func TestUncarried(t *testing.T) {
	for _, c := range []struct {
		name, local, remote string
		sas                 [][2]string
		want                string
	}{
		{"nothing", "10.1.0.0/16", "10.2.0.0/16", nil, "10.1.0.0/16 === 10.2.0.0/16"},
		{"exact", "10.1.0.0/16", "10.2.0.0/16", [][2]string{{"10.1.0.0/16", "10.2.0.0/16"}}, ""},
		{"wider", "10.1.0.0/16", "10.2.0.0/16", [][2]string{{"0.0.0.0/0", "0.0.0.0/0"}}, ""},
		{"narrowed", "10.1.0.0/16", "10.2.0.0/16", [][2]string{{"10.1.0.0/17", "10.2.0.0/16"}}, "10.1.128.0/17 === 10.2.0.0/16"},
		{
			"two halves", "10.1.0.0/16", "10.2.0.0/16",
			[][2]string{{"10.1.0.0/17", "10.2.0.0/16"}, {"10.1.128.0/17", "10.2.0.0/16"}},
			"",
		},
		{
			"four pairs for lists of two", "10.1.0.0/16 10.3.0.0/16", "10.2.0.0/16 10.4.0.0/16",
			[][2]string{{"10.1.0.0/16", "10.2.0.0/16"}, {"10.1.0.0/16", "10.4.0.0/16"}, {"10.3.0.0/16", "10.2.0.0/16"}, {"10.3.0.0/16", "10.4.0.0/16"}},
			"",
		},
		{
			"three of four", "10.1.0.0/16 10.3.0.0/16", "10.2.0.0/16 10.4.0.0/16",
			[][2]string{{"10.1.0.0/16", "10.2.0.0/16"}, {"10.1.0.0/16", "10.4.0.0/16"}, {"10.3.0.0/16", "10.2.0.0/16"}},
			"10.3.0.0/16 === 10.4.0.0/16",
		},
		{"families do not mix", "10.1.0.0/16 fd00:1::/64", "fd00:2::/64", nil, "fd00:1::/64 === fd00:2::/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sas []*ipsec.ChildSA
			for _, s := range c.sas {
				sas = append(sas, &ipsec.ChildSA{Local: selectors(s[0]), Remote: selectors(s[1])})
			}
			var got []string
			for _, p := range uncarried(selectors(c.local), selectors(c.remote), sas) {
				got = append(got, p.String())
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSAOfOnePortDoesNotCarryAll(t *testing.T) {
	sa := &ipsec.ChildSA{Local: selectors("10.1.0.0/16"), Remote: selectors("10.2.0.0/16")}
	sa.Remote[0].Protocol = 6
	if got := uncarried(selectors("10.1.0.0/16"), selectors("10.2.0.0/16"), []*ipsec.ChildSA{sa}); len(got) != 1 {
		t.Errorf("got %v, want the whole pair", got)
	}
}

// Whatever the SAs are, a pair of addresses is uncarried exactly when none of them has it.
func TestUncarriedAgreesWithEveryAddress(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func() ipsec.Selector {
		bits := 29 + r.IntN(4)
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(8))})
		return ipsec.SelectorOf(netip.PrefixFrom(a, bits))
	}
	host := func(i int) ipsec.Selector {
		return ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
	}
	for range 300 {
		var sas []*ipsec.ChildSA
		for range r.IntN(6) {
			sas = append(sas, &ipsec.ChildSA{Local: []ipsec.Selector{some(), some()}, Remote: []ipsec.Selector{some()}})
		}
		wantL, wantR := []ipsec.Selector{some(), some()}, []ipsec.Selector{some()}
		open := uncarried(wantL, wantR, sas)
		for i := range 64 {
			l, m := host(i/8), host(i%8)
			in := func(a, b []ipsec.Selector) bool {
				return ipsec.Covers(a, []ipsec.Selector{l}) && ipsec.Covers(b, []ipsec.Selector{m})
			}
			want := in(wantL, wantR)
			for _, sa := range sas {
				want = want && !in(sa.Local, sa.Remote)
			}
			got := false
			for _, p := range open {
				got = got || in([]ipsec.Selector{p.local}, []ipsec.Selector{p.remote})
			}
			if got != want {
				t.Fatalf("%v to %v: uncarried is %v, want %v, with %v", l, m, got, want, fmt.Sprint(open))
			}
		}
	}
}

func TestUncarriedIsBounded(t *testing.T) {
	var l, r []ipsec.Selector
	for i := range 255 {
		l = append(l, selectors(fmt.Sprintf("10.1.%d.1/32", i))...)
		r = append(r, selectors(fmt.Sprintf("10.2.%d.1/32", i))...)
	}
	sas := make([]*ipsec.ChildSA, 100)
	for i := range sas {
		sas[i] = &ipsec.ChildSA{Local: l, Remote: r}
	}
	if open := uncarried(selectors("10.1.0.0/16"), selectors("10.2.0.0/16"), sas); len(open) > maxPairs {
		t.Errorf("got %d pieces, want at most %d", len(open), maxPairs)
	}
}
