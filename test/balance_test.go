package test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// share waits until a gateway's traffic is on these tunnels and no others.
func share(n *lab.Net, gw *lab.Vpngw, tunnels string) {
	n.Helper()
	n.Await(lab.Patience, gw.Name+": the traffic is on "+tunnels, func() (bool, string) {
		got := ""
		for _, name := range []string{"a", "b"} {
			if gw.Tunnel(name).Active {
				got += name
			}
		}
		return got == tunnels, got
	})
}

// sent are the packets that a gateway has sent by a tunnel.
func sent(gw *lab.Vpngw, tunnel string) (out uint64) {
	for _, c := range gw.Tunnel(tunnel).Children {
		out += c.PacketsOut
	}
	return out
}

// stopAll stops flows together, and returns what each of them carried there and back.
func stopAll(fs []*lab.Flow) [][2]lab.Direction {
	out := make([][2]lab.Direction, len(fs))
	var all sync.WaitGroup
	for i, f := range fs {
		all.Go(func() { out[i][0], out[i][1] = f.Stop() })
	}
	all.Wait()
	return out
}

// Many flows use both tunnels. One tunnel is black-holed: its flows move within the time of dead peer detection, and come back without loss.
func TestTwoTunnelsShareTheTraffic(t *testing.T) {
	const flows = 10
	n := twoGateways(t)
	for i := range flows {
		n.Host.Address("eth0", fmt.Sprintf("192.168.3.%d/24", 100+i))
		n.CloudHost.Address("eth0", fmt.Sprintf("10.10.0.%d/16", 100+i))
	}
	a, b := twoTunnels("1s", byDPD)
	a.Balance, b.Balance = true, true
	cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(a), mirror(b)}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{a, b}})
	both := func(tunnels string) {
		share(n, gw, tunnels)
		share(n, cloud, tunnels)
	}
	start := func() (fs []*lab.Flow) {
		for i := range flows {
			fs = append(fs, n.StartFlow(n.Host, fmt.Sprintf("192.168.3.%d", 100+i), n.CloudHost, fmt.Sprintf("10.10.0.%d", 100+i), 200))
		}
		for _, f := range fs {
			arrives(t, n, f)
		}
		return fs
	}
	for _, end := range []*lab.Vpngw{gw, cloud} {
		end.AwaitUp("a")
		end.AwaitUp("b")
	}
	both("ab")
	fs := start()
	for _, end := range []*lab.Vpngw{gw, cloud} {
		if x, y := sent(end, "a"), sent(end, "b"); x < 500 || y < 500 {
			t.Errorf("%s sent %d packets by a and %d by b: want both to carry flows", end.Name, x, y)
		}
	}
	if out := n.Customer.Run("ip", "route", "show", "10.10.0.0/16"); strings.Count(out, "nexthop") != 2 {
		t.Errorf("got the route %s", out)
	}

	hole := blackHole(n, lab.CloudAddr)
	both("b")
	for _, f := range fs {
		arrives(t, n, f)
	}
	var gaps []time.Duration
	for _, d := range stopAll(fs) {
		gaps = append(gaps, d[0].Gap, d[1].Gap)
	}
	spread(t, "outage of a flow", gaps, byDPD.noticed+500*time.Millisecond)

	fs = start()
	hole.Remove()
	both("ab")
	for _, f := range fs {
		arrives(t, n, f)
	}
	for _, d := range stopAll(fs) {
		lossless(t, d[0], d[1])
	}
}
