package host

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernelState is what the kernel holds beside what it had when it was created:
// "route|rule|addr …" lines, of ours and of the rest.
func (s *space) kernelState() (ours, foreign map[string]bool) {
	ours, foreign = make(map[string]bool), make(map[string]bool)
	s.run(func() {
		names := make(map[int]string)
		links, err := s.nl.LinkList()
		s.must(err)
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
			if l.Attrs().Alias == Alias {
				ours[fmt.Sprintf("link %s mtu %d up %v", l.Attrs().Name, l.Attrs().MTU, l.Attrs().RawFlags&unix.IFF_UP != 0)] = true
			}
		}
		addrs, err := s.nl.AddrList(nil, netlink.FAMILY_ALL)
		s.must(err)
		for _, a := range addrs {
			to := foreign
			if strings.HasPrefix(names[a.LinkIndex], "vpn") {
				to = ours
			}
			to[fmt.Sprintf("addr %s %s", names[a.LinkIndex], a.IPNet)] = true
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			for _, table := range []int{unix.RT_TABLE_MAIN, Table} {
				routes, err := s.nl.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
				s.must(err)
				for _, r := range routes {
					dst := everything(family == netlink.FAMILY_V6)
					if r.Dst != nil {
						dst = prefixOf(r.Dst)
					}
					line := fmt.Sprintf("route %d %s %s src %s", table, dst, names[r.LinkIndex], addrOf(r.Src))
					if r.Protocol == Protocol {
						ours[line] = true
					} else {
						foreign[fmt.Sprintf("%s via %s metric %d proto %d", line, r.Gw, r.Priority, r.Protocol)] = true
					}
				}
			}
			rules, err := s.nl.RuleList(family)
			s.must(err)
			for _, r := range rules {
				if r.Protocol == Protocol {
					ours["rule "+fmt.Sprint(ruleKeyOf(r, family))] = true
				} else {
					foreign["rule "+fmt.Sprint(ruleKeyOf(r, family))] = true
				}
			}
		}
	})
	return ours, foreign
}

// model says what the kernel ought to hold of ours, worked out from the State
// and a list of what is foreign, in the plainest way.
func model(s State, tuns []string, foreign map[string]bool) (ours map[string]bool, blocked int) {
	ours = make(map[string]bool)
	taken := make(map[netip.Prefix]string)
	has := func(start string) bool {
		for line := range foreign {
			if strings.HasPrefix(line, start) {
				return true
			}
		}
		return false
	}
	for _, d := range s.Devices {
		routes := slices.Clone(d.Routes)
		for _, a := range d.Addresses {
			ours[fmt.Sprintf("addr %s %s", d.Name, a)] = true
			routes = append(routes, Route{a.Masked(), a.Addr()})
		}
		for _, r := range routes {
			table := unix.RT_TABLE_MAIN
			if r.Prefix.Bits() == 0 || slices.ContainsFunc(s.Peers, r.Prefix.Contains) {
				table = Table
			}
			switch by, ok := taken[r.Prefix]; {
			case ok && by == d.Name:
				continue
			case ok, r.Prefix.Bits() > 0 && has(fmt.Sprintf("route 254 %s ", r.Prefix)):
				blocked++
				continue
			}
			taken[r.Prefix] = d.Name
			ours[fmt.Sprintf("route %d %s %s src %s", table, r.Prefix, d.Name, r.Source)] = true
			if table != Table {
				continue
			}
			k := ruleKey{v6: r.Prefix.Addr().Is6(), priority: 7558, table: Table, suppress: -1, goTo: -1, mark: Mark, invert: true}
			ours["rule "+fmt.Sprint(k)] = true
			k = ruleKey{v6: k.v6, priority: 7300 + 2*(128-r.Prefix.Bits()), table: 254, suppress: r.Prefix.Bits(), goTo: -1}
			if r.Prefix.Bits() > 0 {
				k.to = r.Prefix
				ours["rule "+fmt.Sprint(ruleKey{v6: k.v6, priority: k.priority + 1, to: r.Prefix, suppress: -1, goTo: 7558})] = true
			}
			ours["rule "+fmt.Sprint(k)] = true
		}
	}
	return ours, blocked
}

// pool is what random states are made of: some prefixes are within others, some
// contain peers, some are foreign now and then.
var pool = struct {
	prefixes, foreign []netip.Prefix
	sources, peers    []netip.Addr
	addresses         []netip.Prefix
}{
	prefixes: prefixes("10.20.0.0/16", "10.20.1.0/24", "10.21.0.0/16", "198.51.100.0/24", "198.51.100.9/32", "0.0.0.0/0",
		"172.16.0.0/12", "192.0.2.0/24", "fd20::/16", "fd21:1::/64", "2001:db8:9::/48", "2001:db8:9::1/128", "::/0"),
	foreign:   prefixes("10.20.1.0/24", "172.16.0.0/12", "198.51.100.0/24", "fd21:1::/64", "2001:db8:9::/48"),
	sources:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	peers:     []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:9::1"), netip.MustParseAddr("10.21.3.4")},
	addresses: prefixes("169.254.7.1/30", "169.254.7.5/30", "fd77::1/64", "fd78::1/64"),
}

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func randomState(r *rand.Rand, tuns []string) State {
	var s State
	for _, p := range pool.peers {
		if r.IntN(2) == 0 {
			s.Peers = append(s.Peers, p)
		}
	}
	addresses := slices.Clone(pool.addresses)
	for _, name := range tuns {
		if r.IntN(4) == 0 {
			continue
		}
		d := DeviceState{Name: name, MTU: 1300 + r.IntN(100)}
		for _, p := range pool.prefixes {
			if r.IntN(3) == 0 {
				route := Route{Prefix: p}
				if src := pool.sources[r.IntN(2)]; src.Is4() == p.Addr().Is4() {
					route.Source = src
				}
				d.Routes = append(d.Routes, route)
			}
		}
		if i := r.IntN(2 * len(addresses)); i < len(addresses) {
			d.Addresses = append(d.Addresses, addresses[i])
			addresses = slices.Delete(addresses, i, i+1)
		}
		s.Devices = append(s.Devices, d)
	}
	r.Shuffle(len(s.Devices), func(i, j int) { s.Devices[i], s.Devices[j] = s.Devices[j], s.Devices[i] })
	return s
}

