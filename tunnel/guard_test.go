package tunnel

import (
	"fmt"
	"testing"

	"vpngw/config"
)

// guarded compares the guards of the last Want.
func (s *script) guarded(want string) {
	s.t.Helper()
	var list []string
	for _, g := range s.want.Guards {
		list = append(list, g.Prefix.String())
		if g.Metric != 0 {
			list = append(list, fmt.Sprint("metric ", g.Metric))
		}
	}
	if got := fmt.Sprint(list); got != want {
		s.t.Errorf("got guards %s, want %s", got, want)
	}
}

// What a tunnel's routes cover is guarded before there is a device and after it is lost, until the operator takes
// the tunnel down.
func TestRoutesAreGuardedFromTheStart(t *testing.T) {
	s := newScript(t, hq())
	s.guarded("[10.10.0.0/16]")
	s.facts(device("hq"))
	c := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.guarded("[10.10.0.0/16]")
	s.facts(gone(c))
	s.guarded("[10.10.0.0/16]")
	s.facts(Held{"hq", true})
	s.guarded("[]")
	s.facts(Held{"hq", false})
	s.guarded("[10.10.0.0/16]")
}

func TestPassGuardsNothing(t *testing.T) {
	c := hq()
	c.Tunnel.Pass = true
	s := newScript(t, c)
	s.facts(device("hq"))
	s.trace = nil
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: connecting -> up")
	s.guarded("[]")
}

// The guards of a group are those of all its tunnels that are wanted.
func TestAGroupGuardsForAllItsTunnels(t *testing.T) {
	active, standby := tunnelOf("a", "192.168.3.0/24", "10.10.0.0/16 10.11.0.0/16"), tunnelOf("b", "192.168.3.0/24", "10.11.0.0/16 10.12.0.0/16")
	active.Tunnel.Role, standby.Tunnel.Role = config.Active, config.Standby
	s := newScript(t, active, standby)
	s.guarded("[10.10.0.0/16 10.11.0.0/16 10.12.0.0/16]")
	s.facts(device("a"), device("b"), Held{"a", true})
	s.guarded("[10.11.0.0/16 10.12.0.0/16]")
	if got := fmt.Sprint(standby.Tunnel.Routes, active.Tunnel.Routes); got != "[10.11.0.0/16 10.12.0.0/16] [10.10.0.0/16 10.11.0.0/16]" {
		t.Errorf("the configuration has changed: %s", got)
	}
}

// The traffic moves between tunnels of different metrics, and a guard has the worst one of those whose prefix it is.
func TestTunnelsOfDifferentMetrics(t *testing.T) {
	active, standby := tunnelOf("a", "192.168.3.0/24", "10.10.0.0/16 10.11.0.0/16"), tunnelOf("b", "192.168.3.0/24", "10.11.0.0/16 10.12.0.0/16")
	active.Tunnel.Role, standby.Tunnel.Role = config.Active, config.Standby
	active.Tunnel.Metric, standby.Tunnel.Metric = 100, 200
	active.Conn.Switching, standby.Conn.Switching = auto(), auto()
	s := newScript(t, active, standby)
	const both = "[10.10.0.0/16 metric 100 10.11.0.0/16 metric 200 10.12.0.0/16 metric 200]"
	s.guarded(both)
	s.facts(device("a"), device("b"))
	a := s.up("a", "192.168.3.0/24", "10.10.0.0/16 10.11.0.0/16")
	s.up("b", "192.168.3.0/24", "10.11.0.0/16 10.12.0.0/16")
	s.trace = nil
	s.facts(gone(a))
	s.guarded(both)
	s.wants("a -> b (failover)", "want dev-a/1440 metric 100 10.10.0.0/16 src 192.168.3.1 dev-b/1440 metric 200 10.11.0.0/16 src 192.168.3.1 10.12.0.0/16 src 192.168.3.1", "a: up -> connecting")
	s.facts(Held{"b", true})
	s.guarded("[10.10.0.0/16 metric 100 10.11.0.0/16 metric 100]")
}
