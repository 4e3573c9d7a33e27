package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// kernelState lists the objects in the kernel, ours and foreign ones, as lines
// "route|rule|addr …". It leaves out the objects that every new namespace has.
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
			if a.IP.String() == dummyAddress(a.LinkIndex).String() { // CreateTUN's
				continue
			}
			to[fmt.Sprintf("addr %s %s", names[a.LinkIndex], a.IPNet)] = true
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			tables := []int{unix.RT_TABLE_MAIN, Table}
			for index, name := range names {
				if strings.HasPrefix(name, "vpn") {
					tables = append(tables, sharedTable+index)
				}
			}
			for _, table := range tables {
				routes, err := s.nl.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
				s.must(err)
				for _, r := range routes {
					dst := everything(family == netlink.FAMILY_V6)
					if r.Dst != nil {
						dst = prefixOf(r.Dst)
					}
					line := fmt.Sprintf("route %s %s %s src %s", tableName(table, names), dst, names[r.LinkIndex], addrOf(r.Src))
					if r.Protocol == Protocol && isGuard(r.Type) {
						ours[guardLine(tableName(table, names), dst, r.Priority)] = true
					} else if r.Protocol == Protocol {
						ours[line] = true
					} else {
						foreign[fmt.Sprintf("%s via %s metric %d proto %d", line, r.Gw, r.Priority, r.Protocol)] = true
					}
				}
			}
			rules, err := s.nl.RuleList(family)
			s.must(err)
			for _, r := range rules {
				k := ruleKeyOf(r, family)
				line := ruleLine(k, tableName(k.table, names))
				if r.Protocol == Protocol {
					ours[line] = true
				} else {
					foreign[line] = true
				}
			}
		}
	})
	return ours, foreign
}

func guardLine(table string, p netip.Prefix, metric int) string {
	return fmt.Sprintf("guard %s %s metric %d", table, p, metric)
}

// tableName returns a table's number, or the device if the table belongs to one.
func tableName(table int, names map[int]string) string {
	if table > sharedTable {
		return names[table-sharedTable]
	}
	return fmt.Sprint(table)
}

func ruleLine(k ruleKey, table string) string {
	k.table = 0
	return fmt.Sprintf("rule %v table %s", k, table)
}

// model predicts, as plainly as possible, which of our objects the kernel must hold and which
// "device prefix" is blocked with which cause. The states of the owners come in the order of
// their first Set; foreign lists the objects of others.
func model(states []State, foreign map[string]bool) (ours map[string]bool, blocked map[string]diag.Code) {
	ours, blocked = make(map[string]bool), make(map[string]diag.Code)
	taken := make(map[netip.Prefix]string)
	has := func(start string) bool {
		for line := range foreign {
			if strings.HasPrefix(line, start) {
				return true
			}
		}
		return false
	}
	foreignAddress := func(a netip.Addr) bool { return has("addr eth0 "+a.String()+"/") || has("addr eth1 "+a.String()+"/") }
	var all State
	for _, s := range states {
		all.Devices = append(all.Devices, s.Devices...)
		all.Peers = append(all.Peers, s.Peers...)
		all.Guards = append(all.Guards, s.Guards...)
	}
	local := make(map[netip.Addr]bool)
	for _, d := range all.Devices {
		for _, a := range d.Addresses {
			local[a.Addr()] = true
		}
	}
	captures := func(p netip.Prefix) bool {
		return p.Bits() == 0 || slices.ContainsFunc(all.Peers, p.Contains)
	}
	worst := worstMetrics(all)
	for _, g := range all.Guards {
		switch p := g.Prefix; {
		case !captures(p):
			ours[guardLine("254", p, worst[p]+10)] = true
		case p.Bits() == 0 || !obstructed(foreign, p, worst[p]+10):
			ours[guardLine(fmt.Sprint(Table), p, worst[p]+10)] = true
			captured(ours, p)
		}
	}
	for _, d := range all.Devices {
		routes := slices.Clone(d.Routes)
		for _, a := range d.Addresses {
			if foreignAddress(a.Addr()) {
				blocked[fmt.Sprintf("%s %s", d.Name, around(a.Addr(), a.Addr().BitLen()))] = diag.AddressTaken
				continue
			}
			ours[fmt.Sprintf("addr %s %s", d.Name, a)] = true
			routes = append(routes, Route{a.Masked(), a.Addr()})
		}
		for _, r := range routes {
			table := fmt.Sprint(unix.RT_TABLE_MAIN)
			if captures(r.Prefix) {
				table = fmt.Sprint(Table)
			}
			line := fmt.Sprintf("%s %s", d.Name, r.Prefix)
			better := ruleKey{v6: r.Prefix.Addr().Is6(), priority: 7300 + 2*(128-r.Prefix.Bits()), suppress: r.Prefix.Bits(), goTo: -1}
			if r.Prefix.Bits() > 0 {
				better.to = r.Prefix
			}
			by, ok := taken[r.Prefix]
			switch {
			case ok && by == d.Name:
				continue
			case r.Prefix.Bits() > 0 && obstructed(foreign, r.Prefix, worst[r.Prefix]+10):
				blocked[line] = diag.RouteBlocked
				continue
			case ok && table == fmt.Sprint(Table):
				blocked[line] = diag.RouteTaken
				continue
			case ok:
				table = d.Name
				for _, from := range d.Sources {
					if from.Addr().Is4() == r.Prefix.Addr().Is4() {
						ours[ruleLine(better, "254")] = true
						ours[ruleLine(ruleKey{v6: better.v6, priority: better.priority + 1, from: from, to: r.Prefix, suppress: -1, goTo: -1}, table)] = true
						line = ""
					}
				}
				if line != "" {
					blocked[line] = diag.RouteTaken
					continue
				}
				line = fmt.Sprintf("%s %s", d.Name, r.Prefix)
			default:
				taken[r.Prefix] = d.Name
			}
			if r.Source.IsValid() && !foreignAddress(r.Source) && !local[r.Source] {
				blocked[line] = diag.RouteSource
			} else {
				ours[fmt.Sprintf("route %s %s %s src %s", table, r.Prefix, d.Name, r.Source)] = true
			}
			if table != fmt.Sprint(Table) {
				continue
			}
			captured(ours, r.Prefix)
		}
	}
	return ours, blocked
}

