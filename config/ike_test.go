package config

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

func prefixes(ss ...string) (out []netip.Prefix) {
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Every setting of an IKE SA comes from the tunnel: one that did not would be the same
// for tunnels that differ in it, and they would share an IKE SA.
func TestEverySettingOfTheIKESAComesFromTheTunnel(t *testing.T) {
	changes := map[string]func(*Tunnel){
		"Version":    func(t *Tunnel) { t.IKEVersion = 1 },
		"Aggressive": func(t *Tunnel) { t.Aggressive = true },
		"PSK":        func(t *Tunnel) { t.PSK = ipsec.Secret("key") },
		"Proposals": func(t *Tunnel) {
			t.IKEProposals = []ipsec.Proposal{{Transforms: []ipsec.Transform{{Type: ipsec.KE, ID: 14}}}}
		},
		"Lifetime": func(t *Tunnel) { t.IKELifetime = time.Hour },
		"NATT":     func(t *Tunnel) { t.NATT = true },
		"Encap":    func(t *Tunnel) { t.Encap = EncapNever },
		"DPD":      func(t *Tunnel) { t.DPD = dpd.Config{Interval: time.Second} },
		"Port":     func(t *Tunnel) { t.Remote.Port = 4500 },
	}
	typ := reflect.TypeFor[sa.Settings]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		change := changes[name]
		if change == nil {
			t.Errorf("sa.Settings has %s, and no tunnel of this test has it", name)
			continue
		}
		var a, b Tunnel
		change(&b)
		s, u := a.Settings(), b.Settings()
		if d := s.Diff(&u); len(d) != 1 || reflect.DeepEqual(reflect.ValueOf(s).Field(i).Interface(), reflect.ValueOf(u).Field(i).Interface()) {
			t.Errorf("two tunnels differ in what decides %s, and their settings in %q", name, d)
		}
	}
	for e, want := range map[Encap]sa.Encap{EncapAuto: sa.EncapAuto, EncapAlways: sa.EncapAlways, EncapNever: sa.EncapNever} {
		if got := (&Tunnel{Encap: e}).Settings().Encap; got != want {
			t.Errorf("encap %s: got %v, want %v", e, got, want)
		}
	}
}

// Two tunnels with another address or identity at either end have IKE SAs of their own.
func TestEveryFieldOfThePeerKeyComesFromTheTunnel(t *testing.T) {
	a, id := netip.MustParseAddr("203.0.113.9"), ipsec.ParseIdentity("hq.example.org")
	keys := []sa.PeerKey{(&Tunnel{}).PeerKey()}
	for _, tun := range []Tunnel{
		{Local: End{Address: a}}, {Remote: End{Address: a}}, {Remote: End{Host: "gw.example.net"}}, {Local: End{ID: id}}, {Remote: End{ID: id}},
	} {
		if k := tun.PeerKey(); slices.Contains(keys, k) {
			t.Errorf("%+v: its key is another tunnel's", tun)
		} else {
			keys = append(keys, k)
		}
	}
	if n := reflect.TypeFor[sa.PeerKey]().NumField(); len(keys) != n+1 {
		t.Errorf("%d fields of a PeerKey are tested; it has %d", len(keys)-1, n)
	}
}

func TestPairsMakeOneChildForEachPairOfAFamily(t *testing.T) {
	tun := &Tunnel{Name: "lab", IKEVersion: 2, Children: Pairs}
	tun.Local.Subnets = prefixes("192.168.3.0/24", "fd00:3::/64")
	tun.Remote.Subnets = prefixes("10.20.0.0/16", "10.21.0.0/16", "fd00:20::/64")
	var got []string
	for _, ch := range tun.ChildSAs() {
		got = append(got, ch.Name+" "+ch.Local[0].String()+" "+ch.Remote[0].String())
	}
	want := []string{
		"lab/1 192.168.3.0/24 10.20.0.0/16",
		"lab/2 192.168.3.0/24 10.21.0.0/16",
		"lab/3 fd00:3::/64 fd00:20::/64",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	tun.SetPairs([]Pair{
		{Local: prefixes("192.168.4.0/24")[0], Remote: prefixes("10.20.0.0/16")[0]},
		{Local: prefixes("192.168.3.0/24")[0], Remote: prefixes("10.21.0.0/16")[0]},
		{Local: prefixes("192.168.3.0/24")[0], Remote: prefixes("10.22.0.0/16")[0]},
	})
	if l, r := len(tun.Local.Subnets), len(tun.Remote.Subnets); l != 2 || r != 3 {
		t.Errorf("pairs of %d and %d subnets, want 2 and 3", l, r)
	}
	got = nil
	for _, ch := range tun.ChildSAs() {
		got = append(got, ch.Name+" "+ch.Local[0].String()+" "+ch.Remote[0].String())
	}
	want = []string{
		"lab/1 192.168.4.0/24 10.20.0.0/16",
		"lab/2 192.168.3.0/24 10.21.0.0/16",
		"lab/3 192.168.3.0/24 10.22.0.0/16",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("listed: got %q, want %q", got, want)
	}
	tun.Children, tun.Pairs = Lists, nil
	tun.Local.Subnets = prefixes("192.168.3.0/24", "fd00:3::/64")
	if ch := tun.ChildSAs(); len(ch) != 1 || len(ch[0].Local) != 2 || len(ch[0].Remote) != 3 {
		t.Errorf("lists: got %+v, want one child with all", ch)
	}
	tun.IKEVersion = 1
	if ch := tun.ChildSAs(); len(ch) != 3 {
		t.Errorf("IKEv1: got %d children, want one for each pair", len(ch))
	}
}

// A Child SA has the tunnel's proposals, lifetime and selectors.
func TestChildSAHasWhatTheTunnelSays(t *testing.T) {
	tun := &Tunnel{
		Name: "hq", IKEVersion: 2, Children: Lists, Start: StartActive, Trunc96: true, EarlyRekey: true,
		Local: End{Subnets: prefixes("192.168.3.0/24")}, Remote: End{Subnets: prefixes("10.10.0.0/16")},
		ESPProposals: []ipsec.Proposal{{Transforms: []ipsec.Transform{{Type: ipsec.KE, ID: 14}}}},
		ESPLifetime:  ipsec.Lifetime{Time: time.Hour},
	}
	want := []*sa.Child{{
		Name: "hq", Tunnel: "hq", Initiate: true, Trunc96: true, EarlyRekey: true,
		Local: ipsec.SelectorsOf(tun.Local.Subnets), Remote: ipsec.SelectorsOf(tun.Remote.Subnets),
		Proposals: tun.ESPProposals, Lifetime: tun.ESPLifetime,
	}}
	got := tun.ChildSAs()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got[0], want[0])
	}
	v := reflect.ValueOf(*got[0])
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is set from no field of the tunnel", v.Type().Field(i).Name)
		}
	}
}
