package bgp

import (
	"strings"
	"testing"
	"time"

	"vpngw/diag"
)

func TestSessionComesUp(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.want(w.do(), "start", "tell +10.66.0.0/16") // nobody dials into a tunnel that is down
	w.now = w.now.Add(5 * time.Second)
	w.want(w.do(reachable{"t1", true}), "add t1")
	w.do(peerIs{tunnel: "t1", state: Idle}) // GoBGP begins so
	w.do(networks{}, said{"t1", diag.Cause{Code: diag.BGPNoAnswer}})
	if got := w.reports["t1"].State; got != Connecting {
		t.Errorf("it is %s", got)
	}
	w.establish("t1", 0, "10.2.0.0/16", "10.1.0.0/16")
	w.want(w.do())
	r := w.reports["t1"]
	if r.State != Established || !r.Since.Equal(w.now) || r.Hold != 9*time.Second || r.Complete || r.In != 2 || r.Out != 1 || len(r.Announced) != 1 {
		t.Errorf("report %+v", r)
	}
	w.has("t1", "10.1.0.0/16 10.2.0.0/16")
	w.do(endOfRIB{"t1"})
	if !w.reports["t1"].Complete {
		t.Error("not complete after End-of-RIB")
	}
	w.do(w.told("t1", "-10.1.0.0/16"))
	w.has("t1", "10.2.0.0/16")
}

// The child's news of a session and of its routes may cross.
func TestRoutesBeforeTheSession(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	w.do(w.told("t1", "10.9.0.0/16"))
	w.do(peerIs{tunnel: "t1", state: Opening}, w.told("t1", "10.8.0.0/16"), peerIs{tunnel: "t1", state: Idle})
	w.do(peerIs{tunnel: "t1", state: Opening}, w.told("t1", "10.1.0.0/16"))
	w.has("t1", "")
	for range 100 {
		w.do(w.told("t1", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16",
			"10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16"))
	}
	if n := len(w.k.find("t1").early); n != 1040 {
		t.Errorf("%d routes wait for the session", n)
	}
	w.do(peerIs{tunnel: "t1", state: Established})
	w.has("t1", "10.1.0.0/16 10.2.0.0/16 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16 10.6.0.0/16 10.7.0.0/16")
}

func TestPassiveIsThereBefore(t *testing.T) {
	s := plain("t1", 10)
	s.Passive = true
	w := newScript(t, group(s))
	w.want(w.do(), "start", "tell +10.66.0.0/16", "add t1")
	w.do(peerIs{tunnel: "t1", state: Idle})
	w.want(w.pass(4*time.Second), "3s delete t1", "3s add t1") // the child has not taken it
	w.want(w.do(peerIs{tunnel: "t1", state: Connecting}))
	if got := w.reports["t1"].State; got != Idle {
		t.Errorf("through a tunnel that is down it is %s", got)
	}
	w.want(w.do(reachable{"t1", true}))
	if got := w.reports["t1"].State; got != Connecting {
		t.Errorf("it is %s", got)
	}
	w.want(w.pass(time.Hour)) // the peer has to begin
	w.do(peerIs{tunnel: "t1", state: Opening})
	w.want(w.do(peerIs{tunnel: "t1", state: Idle}))
	w.want(w.pass(time.Second), "250ms delete t1", "250ms add t1")
}

func TestPeerThatIsNotReachedIsAddedAgain(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	w.do(peerIs{tunnel: "t1", state: Idle}, peerIs{tunnel: "t1", state: Connecting})
	w.want(w.do(reachable{"t1", true}))     // it is no news
	w.want(w.pass(2999 * time.Millisecond)) // GoBGP may take 2 s for its first try
	w.want(w.pass(time.Millisecond), "1ms delete t1", "1ms add t1")
	w.do(peerIs{tunnel: "t1", state: Connecting})
	w.want(w.pass(10*time.Second), "6s delete t1", "6s add t1")
	for range 5 {
		w.pass(time.Minute)
	}
	if d := w.k.session("t1").retryAt.Sub(w.now); d > maxPatience {
		t.Errorf("it waits for %v", d)
	}
	// A tunnel that comes up again is news.
	w.want(w.do(reachable{"t1", false}), "delete t1")
	w.want(w.pass(time.Minute))
	w.want(w.do(reachable{"t1", true}), "add t1")
	w.want(w.pass(4*time.Second), "3s delete t1", "3s add t1")
}

func (k *keeper) session(tunnel string) *session { return k.find(tunnel) }

