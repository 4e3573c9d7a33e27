package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

func withBGP(t *config.Tunnel) { t.BGP = &config.BGP{MaxPrefixes: 1000} }

func preferBGP(t *config.Tunnel) { t.BGP = &config.BGP{MaxPrefixes: 1000, Prefer: config.PreferBGP} }

// spoken is a tunnel with BGP, with the static routes to some networks.
func spoken(static string) Config {
	c := tunnelOf("hq", here, there)
	withBGP(c.Tunnel)
	c.Tunnel.Routes = prefixes(strings.Fields(static)...)
	return c
}

// tells is a complete session that tells prefixes.
func tells(tunnel string, learned ...string) Session {
	return Session{Tunnel: tunnel, Up: true, Complete: true, Routes: prefixes(learned...)}
}

func lostSession(tunnel string) Session {
	return Session{Tunnel: tunnel, Cause: diag.Cause{Code: "bgp-hold-expired"}}
}

func TestWhatThePeerTellsIsRouted(t *testing.T) {
	s := newScript(t, spoken(""))
	s.facts(device("hq"))
	s.trace = nil
	c := s.up("hq", here, there)
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440", "hq reaches its neighbour", "hq: connecting -> up")
	s.facts(tells("hq", "10.1.0.0/16", "10.2.0.0/16"))
	s.wants("want dev-hq/1440 10.1.0.0/16 src 192.168.3.1 10.2.0.0/16 src 192.168.3.1")
	s.guarded("[10.1.0.0/16 10.2.0.0/16]")
	s.facts(tells("hq", "10.2.0.0/16"))
	s.wants("want dev-hq/1440 10.2.0.0/16 src 192.168.3.1")
	s.guarded("[10.2.0.0/16]")
	s.facts(tells("hq", "10.2.0.0/16"))
	s.wants() // the same again
	s.facts(gone(c))
	s.wants("want dev-hq/1440", "hq does not reach its neighbour", "hq: up -> connecting")
	s.guarded("[10.2.0.0/16]")
	s.up("hq", here, there)
	s.wants("want dev-hq/1440 10.2.0.0/16 src 192.168.3.1", "hq reaches its neighbour", "hq: connecting -> up")
}

// The source of our own packets is an address to which the peer has a route by BGP.
func TestSourcesAreInWhatIsAnnounced(t *testing.T) {
	c := spoken("")
	c.Tunnel.Local.Subnets, c.Tunnel.Inside = prefixes("0.0.0.0/0"), prefixes("169.254.1.2/30")[0]
	s := newScript(t, c)
	s.facts(device("hq"), Underlay{[]netip.Addr{addr("203.0.113.9"), addr("10.99.0.1"), addr("192.168.3.1")}})
	s.up("hq", "0.0.0.0/0", "0.0.0.0/0")
	s.trace = nil
	s.facts(tells("hq", "10.1.0.0/16"))
	s.wants("want dev-hq/1440 at 169.254.1.2/30 10.1.0.0/16 src 10.99.0.1")
	f := tells("hq", "10.1.0.0/16")
	f.Announced = prefixes("192.168.0.0/16")
	s.facts(f)
	s.wants("want dev-hq/1440 at 169.254.1.2/30 10.1.0.0/16 src 192.168.3.1")
}

