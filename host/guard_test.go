package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// leaves says by which device a packet to an address leaves; "nowhere": by none.
func (s *space) leaves(to string, mark uint32) string {
	s.t.Helper()
	r, err := s.nl.RouteGetWithOptions(netip.MustParseAddr(to).AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if errors.Is(err, unix.EHOSTUNREACH) || err == nil && r[0].Type == unix.RTN_UNREACHABLE {
		return "nowhere"
	}
	return s.via(to, mark)
}

// guarded are the prefixes of a tunnel: an ordinary one, one that contains the peer, and all addresses.
var guarded = prefixes("10.20.0.0/16", "198.51.100.0/24", "0.0.0.0/0", "fd20::/16", "2001:db8:9::/48")

var guardPeers = []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:9::1")}

func guards(metric int, ps ...netip.Prefix) (out []Guard) {
	for _, p := range ps {
		out = append(out, Guard{p, metric})
	}
	return out
}

func guardState(device string) State {
	s := State{Peers: guardPeers, Guards: guards(0, guarded...)}
	if device != "" {
		d := DeviceState{Name: device, MTU: 1400}
		for _, p := range guarded {
			d.Routes = append(d.Routes, Route{Prefix: p})
		}
		s.Devices = []DeviceState{d}
	}
	return s
}

// expect checks where packets of the guarded prefixes leave, and that our own to the peers leave by eth0.
func (s *space) expect(when, where string) {
	s.t.Helper()
	for _, to := range []string{"10.20.1.1", "198.51.100.7", "198.51.100.9", "8.8.8.8", "fd20::7", "2001:db8:9::1", "2001:db8:9::7"} {
		if got := s.leaves(to, 0); got != where {
			s.t.Errorf("%s: a packet to %s leaves by %s, want %s", when, to, got, where)
		}
	}
	for _, to := range []string{"198.51.100.9", "2001:db8:9::1", "192.0.2.7"} {
		if got := s.leaves(to, Mark); got != "eth0" {
			s.t.Errorf("%s: our own packet to %s leaves by %s", when, to, got)
		}
	}
}

// A guarded prefix leaves by our device or nowhere, whatever happens to the device and its routes, and
// when another program removes what is ours one by one.
func TestGuardedPacketsLeaveByOurDeviceOrNowhere(t *testing.T) {
	s, h := world(t)
	set := func(st State) {
		t.Helper()
		if res, err := h.Set("a", st); err != nil || len(res.Blocked) > 0 {
			t.Fatal(res, err)
		}
	}
	set(guardState(""))
	s.expect("before there is a device", "nowhere")
	vpn0, err := h.CreateTUN("vpn0", 1400)
	s.must(err)
	st := guardState("vpn0")
	routes := st.Devices[0].Routes
	st.Devices[0].Routes = nil
	set(st)
	s.expect("before the device has routes", "nowhere")
	st.Devices[0].Routes = routes
	set(st)
	s.expect("up", "vpn0")
	s.ip("link", "set", "vpn0", "down")
	s.expect("the device is down", "nowhere")
	set(st)
	s.expect("up again", "vpn0")
	remove := func(what string) {
		t.Helper()
		for _, p := range guarded {
			family, table := "-4", "main"
			if p.Addr().Is6() {
				family = "-6"
			}
			if p.Bits() == 0 || p.Contains(guardPeers[0]) || p.Contains(guardPeers[1]) {
				table = "7373"
			}
			args := append([]string{family, "route", "del"}, strings.Fields(strings.ReplaceAll(what, "P", p.String()))...)
			s.ip(append(args, "table", table)...)
		}
	}
	remove("unreachable P metric 7310")
	s.expect("the guards are gone", "vpn0")
	set(st)
	remove("P dev vpn0")
	s.expect("the routes are gone", "nowhere")
	set(st)
	s.expect("restored", "vpn0")
	s.must(vpn0.Close())
	s.expect("the device is closed", "nowhere")
	set(guardState(""))
	s.expect("without it", "nowhere")
	set(State{})
	if got := s.leaves("10.20.1.1", 0) + s.leaves("8.8.8.8", 0); got != "eth0eth0" {
		t.Errorf("no longer wanted: packets leave by %s", got)
	}
}

// A foreign route of a better metric wins against a guard, as against our routes; one of a worse metric loses.
func TestGuardsReplaceNoForeignRoute(t *testing.T) {
	for _, metric := range []string{"0", "7310", "20000"} {
		s, h := world(t)
		for p, table := range map[string]string{"10.20.0.0/16": "main", "198.51.100.0/24": "main", "2001:db8:9::/48": "main"} {
			if metric == "0" && strings.Contains(p, ":") {
				continue // IPv6 makes it 1024
			}
			s.ip("route", "add", p, "dev", "eth0", "metric", metric, "table", table)
		}
		_, before := s.kernelState()
		if _, err := h.Set("a", guardState("")); err != nil {
			t.Fatal(err)
		}
		_, after := s.kernelState()
		compare(t, "foreign", after, before)
		want := "eth0"
		if metric == "20000" {
			want = "nowhere"
		}
		for _, to := range []string{"10.20.1.1", "198.51.100.9"} {
			if got := s.leaves(to, 0); got != want {
				t.Errorf("metric %s: a packet to %s leaves by %s, want %s", metric, to, got, want)
			}
		}
		s.ip("route", "flush", "proto", "boot", "dev", "eth0", "scope", "link")
		s.ip("-6", "route", "flush", "proto", "boot", "dev", "eth0", "metric", metric)
		_, err := h.Set("a", guardState(""))
		s.must(err)
		s.expect("metric "+metric+", without the foreign routes", "nowhere")
	}
}

// The guards of a killed process hold until the next has its own state, which takes out those that it doesn't
// want. A peer's address in a prefix, which moves the guard, stops none of our own packets.
func TestGuardsOutliveACrash(t *testing.T) {
	s, h := world(t)
	s.killed()
	check := func(when string, to map[string]string) {
		t.Helper()
		for a, want := range to {
			if got := s.leaves(a, 0); got != want {
				t.Errorf("%s: a packet to %s leaves by %s, want %s", when, a, got, want)
			}
		}
	}
	left := map[string]string{"10.20.1.1": "nowhere", "198.51.100.7": "nowhere", "8.8.8.8": "nowhere"}
	check("killed", left)
	err := h.TakeOver()
	if n := len(h.have.guards); err != nil || n != len(crashState.Guards) {
		t.Errorf("took over %d guards, %v; want %d", n, err, len(crashState.Guards))
	}
	check("taken over", left)
	peer := netip.MustParseAddr("10.20.3.3")
	_, err = h.Set("b", State{Peers: []netip.Addr{peer}, Guards: guards(0, prefixes("10.20.0.0/16")...)})
	s.must(err)
	check("before Release", left)
	if got := s.leaves(peer.String(), Mark); got != "eth0" {
		t.Errorf("our own packet to the peer leaves by %s", got)
	}
	s.must(h.Release())
	check("after it", map[string]string{"10.20.1.1": "nowhere", "10.20.3.3": "nowhere", "198.51.100.7": "eth0", "8.8.8.8": "eth0"})
	ours, _ := s.kernelState()
	want, _ := model([]State{{Peers: []netip.Addr{peer}, Guards: guards(0, prefixes("10.20.0.0/16")...)}}, nil)
	compare(t, "ours", ours, want)
	s.must(h.Clean())
	if ours, _ := s.kernelState(); len(ours) > 0 {
		t.Errorf("Clean leaves %v", ours)
	}
}

// A prefix that goes from one owner to another by way of nobody keeps its guard.
func TestRetainedGuardsStayWhereTheyAre(t *testing.T) {
	s, h := world(t)
	_, err := h.Set("a", guardState(""))
	s.must(err)
	ev, err := subscribe()
	s.must(err)
	defer ev.Close()
	h.Retain()
	_, err = h.Set("a", State{})
	s.must(err)
	s.expect("nobody's", "nowhere")
	_, err = h.Set("b", guardState(""))
	s.must(err)
	s.must(h.Release())
	s.expect("another's", "nowhere")
	if msgs, err := ev.take(); err != errNone {
		t.Errorf("%d changes in the kernel, %v", len(msgs), err)
	}
	_, err = h.Set("b", State{})
	s.must(err)
	if ours, _ := s.kernelState(); len(ours) > 0 {
		t.Errorf("left: %v", ours)
	}
}

// What another program removes is back within a second, and meanwhile no packet leaves in clear.
func TestWatchRestoresGuards(t *testing.T) {
	s, h := world(t, "vpn0")
	st := guardState("vpn0")
	_, err := h.Set("a", st)
	s.must(err)
	want, _ := s.kernelState()
	told := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- h.Watch(ctx, func(owners []string) {
			for _, o := range owners {
				if _, err := h.Set(o, st); err != nil {
					t.Error(err)
				}
				told <- struct{}{}
			}
		})
	}()
	time.Sleep(5 * coalesce) // what the kernel does by itself with a young link
	for len(told) > 0 {
		<-told
	}
	for _, by := range []string{
		"route del unreachable 10.20.0.0/16 metric 7310",
		"route del unreachable 198.51.100.0/24 metric 7310 table 7373",
		"route del unreachable default metric 7310 table 7373",
		"-6 route del unreachable fd20::/16 metric 7310",
		"-6 route del unreachable 2001:db8:9::/48 metric 7310 table 7373",
		"route del 10.20.0.0/16 dev vpn0",
		"link set vpn0 down",
	} {
		begin := time.Now()
		s.ip(strings.Fields(by)...)
		<-told
		d := time.Since(begin)
		t.Logf("ip %s: back after %v", by, d.Round(time.Millisecond))
		if d > time.Second && os.Getenv("SOAK") != "" {
			t.Errorf("ip %s: back after %v", by, d)
		}
		got, _ := s.kernelState()
		compare(t, by, got, want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// refusal is a kernel that refuses guards for a while.
type refusal struct {
	rtnetlink
	left int
}

func (r *refusal) RouteAdd(route *netlink.Route) error {
	if route.Type == unix.RTN_UNREACHABLE && r.left > 0 {
		r.left--
		return unix.ENOBUFS
	}
	return r.rtnetlink.RouteAdd(route)
}

// A guard that the kernel has refused is set by the owner's next Set, which is told of it until then.
func TestARefusedGuardIsTriedAgain(t *testing.T) {
	s, h := world(t)
	h.rt = &refusal{h.rt, 2}
	st := State{Guards: guards(0, prefixes("10.20.0.0/16")...)}
	for i := range 2 {
		if _, err := h.Set("a", st); err == nil {
			t.Fatalf("Set %d: the kernel has refused the guard, and no error says so", i+1)
		}
	}
	_, err := h.Set("a", st)
	s.must(err)
	if got := s.leaves("10.20.1.1", 0); got != "nowhere" {
		t.Errorf("a packet leaves by %s, want nowhere", got)
	}
}
