package host

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

// via says through which device a packet to an address leaves.
func (s *space) via(to string, mark uint32) string {
	s.t.Helper()
	r, err := s.nl.RouteGetWithOptions(netip.MustParseAddr(to).AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil {
		s.t.Fatalf("route to %s: %v", to, err)
	}
	l, err := s.nl.LinkByIndex(r[0].LinkIndex)
	s.must(err)
	return l.Attrs().Name
}

// The routes of a tunnel, including 0.0.0.0/0 and host routes, take all packets
// except the tunnel's own outer packets.
func TestNoRouteCapturesOurOwnPackets(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	s.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.253")
	peer4, peer6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8:9::1")
	res, err := h.Set("a", State{
		Peers: []netip.Addr{peer4, peer6},
		Devices: []DeviceState{
			{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")}}},
			{Name: "vpn1", Routes: []Route{
				{Prefix: netip.PrefixFrom(peer4, 32)}, // host to host, on the same link
				{Prefix: netip.MustParsePrefix("2001:db8:8::/46")},
				{Prefix: netip.MustParsePrefix("10.20.0.0/16")},
			}},
		},
	})
	if err != nil || len(res.Blocked) > 0 {
		t.Fatal(res, err)
	}
	for _, c := range []struct{ to, all, own string }{
		{"8.8.8.8", "vpn0", "eth0"},         // captured, ours by the host's default route
		{"192.0.2.9", "vpn1", "eth0"},       // the peer itself
		{"192.0.2.10", "eth0", "eth0"},      // its link is more specific than 0.0.0.0/0
		{"203.0.113.5", "eth0", "eth0"},     // so is the host's own route
		{"10.20.3.4", "vpn1", "vpn1"},       // no peer there: an ordinary route
		{"2001:db8:9::1", "vpn1", "eth0"},   // the peer, within a tunnel's prefix
		{"2001:db8:9::2", "vpn1", "eth0"},   // beside it
		{"2001:4860::8888", "vpn0", "eth0"}, // ::/0
		{"2001:db8::77", "eth0", "eth0"},    // on the link
	} {
		if got := s.via(c.to, 0); got != c.all {
			t.Errorf("to %s: %s, want %s", c.to, got, c.all)
		}
		if got := s.via(c.to, Mark); got != c.own {
			t.Errorf("our own to %s: %s, want %s", c.to, got, c.own)
		}
	}
	if src, err := h.Source(netip.MustParseAddr("8.8.8.8")); err != nil || src != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("Source: %v, %v", src, err)
	}
	if mtu, err := h.PathMTU(peer6); err != nil || mtu != 1500 {
		t.Errorf("PathMTU: %v, %v", mtu, err)
	}
	addrs, err := h.Addresses()
	if err != nil || len(addrs) != 2 {
		t.Errorf("Addresses: %v, %v", addrs, err)
	}
}

// A socket's packets leave by the underlay although a tunnel has the default route.
func TestMarkedSocketPassesTheTunnelBy(t *testing.T) {
	left, right := wire(t)
	h := left.host()
	tun, err := h.CreateTUN("vpn0", 1400)
	left.must(err)
	defer tun.Close()
	from, to := left.open(h), right.open(right.host())
	_, err = h.Set("a", State{
		Peers: []netip.Addr{right4, right6},
		Devices: []DeviceState{{Name: "vpn0", Routes: []Route{
			{Prefix: netip.MustParsePrefix("0.0.0.0/0")},
			{Prefix: netip.MustParsePrefix("10.9.0.2/31")},
			{Prefix: netip.MustParsePrefix("::/0")},
			{Prefix: netip.MustParsePrefix("fd09::2/127")},
		}}},
	})
	left.must(err)
	for _, k := range kinds {
		if got := left.via(k.right.String(), 0); got != "vpn0" {
			t.Errorf("%s: others' packets leave by %s", k.name, got)
		}
		d := datagram(k.port, k.right, "through")
		if _, err := from.ForSend(netip.AddrPortFrom(k.left, k.port), k.right).WriteBatch(d); err != nil {
			t.Fatal(err)
		}
		if got := inbox(t, to.ForSend(d[0].Remote, k.left), 1)[0]; string(got.Data) != "through" {
			t.Errorf("%s: got %q", k.name, got.Data)
		}
	}
}

// PathMTU returns the known MTU of the path, not the interface's.
func TestPathMTUIsThePaths(t *testing.T) {
	s, h := world(t)
	s.ip("route", "add", "203.0.113.9", "via", "192.0.2.254", "mtu", "1380")
	if mtu, err := h.PathMTU(netip.MustParseAddr("203.0.113.9")); err != nil || mtu != 1380 {
		t.Errorf("got %d, %v", mtu, err)
	}
	s.ip("route", "del", "default")
	if _, err := h.Source(netip.MustParseAddr("8.8.8.8")); err == nil {
		t.Error("a source without a route")
	}
}