// A prefix keeps its guard until a peer that is heard no longer tells it.
func TestGuardsOutlastTheSession(t *testing.T) {
	for _, c := range []struct {
		name string
		then []Fact
		want string
	}{
		{"the session is lost", []Fact{lostSession("hq")}, "[10.1.0.0/16 10.2.0.0/16]"},
		{"the tunnel has no device", []Fact{Device{"hq", diag.Cause{Code: diag.DeviceGone}}, lostSession("hq")}, "[10.1.0.0/16 10.2.0.0/16]"},
		{"a new session begins", []Fact{lostSession("hq"), Session{Tunnel: "hq", Up: true, Routes: prefixes("10.3.0.0/16")}}, "[10.1.0.0/16 10.2.0.0/16 10.3.0.0/16]"},
		{"a new session is complete", []Fact{lostSession("hq"), tells("hq", "10.2.0.0/16", "10.3.0.0/16")}, "[10.2.0.0/16 10.3.0.0/16]"},
		{"the child starts again", []Fact{Session{Tunnel: "hq", Stale: true, Routes: prefixes("10.1.0.0/16", "10.2.0.0/16")}}, "[10.1.0.0/16 10.2.0.0/16]"},
		{"all is withdrawn", []Fact{tells("hq")}, "[]"},
		{"the operator takes it down", []Fact{Held{"hq", true}}, "[]"},
		{"and the session ends by itself", []Fact{Held{"hq", true}, Session{Tunnel: "hq", Stale: true, Routes: prefixes("10.1.0.0/16")}, lostSession("hq")}, "[]"},
		{"the operator wants it up, as it is", []Fact{lostSession("hq"), Held{"hq", false}}, "[10.1.0.0/16 10.2.0.0/16]"},
		{"taken down and up, with the session there", []Fact{Held{"hq", true}, Held{"hq", false}}, "[10.1.0.0/16 10.2.0.0/16]"},
		{"and what comes then counts no more", []Fact{Held{"hq", true}, lostSession("hq"), Held{"hq", false}}, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, spoken(""))
			s.facts(device("hq"))
			s.up("hq", here, there)
			s.facts(tells("hq", "10.1.0.0/16", "10.2.0.0/16"))
			for _, f := range c.then {
				s.facts(f)
			}
			s.guarded(c.want)
			for _, e := range s.Routes("hq") {
				if !e.Guarded && !e.Learned {
					t.Errorf("%v is listed, and nothing is left of it", e.Prefix)
				}
			}
		})
	}
}

func TestPassGuardsNothingThatIsLearned(t *testing.T) {
	c := spoken("")
	c.Tunnel.Pass = true
	s := newScript(t, c)
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.facts(tells("hq", "10.1.0.0/16"))
	s.guarded("[]")
}

// A peer whose sessions never complete, and that tells other prefixes each time, does not fill the kernel with guards.
func TestGuardsAreBounded(t *testing.T) {
	s := newScript(t, spoken(""))
	s.facts(device("hq"))
	s.up("hq", here, there)
	for i := range 20 {
		var ps []netip.Prefix
		for j := range 500 {
			ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j / 256), byte(j)}), 32))
		}
		s.facts(Session{Tunnel: "hq", Up: true, Routes: ps}, lostSession("hq"))
		if n := len(s.want.Guards); n > 2000 {
			t.Fatalf("%d guards after %d sessions", n, i+1)
		}
		for _, p := range ps {
			if !slices.Contains(s.want.Guards, Guard{Prefix: p}) {
				t.Fatalf("%v was routed last, and has no guard", p)
			}
		}
	}
}

// A tunnel that has only learned routes is degraded while its session is missing; one with static routes carries packets.
func TestAMissingSessionIsTold(t *testing.T) {
	for _, c := range []struct {
		static string
		state  State
	}{{"", Degraded}, {there, Up}} {
		s := newScript(t, spoken(c.static))
		s.facts(device("hq"))
		tun := s.up("hq", here, there)
		s.stands("hq", Up, "")
		s.wait(10*time.Second - time.Nanosecond)
		s.stands("hq", Up, "")
		s.wait(time.Nanosecond)
		s.stands("hq", c.state, diag.BGPWaits)
		s.facts(tells("hq", "10.1.0.0/16"))
		s.stands("hq", Up, "")
		s.facts(lostSession("hq"))
		s.stands("hq", c.state, diag.BGPWaits)
		if !s.changed.Cause.Because[0].Is("bgp-hold-expired") {
			t.Errorf("the cause does not say why: %v", s.changed.Cause)
		}
		s.facts(gone(tun))
		s.stands("hq", Connecting, "")
		s.up("hq", here, there)
		s.stands("hq", Up, "") // it has its time again
	}
}

// The child that speaks starts again: its routes and the tunnel's state stay.
func TestStaleRoutesStay(t *testing.T) {
	s := newScript(t, spoken(""))
	s.facts(device("hq"))
	c := s.up("hq", here, there)
	s.facts(tells("hq", "10.1.0.0/16"))
	s.trace = nil
	s.facts(Session{Tunnel: "hq", Stale: true, Routes: prefixes("10.1.0.0/16")})
	s.wait(time.Minute)
	s.wants()
	s.facts(gone(c)) // not while the tunnel is down
	s.wants("want dev-hq/1440", "hq does not reach its neighbour", "hq: up -> connecting")
}

