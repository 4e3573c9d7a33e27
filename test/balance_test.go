package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// share waits until a gateway's traffic is on these tunnels and no others.
func share(n *lab.Net, gw *lab.Vpngw, tunnels ...string) {
	n.Helper()
	n.Await(lab.Patience, fmt.Sprintf("%s: the traffic is on %v", gw.Name, tunnels), func() (bool, string) {
		var got []string
		for _, c := range gw.Status().Connections {
			for _, t := range c.Tunnels {
				if t.Active {
					got = append(got, t.Name)
				}
			}
		}
		return fmt.Sprint(got) == fmt.Sprint(tunnels), fmt.Sprint(got)
	})
}

// tell has a failed test log what both gateways and their kernels know of the traffic.
func tell(t *testing.T, gateways ...*lab.Vpngw) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, gw := range gateways {
			for _, args := range [][]string{{"status"}, {"status", "--json"}, {"events"}} {
				out, err := gw.Try(args...)
				t.Logf("%s %v: %v\n%s", gw.Name, args, err, out)
			}
			for _, args := range [][]string{{"route", "show", "table", "all"}, {"-6", "route"}, {"rule"}, {"neigh"}, {"-s", "link"}} {
				out, err := gw.Host().Try("ip", args...)
				t.Logf("%s: ip %v: %v\n%s", gw.Name, args, err, out)
			}
		}
	})
}

// flows are flows between two hosts, each with a pair of addresses of its own: by default the kernel tells flows by addresses.
type flows struct {
	n      *lab.Net
	family []string // "ipv4", "ipv6"
	of     []*lab.Flow
}

// start starts flow i, of the families in turn.
func (fs *flows) start(i int, address bool) {
	a, b, bits := "192.168.3.%d", "10.10.0.%d", [2]string{"/24", "/16"}
	if fs.family[i%len(fs.family)] == "ipv6" {
		a, b, bits = "fd00:3::%d", "fd00:10::%d", [2]string{"/64", "/64"}
	}
	a, b = fmt.Sprintf(a, 100+i), fmt.Sprintf(b, 100+i)
	if address {
		fs.n.Host.Address("eth0", a+bits[0])
		fs.n.CloudHost.Address("eth0", b+bits[1])
	}
	fs.of = append(fs.of, fs.n.StartFlow(fs.n.Host, a, fs.n.CloudHost, b, 100))
}

// again starts flows with the same addresses.
func (fs *flows) again() *flows {
	out := &flows{n: fs.n, family: fs.family}
	for i := range fs.of {
		out.start(i, false)
	}
	return out
}

// spreadOver starts flows until each tunnel of each gateway carries some of each family.
func (fs *flows) spreadOver(t *testing.T, tunnels []string, gateways ...*lab.Vpngw) {
	t.Helper()
	counts := map[string]*lab.Rule{}
	for _, gw := range gateways {
		for _, name := range tunnels {
			for _, family := range fs.family {
				at := fmt.Sprintf("%s by %s of %s", family, name, gw.Name)
				counts[at] = gw.Host().Filter("forward", fmt.Sprintf("oifname %q meta nfproto %s", gw.Tunnel(name).Device, family), "")
			}
		}
	}
	idle := func() (out []string) {
		for at, r := range counts {
			if r.Packets() == 0 {
				out = append(out, at)
			}
		}
		return out
	}
	for len(fs.of) < 4*len(fs.family) || len(idle()) > 0 {
		if len(fs.of) == 60 {
			t.Fatalf("60 flows, and none is %v", idle())
		}
		fs.start(len(fs.of), true)
		fs.arrive(t, 5)
	}
	for _, r := range counts {
		r.Remove()
	}
	t.Logf("%d flows of %v are on all of %v", len(fs.of), fs.family, tunnels)
}

// arrive waits until so many more packets of each flow have arrived, there and back.
func (fs *flows) arrive(t *testing.T, more int) {
	t.Helper()
	var was [][2]int
	for _, f := range fs.of {
		ab, ba := f.Received()
		was = append(was, [2]int{ab, ba})
	}
	fs.n.Await(lab.Patience, "the packets of each flow come through", func() (bool, string) {
		late := ""
		for i, f := range fs.of {
			if ab, ba := f.Received(); ab < was[i][0]+more || ba < was[i][1]+more {
				late += fmt.Sprintf(" flow %d: %d there, %d back;", i, ab-was[i][0], ba-was[i][1])
			}
		}
		return late == "", late
	})
}