// captured adds the rules of a prefix in our Table.
func captured(ours map[string]bool, p netip.Prefix) {
	better := ruleKey{v6: p.Addr().Is6(), priority: 7300 + 2*(128-p.Bits()), suppress: p.Bits(), goTo: -1}
	if p.Bits() > 0 {
		better.to = p
		ours[ruleLine(ruleKey{v6: better.v6, priority: better.priority + 1, to: p, suppress: -1, goTo: 7558}, "0")] = true
	}
	ours[ruleLine(better, "254")] = true
	ours[ruleLine(ruleKey{v6: better.v6, priority: 7558, suppress: -1, goTo: -1, mark: Mark, invert: true}, fmt.Sprint(Table))] = true
}

// worstMetrics returns the worst metric of each prefix.
func worstMetrics(s State) map[netip.Prefix]int {
	worst := make(map[netip.Prefix]int)
	for _, g := range s.Guards {
		worst[g.Prefix] = max(worst[g.Prefix], cmp.Or(g.Metric, 7300))
	}
	for _, d := range s.Devices {
		for _, r := range d.Routes {
			worst[r.Prefix] = max(worst[r.Prefix], cmp.Or(d.Metric, 7300))
		}
		for _, a := range d.Addresses {
			worst[a.Masked()] = max(worst[a.Masked()], cmp.Or(d.Metric, 7300))
		}
	}
	return worst
}

// obstructed reports whether a foreign route to a prefix has no worse metric than that.
func obstructed(foreign map[string]bool, p netip.Prefix, metric int) bool {
	for line := range foreign {
		_, after, _ := strings.Cut(line, " metric ")
		is, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
		if strings.HasPrefix(line, fmt.Sprintf("route 254 %s ", p)) && is <= metric {
			return true
		}
	}
	return false
}

