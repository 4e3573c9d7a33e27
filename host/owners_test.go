package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// memory is a fake kernel that stores the objects it gets and counts the calls.
type memory struct {
	calls, dumps int
	links        []netlink.Link
	addrs        map[string]netlink.Addr
	routes       map[string]netlink.Route
	rules        map[string]netlink.Rule
}

func (m *memory) take() ([]syscall.NetlinkMessage, error) { return nil, errNone }
func (m *memory) Close() error                            { return nil }

func (m *memory) LinkList() ([]netlink.Link, error) { m.dumps++; return m.links, nil }
func (m *memory) LinkByIndex(int) (netlink.Link, error) {
	return nil, unix.ENODEV
}
func (m *memory) LinkSetMTU(netlink.Link, int) error { m.calls++; return nil }
func (m *memory) LinkSetUp(netlink.Link) error       { m.calls++; return nil }

func list[T any](m map[string]T) (out []T) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// put adds an object as netlink does with NLM_F_EXCL.
func put[T any](m map[string]T, key string, v T) error {
	if _, ok := m[key]; ok {
		return unix.EEXIST
	}
	m[key] = v
	return nil
}

func drop[T any](m map[string]T, key string) error {
	if _, ok := m[key]; !ok {
		return unix.ESRCH
	}
	delete(m, key)
	return nil
}

func addrKey(a *netlink.Addr) string    { return fmt.Sprint(a.LinkIndex, a.IPNet) }
func routeName(r *netlink.Route) string { return fmt.Sprint(r.Table, r.Dst, r.Priority) }
func ruleName(r *netlink.Rule) string {
	return fmt.Sprint(r.Family, r.Priority, r.Src, r.Dst, r.Table, r.Goto)
}

func (m *memory) AddrList(netlink.Link, int) ([]netlink.Addr, error) {
	m.dumps++
	return list(m.addrs), nil
}

func (m *memory) AddrAdd(_ netlink.Link, a *netlink.Addr) error {
	m.calls++
	return put(m.addrs, addrKey(a), *a)
}

func (m *memory) AddrDel(_ netlink.Link, a *netlink.Addr) error {
	m.calls++
	return drop(m.addrs, addrKey(a))
}

func (m *memory) RouteListFiltered(family int, _ *netlink.Route, _ uint64) (out []netlink.Route, err error) {
	m.dumps++
	for _, r := range m.routes {
		if (r.Dst.IP.To4() != nil) == (family == netlink.FAMILY_V4) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) RouteAdd(r *netlink.Route) error { m.calls++; return put(m.routes, routeName(r), *r) }
func (m *memory) RouteDel(r *netlink.Route) error { m.calls++; return drop(m.routes, routeName(r)) }

func (m *memory) RuleList(int) ([]netlink.Rule, error) { m.dumps++; return list(m.rules), nil }
func (m *memory) RuleAdd(r *netlink.Rule) error        { m.calls++; return put(m.rules, ruleName(r), *r) }

// The table of cleartext. Its calls are its elements.
func (m *memory) replace(all []element) error { m.calls += len(all); return nil }

func (m *memory) change(remove, add []element) error {
	m.calls += len(remove) + len(add)
	return nil
}
func (m *memory) remove() error                    { return nil }
func (m *memory) discarded() (uint64, error)       { return 0, nil }
func (m *memory) mine(syscall.NetlinkMessage) bool { return false }

func (m *memory) RuleDel(r *netlink.Rule) error { m.calls++; return drop(m.rules, ruleName(r)) }

// inMemory returns a Host on such a kernel, with n devices vpn0, vpn1, ….
func inMemory(n int) (*Host, *memory) {
	m := &memory{addrs: make(map[string]netlink.Addr), routes: make(map[string]netlink.Route), rules: make(map[string]netlink.Rule)}
	h := &Host{
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), rt: m, events: m,
		tuns: make(map[string]*TUN), owned: make(map[int]*TUN), want: newSum(), have: newKernel(), cleartext: newCleartext(),
	}
	h.cleartext.on, h.cleartext.table = true, m
	for i := range n {
		t := &TUN{host: h, name: fmt.Sprint("vpn", i), index: 100 + i}
		h.tuns[t.name], h.owned[t.index] = t, t
		m.links = append(m.links, &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: t.name, Index: t.index}})
	}
	return h, m
}

// tunnelState is the State of tunnel i: routes to its own network and to a network that all
// tunnels share, an address, and a peer.
func tunnelState(i int) State {
	number := func(base string, by int) netip.Addr {
		a := netip.MustParseAddr(base).As4()
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(by))
		return netip.AddrFrom4(a)
	}
	return State{
		Peers:  []netip.Addr{number("198.18.0.0", i)},
		Guards: guards(0, netip.PrefixFrom(number("10.0.0.0", 256*i), 24), netip.MustParsePrefix("172.16.0.0/12")),
		Devices: []DeviceState{{
			Name: fmt.Sprint("vpn", i), MTU: 1400, Addresses: []netip.Prefix{netip.PrefixFrom(number("100.64.0.1", 4*i), 30)},
			Routes: []Route{
				{Prefix: netip.PrefixFrom(number("10.0.0.0", 256*i), 24)},
				{Prefix: netip.MustParsePrefix("172.16.0.0/12")},
			},
			Sources: []netip.Prefix{netip.PrefixFrom(number("192.168.0.0", i), 32)},
		}},
	}
}

