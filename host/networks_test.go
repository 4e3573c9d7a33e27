package host

import (
	"fmt"
	"testing"
)

func TestNetworksAreThoseOfOthers(t *testing.T) {
	s, h := world(t, "vpn0")
	if _, err := h.Set("hq", State{Devices: []DeviceState{{Name: "vpn0", MTU: 1400, Addresses: prefixes("169.254.9.1/30"), Routes: []Route{{Prefix: prefixes("10.20.0.0/16")[0]}}}}}); err != nil {
		t.Fatal(err)
	}
	s.ip("link", "add", "lan", "type", "veth", "peer", "name", "lan2")
	s.ip("link", "set", "lan2", "up")
	s.ip("addr", "add", "192.168.7.1/24", "dev", "lan")
	s.ip("link", "add", "off", "type", "veth", "peer", "name", "off2")
	s.ip("addr", "add", "192.168.8.1/24", "dev", "off")
	s.ip("link", "set", "lan", "up")
	s.ip("route", "add", "172.16.5.0/24", "via", "192.168.7.9", "proto", "bird")
	s.ip("route", "add", "172.16.6.0/24", "dev", "lan")
	s.ip("route", "add", "blackhole", "172.16.7.0/24")
	s.ip("route", "add", "172.16.8.0/24", "nexthop", "via", "192.168.7.9", "nexthop", "via", "192.0.2.9")
	s.ip("route", "add", "10.99.0.0/16", "dev", "vpn0")
	s.ip("-6", "route", "add", "2001:db8:7::/48", "dev", "lan")
	connected, kernel, err := h.Networks()
	s.must(err)
	got := fmt.Sprint(connected, kernel)
	if want := "[192.0.2.0/24 192.168.7.0/24 2001:db8::/64] [172.16.5.0/24 172.16.6.0/24 172.16.8.0/24 2001:db8:7::/48]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The next run finds the guards that an earlier one has left, with the metric of the routes that they stood beside.
func TestGuardsThatAreLeftAreFound(t *testing.T) {
	s, h := world(t)
	set := State{Guards: []Guard{{Prefix: prefixes("10.20.0.0/16")[0]}, {Prefix: prefixes("10.21.0.0/16")[0], Metric: 200}, {Prefix: prefixes("0.0.0.0/0")[0]}, {Prefix: prefixes("fd20::/16")[0]}}}
	if _, err := h.Set("hq", set); err != nil {
		t.Fatal(err)
	}
	s.must(h.Leave())
	s.must(h.Close())
	next := s.host()
	s.must(next.TakeOver())
	left := next.Left()
	if got, want := fmt.Sprint(left), "[{0.0.0.0/0 7300} {10.20.0.0/16 7300} {10.21.0.0/16 200} {fd20::/16 7300}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := next.Set("left", State{Guards: left}); err != nil {
		t.Fatal(err)
	}
	s.must(next.Release())
	if got := s.leaves("10.20.1.1", 0) + s.leaves("10.21.1.1", 0); got != "nowherenowhere" {
		t.Errorf("packets leave by %s", got)
	}
	if _, err := next.Set("left", State{}); err != nil {
		t.Fatal(err)
	}
	if got := s.leaves("10.20.1.1", 0) + s.leaves("10.21.1.1", 0); got != "eth0eth0" {
		t.Errorf("no longer wanted: packets leave by %s", got)
	}
}