// world is a namespace with an underlay and a Host with some devices.
func world(t *testing.T, tuns ...string) (*space, *Host) {
	t.Helper()
	s := enter(t)
	s.must(s.nl.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}))
	s.calm("eth0")
	s.calm("eth1")
	s.addr("eth0", "192.0.2.1/24", "2001:db8::1/64")
	s.up("eth0")
	s.up("eth1")
	s.ready("eth0")
	s.ip("route", "add", "default", "via", "192.0.2.254")
	s.ip("-6", "route", "add", "default", "via", "2001:db8::fe")
	h := s.host()
	for _, name := range tuns {
		tun, err := h.CreateTUN(name, 1400)
		s.must(err)
		t.Cleanup(func() { tun.Close() })
	}
	return s, h
}

func TestErrorOfOneDeviceDoesNotStopTheOthers(t *testing.T) {
	s, h := world(t)
	tun, err := h.CreateTUN("vpn0", 1400)
	s.must(err)
	defer tun.Close()
	_, err = h.Set(State{Devices: []DeviceState{
		{Name: "vpn1", Routes: []Route{{Prefix: netip.MustParsePrefix("10.21.0.0/16")}}},
		{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16")}}},
	}})
	var of *DeviceError
	if !errors.As(err, &of) || of.Device != "vpn1" {
		t.Errorf("got %v, want a DeviceError of vpn1", err)
	}
	if ours, _ := s.kernelState(); !ours["route 254 10.20.0.0/16 vpn0 src invalid IP"] {
		t.Errorf("the other's route is missing: %v", ours)
	}
}

// TestSetCyclesThroughRandomStates applies states one after the other, while
// foreign routes come and go and somebody meddles, and compares with the kernel.
func TestSetCyclesThroughRandomStates(t *testing.T) {
	tuns := []string{"vpn0", "vpn1", "vpn2"}
	s, h := world(t, tuns...)
	r := rand.New(rand.NewPCG(1, 2))
	theirs := make(map[netip.Prefix]bool)
	total, blockedSeen := 0, 0
	for step := range 300 {
		if p := pool.foreign[r.IntN(len(pool.foreign))]; r.IntN(3) == 0 {
			s.foreignRoute(p, theirs[p], r.IntN(2)*20000)
			theirs[p] = !theirs[p]
		}
		switch r.IntN(30) { // meddling that Set has to find out about
		case 0:
			s.ip("link", "set", "vpn1", "down")
		case 1:
			s.ip("route", "flush", "proto", fmt.Sprint(Protocol))
		case 2:
			s.ip("rule", "flush", "proto", fmt.Sprint(Protocol))
		case 3:
			s.ip("addr", "flush", "dev", "vpn0")
		case 4: // an overrun
			h.have.fresh = false
		}
		_, foreign := s.kernelState()
		state := randomState(r, tuns)
		got, err := h.Set(state)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		ours, after := s.kernelState()
		want, blocked := model(state, tuns, foreign)
		for line := range maps.Keys(ours) {
			if strings.HasPrefix(line, "link ") {
				delete(ours, line)
			}
		}
		compare(t, fmt.Sprintf("step %d, ours", step), ours, want)
		compare(t, fmt.Sprintf("step %d, foreign", step), after, foreign)
		if len(got.Blocked) != blocked {
			t.Errorf("step %d: %d blocked, want %d: %v", step, len(got.Blocked), blocked, got.Blocked)
		}
		if t.Failed() {
			t.Fatalf("after %+v", state)
		}
		if again, err := h.Set(state); err != nil || len(again.Blocked) != blocked || !h.have.fresh {
			t.Fatalf("step %d, again: %v, %v", step, again, err)
		}
		total, blockedSeen = total+len(want), blockedSeen+blocked
	}
	t.Logf("%d objects wanted and %d routes blocked in all", total, blockedSeen)
	if _, err := h.Set(State{}); err != nil {
		t.Fatal(err)
	}
	ours, _ := s.kernelState()
	for line := range ours {
		if !strings.HasPrefix(line, "link ") {
			t.Errorf("left behind: %s", line)
		}
	}
}

// foreignRoute adds or removes what is not ours.
func (s *space) foreignRoute(p netip.Prefix, remove bool, metric int) {
	verb, family := "add", "-4"
	if p.Addr().Is6() {
		family = "-6"
	}
	args := []string{family, "route", verb, p.String(), "dev", "eth0", "metric", fmt.Sprint(metric)}
	if remove {
		args = []string{family, "route", "del", p.String(), "dev", "eth0", "proto", "boot"}
	}
	s.ip(args...)
}

func compare(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	for line := range got {
		if !want[line] {
			t.Errorf("%s: there is %s", what, line)
		}
	}
	for line := range want {
		if !got[line] {
			t.Errorf("%s: there is no %s", what, line)
		}
	}
}
