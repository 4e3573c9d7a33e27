package tunnel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

func both() config.Switching { return config.Switching{Hold: 30 * time.Second, Balance: true} }

// takers compares which tunnels take traffic, by their routes where they have been up.
func (d *duo) takers(want string) {
	d.t.Helper()
	got, active := "", ""
	for _, s := range d.hostState().Devices {
		if len(s.Routes) > 0 {
			got += s.Tunnel
		}
	}
	for _, name := range []string{"a", "b"} {
		if st, _ := d.Status(name); st.Active {
			active += name
		}
	}
	if got != want || want != "" && active != want {
		d.t.Errorf("the routes are in %q, and %q are active, want %q", got, active, want)
	}
}

// shifts are the Switched of the trace.
func (d *duo) shifts() string {
	var out []string
	for _, a := range d.trace {
		for _, code := range []diag.Code{diag.FailedOver, diag.FailedBack, diag.Rejoined} {
			if strings.HasSuffix(a, "("+string(code)+")") && strings.Contains(a, "->") && !strings.Contains(a, ":") {
				out = append(out, a)
			}
		}
	}
	d.trace = nil
	return strings.Join(out, ", ")
}

func TestTunnelsShareTheTraffic(t *testing.T) {
	d := newDuo(t, both())
	d.turn("+a")
	d.takers("a")
	d.turn("+b")
	d.takers("ab")
	if got := d.shifts(); got != "" {
		t.Errorf("the first start tells of %s", got)
	}
	d.turn("-a")
	d.wants("a -> b (failover)", "want dev-a/1440 by flow dev-b/1440 by flow 10.10.0.0/16 src 192.168.3.1", "a: up -> connecting")
	d.turn("+a")
	d.wait(30*time.Second - time.Nanosecond)
	d.takers("b")
	d.trace = nil
	d.wait(time.Nanosecond)
	d.wants("b -> a (rejoined)", "want dev-a/1440 by flow 10.10.0.0/16 src 192.168.3.1 dev-b/1440 by flow 10.10.0.0/16 src 192.168.3.1")
	d.takers("ab")
}

func TestWhoSharesTheTraffic(t *testing.T) {
	manual := config.Switching{Hold: 30 * time.Second, Manual: true, Balance: true}
	for _, c := range []struct {
		name  string
		how   config.Switching
		story string // as in TestWhoCarriesTheTraffic
		moves string
		last  string
	}{
		{"the standby may be up first", both(), "+b", "", "b"},
		{"and the active one shares as soon as it is up", both(), "+b 1h +a", "", "ab"},
		{"the standby leaves", both(), "+a +b -b", "b -> a (failover)", "a"},
		{"and comes back", both(), "+a +b -b +b 31s", "b -> a (failover), a -> b (rejoined)", "ab"},
		{"where all are ill the last one stays", both(), "+a +b -a -b 1h", "a -> b (failover)", "b"},
		{"until another is well", both(), "+a +b -a -b +a", "a -> b (failover), b -> a (failover)", "a"},
		{"taken down and up is no flap", both(), "+a +b !a 1m ?a", "a -> b (failover)", "ab"},
		{"both taken down", both(), "+a +b !a !b", "a -> b (failover)", ""},
		{"both taken down, and one up again", both(), "+a +b !a !b ?a", "a -> b (failover), b -> a (failover)", "a"},
		{"its device is gone", both(), "+a +b xb 1m", "b -> a (failover)", "a"},
		{"its device is there again", both(), "+a +b xb -b 1s ob +b 31s", "b -> a (failover), a -> b (rejoined)", "ab"},
		{"5 s up, 5 s down", both(), "+a +b" + strings.Repeat(" -a 5s +a 5s", 12), "a -> b (failover)", "b"},
		{"a longer wait after a second flap", both(), "+a +b -a 1s +a 31s -a 1s +a 59s", "a -> b (failover), b -> a (rejoined), a -> b (failover)", "b"},
		{"by hand only", manual, "+a +b -a 1h +a 1h", "a -> b (failover)", "b"},
		{"by hand, but not into the void", manual, "+a +b -a +a 1s -b", "a -> b (failover), b -> a (failover)", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, c.how)
			d.tell(c.story)
			d.takers(c.last)
			if got := d.shifts(); got != c.moves {
				t.Errorf("got moves %q, want %q", got, c.moves)
			}
		})
	}
}

func TestHealthTakesATunnelOutOfTheShare(t *testing.T) {
	d := newDuo(t, config.Switching{Hold: 2 * time.Second, Balance: true}, withHealth)
	answers := map[string]bool{"a": true, "b": true}
	d.pong = func(p Ping) bool { return answers[p.Tunnel] }
	d.turn("+a", "+b")
	d.wait(10 * time.Second)
	d.takers("ab")
	answers["b"] = false
	d.wait(4 * time.Second)
	d.takers("a")
	answers["b"] = true
	d.wait(14 * time.Second) // the hold is 2 s, and the check must be well for 15 s
	d.takers("a")
	d.wait(5 * time.Second)
	d.takers("ab")
	answers["a"], answers["b"] = false, false
	d.wait(time.Minute)
	if st := d.hostState(); len(st.Devices[0].Routes)+len(st.Devices[1].Routes) == 0 {
		t.Error("both are ill, and no route stays")
	}
}

// Where nothing has failed, a tunnel that starts on traffic shares it before it is up.
func TestTunnelsOnTrafficShareIt(t *testing.T) {
	d := newDuo(t, both(), func(t *config.Tunnel) { t.Start = config.StartOnTraffic })
	d.takers("ab")
	d.turn("+a")
	d.takers("ab")
	d.facts(IKE{"b", refusedBy(diag.NoAnswer)})
	d.takers("a")
}

func TestTheOperatorAndAShare(t *testing.T) {
	d := newDuo(t, both())
	d.turn("+a", "+b")
	try := func(back bool, want string) {
		t.Helper()
		err := d.Switch(back)
		d.step()
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	try(false, "there is no standby to move it to")
	d.takers("ab")
	try(true, "<nil>")
	d.turn("-b")
	try(true, "tunnel b cannot take it")
	d.turn("+b")
	d.takers("a")
	try(true, "<nil>") // at once
	d.takers("ab")
}

// A reload moves no flow, and one that changes `balance:` only those that it must.
func TestReloadOfAShare(t *testing.T) {
	d := newDuo(t, both())
	reload := func(how config.Switching) {
		var next []Config
		for _, name := range []string{"a", "b"} {
			c := d.find(name).Config
			conn := *c.Conn
			conn.Switching = how
			c.Conn = &conn
			c.From = d.Take(name)
			next = append(next, c)
		}
		d.Group = New(d.now, next, d.own, inner)
		d.step()
	}
	d.turn("+a", "+b")
	reload(both())
	d.takers("ab")
	reload(auto())
	d.takers("a")
	reload(both())
	d.takers("ab")
	d.turn("-a", "+a")
	reload(both())
	d.takers("b")
	reload(auto())
	d.takers("b")
	d.wait(30 * time.Second)
	d.takers("a")
	d.turn("-a", "-b", "+b") // from nothing but the present one
	reload(both())
	d.takers("b")
}
