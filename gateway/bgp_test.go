package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

func (h *fakeHost) Left() (out []host.Guard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.guards {
		out = append(out, host.Guard{Prefix: p, Metric: 7300})
	}
	return out
}

func (h *fakeHost) Networks() (connected, kernel []netip.Prefix, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listings++
	return h.connected, h.kernel, nil
}

// fakeNetworks is what fakeHost.Networks answers.
type fakeNetworks struct {
	connected, kernel []netip.Prefix
	listings          int
}

func (h *fakeHost) listed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listings
}

// fakeSpeakers makes Speakers that say what a test has them say.
type fakeSpeakers struct {
	host *fakeHost
	mu   sync.Mutex
	made []*fakeSpeaker
}

type fakeSpeaker struct {
	of        *fakeSpeakers
	report    func(bgp.Report)
	event     func(string, diag.Cause)
	addressed []string // the host's devices with addresses when it was made
	linger    time.Duration

	saw heard
}

// heard is what a fakeSpeaker was told.
type heard struct {
	config    bgp.Config
	changes   int
	reachable map[string]bool
	networks  string
	ctx       context.Context
	began     time.Time
	ended     time.Time
}

func (s *fakeSpeaker) heard() (h heard) {
	s.do(func() { h = s.saw; h.reachable = maps.Clone(h.reachable) })
	return h
}

func (f *fakeSpeakers) speak(c bgp.Config, report func(bgp.Report), event func(string, diag.Cause)) Speaker {
	s := &fakeSpeaker{of: f, report: report, event: event, saw: heard{config: c, reachable: map[string]bool{}}}
	for name, d := range f.host.devices() {
		for _, a := range d.Addresses {
			s.addressed = append(s.addressed, name+" "+a.String())
		}
	}
	slices.Sort(s.addressed)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = append(f.made, s)
	return s
}

// one is the n-th Speaker, and how many there are.
func (f *fakeSpeakers) one(t *testing.T, n, of int) *fakeSpeaker {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.made) != of {
		t.Fatalf("%d speakers were made, want %d", len(f.made), of)
	}
	if n < 0 {
		return nil
	}
	return f.made[n]
}

func (s *fakeSpeaker) do(f func()) { s.of.mu.Lock(); defer s.of.mu.Unlock(); f() }

func (s *fakeSpeaker) Run(ctx context.Context) error {
	s.do(func() { s.saw.began, s.saw.ctx = time.Now(), ctx })
	<-ctx.Done()
	time.Sleep(s.linger)
	s.do(func() { s.saw.ended = time.Now() })
	return nil
}
func (s *fakeSpeaker) Change(c bgp.Config) { s.do(func() { s.saw.config = c; s.saw.changes++ }) }
func (s *fakeSpeaker) Reachable(t string, is bool) {
	s.do(func() { s.saw.reachable[t] = is })
}

func (s *fakeSpeaker) Networks(connected, kernel []netip.Prefix) {
	s.do(func() { s.saw.networks = fmt.Sprint(connected, kernel) })
}

// says reports an established, complete session.
func (s *fakeSpeaker) says(tunnel string, learned ...string) {
	s.report(established(tunnel, learned...))
	synctest.Wait()
}

func established(tunnel string, learned ...string) bgp.Report {
	r := bgp.Report{Tunnel: tunnel, State: bgp.Established, Complete: true, Since: time.Now(), In: len(learned), Out: 1, Hold: 90 * time.Second}
	for _, p := range prefixes(learned...) {
		r.Routes = append(r.Routes, bgp.Learned{Prefix: p, Path: []uint32{64600}, MED: 5})
	}
	return r
}

func lost(tunnel string) bgp.Report {
	return bgp.Report{Tunnel: tunnel, State: bgp.Idle, Since: time.Now(), Flaps: 1, Last: diag.Cause{Code: "bgp-hold-expired"}}
}

// bgpOf is a connection with BGP and no static routes.
func bgpOf(c *config.Connection, block string) *config.Connection {
	t := &c.Tunnels[0]
	p := netip.MustParsePrefix(block)
	low, high := config.Hosts(p)
	t.Inside, t.Peer = netip.PrefixFrom(low, p.Bits()), high
	t.Local.ASN, t.Remote.ASN = 64512, 64600
	t.Routes = nil
	t.BGP = &config.BGP{Hold: config.DefaultHold, MaxPrefixes: 1000, Announce: prefixes("192.168.3.0/24")}
	return c
}

