package host

import (
	"net/netip"
	"strings"
	"testing"
)

// viaFrom returns the device by which a packet leaves that came in by eth0.
func (s *space) viaFrom(from, to string) string {
	s.t.Helper()
	out := s.ip("route", "get", to, "from", from, "iif", "eth0")
	_, dev, ok := strings.Cut(out, " dev ")
	if !ok {
		s.t.Fatalf("no device in %q", out)
	}
	return strings.Fields(dev)[0]
}

// Two tunnels can lead to one network, for different networks of ours.
func TestTunnelsShareAPrefixBySource(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	s.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	s.ip("route", "add", "10.20.30.0/24", "via", "192.0.2.253")
	s.ip("route", "add", "10.1.0.0/16", "via", "192.0.2.252") // the networks behind us,
	s.ip("route", "add", "10.2.0.0/16", "via", "192.0.2.252") // or the kernel takes packets from there for spoofed
	s.ip("-6", "route", "add", "fd00:1::/48", "via", "2001:db8::fc")
	s.ip("-6", "route", "add", "fd00:2::/48", "via", "2001:db8::fc")
	prefixes := func(ss ...string) (out []netip.Prefix) {
		for _, s := range ss {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	routes := []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16")}, {Prefix: netip.MustParsePrefix("fd00:20::/48")}}
	state := State{Devices: []DeviceState{
		{Name: "vpn0", Routes: routes, Sources: prefixes("10.1.0.0/16", "fd00:1::/48")},
		{Name: "vpn1", Routes: routes, Sources: prefixes("10.2.0.0/16", "fd00:2::/48")},
	}}
	check := func(when string, want map[[2]string]string) {
		t.Helper()
		for c, dev := range want {
			if got := s.viaFrom(c[0], c[1]); got != dev {
				t.Errorf("%s: from %s to %s: %s, want %s", when, c[0], c[1], got, dev)
			}
		}
	}
	for range 2 { // the second Set changes nothing
		res, err := h.Set("a", state)
		if err != nil || len(res.Blocked) > 0 {
			t.Fatal(res, err)
		}
		check("both", map[[2]string]string{
			{"10.1.0.7", "10.20.0.7"}:          "vpn0",
			{"10.2.0.7", "10.20.0.7"}:          "vpn1",
			{"10.2.0.7", "10.20.30.7"}:         "eth0", // more specific, and foreign
			{"fd00:1::7", "fd00:20::7"}:        "vpn0",
			{"fd00:2::7", "fd00:20::7"}:        "vpn1",
			{"10.2.0.7", "10.21.0.7"}:          "eth0",
			{"fd00:2::7", "2001:4860:4860::8"}: "eth0",
		})
	}
	if got := s.via("10.20.0.7", 0); got != "vpn0" {
		t.Errorf("the host's own packets without a source leave by %s, want the first", got)
	}

	// Each goes alone.
	first := state.Devices[0]
	first.Routes = nil
	if _, err := h.Set("a", State{Devices: []DeviceState{first, state.Devices[1]}}); err != nil {
		t.Fatal(err)
	}
	check("the second alone", map[[2]string]string{{"10.2.0.7", "10.20.0.7"}: "vpn1", {"10.1.0.7", "10.20.0.7"}: "vpn1"})

	// After a crash only the rules remain, because the routes disappear with the devices.
	if _, err := h.Set("a", state); err != nil {
		t.Fatal(err)
	}
	other := s.host()
	if err := other.Clean(); err != nil {
		t.Fatal(err)
	}
	if ours, _ := s.kernelState(); len(ours) > 0 {
		t.Errorf("left: %v", ours)
	}
}

// A default route, or a route whose prefix contains a peer, is not shared: the second is reported
// as blocked.
func TestCapturedPrefixIsNotShared(t *testing.T) {
	_, h := world(t, "vpn0", "vpn1")
	all := []Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	own := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	res, err := h.Set("a", State{Devices: []DeviceState{{Name: "vpn0", Routes: all, Sources: own}, {Name: "vpn1", Routes: all, Sources: own}}})
	if err != nil || len(res.Blocked) != 1 || res.Blocked[0].Device != "vpn1" {
		t.Errorf("got %+v, %v; want vpn1's route blocked", res, err)
	}
}
