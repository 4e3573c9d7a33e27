package tunnel

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
)

// checked is hq with a health check: every 3 s, ill after 3 losses.
func checked(keep bool) Config {
	c := hq()
	c.Tunnel.OwnHealth = &config.Health{Target: addr("10.10.0.1"), Interval: 3 * time.Second, Retries: 3, Ours: true, Keep: keep}
	return c
}

// quiet removes the pings from a trace.
func (s *script) quiet() {
	s.trace = slices.DeleteFunc(s.trace, func(a string) bool { return strings.HasPrefix(a, "ping ") })
}

func TestPingsGoWhileTheTunnelCarries(t *testing.T) {
	s := newScript(t, checked(false))
	s.facts(device("hq"))
	s.wait(10 * time.Second)
	s.trace = nil
	c := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.quiet()
	s.trace = nil
	s.wait(400 * time.Millisecond) // the peer may not have its SA yet
	s.wants()
	s.wait(4 * time.Second)
	s.wants("ping hq 192.168.3.1 -> 10.10.0.1 seq 1", "ping hq 192.168.3.1 -> 10.10.0.1 seq 2")
	s.facts(gone(c))
	s.trace = nil
	s.wait(10 * time.Second)
	s.wants()
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.facts(Held{"hq", true})
	s.trace = nil
	s.wait(10 * time.Second)
	s.wants()
}

func TestIllTunnelLosesItsRoutesAndGetsThemBack(t *testing.T) {
	s := newScript(t, checked(false))
	s.pong = func(Ping) bool { return true }
	s.facts(device("hq"))
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wait(9 * time.Second)
	s.quiet()
	s.trace = nil
	s.pong = nil
	s.wait(12 * time.Second) // lost: those of 9.5, 12.5 and 15.5 s, the last at 18.5 s
	s.quiet()
	s.wants("want dev-hq/1440", "hq: up -> degraded (health-check)")
	if why := s.changed.Cause.String(); why != "10.10.0.1 does not answer: 3 pings in a row through the tunnel were lost; its routes are taken away until it answers" {
		t.Errorf("got %q", why)
	}
	s.wait(9 * time.Minute) // further losses are no news
	s.quiet()
	s.wants()
	s.pong = func(Ping) bool { return true }
	s.wait(15 * time.Second)
	s.quiet()
	s.wants()
	s.wait(2 * time.Second)
	s.quiet()
	s.wants("want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: degraded -> up")
}

func TestIllTunnelKeepsItsRoutesByPolicy(t *testing.T) {
	s := newScript(t, checked(true))
	s.facts(device("hq"))
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.trace = nil
	s.wait(10 * time.Second)
	s.quiet()
	s.wants("hq: up -> degraded (health-check)")
	if why := s.changed.Cause.String(); !strings.HasSuffix(why, "its routes stay, by the check's policy") {
		t.Errorf("got %q", why)
	}
}

// A check in which the peer pings, and one without an address to ping from, ask nothing.
func TestNobodyPingsWithoutReason(t *testing.T) {
	theirs, nowhere := checked(false), checked(false)
	theirs.Tunnel.Health, theirs.Tunnel.OwnHealth = theirs.Tunnel.OwnHealth, nil
	theirs.Tunnel.Health.Ours = false
	nowhere.Tunnel.Local.Subnets = prefixes("192.168.77.0/24")
	for _, c := range []Config{theirs, nowhere} {
		s := newScript(t, c)
		s.facts(device("hq"))
		s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		s.trace = nil
		s.wait(time.Minute)
		s.wants()
	}
}

// An answer with another identifier is not ours, and one of another tunnel neither.
func TestStrangeAnswersSayNothing(t *testing.T) {
	s := newScript(t, checked(false))
	s.facts(device("hq"))
	var last Ping
	s.pong = func(p Ping) bool {
		last = p
		s.Note(s.now, Pong{"hq", p.ID + 1, p.Seq})
		s.Note(s.now, Pong{"lab", p.ID, p.Seq})
		s.Note(s.now, Pong{"hq", p.ID, p.Seq + 1})
		return false
	}
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wait(10 * time.Second)
	s.stands("hq", Degraded, diag.HealthFailed)
	st, _ := s.Status("hq")
	if h := st.Health; h == nil || h.Health != dpd.Ill || h.Count.Answered != 0 || h.Count.Lost != 3 || h.Source != addr("192.168.3.1") || h.Target != last.Target {
		t.Errorf("got %+v", h)
	}
}

// A reload that leaves the check as it is keeps what it found; one that changes its target forgets it.
func TestReloadKeepsWhatTheCheckFound(t *testing.T) {
	for target, want := range map[string]State{"10.10.0.1": Degraded, "10.10.0.2": Up} {
		s := newScript(t, checked(false))
		s.facts(device("hq"))
		s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		s.wait(10 * time.Second)
		next := checked(false)
		next.Tunnel.OwnHealth.Target = addr(target)
		next.From = s.Take("hq")
		s.Group = New(s.now, []Config{next}, s.own, inner)
		s.step()
		if st, _ := s.Status("hq"); st.State != want {
			t.Errorf("target %s: got %s, want %s", target, st.State, want)
		}
	}
}