func bgpHQ() *config.Connection { return bgpOf(hq(), "169.254.1.0/30") }

func TestASpeakerForEachGroupWithBGP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		r := start(t, h, configOf(bgpHQ(), lab()), Options{BGP: f.speak})
		s := f.one(t, 0, 1)
		if want := []string{"vpngw0 169.254.1.1/30"}; !slices.Equal(s.addressed, want) {
			t.Errorf("it began with the addresses %v, want %v", s.addressed, want)
		}
		want := bgp.Config{Group: "hq", ASN: 64512, RouterID: addr("169.254.1.1"), Sessions: []bgp.Session{{
			BGP: *bgpHQ().Tunnels[0].BGP, Tunnel: "hq", Local: addr("169.254.1.1"), Remote: addr("169.254.1.2"), Inside: prefixes("169.254.1.1/30")[0],
			LocalASN: 64512, RemoteASN: 64600, Own: prefixes("192.168.3.0/24"), Outer: []netip.Addr{addr("198.51.100.1")},
		}}}
		if !reflect.DeepEqual(s.heard().config, want) {
			t.Errorf("got config %+v, want %+v", s.heard().config, want)
		}
		if is, ok := s.heard().reachable["hq"]; !ok || is {
			t.Error("the peer is reached before the tunnel is up")
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		if !s.heard().reachable["hq"] {
			t.Error("the peer is not reached though the tunnel is up")
		}
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.heard().reachable["hq"] || !s.heard().ended.IsZero() {
			t.Error("taken down: the peer is still reached, or the speaker has ended")
		}
		told := false // while the tunnels still carry packets
		r.loop(func() { r.ike.farewell = func() { told = s.heard().ctx.Err() != nil } })
		r.stop()
		if s.heard().ended.IsZero() || !told {
			t.Errorf("the speaker ended at %v; before the SAs were deleted: %v", s.heard().ended, told)
		}
	})
}

func TestWhatThePeerTellsIsInTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		r := start(t, h, configOf(bgpHQ()), Options{BGP: f.speak})
		defer r.stop()
		s := f.one(t, 0, 1)
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		if got := r.wantState("hq", tunnel.Up).Session; got == nil || got.State != "idle" || got.Remote != "169.254.1.2" || got.LocalAS != 64512 {
			t.Errorf("got session %+v", got)
		}
		time.Sleep(10 * time.Second)
		if got := r.wantState("hq", tunnel.Degraded); got.Code != diag.BGPWaits {
			t.Errorf("no session: got cause %s", got.Code)
		}
		s.says("hq", "10.1.0.0/16", "10.2.0.0/16")
		r.wantRoutes("10.1.0.0/16 dev vpngw0 src 192.168.3.1", "10.2.0.0/16 dev vpngw0 src 192.168.3.1")
		r.wantGuards("10.1.0.0/16", "10.2.0.0/16")
		if got := r.wantState("hq", tunnel.Up).Session; got.State != "established" || got.In != 2 || got.Out != 1 || got.Hold != 90 || !got.Complete || got.Why != "" {
			t.Errorf("got session %+v", got)
		}
		sets := h.sets
		s.says("hq", "10.1.0.0/16", "10.2.0.0/16")
		if h.sets != sets {
			t.Error("a report without news costs a Set")
		}
		s.says("hq", "10.2.0.0/16")
		r.wantRoutes("10.2.0.0/16 dev vpngw0 src 192.168.3.1")
		r.wantGuards("10.2.0.0/16")
		s.report(lost("hq"))
		s.event("hq", diag.Cause{Code: "bgp-down"})
		s.event("", diag.Cause{Code: "bgp-child-died"})
		synctest.Wait()
		r.wantRoutes()
		r.wantGuards("10.2.0.0/16")
		if got := r.wantState("hq", tunnel.Degraded).Session; got.State != "idle" || got.Code != "bgp-hold-expired" || got.Flaps != 1 {
			t.Errorf("got session %+v", got)
		}
		list, err := r.Events(context.Background(), "hq", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list {
			if e.Code != "" {
				got = append(got, e.Tunnel+" "+string(e.Code))
			}
		}
		if want := " bgp-child-died"; !slices.Contains(got, want) || !slices.Contains(got, "hq bgp-down") {
			t.Errorf("got events %q", got)
		}
	})
}

