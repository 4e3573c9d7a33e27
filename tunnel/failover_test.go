package tunnel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ipsec"
)

const here, there = "192.168.3.0/24", "10.10.0.0/16"

// duo drives the two tunnels a and b of a Group, which begins with neither up.
type duo struct {
	*script
	sas map[string]*ipsec.ChildSA
}

func newDuo(t *testing.T, how config.Switching, change ...func(*config.Tunnel)) *duo {
	a, b := tunnelOf("a", here, there), tunnelOf("b", here, there)
	a.Tunnel.Role, b.Tunnel.Role = config.Active, config.Standby
	for _, c := range []Config{a, b} {
		c.Conn.Switching = how
		for _, f := range change {
			f(c.Tunnel)
		}
	}
	d := &duo{newScript(t, a, b), map[string]*ipsec.ChildSA{}}
	d.facts(device("a"), device("b"))
	d.trace = nil
	return d
}

func auto() config.Switching { return config.DefaultSwitching }

// turn brings tunnels up ("+a") and down ("-a"), in this order.
func (d *duo) turn(how ...string) {
	d.t.Helper()
	for _, h := range how {
		name := h[1:]
		switch {
		case h[0] == '+' && d.sas[name] == nil:
			d.sas[name] = d.up(name, here, there)
		case h[0] == '-' && d.sas[name] != nil:
			d.facts(gone(d.sas[name]))
			delete(d.sas, name)
		}
	}
}

// tell has the tunnels live through a story as in TestWhoCarriesTheTraffic.
func (d *duo) tell(story string) {
	d.t.Helper()
	for _, step := range strings.Fields(story) {
		switch step[0] {
		case '+', '-':
			d.turn(step)
		case '!', '?':
			d.facts(Held{step[1:], step[0] == '!'})
		case 'x':
			d.facts(Device{step[1:], diag.Cause{Code: diag.DeviceGone}})
		case 'o':
			d.facts(device(step[1:]))
		default:
			for s, _ := time.ParseDuration(step); s > 0; s -= time.Minute {
				d.wait(min(s, time.Minute))
			}
		}
	}
}

// moves are the moves of the traffic since the last call.
func (d *duo) moves() string {
	var out []string
	for _, a := range d.trace {
		if strings.Contains(a, " (failover)") || strings.Contains(a, " (failback)") {
			out = append(out, a)
		}
	}
	d.trace = nil
	return strings.Join(out, ", ")
}

// carrier compares which tunnel has the route.
func (d *duo) carrier(want string) {
	d.t.Helper()
	got := ""
	for _, s := range d.hostState().Devices {
		if len(s.Routes) > 0 {
			got += s.Tunnel
		}
	}
	if got != want {
		d.t.Errorf("the route is in %q, want %q", got, want)
	}
	for _, name := range []string{"a", "b"} {
		if st, _ := d.Status(name); want != "" && st.Active != (name == want) {
			d.t.Errorf("tunnel %s: active is %v", name, st.Active)
		}
	}
}

func TestTrafficMovesAndComesBack(t *testing.T) {
	d := newDuo(t, auto())
	d.turn("+a", "+b")
	d.carrier("a")
	d.moves()
	d.turn("-a")
	d.wants("a -> b (failover)", "want dev-a/1440 dev-b/1440 10.10.0.0/16 src 192.168.3.1", "a: up -> connecting")
	d.carrier("b")
	d.wait(time.Hour)
	d.turn("+a")
	d.wait(30*time.Second - time.Nanosecond)
	d.carrier("b")
	d.trace = nil
	d.wait(time.Nanosecond)
	d.wants("b -> a (failback)", "want dev-a/1440 10.10.0.0/16 src 192.168.3.1 dev-b/1440")
	d.carrier("a")
}

