package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// many returns n connections between the two gateways. Each has different
// identities and subnets, so each has its own IKE SA. change may be nil.
func many(n int, initiate bool, change func(i int, c *lab.Connection)) lab.Config {
	var out lab.Config
	for i := range n {
		local := lab.NativeEnd{Address: lab.CustomerAddr, ID: fmt.Sprintf("c%d.example", i), Subnets: []string{fmt.Sprintf("10.%d.%d.0/25", 64+i/256, i%256)}}
		remote := lab.NativeEnd{Address: lab.CloudAddr, ID: fmt.Sprintf("v%d.example", i), Subnets: []string{fmt.Sprintf("10.%d.%d.128/25", 64+i/256, i%256)}}
		if !initiate {
			local, remote = remote, local
		}
		c := lab.Connection{
			Name: fmt.Sprintf("c%d", i), PSK: "a-key-of-the-lab",
			Native: &lab.Native{
				IKEVersion: 2, Initiate: &initiate, Local: local, Remote: remote,
				IKE: lab.NativeIKE{Proposals: []string{"aes128-sha256-x25519"}, Lifetime: "24h"},
				ESP: lab.NativeESP{Proposals: []string{"aes128gcm16"}, Lifetime: "24h"},
			},
		}
		if change != nil {
			change(i, &c)
		}
		out.Connections = append(out.Connections, c)
	}
	return out
}

// Many tunnels start at once: each is up and routed as soon as it has its SAs, status
// answers meanwhile, and the daemon ends quickly.
func TestManyTunnelsStartAndEnd(t *testing.T) {
	n := counted(100, 4000)
	l := lab.Direct(t)
	cloud := l.Cloud.Vpngw(many(n, false, nil))
	begin := time.Now()
	gw := l.Customer.Vpngw(many(n, true, nil))
	ready := time.Since(begin)
	var slowest time.Duration
	l.Await(10*time.Minute, "all tunnels are up", func() (bool, string) {
		asked := time.Now()
		s := gw.Status()
		slowest = max(slowest, time.Since(asked))
		up := 0
		for _, c := range s.Connections {
			if c.Tunnels[0].State == "up" {
				up++
			}
		}
		return up == n, fmt.Sprintf("%d of %d", up, n)
	})
	all := time.Since(begin)
	if routes := strings.Count(l.Customer.Run("ip", "route", "show", "table", "all", "proto", "73"), "\n"); routes < n {
		t.Errorf("%d routes are in, want %d", routes, n)
	}
	lags := lagBehindSA(t, gw.Log(), n)
	begin = time.Now()
	gw.Stop()
	end := time.Since(begin)
	t.Logf("%d tunnels: ready after %v, all up after %v; up and routed after the SA: median %v, longest %v; the slowest of status %v; the end took %v",
		n, ready, all, lags[len(lags)/2], lags[len(lags)-1], slowest, end)
	if soak {
		if longest := lags[len(lags)-1]; longest > time.Second {
			t.Errorf("a tunnel was up %v after its SA, bar 1s", longest)
		}
		if end > 10*time.Second {
			t.Errorf("the end took %v, bar 10s", end)
		}
	}
	cloud.Stop()
}

// lagBehindSA returns the sorted times from a tunnel's Child SA to its state up.
func lagBehindSA(t *testing.T, log string, n int) []time.Duration {
	t.Helper()
	line := regexp.MustCompile(`time=(\S+) level=INFO msg="(Child SA up|tunnel is up)".* (?:child|tunnel)=(c\d+)\b`)
	sas := map[string]time.Time{}
	var out []time.Duration
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			t.Fatal(err)
		}
		if m[2] == "Child SA up" {
			sas[m[3]] = at
		} else if !sas[m[3]].IsZero() {
			out = append(out, at.Sub(sas[m[3]]))
		}
	}
	if len(out) != n {
		t.Fatalf("the log says of %d tunnels when they came up, want %d", len(out), n)
	}
	slices.Sort(out)
	return out
}

// A reload in which one of many connections has changed delays no packet of another.
func TestReloadOfManyDelaysNoPacket(t *testing.T) {
	n := counted(50, 500)
	l := lab.Direct(t)
	// The last connection is between the hosts' networks, and carries the flow.
	flowing := func(initiate bool) func(int, *lab.Connection) {
		return func(i int, c *lab.Connection) {
			if i != n-1 {
				return
			}
			c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{lab.CustomerLAN}, []string{lab.CloudLAN}
			if !initiate {
				c.Native.Local.Subnets, c.Native.Remote.Subnets = c.Native.Remote.Subnets, c.Native.Local.Subnets
			}
		}
	}
	cloud := l.Cloud.Vpngw(many(n, false, flowing(false)))
	gw := l.Customer.Vpngw(many(n, true, flowing(true)))
	gw.AwaitUp(fmt.Sprintf("c%d", n-1))
	gw.AwaitUp("c0")
	next := many(n, true, func(i int, c *lab.Connection) {
		flowing(true)(i, c)
		if i == 0 {
			c.Native.ESP.Lifetime = "23h"
		}
	})
	f := l.StartFlow(l.Host, lab.CustomerHost, l.CloudHost, lab.CloudHost, 1000)
	flown := func(n int) {
		ab, ba := f.Received()
		l.Await(lab.Patience, "the flow goes on", func() (bool, string) {
			a, b := f.Received()
			return a > ab+n && b > ba+n, ""
		})
	}
	flown(500)
	begin := time.Now()
	gw.Reload(next)
	took := time.Since(begin)
	gw.AwaitUp("c0")
	flown(1000)
	there, back := f.Stop()
	t.Logf("%d connections, one changed: reloaded in %v; there: %v; back: %v", n, took, there, back)
	lossless(t, there, back)
	if soak && (there.Gap > 20*time.Millisecond || back.Gap > 20*time.Millisecond) {
		t.Errorf("the longest gap was %v there and %v back, bar 20ms", there.Gap, back.Gap)
	}
	cloud.Stop()
}