// Two ends that both connect: both connections are closed, and both ends are idle at the same time. They must not meet again.
func TestCollisionIsBrokenByJitter(t *testing.T) {
	var at []time.Duration
	for _, r := range []float64{0, 0.999} {
		w := newScript(t, group(plain("t1", 10)))
		w.k.random = func() float64 { return r }
		w.do(reachable{"t1", true})
		w.do(peerIs{tunnel: "t1", state: Connecting}, peerIs{tunnel: "t1", state: Opening})
		w.want(w.do(peerIs{tunnel: "t1", state: Idle}))
		at = append(at, w.k.deadline().Sub(w.now))
		w.pass(time.Second)
		if w.k.find("t1").state != Idle || !w.k.find("t1").added {
			t.Error("it is not added again within a second")
		}
	}
	if at[1]-at[0] < 100*time.Millisecond {
		t.Errorf("ends begin again at %v", at)
	}
}

func TestIdleBacksOff(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	var got []time.Duration
	for range 5 {
		w.do(peerIs{tunnel: "t1", state: Connecting}, peerIs{tunnel: "t1", state: Opening}, peerIs{tunnel: "t1", state: Idle})
		got = append(got, w.k.find("t1").retryAt.Sub(w.now))
		w.pass(got[len(got)-1])
	}
	for i, d := range got {
		if d != 250*time.Millisecond<<i {
			t.Fatalf("it begins again after %v", got)
		}
	}
	// After a session that stood it begins quickly again.
	w.establish("t1", 0)
	w.pass(time.Minute)
	w.do(peerIs{tunnel: "t1", state: Idle})
	if d := w.k.find("t1").retryAt.Sub(w.now); d != 250*time.Millisecond {
		t.Errorf("after a steady session it begins again after %v", d)
	}
}

func TestOpeningForTooLong(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	w.do(peerIs{tunnel: "t1", state: Connecting}, peerIs{tunnel: "t1", state: Opening})
	w.want(w.pass(6*time.Second), "5s delete t1", "5s add t1")
}

func TestTunnelLostAndBack(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.up("t1", "10.1.0.0/16")
	w.do()
	w.want(w.do(reachable{"t1", false})) // left to its hold timer
	w.want(w.do(reachable{"t1", true}))  // established: it stays
	w.has("t1", "10.1.0.0/16")
	w.do(reachable{"t1", false})
	w.want(w.do(said{"t1", diag.Cause{Code: diag.BGPHold}}, peerIs{tunnel: "t1", state: Idle}),
		"event t1 bgp-down because bgp-hold-expired", "delete t1")
	w.has("t1", "")
	w.want(w.pass(time.Hour))
	w.want(w.do(reachable{"t1", true}), "add t1")
	if r := w.reports["t1"]; r.Flaps != 1 || !r.Last.Is(diag.BGPDown) || !r.Last.Because[0].Is(diag.BGPHold) {
		t.Errorf("report %+v", r)
	}
}

func TestReasons(t *testing.T) {
	why := diag.Cause{Code: diag.BGPNotification, Notify: "cease"}
	for _, c := range []struct {
		name string
		do   func(w *script) []string
		want string
	}{
		{"before the end", func(w *script) []string { return w.do(said{"t1", why}, peerIs{tunnel: "t1", state: Idle}) }, "event t1 bgp-down because bgp-notification"},
		{"after the end", func(w *script) []string {
			w.want(w.do(peerIs{tunnel: "t1", state: Idle}))
			w.want(w.pass(100 * time.Millisecond))
			return w.do(said{"t1", why})
		}, "event t1 bgp-down because bgp-notification"},
		{"long before", func(w *script) []string {
			w.do(said{"t1", why})
			w.pass(6 * time.Second)
			w.do(peerIs{tunnel: "t1", state: Idle})
			return w.pass(reasonWait)[2:]
		}, "500ms event t1 bgp-down"},
		{"never", func(w *script) []string {
			w.do(peerIs{tunnel: "t1", state: Idle})
			return w.pass(reasonWait)[2:]
		}, "500ms event t1 bgp-down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newScript(t, group(plain("t1", 10)))
			w.up("t1", "10.1.0.0/16")
			w.do()
			w.want(c.do(w), c.want)
			for _, s := range w.pass(time.Second) {
				if strings.Contains(s, "event") {
					t.Errorf("another: %s", s)
				}
			}
			if r := w.reports["t1"]; !r.Last.Is(diag.BGPDown) || r.Flaps != 1 {
				t.Errorf("last %v, %d flaps", r.Last, r.Flaps)
			}
		})
	}
}