// stopping stops the flows together, and returns what waits for their end: what each of them carried there and back.
func (fs *flows) stopping() func() [][2]lab.Direction {
	out := make([][2]lab.Direction, len(fs.of))
	var all sync.WaitGroup
	for i, f := range fs.of {
		all.Go(func() { out[i][0], out[i][1] = f.Stop() })
	}
	return func() [][2]lab.Direction { all.Wait(); return out }
}

// without fails the test where a flow lost packets.
func (fs *flows) without(t *testing.T, what string) {
	t.Helper()
	for i, d := range fs.stopping()() {
		for way, d := range map[string]lab.Direction{"there": d[0], "back": d[1]} {
			if d.Lost > 0 && (soak || !d.Excused()) || d.Duplicated > 0 {
				t.Errorf("%s: flow %d %s: %v, want no loss", what, i, way, d)
			}
		}
	}
}

// outage holds the longest outage of any flow to a bar; no packet may overtake another of its flow.
func outage(t *testing.T, of [][2]lab.Direction, bar time.Duration) {
	t.Helper()
	var gaps []time.Duration
	for i, d := range of {
		gaps = append(gaps, d[0].Gap, d[1].Gap)
		if d[0].Reordered+d[1].Reordered > 0 {
			t.Errorf("flow %d is out of order: there: %v; back: %v", i, d[0], d[1])
		}
	}
	spread(t, "outage of a flow", gaps, bar)
}

// Many flows of IPv4 and IPv6 use both tunnels. One tunnel is black-holed: its flows move to the other within the time of what
// notices it, new ones go there, and with its return flows come back without loss. A reload starts and ends the sharing, without loss.
func TestTwoTunnelsShareTheTraffic(t *testing.T) {
	detectors := []detector{byDPD}
	if soak {
		detectors = append(detectors, byHealth)
	}
	for _, by := range detectors {
		t.Run(by.name, func(t *testing.T) {
			beside(t)
			n := twoGateways(t)
			a, b := twoTunnels("1s", by)
			for _, c := range []*lab.Connection{&a, &b} {
				c.Native.Local.Subnets = append(c.Native.Local.Subnets, lab.CustomerLAN6)
				c.Native.Remote.Subnets = append(c.Native.Remote.Subnets, lab.CloudLAN6)
			}
			a.Balance, b.Balance = true, true
			cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(a), mirror(b)}})
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{a, b}})
			tell(t, gw, cloud)
			both := func(tunnels ...string) {
				n.Helper()
				share(n, gw, tunnels...)
				share(n, cloud, tunnels...)
			}
			all := &flows{n: n, family: []string{"ipv4", "ipv6"}}
			for round := range counted(1, 10) {
				if round > 0 && round%2 == 0 { // the hold has grown
					cloud.Restart()
					gw.Restart()
				}
				both("a", "b")
				fs := all
				if round == 0 {
					fs.spreadOver(t, []string{"a", "b"}, gw, cloud)
				} else {
					fs = all.again()
				}
				fs.arrive(t, 50)
				for _, args := range [][]string{{"route", "show", lab.CloudLAN}, {"-6", "route", "show", lab.CloudLAN6}} {
					if out := n.Customer.Run("ip", args...); strings.Count(out, "nexthop") != 2 {
						t.Errorf("got the route %s", out)
					}
				}
				hole := blackHole(n, lab.CloudAddr)
				both("b")
				fs.arrive(t, 50)
				next := all.again() // as new ones of the same addresses
				next.arrive(t, 50)
				carried := fs.stopping() // takes 5 s
				hole.Remove()
				both("a", "b")
				next.arrive(t, 50)
				next.without(t, "the return")
				outage(t, carried(), by.noticed+500*time.Millisecond)
			}
			for _, end := range []*lab.Vpngw{gw, cloud} {
				for _, code := range []string{"failover", "rejoined"} {
					if events := end.Command("events", "--json"); !strings.Contains(events, fmt.Sprintf(`"code":%q`, code)) {
						t.Errorf("%s has no event %s:\n%s", end.Name, code, events)
					}
				}
			}

			fs := all.again()
			fs.arrive(t, 10)
			for _, balance := range []bool{false, true} {
				a.Balance, b.Balance = balance, balance
				gw.Write(lab.Config{Connections: []lab.Connection{a, b}})
				var p planned
				if err := json.Unmarshal([]byte(gw.Command("reload", "--plan", "--json")), &p); err != nil {
					t.Fatal(err)
				}
				for _, c := range p.Connections {
					if u := c.Tunnels[0]; u.Class != "live" || len(u.Fields) != 1 || u.Fields[0].Field != "balance" || u.Fields[0].Class != "live" {
						t.Errorf("the plan says %+v", u)
					}
				}
				was := keysOf(t, gw)
				gw.Command("reload")
				share(n, gw, map[bool][]string{false: {"a"}, true: {"a", "b"}}[balance]...)
				fs.arrive(t, 30)
				if is := keysOf(t, gw); fmt.Sprint(is) != fmt.Sprint(was) {
					t.Errorf("a reload of balance replaced SAs: %v, were %v", is, was)
				}
			}
			fs.without(t, "the reloads")
		})
	}
	t.Run("to strongSwan", trafficToStrongswanIsShared)
}