// checkMetrics checks that each route into a device has the device's metric, or one more.
func (s *space) checkMetrics(states []State) {
	s.t.Helper()
	s.run(func() {
		for _, st := range states {
			for _, d := range st.Devices {
				l, err := s.nl.LinkByName(d.Name)
				s.must(err)
				for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
					routes, err := s.nl.RouteListFiltered(family, &netlink.Route{LinkIndex: l.Attrs().Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
					s.must(err)
					for _, r := range routes {
						if more := r.Priority - cmp.Or(d.Metric, 7300); r.Protocol == Protocol && (more < 0 || more > 1) {
							s.t.Errorf("%s has a route to %s with metric %d, want %d or one more", d.Name, r.Dst, r.Priority, cmp.Or(d.Metric, 7300))
						}
					}
				}
			}
		}
	})
}

// pool has the parts of random states: some prefixes lie within others, some
// contain peers, some are foreign for a time.
var pool = struct {
	prefixes, foreign []netip.Prefix
	sources, peers    []netip.Addr
	addresses         []netip.Prefix
	networks          []netip.Prefix // of ours, behind devices
	metrics, theirs   []int
}{
	metrics: []int{0, 0, 0, 7310, 7290, 90, 100, 30000}, // some are those of others' guards
	theirs:  []int{0, 0, 20000, 105, 7312},
	prefixes: prefixes("10.20.0.0/16", "10.20.1.0/24", "10.21.0.0/16", "198.51.100.0/24", "198.51.100.9/32", "0.0.0.0/0",
		"172.16.0.0/12", "192.0.2.0/24", "fd20::/16", "fd21:1::/64", "2001:db8:9::/48", "2001:db8:9::1/128", "::/0"),
	foreign: prefixes("10.20.1.0/24", "172.16.0.0/12", "198.51.100.0/24", "fd21:1::/64", "2001:db8:9::/48"),
	sources: []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("169.254.7.1"), netip.MustParseAddr("fd77::1"), // local while a device has it
	},
	peers:     []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:9::1"), netip.MustParseAddr("10.21.3.4")},
	addresses: prefixes("169.254.7.1/30", "169.254.7.5/30", "fd77::1/64", "fd78::1/64"),
	networks:  prefixes("10.1.0.0/16", "10.2.0.0/16", "fd00:1::/48"),
}

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// randomState returns a random State of some of the devices, now and then the empty one.
func randomState(r *rand.Rand, tuns []string) State {
	var s State
	if r.IntN(8) == 0 {
		return s
	}
	for _, p := range pool.peers {
		if r.IntN(4) == 0 {
			s.Peers = append(s.Peers, p)
		}
	}
	for _, p := range pool.prefixes {
		if r.IntN(4) == 0 {
			s.Guards = append(s.Guards, Guard{p, pool.metrics[r.IntN(len(pool.metrics))]})
		}
	}
	addresses := slices.Clone(pool.addresses)
	for _, name := range tuns {
		if r.IntN(4) == 0 {
			continue
		}
		d := DeviceState{Name: name, MTU: 1300 + r.IntN(100), Metric: pool.metrics[r.IntN(len(pool.metrics))]}
		for _, p := range pool.prefixes {
			if r.IntN(3) == 0 {
				route := Route{Prefix: p}
				if src := pool.sources[r.IntN(len(pool.sources))]; src.Is4() == p.Addr().Is4() {
					route.Source = src
				}
				d.Routes = append(d.Routes, route)
			}
		}
		if i := r.IntN(2 * len(addresses)); i < len(addresses) {
			d.Addresses = append(d.Addresses, addresses[i])
			addresses = slices.Delete(addresses, i, i+1)
		}
		for _, p := range pool.networks {
			if r.IntN(2) == 0 {
				d.Sources = append(d.Sources, p)
			}
		}
		s.Devices = append(s.Devices, d)
	}
	r.Shuffle(len(s.Devices), func(i, j int) { s.Devices[i], s.Devices[j] = s.Devices[j], s.Devices[i] })
	return s
}