func TestWhoCarriesTheTraffic(t *testing.T) {
	manual := config.Switching{Hold: 30 * time.Second, Manual: true}
	for _, c := range []struct {
		name  string
		how   config.Switching
		story string // "+a" up, "-a" down, "5s" time, "!a" held, "?a" released, "xa" its device gone, "oa" there again
		moves string
		last  string
	}{
		{"the active one has it, whoever is up first", auto(), "+b 4s +a 1h", "", "a"},
		{"the standby does not wait for ever", auto(), "+b 5s", "a -> b (failover)", "b"},
		{"a late active one must prove itself", auto(), "+b 10s +a 29s", "a -> b (failover)", "b"},
		{"a late active one has it then", auto(), "+b 10s +a 31s", "a -> b (failover), b -> a (failback)", "a"},
		{"where both are ill the present one stays", auto(), "+a +b -b -a 1h", "", "a"},
		{"and so does the standby", auto(), "+a +b -a -b 1h", "a -> b (failover)", "b"},
		{"then whoever is well first", auto(), "+a +b -a -b +a", "a -> b (failover), b -> a (failover)", "a"},
		{"by hand only", manual, "+a +b -a 1h +a 1h", "a -> b (failover)", "b"},
		{"by hand, but not into the void", manual, "+a +b -a +a 1s -b", "a -> b (failover), b -> a (failover)", "a"},
		{"taken down", auto(), "+a +b !a", "a -> b (failover)", "b"},
		{"taken down, with a standby that is not up", auto(), "+a +b -b !a", "a -> b (failover)", "b"},
		{"never into what is held", auto(), "+a +b !b -a 1h", "", "a"},
		{"taken down and up is no flap", auto(), "+a +b !a 1m ?a 20s !a 1s ?a 31s", "a -> b (failover), b -> a (failback)", "a"},
		{"its device is gone", auto(), "+a +b xa", "a -> b (failover)", "b"},
		{"its device is there again", auto(), "+a +b xa -a 1s oa +a 31s", "a -> b (failover), b -> a (failback)", "a"},
		{"the standby does not wait for a device that cannot be made", auto(), "xa +b", "a -> b (failover)", "b"},
		{"5 s up, 5 s down", auto(), "+a +b" + strings.Repeat(" -a 5s +a 5s", 12), "a -> b (failover)", "b"},
		{"a longer wait after a second flap", auto(), "+a +b -a 1s +a 31s -a 1s +a 59s", "a -> b (failover), b -> a (failback), a -> b (failover)", "b"},
		{"but not for ever", auto(), "+a +b -a 1s +a 31s -a 1s +a 61s", "a -> b (failover), b -> a (failback), a -> b (failover), b -> a (failback)", "a"},
		{"5 minutes at most", auto(), "+a +b" + strings.Repeat(" -a 1s +a 1s", 20) + " 5m", "a -> b (failover), b -> a (failback)", "a"},
		{"a hold of an hour is one", config.Switching{Hold: time.Hour}, "+a +b -a +a 59m", "a -> b (failover)", "b"},
		{"old flaps are forgotten", auto(), "+a +b -a +a 11m -a +a 31s", "a -> b (failover), b -> a (failback), a -> b (failover), b -> a (failback)", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, c.how)
			d.tell(c.story)
			if got := d.moves(); got != c.moves {
				t.Errorf("got moves %q, want %q", got, c.moves)
			}
			if st, _ := d.Status(c.last); !st.Active {
				t.Errorf("tunnel %s is not the active one", c.last)
			}
		})
	}
}

// A flapping active tunnel moves the traffic three times in two minutes at most, however it flaps.
func TestFlappingMovesTheTrafficSeldom(t *testing.T) {
	for up := time.Second; up < 2*time.Minute; up += time.Second {
		for _, down := range []time.Duration{time.Second, 5 * time.Second, 20 * time.Second} {
			d := newDuo(t, auto())
			d.turn("+a", "+b")
			var at []time.Time
			for end := d.now.Add(time.Hour); d.now.Before(end); {
				for _, step := range []struct {
					turn string
					wait time.Duration
				}{{"-a", down}, {"+a", up}} {
					d.turn(step.turn)
					d.wait(step.wait)
					for range strings.Count(d.moves(), "->") {
						at = append(at, d.now)
					}
				}
			}
			for i := 3; i < len(at); i++ {
				if at[i].Sub(at[i-3]) < 2*time.Minute-up-down {
					t.Fatalf("up for %v, down for %v: 4 moves in %v", up, down, at[i].Sub(at[i-3]))
				}
			}
		}
	}
}

func withHealth(t *config.Tunnel) {
	t.OwnHealth = &config.Health{Source: addr("192.168.3.1"), Target: addr("10.10.0.1"), Interval: time.Second, Retries: 3, Ours: true}
}

func TestHealthMovesTheTraffic(t *testing.T) {
	d := newDuo(t, config.Switching{Hold: 2 * time.Second}, withHealth)
	answers := map[string]bool{"a": true, "b": true}
	d.pong = func(p Ping) bool { return answers[p.Tunnel] }
	d.turn("+a", "+b")
	d.wait(10 * time.Second)
	if st, _ := d.Status("b"); st.Health == nil || st.Health.Count.Answered < 10 {
		t.Errorf("the standby is not asked: %+v", st.Health)
	}
	d.moves()
	answers["a"] = false
	d.wait(4 * time.Second)
	if got := d.moves(); got != "a -> b (failover)" {
		t.Errorf("got moves %q", got)
	}
	d.carrier("b")
	d.stands("a", Degraded, diag.HealthFailed)

	// The hold is 2 s, and the check must be well for 15 s.
	answers["a"] = true
	d.wait(15 * time.Second)
	d.carrier("b")
	d.wait(4 * time.Second)
	if got := d.moves(); got != "b -> a (failback)" {
		t.Errorf("got moves %q", got)
	}

	// Where both are ill the routes stay where they are.
	answers["a"], answers["b"] = false, false
	d.wait(time.Minute)
	d.carrier("a")
	if got := d.moves(); got != "" {
		t.Errorf("got moves %q", got)
	}

	// A new SA is no proof: the standby keeps the traffic until 5 answers and 15 s.
	answers["b"] = true
	d.wait(20 * time.Second)
	d.carrier("b")
	d.turn("-a", "+a")
	answers["a"] = true
	d.wait(14 * time.Second)
	d.carrier("b")
	d.wait(10 * time.Minute)
	d.carrier("a")
}