// We send to a strongSwan by both tunnels; it has no such mode and sends by one, which may be either. What goes by the tunnel
// that dies moves.
func trafficToStrongswanIsShared(t *testing.T) {
	beside(t)
	n := twoGateways(t, lab.CharonTools...)
	a, b := twoTunnelsToStrongswan(n, "2s")
	a.Balance = true
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{a, b}})
	share(n, gw, "a", "b")
	all := &flows{n: n, family: []string{"ipv4"}}
	all.spreadOver(t, []string{"a", "b"}, gw)
	fs := all
	for round := range counted(1, 10) {
		if round > 0 {
			if round%2 == 0 {
				gw.Restart()
			}
			share(n, gw, "a", "b")
			fs = all.again()
		}
		fs.arrive(t, 50)
		hole := blackHole(n, lab.CloudAddr)
		share(n, gw, "b")
		fs.arrive(t, 50)
		carried := fs.stopping() // takes 5 s
		hole.Remove()
		gw.AwaitUp("a") // from when it answers strongSwan sends by it
		fs = all.again()
		fs.arrive(t, 10)
		share(n, gw, "a", "b")
		fs.arrive(t, 50)
		fs.without(t, "the return")
		var gaps []time.Duration
		for _, d := range carried() {
			gaps = append(gaps, d[0].Gap)
		}
		spread(t, "outage there", gaps, byDPD.noticed+500*time.Millisecond)
	}
}

// Huawei's bodies of an active-active gateway, at both ends: the mode stands at the gateway, and the bodies say nothing of it.
func TestHuaweisActiveActiveGatewayOnBothHosts(t *testing.T) {
	t.Parallel()
	n := twoGateways(t)
	file := func(side string) lab.Config {
		c := huawei("a", map[string]any{"ha_role": "master"})
		second := huawei("b", map[string]any{
			"ha_role": "slave", "vgw_ip": "eip-2", "tunnel_local_address": "169.254.57.225/30", "tunnel_peer_address": "169.254.57.226/30",
		})
		c.Side, c.Connections = side, append(c.Connections, second.Connections...)
		c.VPNGateways["vgw-1"] = lab.Entry{Addresses: map[string]string{"eip-1": lab.CloudAddr, "eip-2": cloudAddr2}, HAMode: "active-active"}
		if side == "cloud" {
			for i := range c.Connections {
				c.Connections[i].Routes = nil // those of the body
			}
		}
		return c
	}
	cloud := n.Cloud.Vpngw(file("cloud"))
	gw := n.Customer.Vpngw(file("customer"))
	for _, end := range []*lab.Vpngw{gw, cloud} {
		end.AwaitUp("a")
		end.AwaitUp("b")
		share(n, end, "a", "b")
	}
	fs := &flows{n: n, family: []string{"ipv4"}}
	fs.spreadOver(t, []string{"a", "b"}, gw, cloud)
	gw.Command("down", "a")
	share(n, gw, "b")
	fs.arrive(t, 20)
	gw.Command("up", "a")
	share(n, gw, "a", "b")
	fs.arrive(t, 20)
	fs.stopping()()
}