func TestIllHealthTakesLearnedRoutesAway(t *testing.T) {
	for _, keep := range []bool{false, true} {
		c := checked(keep)
		withBGP(c.Tunnel)
		s := newScript(t, c)
		s.pong = func(Ping) bool { return true }
		s.facts(device("hq"))
		s.up("hq", here, there)
		s.facts(tells("hq", "10.1.0.0/16"))
		s.wait(9 * time.Second)
		s.trace, s.pong = nil, nil
		s.wait(12 * time.Second)
		s.quiet()
		want := []string{"want dev-hq/1440", "hq does not reach its neighbour", "hq: up -> degraded (health-check)"}
		if keep {
			want = []string{"hq: up -> degraded (health-check)"}
		}
		s.wants(want...)
		s.guarded("[10.1.0.0/16 10.10.0.0/16]")
	}
}

// carried lists which tunnel has which route: "a 10.1.0.0/16 b 10.2.0.0/16".
func (d *duo) carried() string {
	var out []string
	for _, s := range d.want.Devices {
		for _, r := range s.Routes {
			out = append(out, s.Tunnel+" "+r.Prefix.String())
		}
	}
	return strings.Join(out, " ")
}

// The traffic goes where the session is. New routes are in the kernel before the old ones go: both are in one Want.
func TestSessionsMoveTheTraffic(t *testing.T) {
	d := newDuo(t, auto(), withBGP)
	d.turn("+a", "+b")
	d.facts(tells("a", "10.1.0.0/16", "10.2.0.0/16"), tells("b", "10.2.0.0/16", "10.3.0.0/16"))
	if got := d.carried(); got != "a 10.10.0.0/16 a 10.1.0.0/16 a 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("got %s", got)
	}
	d.trace = nil
	d.facts(lostSession("a"))
	d.wants("a -> b (failover)",
		"want dev-a/1440 dev-b/1440 10.10.0.0/16 src 192.168.3.1 10.2.0.0/16 src 192.168.3.1 10.3.0.0/16 src 192.168.3.1",
		"a: up -> up (bgp-not-established)")
	d.guarded("[10.1.0.0/16 10.2.0.0/16 10.3.0.0/16 10.10.0.0/16]")

	// Back when the session has been there for the hold.
	d.wait(time.Hour)
	d.facts(tells("a", "10.1.0.0/16", "10.2.0.0/16"))
	if got := d.carried(); got != "a 10.1.0.0/16 b 10.10.0.0/16 b 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("got %s", got)
	}
	d.wait(30*time.Second - time.Nanosecond)
	d.trace = nil
	d.wait(time.Nanosecond)
	d.wants("b -> a (failback)",
		"want dev-a/1440 10.10.0.0/16 src 192.168.3.1 10.1.0.0/16 src 192.168.3.1 10.2.0.0/16 src 192.168.3.1 dev-b/1440 10.3.0.0/16 src 192.168.3.1")
}

// With `balance:` what both peers tell has a next hop in each tunnel, and a tunnel whose session is lost leaves.
func TestTunnelsShareWhatBothSessionsTell(t *testing.T) {
	d := newDuo(t, both(), withBGP)
	d.turn("+a", "+b")
	d.facts(tells("a", "10.1.0.0/16", "10.2.0.0/16"), tells("b", "10.2.0.0/16", "10.3.0.0/16"))
	if got := d.carried(); got != "a 10.10.0.0/16 a 10.1.0.0/16 a 10.2.0.0/16 b 10.10.0.0/16 b 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("got %s", got)
	}
	d.facts(lostSession("a"))
	if got := d.carried(); got != "b 10.10.0.0/16 b 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("without the session of a: %s", got)
	}
	d.wait(time.Minute)
	d.facts(tells("a", "10.2.0.0/16"))
	d.wait(30*time.Second - time.Nanosecond)
	if got := d.carried(); got != "b 10.10.0.0/16 b 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("before the hold is over: %s", got)
	}
	d.wait(time.Nanosecond)
	if got := d.carried(); got != "a 10.10.0.0/16 a 10.2.0.0/16 b 10.10.0.0/16 b 10.2.0.0/16 b 10.3.0.0/16" {
		t.Errorf("after the hold: %s", got)
	}
}