func TestTheOperatorMovesTheTraffic(t *testing.T) {
	d := newDuo(t, auto())
	refused := func(back bool, want string) {
		t.Helper()
		err := d.Switch(back)
		d.step()
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	d.turn("+a")
	refused(false, "the traffic stays on tunnel a, for tunnel b cannot take it: it is not up")
	d.turn("+b")
	d.moves()
	refused(false, "<nil>")
	d.carrier("b")
	if got := d.moves(); got != "a -> b (failover)" {
		t.Errorf("got moves %q", got)
	}
	d.wait(time.Hour)
	d.carrier("b") // though a is well

	// While the chosen tunnel is ill the other one has the traffic; then it goes back as it would to the active one.
	d.turn("-b")
	d.carrier("a")
	d.turn("+b")
	d.wait(29 * time.Second)
	d.carrier("a")
	d.wait(time.Second)
	d.carrier("b")

	d.turn("-a")
	refused(true, "the traffic stays on tunnel b, for tunnel a cannot take it")
	d.carrier("b")
	d.turn("+a")
	d.moves()
	refused(true, "<nil>") // at once
	d.carrier("a")
	if got := d.moves(); got != "b -> a (failback)" {
		t.Errorf("got moves %q", got)
	}
	d.wait(time.Hour)
	d.carrier("a")

	alone := newScript(t, hq())
	if err := alone.Switch(false); err == nil || !strings.Contains(err.Error(), "tunnel hq is alone") {
		t.Errorf("got %v", err)
	}
}

// A reload that changes a connection moves no traffic, and forgets neither flaps nor the operator's choice.
func TestReloadLeavesTheTrafficWhereItIs(t *testing.T) {
	d := newDuo(t, auto())
	d.turn("+a", "+b")
	if err := d.Switch(false); err != nil {
		t.Fatal(err)
	}
	d.step()
	reload := func() {
		var next []Config
		for _, name := range []string{"a", "b"} {
			m := d.find(name)
			c := m.Config
			c.From = d.Take(name)
			next = append(next, c)
		}
		d.Group = New(d.now, next, d.own, inner)
		d.step()
	}
	d.moves()
	reload()
	d.wait(time.Hour)
	d.carrier("b")
	if err := d.Switch(true); err != nil {
		t.Fatal(err)
	}
	d.step()
	d.turn("-a", "+a")
	d.moves()
	reload()
	d.carrier("b")
	d.wait(30 * time.Second)
	d.carrier("a")
	if got := d.moves(); got != "b -> a (failback)" {
		t.Errorf("got moves %q", got)
	}
}

// Routes that only one tunnel of a pair has stay in it.
func TestRoutesOfOneTunnelOnlyStay(t *testing.T) {
	a, b := tunnelOf("a", here, there), tunnelOf("b", here, there)
	a.Tunnel.Role, b.Tunnel.Role = config.Active, config.Standby
	a.Tunnel.Routes = prefixes("10.10.1.0/24", "10.10.2.0/24")
	b.Tunnel.Routes = prefixes("10.10.2.0/24", "10.10.3.0/24")
	s := newScript(t, a, b)
	s.facts(device("a"), device("b"))
	s.up("a", here, there)
	s.up("b", here, there)
	routes := func() (out string) {
		for _, d := range s.hostState().Devices {
			for _, r := range d.Routes {
				out += d.Tunnel + " " + r.Prefix.String() + "; "
			}
		}
		return out
	}
	if got := routes(); got != "a 10.10.1.0/24; a 10.10.2.0/24; b 10.10.3.0/24; " {
		t.Errorf("got %s", got)
	}
	if err := s.Switch(false); err != nil {
		t.Fatal(err)
	}
	s.step()
	if got := routes(); got != "a 10.10.1.0/24; b 10.10.2.0/24; b 10.10.3.0/24; " {
		t.Errorf("got %s", got)
	}
}
