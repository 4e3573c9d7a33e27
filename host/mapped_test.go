package host

import (
	"net/netip"
	"testing"
)

// A foreign IPv6 route or address in ::ffff:0:0/96 is no obstacle to IPv4, whether a dump or an
// event tells of it.
func TestMappedPrefixesAreIPv6(t *testing.T) {
	for _, late := range []bool{false, true} {
		s, h := world(t, "vpn0")
		mapped := func() {
			s.ip("-6", "route", "add", "::ffff:10.20.0.0/112", "dev", "eth0")
			s.ip("addr", "add", "::ffff:169.254.7.1/126", "dev", "eth1", "nodad")
		}
		if !late {
			mapped()
		}
		_, err := h.Set("a", State{Peers: []netip.Addr{netip.MustParseAddr("198.51.100.9")}})
		s.must(err)
		if late {
			mapped()
		}
		res, err := h.Set("a", crashState)
		s.must(err)
		for _, b := range res.Blocked {
			t.Errorf("late %v: %v", late, b.Cause)
		}
	}
}