func TestWhichTunnelHasTheSessionsTraffic(t *testing.T) {
	for _, c := range []struct {
		name  string
		story string // as in TestWhoCarriesTheTraffic, and "ua" a's session is up, "da" down, "sa" stale
		moves string
		last  string
	}{
		{"no session ever", "+a +b 1h", "", "a"},
		{"no session ever, and the tunnel is lost", "+a +b 1h -a", "a -> b (failover)", "b"},
		{"no session any more", "+a +b ua ub db da 1h", "", "a"},
		{"the second one goes first", "+a +b ua ub da db 1h", "a -> b (failover)", "b"},
		{"the standby's is up first", "+a +b ub 9s ua 1h", "", "a"},
		{"the active one's does not come", "+a +b ub 10s", "a -> b (failover)", "b"},
		{"the active one's comes late", "+a +b ub 10s ua 29s", "a -> b (failover)", "b"},
		{"and is well then", "+a +b ub 10s ua 31s", "a -> b (failover), b -> a (failback)", "a"},
		{"no way back without a session", "+a +b ua ub -a da +a 1h", "a -> b (failover)", "b"},
		{"the hold begins with the session", "+a +b ua ub -a da +a 29s ua 29s", "a -> b (failover)", "b"},
		{"no way back when the other's session is lost too", "+a +b ua ub -a da +a db 1h", "a -> b (failover)", "b"},
		{"back when the session has come", "+a +b ua ub -a da +a db 1h ua 31s", "a -> b (failover), b -> a (failover)", "a"},
		{"where no session ever came, back as without BGP", "+a +b -a +a 31s", "a -> b (failover), b -> a (failback)", "a"},
		{"without sessions, but not into the void", "+a +b ua ub da db -b", "a -> b (failover), b -> a (failover)", "a"},
		{"the child starts again", "+a +b ua ub sa sb ub 20s ua 1h", "", "a"},
		{"the other's session does not help where it has no SA", "+a +b ua ub -b da 1h", "", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, auto(), withBGP)
			for _, step := range strings.Fields(c.story) {
				switch step[0] {
				case '+', '-':
					d.turn(step)
				case 'u':
					d.facts(tells(step[1:], "10.1.0.0/16"))
				case 'd':
					d.facts(lostSession(step[1:]))
				case 's':
					d.facts(Session{Tunnel: step[1:], Stale: true, Routes: prefixes("10.1.0.0/16")})
				default:
					s, _ := time.ParseDuration(step)
					d.wait(s)
				}
			}
			if got := d.moves(); got != c.moves {
				t.Errorf("got moves %q, want %q", got, c.moves)
			}
			if st, _ := d.Status(c.last); !st.Active {
				t.Errorf("tunnel %s is not the active one", c.last)
			}
		})
	}
}

// An operator cannot move the traffic to a tunnel without a session while the other has one that works.
func TestAnOperatorsMoveNeedsASession(t *testing.T) {
	d := newDuo(t, auto(), withBGP)
	d.turn("+a", "+b")
	d.facts(tells("a", "10.1.0.0/16"))
	if err := d.Switch(false); err == nil || !strings.Contains(err.Error(), "there is no BGP session") {
		t.Errorf("got %v", err)
	}
	d.facts(tells("b", "10.1.0.0/16"))
	d.turn("-b")
	d.facts(lostSession("a"))
	if err := d.Switch(true); err != nil { // b's session is only not over yet
		t.Errorf("got %v", err)
	}
}

