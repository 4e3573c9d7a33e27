package host

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vpngw/diag"
)

// flowState has the guarded prefixes in devices, by flow where there are several.
func flowState(devices ...string) State {
	s := guardState("")
	for i, name := range []string{"vpn0", "vpn1"} {
		d := DeviceState{Name: name, MTU: 1400, ByFlow: true, Metric: 7300 + 100*i, Sources: prefixes("10.1.0.0/16")}
		for _, p := range guarded {
			for _, in := range devices {
				if in == name {
					d.Routes = append(d.Routes, Route{Prefix: p})
				}
			}
		}
		s.Devices = append(s.Devices, d)
	}
	return s
}

// flows says by which devices the packets to many addresses of each guarded prefix leave: "vpn0 vpn1".
func (s *space) flows() map[string]string {
	out := make(map[string]string)
	for _, to := range []string{"10.20.0.%d", "8.8.8.%d", "198.51.100.1%02d", "fd20::%x", "2001:db8:9::1:%x"} {
		var used []string
		for _, name := range []string{"eth0", "nowhere", "vpn0", "vpn1"} {
			for n := range 40 {
				if s.leaves(fmt.Sprintf(to, n+10), 0) == name {
					used = append(used, name)
					break
				}
			}
		}
		out[to] = strings.Join(used, " ")
	}
	return out
}

// Two devices share their routes by flow; one leaves and comes back without a moment in which no route leads into a device.
func TestDevicesShareRoutesByFlow(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	c := s.course(h)
	for i, in := range []string{"vpn0", "vpn0 vpn1", "vpn0 vpn1", "vpn1", "vpn0 vpn1", "vpn0", "vpn1", "vpn0 vpn1"} {
		before := h.dumped
		res, err := h.Set("a", flowState(strings.Fields(in)...))
		if err != nil || len(res.Blocked)+len(res.Others) > 0 {
			t.Fatal(in, res, err)
		}
		if i > 0 && h.dumped != before {
			t.Errorf("%d: %s: our own route took us by surprise", i, in)
		}
		c.follow(in, i > 0, false)
		for to, got := range s.flows() {
			if got != in {
				t.Errorf("%d: packets to %s leave by %q, want %q", i, to, got, in)
			}
		}
		for _, dev := range []string{"198.51.100.9", "2001:db8:9::1"} {
			if got := s.leaves(dev, Mark); got != "eth0" {
				t.Errorf("%d: our own packet to %s leaves by %s", i, dev, got)
			}
		}
	}
	s.must(h.Clean())
	ours, _ := s.kernelState()
	for line := range ours {
		if !strings.HasPrefix(line, "link ") {
			t.Errorf("left: %s", line)
		}
	}
}

// A route that leads into two devices is put back when another program removes it, or a half of it.
func TestARouteByFlowIsPutBack(t *testing.T) {
	for _, do := range [][]string{
		{"route", "del", "10.20.0.0/16"},
		{"-6", "route", "del", "fd20::/16", "dev", "vpn1", "via", "fe80::7373"},
		{"-6", "route", "del", "fd20::/16", "metric", "7300"},
		{"route", "replace", "10.20.0.0/16", "dev", "vpn1", "proto", "73", "metric", "7300"},
		{"route", "flush", "table", "7373"},
		{"link", "set", "vpn1", "down"},
		{"link", "set", "vpn0", "down"},
	} {
		s, h := world(t, "vpn0", "vpn1")
		_, err := h.Set("a", flowState("vpn0", "vpn1"))
		s.must(err)
		s.ip(do...)
		if res, err := h.Set("a", flowState("vpn0", "vpn1")); err != nil || len(res.Blocked) > 0 {
			t.Error(do, res, err)
		}
		for to, got := range s.flows() {
			if got != "vpn0 vpn1" {
				t.Errorf("%v: packets to %s leave by %q", do, to, got)
			}
		}
	}
}

// When one of two devices disappears, the other takes all flows with the next Set, and no packet leaves in clear before.
func TestADeviceThatDisappearsLeavesItsFlowsToTheOther(t *testing.T) {
	for _, gone := range []string{"vpn0", "vpn1"} {
		s, h := world(t, "vpn0", "vpn1")
		_, err := h.Set("a", flowState("vpn0", "vpn1"))
		s.must(err)
		s.ip("link", "del", gone)
		other := map[string]string{"vpn0": "vpn1", "vpn1": "vpn0"}[gone]
		for to, got := range s.flows() {
			if strings.Contains(got, "eth0") || strings.Contains(got, gone) {
				t.Errorf("without %s: packets to %s leave by %q", gone, to, got)
			}
		}
		s.must(h.tuns[gone].Close())
		h.Set("a", flowState("vpn0", "vpn1")) // the error names the device
		for to, got := range s.flows() {
			if got != other {
				t.Errorf("without %s: packets to %s leave by %q, want %s", gone, to, got, other)
			}
		}
	}
}

// A foreign route blocks both devices, and an address that goes is the source no more.
func TestForeignObjectsInTheWayOfARouteByFlow(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	p := netip.MustParsePrefix("10.20.0.0/16")
	s.foreignRoute(p, false, 0)
	res, err := h.Set("a", flowState("vpn0", "vpn1"))
	if err != nil || len(res.Blocked) != 2 || res.Blocked[0].Cause.Code != diag.RouteBlocked || res.Blocked[1].Device != "vpn1" {
		t.Errorf("got %+v, %v", res, err)
	}
	st := flowState("vpn0", "vpn1")
	for i := range st.Devices {
		st.Devices[i].Routes = []Route{{p, netip.MustParseAddr("10.88.0.1")}}
	}
	s.ip("route", "del", p.String())
	s.addr("eth1", "10.88.0.1/24")
	if res, err := h.Set("a", st); err != nil || len(res.Blocked) > 0 {
		t.Errorf("got %+v, %v", res, err)
	}
	if got := s.ip("route", "show", p.String()); !strings.Contains(got, "src 10.88.0.1") {
		t.Error(got)
	}
	s.ip("addr", "del", "10.88.0.1/24", "dev", "eth1")
	res, err = h.Set("a", st)
	if err != nil || len(res.Blocked) != 2 || res.Blocked[1].Cause.Code != diag.RouteSource {
		t.Errorf("without the source: %+v, %v", res, err)
	}
}
