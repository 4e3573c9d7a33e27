package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// eventTimes are the times of a tunnel's events, by the daemon's clock.
func eventTimes(t *testing.T, gw *lab.Vpngw, tunnel string) (out []time.Time) {
	t.Helper()
	for line := range strings.Lines(gw.Command("events", tunnel, "--json")) {
		var e struct{ Time time.Time }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Time)
	}
	return out
}

// The wall clock of one of two vpngw jumps by an hour, ahead, back and behind, while both ping through the tunnel and rekey every
// few seconds. No packet is lost, no event is told, rekeys go on at their times, and status has ages of the tunnel that are right.
// Afterwards a dead peer is noticed in time.
func TestClockMovedByAnHour(t *testing.T) {
	const life = 8 * time.Second // of a Child SA, which is rekeyed after 80 to 95 % of it
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			beside(t)
			n := lab.Direct(t)
			n.Customer.OwnClock()
			c, _ := versionPair(version)
			c.Native.ESP.Lifetime = life.String()
			there := mirror(c)
			c.Health = map[string]any{"interval": "500ms", "retries": 3, "target": lab.CloudHost}
			there.Health = map[string]any{"interval": "500ms", "retries": 3, "target": lab.CustomerHost}
			cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{there}})
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
			gw.AwaitUp("row")
			cloud.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)

			up, began := gw.Tunnel("row").Since, time.Now()
			events := []int{len(eventTimes(t, gw, "row")), len(eventTimes(t, cloud, "row"))}
			keys := map[string]bool{}
			flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 500)
			for _, ahead := range []time.Duration{time.Hour, 0, -time.Hour, 0, time.Hour} {
				gw.SetClock(ahead)
				for end := time.Now().Add(time.Duration(counted(2, 10)) * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
					row := gw.Tunnel("row")
					if row.State != "up" || !gw.Running() {
						t.Fatalf("with the clock %v ahead: %s: %s", ahead, row.State, row.Why)
					}
					for _, child := range row.Children {
						keys[child.SPIIn] = true
					}
					if row.Since.Sub(up.Add(ahead)).Abs() > time.Second {
						t.Fatalf("with the clock %v ahead it is up since %v, want since %v by that clock", ahead, row.Since, up.Add(ahead))
					}
				}
			}
			ab, ba := flow.Stop()
			lossless(t, ab, ba)
			took := time.Since(began)
			if rekeys, most := len(keys)-1, int(2*took/life); rekeys < 1 || rekeys > most { // in IKEv1 both ends may begin one
				t.Errorf("%d rekeys in %v, want 1 to %d", rekeys, took, most)
			}
			for i, end := range []*lab.Vpngw{gw, cloud} {
				if told := len(eventTimes(t, end, "row")); told != events[i] {
					t.Errorf("%s: %s", end.Name, end.Command("events", "row"))
				}
			}
			h := gw.Tunnel("row").Health
			t.Logf("%d rekeys in %v; pings: %+v", len(keys)-1, took.Round(time.Second), *h)
			if h.Lost > 0 || h.RTTMin < 0 || h.RTTAvg < h.RTTMin || h.RTTAvg > 1000 || h.Answered < int(took/time.Second) {
				t.Error("these pings are not those of a tunnel to which nothing happened")
			}

			cloud.Kill()
			start := time.Now()
			n.Await(within(9*time.Second), "the peer is missed", func() (bool, string) {
				row := gw.Tunnel("row")
				return row.State == "connecting", row.State
			})
			t.Logf("missed after %v", time.Since(start).Round(10*time.Millisecond))
			es := eventTimes(t, gw, "row")
			if last := es[len(es)-1]; last.Sub(start.Add(time.Hour)).Abs() > time.Minute {
				t.Errorf("the last event is of %v: the daemon's clock was not an hour ahead", last)
			}
			gw.SetClock(-time.Hour)
			cloud.Restart()
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
			if es := eventTimes(t, gw, "row"); es[len(es)-1].Sub(time.Now().Add(-time.Hour)).Abs() > time.Minute {
				t.Errorf("the last event is of %v: the daemon's clock was not an hour behind", es[len(es)-1])
			}
		})
	}
}

// A reload on trial lasts as long as was asked for, wherever the clock is moved to, and says by that clock when it ends. When the
// daemon is killed on trial it goes back, though by its new clock the trial goes on for an hour.
func TestTrialWhileTheClockMoves(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Customer.OwnClock()
	c, _ := versionPair(2)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
	c.Native.ESP.Lifetime = "2h"
	gw.Write(lab.Config{Connections: []lab.Connection{c}})
	said := func(want string) {
		t.Helper()
		n.Await(within(5*time.Second), "status says "+want, func() (bool, string) {
			r := gw.Status().Reload
			return r != nil && r.State == want, fmt.Sprintf("%+v", r)
		})
	}
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		start := time.Now()
		gw.Command("reload", "--confirm", "5s")
		gw.SetClock(ahead)
		said("unconfirmed")
		r := gw.Status().Reload
		if left := r.Until.Sub(start.Add(ahead)); left < 4*time.Second || left > 7*time.Second {
			t.Errorf("with the clock %v ahead the trial ends at %v, want %v", ahead, r.Until, start.Add(ahead+5*time.Second))
		}
		if at := start.Add(ahead).Local().Format(" 15:04:"); !strings.Contains(r.Note, at) && start.Second() < 50 {
			t.Errorf("with the clock %v ahead the note says %q, want a time like%s", ahead, r.Note, at)
		}
		said("gone-back")
		if took := time.Since(start); took < 5*time.Second {
			t.Errorf("gone back after %v", took)
		}
		gw.SetClock(0)
	}
	gw.SetClock(time.Hour)
	gw.Command("reload", "--confirm", "60s")
	gw.Restart() // kills it; the new process has the machine's clock
	said("gone-back")
}