// Why a session does not come up is an event once, and what the session says.
func TestReasonBeforeASession(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	w.want(w.do(said{"t1", diag.Cause{Code: diag.BGPAS}}), "event t1 bgp-as-mismatch")
	w.want(w.do(said{"t1", diag.Cause{Code: diag.BGPAS}}))
	if got := w.reports["t1"].Last; !got.Is(diag.BGPAS) {
		t.Errorf("last %v", got)
	}
	w.up("t1")
	if got := w.reports["t1"].Last; !got.OK() {
		t.Errorf("established, and says %v", got)
	}
	w.do()
	w.want(w.do(said{"t1", diag.Cause{Code: diag.BGPFamily}}), "event t1 "+string(diag.BGPFamily))
}

func TestChildDeathKeepsRoutes(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.up("t1", "10.1.0.0/16", "10.2.0.0/16")
	w.do()
	since := w.reports["t1"].Routes[0].Since
	w.pass(time.Second)
	w.want(w.do(because(diag.BGPChildDied)), "event t1 bgp-down because bgp-child-died", "event bgp-child-died", "start", "tell +10.66.0.0/16", "add t1")
	w.has("t1", "10.1.0.0/16 10.2.0.0/16")
	if r := w.reports["t1"]; !r.Stale || r.Complete || r.State == Established {
		t.Errorf("report %+v", r)
	}
	w.pass(2 * time.Second)
	w.establish("t1", 0, "10.1.0.0/16", "10.3.0.0/16")
	w.has("t1", "10.1.0.0/16 10.2.0.0/16 10.3.0.0/16")
	w.do(endOfRIB{"t1"})
	w.has("t1", "10.1.0.0/16 10.3.0.0/16")
	if r := w.reports["t1"]; r.Stale || !r.Routes[0].Since.Equal(since) || r.In != 2 {
		t.Errorf("report %+v", r)
	}
}

func TestStaleRoutesEnd(t *testing.T) {
	graceful := plain("t1", 10)
	graceful.Graceful = true
	hold, note := said{"t1", diag.Cause{Code: diag.BGPHold}}, said{"t1", diag.Cause{Code: diag.BGPNotification}}
	idle := peerIs{tunnel: "t1", state: Idle}
	for _, c := range []struct {
		name    string
		with    Session
		restart time.Duration
		facts   []fact
		stay    time.Duration
	}{
		{"the child, and no session again", plain("t1", 10), 0, []fact{because(diag.BGPChildDied)}, 30 * time.Second},
		{"the child, with the tunnel down", plain("t1", 10), 0, []fact{reachable{"t1", false}, because(diag.BGPChildDied)}, 0},
		{"the child, then the tunnel", plain("t1", 10), 0, []fact{because(diag.BGPChildDied), reachable{"t1", false}}, 0},
		{"the child, three times", plain("t1", 10), 0, []fact{because(diag.BGPChildDied), started{}, because(diag.BGPChildDied), because(diag.BGPChildDied)}, 30 * time.Second},
		{"the peer, not graceful here", plain("t1", 10), 120 * time.Second, []fact{idle}, 0},
		{"the peer, not graceful there", graceful, 0, []fact{idle}, 0},
		{"the peer restarts", graceful, 120 * time.Second, []fact{idle}, 120 * time.Second},
		{"the peer asks for long", graceful, 4095 * time.Second, []fact{idle}, 5 * time.Minute},
		{"the peer is silent", graceful, 120 * time.Second, []fact{hold, idle}, 0},
		{"the peer was silent, as we hear later", graceful, 120 * time.Second, []fact{idle, hold}, 0},
		{"the peer ends it", graceful, 120 * time.Second, []fact{note, idle}, 0},
		{"the peer restarts, and the tunnel is ill", graceful, 120 * time.Second, []fact{idle, reachable{"t1", false}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newScript(t, group(c.with))
			w.do(reachable{"t1", true})
			w.establish("t1", c.restart, "10.1.0.0/16")
			w.do(endOfRIB{"t1"})
			w.do(c.facts...)
			if c.stay > 0 {
				w.pass(c.stay - 1)
				w.has("t1", "10.1.0.0/16")
				if !w.reports["t1"].Stale {
					t.Error("not stale")
				}
				w.pass(1)
			}
			w.has("t1", "")
			if w.reports["t1"].Stale {
				t.Error("still stale")
			}
		})
	}
}