func ownersInMemory(t testing.TB, n int) (*Host, *memory) {
	h, m := inMemory(n)
	for i := range n {
		if res, err := h.Set(fmt.Sprint("owner", i), tunnelState(i)); err != nil || len(res.Blocked)+len(res.Others) > 0 {
			t.Fatal(res, err)
		}
	}
	return h, m
}

// change removes the routes of one owner or restores them.
func change(t testing.TB, h *Host, i int, up bool) {
	s := tunnelState(i)
	if !up {
		s.Devices[0].Routes = nil
	}
	if res, err := h.Set(fmt.Sprint("owner", i), s); err != nil || len(res.Blocked) > 0 {
		t.Fatal(res, err)
	}
}

// The cost of one owner's change does not depend on the number of owners.
func TestSetCostsWhatTheOwnersPartCosts(t *testing.T) {
	measure := func(n, i int) (calls, allocs float64) {
		h, m := ownersInMemory(t, n)
		m.calls, m.dumps = 0, 0
		const runs = 20
		allocs = testing.AllocsPerRun(runs, func() { change(t, h, i, false); change(t, h, i, true) })
		if m.dumps > 0 {
			t.Errorf("%d owners: %d dumps", n, m.dumps)
		}
		return float64(m.calls) / (runs + 1), allocs
	}
	const owners = 3000
	for _, c := range []struct {
		name      string
		few, many int
	}{{"one of many", 1, owners / 2}, {"the first, which has the common prefix", 0, 0}} {
		calls, allocs := measure(3, c.few)
		got, gotAllocs := measure(owners, c.many)
		if got != calls || gotAllocs > 1.2*allocs {
			t.Errorf("%s of %d: %v calls of netlink and %v allocations, want as of three: %v and %v", c.name, owners, got, gotAllocs, calls, allocs)
		}
	}
}

// A later owner does not displace the routes of an earlier one, and takes them over when the
// earlier one leaves.
func TestOwnersMeet(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	prefix := netip.MustParsePrefix("10.20.0.0/16")
	state := func(device string, peers ...netip.Addr) State {
		return State{Devices: []DeviceState{{Name: device, Routes: []Route{{Prefix: prefix}}}}, Peers: peers}
	}
	set := func(owner string, st State, blocked int, others ...string) Result {
		t.Helper()
		res, err := h.Set(owner, st)
		if err != nil || len(res.Blocked) != blocked || !slices.Equal(res.Others, others) {
			t.Errorf("%s: %+v, %v; want %d blocked and others %q", owner, res, err, blocked, others)
		}
		return res
	}
	set("z", state("vpn0"), 0)
	res := set("a", state("vpn1"), 1)
	if c := res.Blocked[0].Cause; c.Code != diag.RouteTaken || c.String() != "route 10.20.0.0/16 is not in: the route of our own device vpn0 is there already" {
		t.Errorf("blocked because of %s: %q", c.Code, c)
	}
	// A device has one owner.
	_, err := h.Set("b", state("vpn0"))
	if d := (*DeviceError)(nil); !errors.As(err, &d) || d.Cause().String() != "device vpn0: belongs to z" {
		t.Errorf("a device of another: %v", err)
	}
	// A peer of one owner lies within another owner's route: our own packets to it do not follow
	// that route.
	peer := netip.MustParseAddr("10.20.0.7")
	set("b", State{Peers: []netip.Addr{peer}}, 0)
	if all, own := s.via("10.20.0.7", 0), s.via("10.20.0.7", Mark); all != "vpn0" || own != "eth0" {
		t.Errorf("to a peer within the prefix: %s, our own packets %s", all, own)
	}
	set("b", State{}, 0)
	if own := s.via("10.20.0.7", Mark); own != "vpn0" {
		t.Errorf("to an address of no peer: %s", own)
	}
	// The first owner leaves and comes back: now it is the last.
	set("z", State{}, 0, "a")
	if got := s.via("10.20.0.7", 0); got != "vpn1" {
		t.Errorf("the first has gone: through %s", got)
	}
	set("z", state("vpn0"), 1)
	set("a", state("vpn1"), 0)
}

func BenchmarkSetOneOwner(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, m := ownersInMemory(b, n)
			m.calls = 0
			b.ReportAllocs()
			up := false
			for b.Loop() {
				change(b, h, n/2, up)
				up = !up
			}
			b.ReportMetric(float64(m.calls)/float64(b.N), "calls/op")
			b.ReportMetric(float64(m.dumps-6), "dumps")
		})
	}
}

// BenchmarkSetAllOwners is the start of a daemon: each owner calls Set once.
func BenchmarkSetAllOwners(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				ownersInMemory(b, n)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/owner")
		})
	}
}