// The newest report of a session waits for the loop, and the last events; a speaker never waits.
func TestNewsAreBounded(t *testing.T) {
	n := news{arrived: make(chan struct{}, 1), reports: map[spokenOf]bgp.Report{}}
	s := &speaker{}
	for i := range 10_000 {
		n.report(s, bgp.Report{Tunnel: "a", Flaps: i})
		n.report(s, bgp.Report{Tunnel: "b", Flaps: i})
		n.event(s, "a", diag.Cause{Code: "bgp-down", Count: i})
	}
	reports, events, _ := n.take()
	if len(reports) != 2 || reports[0].Flaps != 9999 || reports[1].Flaps != 9999 {
		t.Errorf("got reports %v", reports)
	}
	if len(events) != maxSpoken || events[0].cause.Count != 10_000-maxSpoken {
		t.Errorf("got %d events from %v", len(events), events[0].cause.Count)
	}
}

// A change of BGP's settings is the speaker's affair: it goes on with them, and the SAs stay.
func TestChangesOfBGPAreLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		r := start(t, h, configOf(bgpHQ(), lab()), Options{BGP: f.speak})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		s := f.one(t, 0, 1)
		s.linger = time.Minute
		s.says("hq", "10.1.0.0/16")
		r.wantCommands()

		next := bgpHQ()
		next.Tunnels[0].BGP.AuthKey = []byte("secret")
		done := r.adopt(next, lab())
		synctest.Wait()
		if c := done.Plan.Connections[0].Tunnels[0]; c.Class != Live || c.Fields[0].Field != "BGP" {
			t.Errorf("got plan %+v", c)
		}
		f.one(t, 0, 1)
		if s.heard().changes != 1 || string(s.heard().config.Sessions[0].AuthKey) != "secret" || !s.heard().reachable["hq"] {
			t.Errorf("got %d changes, the last to %+v", s.heard().changes, s.heard().config)
		}
		r.wantRoutes("10.1.0.0/16 dev vpngw0 src 192.168.3.1")
		r.wantState("hq", tunnel.Up)
		r.wantCommands()
		r.adopt(next) // another connection's affair
		synctest.Wait()
		if s.heard().changes != 1 {
			t.Error("a change of another connection is told")
		}

		// Without BGP the speaker ends, and what it says then counts no more.
		without := bgpHQ()
		without.Tunnels[0].BGP = nil
		r.adopt(without)
		r.wantRoutes()
		r.wantGuards()
		s.says("hq", "10.1.0.0/16")
		r.wantRoutes()
		if r.tunnelStatus("hq").Session != nil {
			t.Error("there is a session without BGP")
		}

		// The next one begins when the last one has ended.
		r.adopt(next)
		synctest.Wait()
		second := f.one(t, 1, 2)
		s.says("hq", "10.1.0.0/16")
		r.wantRoutes()
		if !second.heard().began.IsZero() || !s.heard().ended.IsZero() {
			t.Error("two children of one name run")
		}
		time.Sleep(time.Minute + time.Nanosecond)
		synctest.Wait()
		if second.heard().began.IsZero() || second.heard().began.Before(s.heard().ended) {
			t.Errorf("it began at %v, and the last one ended at %v", second.heard().began, s.heard().ended)
		}
		second.says("hq", "10.3.0.0/16")
		r.wantRoutes("10.3.0.0/16 dev vpngw0 src 192.168.3.1")

		// A connection that is removed ends its speaker.
		r.adopt(lab())
		synctest.Wait()
		if second.heard().ended.IsZero() {
			t.Error("the connection was removed, and its speaker runs")
		}
		r.wantGuards("10.20.0.0/16")
	})
}

