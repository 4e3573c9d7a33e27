package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// learnedState is a device with many routes and their guards, as BGP brings them.
func learnedState(n int) State {
	d := DeviceState{Name: "vpn0", MTU: 1400}
	s := State{Peers: guardPeers}
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		d.Routes = append(d.Routes, Route{Prefix: p})
		s.Guards = append(s.Guards, Guard{Prefix: p})
	}
	s.Devices = []DeviceState{d}
	return s
}

// without is a state without the i-th route and its guard.
func (s State) without(i int) State {
	d := s.Devices[0]
	d.Routes = slices.Concat(d.Routes[:i], d.Routes[i+1:])
	return State{Peers: s.Peers, Devices: []DeviceState{d}, Guards: slices.Concat(s.Guards[:i], s.Guards[i+1:])}
}

// count counts the lines of our routes and guards in the main table.
func (s *space) count() (routes, guards int) {
	for line := range strings.Lines(s.ip("route", "show", "proto", fmt.Sprint(Protocol))) {
		if strings.HasPrefix(line, "unreachable") {
			guards++
		} else {
			routes++
		}
	}
	return routes, guards
}

// A peer's 10 000 routes go into the kernel, one of them changes, another program removes one, and all go, in a time that
// an operator does not notice, and netlink's events do not overrun meanwhile.
func TestTenThousandRoutes(t *testing.T) {
	const n = 10_000
	s, h := world(t, "vpn0")
	ctx, stop := context.WithCancel(context.Background())
	var woken atomic.Int64
	ended := make(chan error, 2)
	go func() { ended <- h.Watch(ctx, func(owners []string) { woken.Add(int64(len(owners))) }) }()
	go func() { ended <- h.Discard(ctx) }()
	defer func() { stop(); <-ended; <-ended }()
	eventually(t, "cleartext is discarded", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.cleartext.on })
	set := func(what string, most time.Duration, st State, routes, guards int) {
		t.Helper()
		begin := time.Now()
		res, err := h.Set("hq", st)
		took := time.Since(begin)
		if err != nil || len(res.Blocked) > 0 {
			t.Fatal(what, res, err)
		}
		t.Logf("%s: %v", what, took.Round(10*time.Microsecond))
		if took > most {
			t.Errorf("%s took %v, want at most %v", what, took, most)
		}
		if r, g := s.count(); r != routes || g != guards {
			t.Errorf("%s: %d routes and %d guards in the kernel, want %d and %d", what, r, g, routes, guards)
		}
	}
	all := learnedState(n)
	empty := State{Devices: []DeviceState{{Name: "vpn0", MTU: 1400}}, Peers: guardPeers}
	set("none", time.Second, empty, 0, 0)
	set("10 000 routes", 5*time.Second, all, n, n)
	if h.mu.Lock(); !h.have.fresh {
		t.Error("netlink's events have overrun")
	}
	h.mu.Unlock()
	set("the same", time.Second, all, n, n)
	set("one fewer", time.Second, all.without(n/2), n-1, n-1)
	set("one more", time.Second, all, n, n)
	s.ip("route", "del", "10.20.30.0/24", "dev", "vpn0")
	eventually(t, "the owner hears of it", func() bool { return woken.Load() > 0 })
	set("one restored", time.Second, all, n, n)
	guardsOnly := State{Devices: empty.Devices, Peers: guardPeers, Guards: all.Guards}
	set("no routes, but guards", 5*time.Second, guardsOnly, 0, n)
	set("back", 5*time.Second, all, n, n)
	if h.mu.Lock(); true {
		begin := time.Now()
		err := h.dump()
		h.decideAll()
		t.Logf("a dump: %v", time.Since(begin).Round(time.Millisecond))
		h.mu.Unlock()
		s.must(err)
	}
	set("after a dump", 5*time.Second, all, n, n)
	set("nothing", 5*time.Second, State{}, 0, 0)
	set("all again", 5*time.Second, all, n, n)
	begin := time.Now()
	s.must(h.Clean())
	t.Logf("clean: %v", time.Since(begin).Round(time.Millisecond))
	if r, g := s.count(); r+g > 0 {
		t.Errorf("%d routes and %d guards are left", r, g)
	}
}

// BenchmarkSetOneOfManyRoutes is a Set that changes one of an owner's routes, and its guard.
func BenchmarkSetOneOfManyRoutes(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, m := inMemory(1)
			all := learnedState(n)
			some := all.without(n / 2)
			set := func(s State) {
				if _, err := h.Set("hq", s); err != nil {
					b.Fatal(err)
				}
			}
			set(all)
			b.ReportAllocs()
			m.calls = 0
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					set(some)
				} else {
					set(all)
				}
			}
			b.ReportMetric(float64(m.calls)/float64(b.N), "calls/op")
		})
	}
}
