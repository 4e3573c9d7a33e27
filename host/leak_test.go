package host

import (
	"net/netip"
	"testing"
)

// Leak tells the packets that the kernel would send in clear, by asking it.
func TestLeakAsksTheKernel(t *testing.T) {
	s, h := world(t, "vpn0")
	s.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	s.ip("addr", "add", "10.1.0.1/24", "dev", "eth1") // the LAN
	s.ip("addr", "add", "fd00:1::1/64", "dev", "eth1", "nodad")
	sources := prefixes("10.1.0.0/24", "fd00:1::/64")
	check := func(when string, p netip.Prefix, want Leak) {
		t.Helper()
		if got, _ := h.Leak([]netip.Prefix{p}, sources); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	p4, p6, peer := netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd20::/16"), netip.MustParsePrefix("198.51.100.0/24")
	all := []netip.Prefix{p4, p6, peer}
	to := func(p netip.Prefix, a, device, route string) Leak {
		return Leak{p, netip.MustParseAddr(a), device, route}
	}
	none := func(when string) {
		t.Helper()
		for _, p := range all {
			check(when, p, Leak{})
		}
	}
	set := func(st State) {
		t.Helper()
		_, err := h.Set("a", st)
		s.must(err)
	}
	check("nothing is set", p4, to(p4, "10.20.0.1", "eth0", "the route 0.0.0.0/0 via 192.0.2.254 on eth0"))
	check("nothing is set", p6, to(p6, "fd20::1", "eth0", "the route ::/0 via 2001:db8::fe on eth0, metric 1024"))
	st := State{Peers: guardPeers, Guards: guards(0, all...)}
	set(st)
	none("guarded")
	st.Devices = []DeviceState{{Name: "vpn0", MTU: 1400}}
	for _, p := range all {
		st.Devices[0].Routes = append(st.Devices[0].Routes, Route{Prefix: p})
	}
	set(st)
	none("routed")

	// Another program's route takes a part.
	s.ip("route", "add", "10.20.0.0/24", "via", "192.0.2.253")
	check("a foreign route inside", p4, to(p4, "10.20.0.1", "eth0", "the route 10.20.0.0/24 via 192.0.2.253 on eth0"))
	s.ip("route", "del", "10.20.0.0/24")
	// What is on a link, or in a local network, stays here.
	s.ip("addr", "add", "10.20.0.9/24", "dev", "eth0")
	sources = append(sources, netip.MustParsePrefix("10.20.7.0/24"))
	s.ip("route", "add", "10.20.7.0/25", "via", "10.1.0.7")
	none("local networks inside")

	// Another program's rules take the packets of the LAN, and those of this host's address there.
	for _, from := range []string{"10.1.0.2", "10.1.0.1"} {
		s.ip("rule", "add", "from", from, "lookup", "100", "priority", "100")
		s.ip("route", "add", "default", "via", "192.0.2.254", "table", "100", "metric", "5")
		check("a foreign rule from "+from, p4, to(p4, "10.20.1.0", "eth0", "the route 0.0.0.0/0 via 192.0.2.254 on eth0, metric 5 in table 100"))
		s.ip("rule", "del", "priority", "100")
		s.ip("route", "flush", "table", "100")
	}
	none("without it")

	// A foreign route to the same prefix blocks ours, and wins against the guard.
	s.ip("route", "add", p4.String(), "nexthop", "via", "192.0.2.253", "nexthop", "via", "192.0.2.254")
	check("a foreign route", p4, to(p4, "10.20.1.0", "eth0", "the route 10.20.0.0/16 via 192.0.2.253 on eth0"))
	s.ip("route", "del", p4.String(), "proto", "boot")
	none("without it")

	set(State{})
	check("no longer wanted", peer, to(peer, "198.51.100.1", "eth0", "the route 0.0.0.0/0 via 192.0.2.254 on eth0"))
}