// A pair has one speaker, and its traffic follows the sessions.
func TestAPairHasOneSpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		a, b := bgpHQ(), bgpOf(lab(), "169.254.1.4/30")
		a.Pair, b.Pair = "p", "p"
		a.Tunnels[0].Role, b.Tunnels[0].Role = config.Active, config.Standby
		b.Tunnels[0].BGP.MED, b.Tunnels[0].BGP.Prepend = config.StandbyMED, config.StandbyPrepend // as config/load gives them to a standby
		r := start(t, h, configOf(a, b), Options{BGP: f.speak})
		defer r.stop()
		s := f.one(t, 0, 1)
		if sessions := s.heard().config.Sessions; len(sessions) != 2 || sessions[0].Tunnel != "hq" || sessions[0].MED != 0 || sessions[0].Prepend != 0 ||
			sessions[1].MED != config.StandbyMED || sessions[1].Prepend != config.StandbyPrepend || s.heard().config.Group != config.PairGroup("p") {
			t.Errorf("got %+v", s.heard().config)
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		r.up("lab", "192.168.4.0/24", "10.20.0.0/16")
		s.says("hq", "10.1.0.0/16")
		s.says("lab", "10.1.0.0/16")
		r.wantRoutes("10.1.0.0/16 dev vpngw0 src 192.168.3.1")
		s.report(lost("hq"))
		synctest.Wait()
		r.wantRoutes("10.1.0.0/16 dev vpngw1 src 192.168.3.1")
	})
}

// What BGP told an earlier run stays guarded until each session is complete once.
func TestGuardsOutlastARestart(t *testing.T) {
	type run struct {
		*running
		f *fakeSpeakers
	}
	begin := func(t *testing.T, h *fakeHost, cs ...*config.Connection) run {
		f := &fakeSpeakers{host: h}
		return run{start(t, h, configOf(cs...), Options{BGP: f.speak}), f}
	}
	bgpLab := func() *config.Connection { return bgpOf(lab(), "169.254.1.4/30") }
	first := func(t *testing.T) *fakeHost {
		h := officeHost()
		r := begin(t, h, bgpHQ(), bgpLab())
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		r.up("lab", "192.168.4.0/24", "10.20.0.0/16")
		r.f.one(t, 0, 2).says("hq", "10.1.0.0/16")
		r.f.one(t, 1, 2).says("lab", "10.2.0.0/16")
		r.stop()
		r.wantGuards("10.1.0.0/16", "10.2.0.0/16")
		return h
	}
	t.Run("the sessions come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, first(t), bgpHQ(), bgpLab())
			defer r.stop()
			time.Sleep(time.Hour)
			r.wantGuards("10.1.0.0/16", "10.2.0.0/16")
			r.f.one(t, 0, 2).says("hq", "10.3.0.0/16")
			r.wantGuards("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")
			r.adopt(bgpHQ(), bgpLab())
			r.wantGuards("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")
			part := established("lab", "10.2.0.0/16")
			part.Complete = false
			r.f.one(t, 1, 2).report(part)
			synctest.Wait()
			r.wantGuards("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")
			before := len(r.host.unguarded)
			r.f.one(t, 1, 2).says("lab", "10.2.0.0/16")
			r.wantGuards("10.2.0.0/16", "10.3.0.0/16")
			if slices.Contains(r.host.unguarded[before:], netip.MustParsePrefix("10.2.0.0/16")) {
				t.Error("a prefix that is told again lost its guard for a moment")
			}
		})
	})
	t.Run("a tunnel is taken down, and the other removed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, first(t), bgpHQ(), bgpLab())
			defer r.stop()
			if err := r.Down(context.Background(), "hq"); err != nil {
				t.Fatal(err)
			}
			r.wantGuards("10.1.0.0/16", "10.2.0.0/16")
			r.adopt(bgpHQ())
			r.loop(func() {})
			r.wantGuards()
		})
	})
	t.Run("both are taken down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, first(t), bgpHQ(), bgpLab())
			defer r.stop()
			for _, name := range []string{"hq", "lab"} {
				if err := r.Down(context.Background(), name); err != nil {
					t.Fatal(err)
				}
			}
			r.loop(func() {})
			r.wantGuards()
		})
	})
	t.Run("no BGP any more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, first(t), hq())
			defer r.stop()
			r.wantGuards("10.10.0.0/16")
		})
	})
}

