package gateway

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

// fakeGuards are the guards of a fakeHost.
type fakeGuards struct {
	guards    map[netip.Prefix]bool // in the kernel
	unguarded []netip.Prefix        // that lost their guard
	retained  bool
}

func (h *fakeHost) TakeOver() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleaned++
	h.retained = true
	clear(h.states)
	return nil
}

func (h *fakeHost) Retain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retained = true
}

func (h *fakeHost) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retained = false
	h.guard()
	return nil
}

// guard makes the kernel's guards what the owners want.
func (h *fakeHost) guard() {
	wanted := map[netip.Prefix]bool{}
	for _, s := range h.states {
		for _, g := range s.Guards {
			wanted[g.Prefix], h.guards[g.Prefix] = true, true
		}
	}
	for p := range h.guards {
		if !wanted[p] && !h.retained {
			delete(h.guards, p)
			h.unguarded = append(h.unguarded, p)
		}
	}
}

func (h *fakeHost) Leak(prefixes, _ []netip.Prefix) (host.Leak, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range prefixes {
		if h.foreign[p] {
			return host.Leak{Prefix: p, To: p.Addr().Next(), Device: "eth0", Route: "the route " + p.String()}, true
		}
	}
	return host.Leak{}, false
}

func (h *fakeHost) Leave() error { return h.TakeOver() }

// wantGuards compares the guards in the kernel.
func (r *running) wantGuards(want ...string) {
	r.T.Helper()
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	var got []string
	for p := range r.host.guards {
		got = append(got, p.String())
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		r.T.Errorf("got guards %v, want %v", got, want)
	}
}

// What a tunnel's routes cover is guarded from the start until it is taken down or removed, and after the end.
func TestRoutesAreGuardedFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		h.tunError = context.DeadlineExceeded // no device ever
		leased := connection("leased", "192.168.4.0/24", "10.30.0.0/16")
		leased.Tunnels[0].Pass = true
		r := start(t, h, configOf(hq(), lab(), leased), Options{})
		r.wantGuards("10.10.0.0/16", "10.20.0.0/16")
		if err := r.Down(context.Background(), "lab"); err != nil {
			t.Fatal(err)
		}
		r.wantGuards("10.10.0.0/16")
		if err := r.Up(context.Background(), "lab"); err != nil {
			t.Fatal(err)
		}
		r.wantGuards("10.10.0.0/16", "10.20.0.0/16")
		r.adopt(hq())
		r.wantGuards("10.10.0.0/16")
		r.stop()
		r.wantGuards("10.10.0.0/16")

		// The next run takes them over, and removes those that its configuration lacks.
		h.tunError = nil
		r = start(t, h, configOf(lab()), Options{})
		defer r.stop()
		r.wantGuards("10.20.0.0/16")
		if want := netip.MustParsePrefix("10.10.0.0/16"); h.unguarded[len(h.unguarded)-1] != want {
			t.Errorf("%v lost their guards, want %v to be the last", h.unguarded, want)
		}
	})
}

// No reload takes a guard away, not even for a moment, from a prefix that is wanted before and after it.
func TestReloadsKeepGuards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		paired, renamed, moved := hq(), hq(), hq()
		paired.Pair = "p"
		renamed.Name, renamed.Tunnels[0].Name = "head", "head"
		moved.Tunnels[0].Device = "office"
		other := lab()
		other.Tunnels[0].Remote.Address = addr("198.51.100.77")
		r.adopt(paired, lab())
		r.adopt(hq(), lab())
		r.adopt(renamed, lab())
		r.adopt(moved, other)
		r.adopt(other, renamed)
		if len(r.host.unguarded) > 0 {
			t.Errorf("%v lost their guards", r.host.unguarded)
		}
		r.wantGuards("10.10.0.0/16", "10.20.0.0/16")
	})
}

// Status says what the kernel would do with packets, and why.
func TestStatusTellsOfLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hq()
		c.Tunnels[0].Pass = true
		r := start(t, officeHost(), configOf(c, lab()), Options{})
		defer r.stop()
		check := func(name string, leak Leak, code diag.Code, why string) {
			t.Helper()
			if s := r.tunnelStatus(name); s.Leak != leak || s.LeakCode != code || !strings.Contains(s.LeakWhy, why) {
				t.Errorf("%s: got leak %s (%s: %s), want %s (%s)", name, s.Leak, s.LeakCode, s.LeakWhy, leak, code)
			}
		}
		check("hq", LeakNone, "", "")
		for _, p := range []string{"10.10.0.0/16", "10.20.0.0/16"} {
			r.host.foreign[netip.MustParsePrefix(p)] = true
		}
		check("hq", LeakPossible, diag.LeakPass, "until the tunnel is first up")
		check("lab", LeakPossible, diag.LeakRoute, "packets to 10.20.0.1, which the route 10.20.0.0/16 is to cover, leave in clear by eth0: the route 10.20.0.0/16 takes them")
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.wantState("hq", tunnel.Degraded)
		check("hq", LeakPossible, diag.LeakRoute, "")
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		check("hq", LeakPossible, diag.LeakHeld, "`vpngw down` holds the tunnel")
	})
}

// A change of the metric is live, for the routes and for the guards.
func TestTheMetricChangesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		for _, metric := range []int{100, 7300, 200} {
			c := hq()
			c.Tunnels[0].Metric = metric
			r.adopt(c, lab())
			r.host.mu.Lock()
			s, other := r.host.states["hq"], r.host.states["lab"]
			r.host.mu.Unlock()
			if want := []host.Guard{{Prefix: netip.MustParsePrefix("10.10.0.0/16"), Metric: metric}}; !slices.Equal(s.Guards, want) || len(s.Devices) != 1 || s.Devices[0].Metric != metric {
				t.Errorf("metric %d: got %+v", metric, s)
			}
			if len(other.Devices) != 1 || other.Devices[0].Metric != 0 || other.Guards[0].Metric != 0 {
				t.Errorf("metric %d: the other has %+v", metric, other)
			}
		}
	})
}