// A session that ends again before it is complete doesn't give the old routes more time.
func TestStaleRoutesDoNotStayForLonger(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.up("t1", "10.1.0.0/16")
	w.do(because(diag.BGPChildDied))
	w.pass(20 * time.Second)
	w.establish("t1", 0, "10.2.0.0/16")
	w.do(because(diag.BGPChildDied))
	w.pass(10*time.Second - 1)
	w.has("t1", "10.1.0.0/16 10.2.0.0/16")
	w.pass(1)
	w.has("t1", "")
}

func TestCompleteWithoutEndOfRIB(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do(reachable{"t1", true})
	w.establish("t1", 0, "10.1.0.0/16")
	w.pass(30*time.Second - 1)
	if w.reports["t1"].Complete {
		t.Error("complete too early")
	}
	w.pass(1)
	if !w.reports["t1"].Complete {
		t.Error("not complete after 30 s")
	}
}

func TestChangeOfASession(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Session)
		want   []string
		routes string
	}{
		{"nothing", func(s *Session) {}, nil, "10.1.0.0/16 10.2.0.0/16"},
		{"hold", func(s *Session) { s.Hold = time.Minute }, []string{"event t1 bgp-down because config-changed", "delete t1", "add t1"}, "10.1.0.0/16 10.2.0.0/16"},
		{"the peer's AS", func(s *Session) { s.RemoteASN = 7 }, []string{"event t1 bgp-down because config-changed", "delete t1", "add t1"}, ""},
		{"announce", func(s *Session) { s.Announce = parsePrefixes("10.67.0.0/16") }, []string{"tell +10.67.0.0/16 -10.66.0.0/16"}, "10.1.0.0/16 10.2.0.0/16"},
		{"accept", func(s *Session) { s.Accept = parsePrefixes("10.1.0.0/16") }, []string{"event t1 bgp-prefix-refused"}, "10.1.0.0/16"},
		{"limit", func(s *Session) { s.MaxPrefixes = 1 }, []string{"event t1 bgp-limit"}, "10.1.0.0/16"},
		{"MED", func(s *Session) { s.MED = 100 }, []string{"export t1 med 100"}, "10.1.0.0/16 10.2.0.0/16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newScript(t, group(plain("t1", 10)))
			w.up("t1", "10.2.0.0/16", "10.1.0.0/16")
			w.do()
			s := plain("t1", 10)
			c.change(&s)
			since := w.now
			w.pass(time.Second)
			w.k.change(w.now, group(s))
			w.want(w.do(), c.want...)
			w.has("t1", c.routes)
			for _, l := range w.reports["t1"].Routes {
				if !l.Since.Equal(since) {
					t.Errorf("%v is young again", l.Prefix)
				}
			}
			if n := w.reports["t1"].Flaps; n != 0 {
				t.Errorf("%d flaps by our own doing", n)
			}
		})
	}
	t.Run("removed", func(t *testing.T) {
		two := plain("t2", 11)
		two.Local = plain("t1", 10).Local
		w := newScript(t, group(plain("t1", 10), two))
		w.up("t1", "10.1.0.0/16")
		w.do()
		w.k.change(w.now, group(two))
		w.want(w.do(), "delete t1")
		w.has("t1", "")
	})
	t.Run("wider again", func(t *testing.T) {
		s := plain("t1", 10)
		s.Accept = parsePrefixes("10.1.0.0/16")
		w := newScript(t, group(s))
		w.up("t1", "10.2.0.0/16", "10.1.0.0/16")
		w.k.change(w.now, group(plain("t1", 10)))
		w.do()
		w.has("t1", "10.1.0.0/16 10.2.0.0/16")
	})
	t.Run("wider, but not all was kept", func(t *testing.T) {
		s := plain("t1", 10)
		s.MaxPrefixes, s.Accept = 0, parsePrefixes("10.1.0.0/16")
		w := newScript(t, group(s))
		w.up("t1", "10.1.0.0/16")
		feed(w, manyRoutes(6000, s.Remote)) // the default limit is 1000, so 5000 are kept
		if r := w.reports["t1"]; r.RefusedN != 6000 || w.k.find("t1").rib.beyond != 1000 {
			t.Errorf("%d refused, %d not kept", r.RefusedN, w.k.find("t1").rib.beyond)
		}
		w.do()
		s.Accept = nil
		w.k.change(w.now, group(s))
		w.want(w.do(), "event t1 bgp-down because config-changed", "delete t1", "add t1")
		w.has("t1", "10.1.0.0/16"+w.routes("t1")[len("10.1.0.0/16"):])
	})
}