// The host's networks are listed when a session announces them, and again a second after a change.
func TestNetworksAreToldToTheSpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		h.connected, h.kernel = prefixes("192.168.3.0/24"), prefixes("172.16.0.0/16")
		f := &fakeSpeakers{host: h}
		c := bgpHQ()
		c.Tunnels[0].BGP.Announce = prefixes("10.200.0.0/16")
		c.Tunnels[0].BGP.Connected = true
		r := start(t, h, configOf(c), Options{BGP: f.speak})
		defer r.stop()
		s := f.one(t, 0, 1)
		if want := "[192.168.3.0/24] [172.16.0.0/16]"; s.heard().networks != want {
			t.Errorf("got networks %s, want %s", s.heard().networks, want)
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		s.says("hq", "10.1.0.0/16")
		r.wantRoutes("10.1.0.0/16 dev vpngw0 src 192.168.3.1")
		h.mu.Lock()
		h.connected = prefixes("192.168.3.0/24", "192.168.5.0/24")
		h.mu.Unlock()
		for range 20 {
			h.changed()
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if h.listed() != 1 {
			t.Errorf("%d listings before the second is over", h.listed())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if want := "[192.168.3.0/24 192.168.5.0/24] [172.16.0.0/16]"; s.heard().networks != want || h.listed() != 2 {
			t.Errorf("got networks %s after %d listings, want %s after 2", s.heard().networks, h.listed(), want)
		}
		// Nobody asks where no session announces them.
		r.adopt(bgpHQ())
		h.changed()
		time.Sleep(time.Minute)
		synctest.Wait()
		if h.listed() != 2 {
			t.Errorf("%d listings, want 2", h.listed())
		}
	})
}

func TestRoutesSayWhyTheyAreNotInTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		c := bgpHQ()
		c.Tunnels[0].Routes = prefixes("10.10.0.0/16")
		h.foreign[netip.MustParsePrefix("10.1.0.0/16")] = true
		r := start(t, h, configOf(c, lab()), Options{BGP: f.speak})
		defer r.stop()
		show := func(name string) string {
			t.Helper()
			list, err := r.Routes(context.Background(), name)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, s := range list {
				line := fmt.Sprint(s.Tunnel, " ", s.Prefix, " ", strings.Join(s.Sources, "+"))
				if s.Installed {
					line += " in"
				}
				if s.Guarded {
					line += " guarded"
				}
				if s.Code != "" {
					line += " (" + string(s.Code) + ")"
				}
				out = append(out, line)
			}
			return strings.Join(out, "\n")
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		synctest.Wait()
		rep := established("hq", "10.1.0.0/16", "10.2.0.0/16", "10.10.0.0/16")
		rep.Refused = []bgp.Refused{{Prefix: prefixes("100.64.0.0/10")[0], Cause: diag.Cause{Code: "bgp-prefix-refused"}}}
		f.one(t, 0, 1).report(rep)
		synctest.Wait()
		if got, want := show("hq"), `hq 10.1.0.0/16 bgp guarded (route-blocked)
hq 10.2.0.0/16 bgp in guarded
hq 10.10.0.0/16 static+bgp in guarded
hq 100.64.0.0/10 bgp (bgp-prefix-refused)
hq 169.254.1.0/30 inside in`; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		f.one(t, 0, 1).report(lost("hq"))
		synctest.Wait()
		if got, want := show(""), `hq 10.1.0.0/16  guarded (bgp-not-established)
hq 10.2.0.0/16  guarded (bgp-not-established)
hq 10.10.0.0/16 static in guarded
hq 169.254.1.0/30 inside in
lab 10.20.0.0/16 static guarded`; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		r.do(sa.IKEFailed{Peer: r.ike.peers[0], Cause: diag.Cause{Code: diag.IKENotOffered}})
		if got, want := show("lab"), "lab 10.20.0.0/16 static guarded ("+string(diag.IKENotOffered)+")"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if _, err := r.Routes(context.Background(), "none"); err == nil {
			t.Error("there is no such connection, and no error")
		}
	})
}

// `vpngw up` ends the pauses of BGP: the speaker is given its configuration again.
func TestUpEndsThePausesOfBGP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		r := start(t, h, configOf(bgpHQ(), lab()), Options{BGP: f.speak})
		s := f.one(t, 0, 1)
		was := s.saw.changes
		if err := r.Up(t.Context(), "hq"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := f.one(t, 0, 1); s.saw.changes != was+1 || s.saw.config.Group != "hq" {
			t.Errorf("%d changes after `up`, want %d; of %q", s.saw.changes, was+1, s.saw.config.Group)
		}
		r.stop()
	})
}