func TestStaticAndLearnedRoutes(t *testing.T) {
	const both = "10.10.0.0/16"
	for _, c := range []struct {
		name             string
		bgp              func(*config.Tunnel)
		staticA, staticB string
		a, b             string // learned
		down             bool   // tunnel a
		want             string
	}{
		{"static by the configuration", withBGP, both, both, "", both, false, "a " + both},
		{"BGP by the configuration", preferBGP, both, both, "", both, false, "b " + both},
		{"the standby's static route", withBGP, "", both, both, "", false, "b " + both},
		{"the active one's learned route", preferBGP, "", both, both, "", false, "a " + both},
		{"both, in both", preferBGP, both, both, both, both, false, "a " + both},
		{"a static route of a tunnel that is down gives way", withBGP, both, "", "", both, true, "b " + both},
		{"a static route alone stays", withBGP, both, "", "", "10.1.0.0/16", true, "a " + both + " b 10.1.0.0/16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, auto(), c.bgp)
			for name, static := range map[string]string{"a": c.staticA, "b": c.staticB} {
				d.find(name).Tunnel.Routes = prefixes(strings.Fields(static)...)
			}
			d.turn("+a", "+b")
			d.facts(tells("a", strings.Fields(c.a)...), tells("b", strings.Fields(c.b)...))
			if c.down {
				d.turn("-a")
			}
			if got := d.carried(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A change of the configuration keeps what the session told, and tells the neighbour's state again; without BGP all goes.
func TestSessionsOutlastAChange(t *testing.T) {
	s := newScript(t, spoken(""))
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.facts(tells("hq", "10.1.0.0/16"))
	next := func(c Config) {
		c.From = s.Take("hq")
		s.Group = New(s.now, []Config{c}, s.own, inner)
		s.trace = nil
		s.step()
	}
	next(spoken(""))
	s.wants("measure 198.51.100.1", "want dev-hq/1440 10.1.0.0/16 src 192.168.3.1", "hq reaches its neighbour")
	next(tunnelOf("hq", here, there))
	s.wants("measure 198.51.100.1", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1")
	s.guarded("[10.10.0.0/16]")
	s.facts(tells("hq", "10.1.0.0/16"))
	s.wants()
}

func TestRoutesSayWhereTheyAre(t *testing.T) {
	d := newDuo(t, auto(), withBGP)
	d.turn("+a", "+b")
	d.facts(tells("a", "10.1.0.0/16", "10.2.0.0/16"), tells("b", "10.1.0.0/16", "10.3.0.0/16"))
	d.facts(Session{Tunnel: "b", Up: true, Routes: prefixes("10.3.0.0/16")})
	show := func(tunnel string) string {
		var out []string
		for _, e := range d.Routes(tunnel) {
			s := e.Prefix.String()
			for word, is := range map[string]bool{" static": e.Static, " in": e.Wanted} {
				if is {
					s += word
				}
			}
			if e.Learned {
				s += " bgp"
			}
			if e.On != "" {
				s += " on " + e.On
			}
			if !e.Why.OK() {
				s += " (" + string(e.Why.Code) + ")"
			}
			if !e.Guarded {
				s += " unguarded"
			}
			out = append(out, strings.ReplaceAll(s, " in static", " static in"))
		}
		return strings.Join(out, ", ")
	}
	if got, want := show("a"), "10.1.0.0/16 in bgp, 10.2.0.0/16 in bgp, 10.10.0.0/16 static in"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := show("b"), "10.1.0.0/16 on a, 10.3.0.0/16 in bgp, 10.10.0.0/16 static on a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.facts(lostSession("b"))
	if got, want := show("b"), "10.1.0.0/16 on a, 10.3.0.0/16 (bgp-not-established), 10.10.0.0/16 static on a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func many(n int) []netip.Prefix {
	var ps []netip.Prefix
	for i := range n {
		ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	return ps
}

// BenchmarkTenThousandRoutes is what a Group of two tunnels that both learned 10 000 routes does with a fact that changes
// none of them, and with one that changes one.
func BenchmarkTenThousandRoutes(b *testing.B) {
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%v", changed), func(b *testing.B) {
			a, z := tunnelOf("a", here, there), tunnelOf("b", here, there)
			a.Tunnel.Role, z.Tunnel.Role = config.Active, config.Standby
			withBGP(a.Tunnel)
			withBGP(z.Tunnel)
			g := New(time.Unix(0, 0), []Config{a, z}, []netip.Addr{addr("192.168.3.1")}, inner)
			s := &script{Group: g, now: time.Unix(0, 0), mtu: 1500}
			note := func(fs ...Fact) {
				for _, f := range fs {
					g.Note(s.now, f)
				}
				for range 8 {
					g.Advance(s.now)
					for act := g.Next(); act != nil; act = g.Next() {
						switch act := act.(type) {
						case Want:
							g.Note(s.now, Applied{})
						case Measure:
							g.Note(s.now, PathMTU{act.Remote, 1500})
						}
					}
				}
			}
			ps := many(10_000)
			note(device("a"), device("b"))
			for _, name := range []string{"a", "b"} {
				note(installed(s.child(name, here, there))...)
				note(Session{Tunnel: name, Up: true, Complete: true, Routes: ps})
			}
			other := slices.Concat(ps[:5000], ps[5001:])
			b.ResetTimer()
			for i := range b.N {
				is := ps
				if changed && i%2 == 0 {
					is = other
				}
				note(Session{Tunnel: "a", Up: true, Complete: true, Routes: is})
			}
		})
	}
}
