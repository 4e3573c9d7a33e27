package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/test/lab"
)

// Each of these befalls a gateway whose tunnel to a strongSwan is up. It does not end, and is back within 5 s of the cause's
// end. TestClockMovedByAnHour has more of the clock.
func TestWhatBefallsAHost(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append([]string{"prlimit"}, lab.CharonTools...)...)
	ours, theirs := versionPair(2)
	ours.DPD = nil
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(theirs)
	if lab.OwnClocks {
		n.Customer.OwnClock()
	}
	fill, empty := n.Customer.SmallState()
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
	gw.AwaitUp("row")
	n.Host.Reaches(lab.CloudHost)
	lasts := func(d time.Duration) {
		if !soak {
			d = min(d, 3*time.Second)
		}
		time.Sleep(d)
	}
	type mishap struct {
		name       string
		begin, end func()
	}
	mishaps := []mishap{
		{"TUN deleted", func() { n.Customer.Run("ip", "link", "del", "vpngw0") }, func() {}},
		{"no default route", func() { n.Customer.Run("ip", "route", "del", "default"); lasts(20 * time.Second) }, func() { n.Customer.Route("default", "203.0.113.254") }},
		{"no buffers", func() { // the device drops nearly everything, and sends fail with ENOBUFS
			n.Customer.Run("tc", "qdisc", "replace", "dev", "wan", "root", "tbf", "rate", "1kbit", "burst", "1600", "limit", "1600")
			f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 2000)
			lasts(10 * time.Second)
			ab, _ := f.Stop()
			t.Logf("no buffers: %v", ab)
		}, func() { n.Customer.Run("tc", "qdisc", "del", "dev", "wan", "root") }},
		{"no descriptors, and the TUN deleted", func() {
			gw.Files(3)
			n.Customer.Run("ip", "link", "del", "vpngw0")
			lasts(10 * time.Second)
		}, func() { gw.Files(1024) }},
		{"full disk", func() {
			fill()
			if out, err := gw.Try("down", "row"); err == nil || !strings.Contains(out, "a restart of the daemon will forget it") {
				t.Errorf("`down` on a full disk: %v\n%s", err, out)
			}
		}, func() { empty(); gw.Command("up", "row") }},
		{"stopped", func() { gw.Signal(syscall.SIGSTOP); lasts(30 * time.Second) }, func() { gw.Signal(syscall.SIGCONT) }},
	}
	if lab.OwnClocks {
		for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
			mishaps = append(mishaps, mishap{"clock moved by " + ahead.String(), func() { gw.SetClock(ahead); lasts(10 * time.Second) }, func() {}})
		}
	} else {
		t.Log("NOT TESTED: a moved clock; the lab can't move it for one process on this machine")
	}
	for _, tt := range mishaps {
		pid := gw.PID()
		tt.begin()
		tt.end()
		start := time.Now()
		n.Await(within(5*time.Second), tt.name+": packets pass again", func() (bool, string) {
			row := gw.Tunnel("row")
			return row.State == "up" && n.Host.Pings(lab.CloudHost), row.State + ": " + row.Why
		})
		t.Logf("%s: back after %v", tt.name, time.Since(start).Round(time.Millisecond))
		if !gw.Running() || gw.PID() != pid {
			t.Fatalf("%s: the daemon has ended", tt.name)
		}
	}
}
