package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/test/lab"
)

// thousands is how many tunnels TestThousandsOfTunnels makes: 10 000 in a soak, or $TUNNELS.
func thousands(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("TUNNELS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 20 {
			t.Fatalf("TUNNELS=%s: a number of at least 20", s)
		}
		return n
	}
	return counted(40, 10000)
}

// What must hold with 10 000 tunnels between two daemons; some of it is written down with fewer, too.
const (
	barUp     = 60 * time.Second
	barMemory = 24 << 10 // of a daemon, for each tunnel
	barIdle   = 0.05     // of one processor
	barReload = time.Second
	barStatus = time.Second
)

// Many tunnels cost little: the time until all are up, memory, the processor's time while they rest, and the time of a reload and of a
// status are measured. Then a tenth of them is deleted and made anew, under a flow in another one.
func TestThousandsOfTunnels(t *testing.T) {
	n := thousands(t)
	bars := n >= 10000
	l := lab.Direct(t)
	// The last connection is between the hosts' networks, and carries the flow.
	configured := func(initiate bool, change func(i int, c *lab.Connection)) lab.Config {
		return many(n, initiate, func(i int, c *lab.Connection) {
			c.DPD = map[string]any{"interval": "30s"}
			if i == n-1 {
				c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{lab.CustomerLAN}, []string{lab.CloudLAN}
				if !initiate {
					c.Native.Local.Subnets, c.Native.Remote.Subnets = c.Native.Remote.Subnets, c.Native.Local.Subnets
				}
			}
			if change != nil {
				change(i, c)
			}
		})
	}
	atCloud, atCustomer := configured(false, nil), configured(true, nil)
	begin := time.Now()
	cloud := l.Cloud.Vpngw(atCloud, "--log-level", "info")
	gw := l.Customer.Vpngw(atCustomer, "--log-level", "info")
	both := map[string]*lab.Vpngw{"responder": cloud, "initiator": gw}
	ready := time.Since(begin)
	allUp(l, gw, n, "all tunnels are up", 10*time.Minute)
	up := time.Since(begin)
	profiled(both) // how they came up
	if n >= 1000 {
		time.Sleep(15 * time.Second) // the paths are still being searched
	}
	t.Logf("%d tunnels: both answer after %v, all up after %v; processor time until then: initiator %v, responder %v", n, ready, up, gw.CPU(), cloud.CPU())

	for who, v := range both {
		began, cpu := time.Now(), v.CPU()
		out := v.Command("status", "--json")
		took := time.Since(began)
		t.Logf("%s: status --json in %v, %v of the daemon's processor time, %d kB", who, took, v.CPU()-cpu, len(out)>>10)
		if bars && took > barStatus {
			t.Errorf("%s: status took %v, bar %v", who, took, barStatus)
		}
	}

	next := configured(true, func(i int, c *lab.Connection) {
		if i == 0 {
			c.Native.ESP.Lifetime = "23h"
		}
	})
	gw.Write(next)
	profiled(both)
	began, cpu := time.Now(), gw.CPU()
	out := gw.Command("reload", "--json")
	took := time.Since(began)
	cpu = gw.CPU() - cpu
	profiled(both) // the reload
	var did struct{ Changed, Kept int }
	if err := json.Unmarshal([]byte(out), &did); err != nil || did.Changed != 1 || did.Kept != n-1 {
		t.Errorf("the reload changed %d and kept %d tunnels (%v)", did.Changed, did.Kept, err)
	}
	t.Logf("a reload that changes one: %v, %v of the daemon's processor time", took, cpu)
	if bars && took > barReload {
		t.Errorf("the reload took %v, bar %v", took, barReload)
	}
	gw.AwaitUp("c0")

	f := l.StartFlow(l.Host, lab.CustomerHost, l.CloudHost, lab.CloudHost, 500)
	without := next
	without.Connections = next.Connections[n/10:]
	profiled(both)
	ups := strings.Count(gw.Log(), isUp)
	began = time.Now()
	gw.Reload(without)
	took = time.Since(began)
	gw.Reload(next)
	again := time.Since(began)
	allUp(l, gw, ups+n/10, "all tunnels are up again", 5*time.Minute)
	t.Logf("%d tunnels deleted in %v, configured again in %v, up again after %v", n/10, took, again-took, time.Since(began))
	profiled(both) // tunnels that come and go
	there, back := f.Stop()
	lossless(t, there, back)

	if n < 1000 {
		return // a rest of some seconds is no part of the gate
	}
	idle := map[string]time.Duration{}
	rest := 60 * time.Second
	if !bars {
		rest /= 2
	}
	time.Sleep(5 * time.Second)
	profiled(both)
	for who, v := range both {
		idle[who] = v.CPU()
	}
	time.Sleep(rest)
	profiled(both) // the rest
	for who, v := range both {
		share := float64(v.CPU()-idle[who]) / float64(rest)
		rss, high := v.Memory("VmRSS"), v.Memory("VmHWM")
		t.Logf("%s: idle CPU %.1f %%; RSS %.1f kB a tunnel, at most %.1f; anonymous %.1f MB of %.1f", who, share*100, rss/1024/float64(n), high/1024/float64(n), v.Memory("RssAnon")/1e6, rss/1e6)
		if bars && share > barIdle {
			t.Errorf("%s: idle CPU %.3f, bar %.3f", who, share, barIdle)
		}
		if bars && rss > float64(n*barMemory) {
			t.Errorf("%s: %.0f bytes a tunnel, bar %d", who, rss/float64(n), barMemory)
		}
	}
	for _, v := range both {
		if os.Getenv("VPNGW_PROFILE") != "" {
			v.Signal(syscall.SIGUSR2) // the heap
			time.Sleep(5 * time.Second)
			t.Log(v.Name, v.Log()[strings.LastIndex(v.Log(), "profile: "):])
		}
	}
	if bars && up > barUp {
		t.Errorf("all were up after %v, bar %v", up, barUp)
	}
}

// profiled begins or ends a profile of daemons that are built with the tag profile, for $VPNGW_PROFILE.
func profiled(vs map[string]*lab.Vpngw) {
	for _, v := range vs {
		if os.Getenv("VPNGW_PROFILE") != "" {
			v.Signal(syscall.SIGUSR1)
		}
	}
}

const isUp = `msg="tunnel is up"`

// allUp waits until the log says n times that a tunnel is up: asking for the status of all takes time away. Then it asks once.
func allUp(l *lab.Net, v *lab.Vpngw, n int, what string, within time.Duration) {
	l.Helper()
	l.Await(within, what, func() (bool, string) {
		up := strings.Count(v.Log(), isUp)
		return up >= n, fmt.Sprintf("%d of %d", up, n)
	})
	v.Command("health")
}
