package host

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// objects are the routes, guards and rules in memory, and what Set says of blocked routes.
func (m *memory) objects() string {
	out := slices.Sorted(maps.Keys(m.rules))
	for _, r := range m.routes {
		guard := 0 // its metric; that of a route may be one more for having replaced another
		if isGuard(r.Type) {
			guard = r.Priority
		}
		out = append(out, fmt.Sprint(r.Table, r.Dst, " type ", r.Type, " dev ", r.LinkIndex, " src ", r.Src, " guard ", guard))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

// anyState has some of few prefixes in two devices, in any order, with any metric, source and networks.
func anyState(r *rand.Rand, i int) State {
	var s State
	some := func(n int) bool { return r.IntN(n) == 0 }
	devices := []int{2 * i, 2*i + 1}
	if some(4) {
		slices.Reverse(devices)
	}
	for _, n := range devices {
		if some(6) {
			continue
		}
		d := DeviceState{Name: fmt.Sprint("vpn", n), MTU: 1400}
		if some(3) {
			d.Metric = 100
		}
		if some(2) {
			d.Sources = prefixes("192.168.0.0/24")
		}
		if some(3) {
			d.Addresses = prefixes(fmt.Sprintf("169.254.%d.1/30", n))
		}
		for p := range 8 {
			if some(3) {
				continue
			}
			rt := Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(p), 0, 0}), 16)}
			if some(4) {
				rt.Source = netip.MustParseAddr("192.168.0.1")
			}
			d.Routes = append(d.Routes, rt)
		}
		if some(3) {
			r.Shuffle(len(d.Routes), func(i, j int) { d.Routes[i], d.Routes[j] = d.Routes[j], d.Routes[i] })
		}
		if some(3) && len(d.Routes) > 0 {
			d.Routes = append(d.Routes, d.Routes[0])
		}
		s.Devices = append(s.Devices, d)
	}
	for p := range 8 {
		if some(2) {
			s.Guards = append(s.Guards, Guard{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(p), 0, 0}), 16), Metric: 100 * r.IntN(2)})
		}
	}
	if some(4) {
		s.Peers = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(r.IntN(8)), 1, 1})}
	}
	return s
}

// However an owner's State came about, the kernel has what it has when the State is the first one.
func TestWhatIsCarriedOverIsAsIfItWereNew(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		h, m := inMemory(4)
		last := make([]State, 2)
		for step := range 30 {
			i := r.IntN(2)
			if step < 2 {
				i = step
			}
			last[i] = anyState(r, i)
			if len(last[i].Devices)+len(last[i].Guards)+len(last[i].Peers) == 0 {
				last[i].Guards = guards(0, netip.MustParsePrefix("10.99.0.0/16"))
			}
			if r.IntN(5) == 0 && len(m.routes) > 0 { // another program removes one
				gone := slices.Sorted(maps.Keys(m.routes))[r.IntN(len(m.routes))]
				h.lost(m, m.routes[gone])
				delete(m.routes, gone)
			}
			res, err := h.Set(fmt.Sprint("owner", i), last[i])
			if err != nil {
				t.Fatal(err)
			}
			fresh, n := inMemory(4)
			var want Result
			for j := range last[:min(step+1, 2)] {
				if want, err = fresh.Set(fmt.Sprint("owner", j), last[j]); err != nil {
					t.Fatal(err)
				}
			}
			if want, err = fresh.Set(fmt.Sprint("owner", i), last[i]); err != nil {
				t.Fatal(err)
			}
			if got, want := m.objects(), n.objects(); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
			if got, want := fmt.Sprint(res.Blocked), fmt.Sprint(want.Blocked); got != want {
				t.Fatalf("seed %d, step %d: got blocked %s, want %s", seed, step, got, want)
			}
		}
	}
}

// lost has the Host hear that another program removed a route of ours.
func (h *Host) lost(_ *memory, r netlink.Route) {
	key := routeKey{tablePrefix{r.Table, prefixOf(r.Dst)}, r.Priority}
	if isGuard(r.Type) {
		h.have.guards.drop(key)
		h.work.guards = append(h.work.guards, key.tablePrefix)
		return
	}
	v, _ := h.have.routes.get(key)
	e := event{ours: true, typ: 25, key: key.tablePrefix, metric: r.Priority, source: v.source}
	e.route.index = v.index
	h.lostRoute(e)
}

// One route of many changes, and the others are not decided again.
func TestOneRouteOfManyIsOneDecision(t *testing.T) {
	h, _ := inMemory(1)
	set := func(s State) {
		if _, err := h.Set("hq", s); err != nil {
			t.Fatal(err)
		}
	}
	all := learnedState(1000)
	set(all)
	claims, guards := h.want.parts["hq"].devices[0].claims, h.want.parts["hq"].guards
	set(all.without(500))
	set(all)
	same := 0
	for i, c := range h.want.parts["hq"].devices[0].claims {
		if c == claims[i] && h.want.parts["hq"].guards[i] == guards[i] {
			same++
		}
	}
	if same != 999 {
		t.Errorf("%d of 1000 routes and guards were carried over, want 999", same)
	}
}

// unwilling is a kernel that refuses routes, or guards.
type unwilling struct {
	*memory
	guards, routes bool
}

func (r *unwilling) RouteAdd(n *netlink.Route) error {
	if isGuard(n.Type) && r.guards || !isGuard(n.Type) && r.routes {
		return errors.New("no memory")
	}
	return r.memory.RouteAdd(n)
}

// What the kernel has refused is tried again by the next Set.
func TestWhatWasRefusedIsNotCarriedOver(t *testing.T) {
	for _, guards := range []bool{false, true} {
		h, m := inMemory(1)
		k := &unwilling{memory: m, guards: guards, routes: !guards}
		h.rt = k
		if _, err := h.Set("hq", learnedState(3)); err == nil {
			t.Fatal("no error")
		}
		k.guards, k.routes = false, false
		if _, err := h.Set("hq", learnedState(3)); err != nil || len(m.routes) != 6 {
			t.Errorf("got %v and %d routes and guards in the kernel, want 6", err, len(m.routes))
		}
	}
}