// world makes a namespace with an underlay, and a Host with devices.
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
	_, err = h.Set("a", State{Devices: []DeviceState{
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

// owners are the States of the owners, in the order of their first Set.
type owners struct {
	names  []string
	states map[string]State
}

func (o *owners) set(name string, s State) {
	_, known := o.states[name]
	switch empty := len(s.Devices)+len(s.Peers)+len(s.Guards) == 0; {
	case empty:
		o.names = slices.DeleteFunc(o.names, func(n string) bool { return n == name })
		delete(o.states, name)
		return
	case !known:
		o.names = append(o.names, name)
	}
	o.states[name] = s
}

func (o *owners) inOrder() (out []State) {
	for _, n := range o.names {
		out = append(out, o.states[n])
	}
	return out
}

// free returns the devices that no owner except one uses.
func (o *owners) free(but string, tuns []string) []string {
	return slices.DeleteFunc(slices.Clone(tuns), func(tun string) bool {
		for n, s := range o.states {
			if n != but && slices.ContainsFunc(s.Devices, func(d DeviceState) bool { return d.Name == tun }) {
				return true
			}
		}
		return false
	})
}

// of picks the "device prefix" lines of one owner's devices.
func (o *owners) of(name string, lines map[string]diag.Code) map[string]bool {
	out := make(map[string]bool)
	for _, d := range o.states[name].Devices {
		for line := range lines {
			if strings.HasPrefix(line, d.Name+" ") {
				out[line] = true
			}
		}
	}
	return out
}

// TestSetCyclesThroughRandomStates applies random states of random owners, while foreign routes
// and addresses come and go and another program changes our objects, and compares the kernel
// with the model.
func TestSetCyclesThroughRandomStates(t *testing.T) {
	tuns := []string{"vpn0", "vpn1", "vpn2", "vpn3"}
	s, h := world(t, tuns...)
	h.cleartext.on = true
	r := rand.New(rand.NewPCG(1, 2))
	theirs := make(map[netip.Prefix]bool)
	all := owners{states: make(map[string]State)}
	told := make(map[string]map[string]diag.Code) // each owner's last Result
	causes := make(map[diag.Code]int)
	total, blockedSeen, othersSeen, dumps := 0, 0, 0, 0
	for step := range 600 {
		if p := pool.foreign[r.IntN(len(pool.foreign))]; r.IntN(3) == 0 {
			s.foreignRoute(p, theirs[p], pool.theirs[r.IntN(len(pool.theirs))])
			theirs[p] = !theirs[p]
		}
		if p := pool.addresses[r.IntN(2)]; r.IntN(10) == 0 {
			s.ip("addr", map[bool]string{false: "add", true: "del"}[theirs[p]], p.String(), "dev", "eth1")
			theirs[p] = !theirs[p]
		}
		switch r.IntN(40) { // another program changes our objects, which Set must notice
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
		owner := []string{"a", "b", "c"}[r.IntN(3)]
		state := randomState(r, all.free(owner, tuns))
		all.set(owner, state)
		_, foreign := s.kernelState()
		before := h.dumped
		got, err := h.Set(owner, state)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if h.dumped != before {
			dumps++
		}
		ours, after := s.kernelState()
		want, blocked := model(all.inOrder(), foreign)
		for line := range maps.Keys(ours) {
			if strings.HasPrefix(line, "link ") {
				delete(ours, line)
			}
		}
		compare(t, fmt.Sprintf("step %d, ours", step), ours, want)
		compare(t, fmt.Sprintf("step %d, foreign", step), after, foreign)
		s.checkMetrics(all.inOrder())
		compare(t, fmt.Sprintf("step %d, cleartext", step), s.verdicts(), modelCleartext(all.inOrder(), ours, foreign))
		check := func(got Result) {
			lines := make(map[string]bool)
			for _, b := range got.Blocked {
				line := b.Device + " " + b.Route.Prefix.String()
				lines[line] = true
				if code, ok := blocked[line]; ok && b.Cause.Code != code {
					t.Errorf("step %d: %s is blocked because of %s, want %s", step, line, b.Cause.Code, code)
				}
				causes[b.Cause.Code]++
			}
			compare(t, fmt.Sprintf("step %d, blocked of %s", step, owner), lines, all.of(owner, blocked))
			codes := func(owner string) map[string]diag.Code {
				out := make(map[string]diag.Code)
				for line := range all.of(owner, blocked) {
					out[line] = blocked[line]
				}
				return out
			}
			told[owner] = codes(owner)
			others := make(map[string]bool)
			for _, n := range got.Others {
				others[n] = true
			}
			changed := make(map[string]bool)
			for _, n := range all.names {
				if is := codes(n); n != owner && !maps.Equal(is, told[n]) {
					changed[n], told[n] = true, is
				}
			}
			compare(t, fmt.Sprintf("step %d, other owners than %s", step, owner), others, changed)
			othersSeen += len(changed)
		}
		check(got)
		if t.Failed() {
			t.Fatalf("%s wants %+v\nin all: %v", owner, state, all)
		}
		again, err := h.Set(owner, state)
		check(again)
		if err != nil || !h.have.fresh || t.Failed() {
			t.Fatalf("step %d, again: %v, %v", step, again, err)
		}
		total, blockedSeen = total+len(want), blockedSeen+len(blocked)
	}
	t.Logf("%d objects wanted and %d routes blocked in all, %d times of another owner's Set; %d dumps", total, blockedSeen, othersSeen, dumps)
	for _, code := range []diag.Code{diag.RouteBlocked, diag.RouteTaken, diag.RouteSource, diag.AddressTaken} {
		if causes[code] == 0 {
			t.Errorf("no step was blocked because of %s", code)
		}
	}
	for _, n := range all.names {
		if _, err := h.Set(n, State{}); err != nil {
			t.Fatal(err)
		}
	}
	ours, _ := s.kernelState()
	for line := range ours {
		if !strings.HasPrefix(line, "link ") {
			t.Errorf("left behind: %s", line)
		}
	}
}

// foreignRoute adds or removes a route without our mark.
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
