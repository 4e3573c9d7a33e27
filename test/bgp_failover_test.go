package test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"vpngw/test/lab"
)

// The AS numbers of the cloud's ends differ, so that the peers' own loop check hides nothing of what the customer tells.
var pairASN = [2]uint32{45104, 45105}

// bgpPair is a pair of connections with BGP, a and b, the cloud's connections that carry them, and its router.
func bgpPair(hold string, by *detector, more map[string]any) (ours, carriers []lab.Connection, theirs lab.BGP) {
	none := detector{with: func(*lab.Connection) {}}
	if by == nil {
		by = &none
	}
	a, b := twoTunnels(hold, *by)
	theirs = lab.BGP{ASN: pairASN[0], Announce: []string{lab.CloudLAN}, Kernel: true}
	for i, c := range []*lab.Connection{&a, &b} {
		c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
		c.Routes = []string{}
		carrier := mirror(*c)
		carrier.Pair, carrier.Failover, carrier.Health = "", nil, nil
		carriers = append(carriers, carrier)
		c.Native.Local.ASN, c.Native.Remote.ASN = bgpNearASN, pairASN[i]
		c.BGP = quick(more)
		ours = append(ours, *c)
		theirs.Peers = append(theirs.Peers, lab.BGPPeer{
			Local: fmt.Sprintf("169.254.2%d.1", i), Remote: fmt.Sprintf("169.254.2%d.2", i),
			LocalASN: pairASN[i], RemoteASN: bgpNearASN, BFD: more["bfd"] != nil,
		})
	}
	return ours, carriers, theirs
}

// settled waits until both sessions are up and the traffic is on tunnel a.
func settled(n *lab.Net, gw *lab.Vpngw, peer *lab.BIRD) {
	n.Helper()
	for i, tunnel := range []string{"a", "b"} {
		gw.AwaitUp(tunnel)
		remote := fmt.Sprintf("169.254.2%d.2", i)
		n.AwaitEstablished(peer, remote, lab.Patience)
		n.AwaitRoutes(peer, remote, lab.Patience, lab.CustomerLAN) // and nothing that the other tunnel's peer told
	}
	awaitActive(n, gw, "a")
	awaitBothSendBy(n, "vpngw0")
}

// awaitBothSendBy waits until both ends send by a device, which has the same name at both.
func awaitBothSendBy(n *lab.Net, device string) {
	n.Helper()
	n.Await(lab.Patience, "both ends send by "+device, func() (bool, string) {
		return slices.Contains(n.Customer.Leads(device), lab.CloudLAN) && slices.Contains(foreign(n.Cloud, device), lab.CustomerLAN),
			fmt.Sprint(n.Customer.Leads(""), foreign(n.Cloud, "vpngw0"), foreign(n.Cloud, "vpngw1"))
	})
}

// foreign are the prefixes that another maker's router leads into a device.
func foreign(ns *lab.Namespace, device string) []string {
	var out []string
	for _, r := range ns.KernelRoutes() {
		if (r.Protocol == "bird" || r.Protocol == "bgp") && r.Dev == device {
			out = append(out, r.Dst)
		}
	}
	return out
}

// loss is a way to lose the master, and to have it back.
type loss struct {
	name string
	by   *detector
	bar  time.Duration
	more map[string]any
	lose func(n *lab.Net, peer *lab.BIRD) (back func())
	soak bool // not in the gate
}

func hole(n *lab.Net, _ *lab.BIRD) func() {
	rule := blackHole(n, lab.CloudAddr)
	return rule.Remove
}

var losses = []loss{
	{"the tunnel, found by the hold time", nil, 3500 * time.Millisecond, nil, hole, false},
	{"the session", nil, 3500 * time.Millisecond, nil, func(n *lab.Net, peer *lab.BIRD) func() {
		peer.Disable("169.254.20.2")
		return func() { peer.Enable("169.254.20.2") }
	}, true},
	{"health", &byHealth, 3500 * time.Millisecond, nil, hole, true},
	{"the tunnel, found by DPD", &byDPD, 3500 * time.Millisecond, nil, hole, true},
	{"the tunnel, found by BFD", nil, 1200 * time.Millisecond, bfdFast(), hole, true},
}

// The master of two tunnels is lost under traffic: the traffic is on the other one soon, and comes back without loss.
// Neither peer is told what the other one told.
func bgpMovesTheTrafficOfALostMaster(t *testing.T) {
	for _, tt := range losses {
		if tt.soak && !soak {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			beside(t)
			n := twoGateways(t, lab.RouterTools...)
			ours, carriers, theirs := bgpPair("1s", tt.by, tt.more)
			n.Cloud.Vpngw(lab.Config{Connections: carriers})
			peer := n.Cloud.BIRD(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: ours})
			outages := map[string][]time.Duration{}
			for range counted(1, 5) {
				settled(n, gw, peer)
				flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
				arrives(t, n, flow)
				back := tt.lose(n, peer)
				awaitBothSendBy(n, "vpngw1") // the standby
				arrives(t, n, flow)
				ab, ba := flow.Stop()
				t.Logf("there: %v; back: %v", ab, ba)
				outages["there"], outages["back"] = append(outages["there"], ab.Gap), append(outages["back"], ba.Gap)

				flow = n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
				arrives(t, n, flow)
				back()
				settled(n, gw, peer)
				arrives(t, n, flow)
				ab, ba = flow.Stop()
				lossless(t, ab, ba)
			}
			for _, way := range slices.Sorted(maps.Keys(outages)) {
				spread(t, "outage "+way, outages[way], tt.bar)
			}
		})
	}
}

// With transit each peer is told what the other one told, and without it is not.
func TestBGPTransitIsOffUnlessAsked(t *testing.T) {
	t.Parallel()
	n := twoGateways(t, lab.RouterTools...)
	ours, carriers, theirs := bgpPair("1s", nil, nil)
	n.Cloud.Vpngw(lab.Config{Connections: carriers})
	peer := n.Cloud.BIRD(theirs)
	gw := n.Customer.Vpngw(lab.Config{Connections: ours})
	settled(n, gw, peer)
	for i := range ours {
		ours[i].BGP = quick(map[string]any{"transit": true})
	}
	gw.Reload(lab.Config{Connections: ours})
	n.Await(lab.Patience, "one of the peers is told what the other one told", func() (bool, string) {
		a, b := peer.Routes("169.254.20.2"), peer.Routes("169.254.21.2")
		return len(a)+len(b) == 3, fmt.Sprint(a, b)
	})
	for i := range ours {
		ours[i].BGP = quick(nil)
	}
	gw.Reload(lab.Config{Connections: ours})
	settled(n, gw, peer)
}

// Without both sessions there is no way that leaves in clear, and what the peer withdraws is free again.
func TestBGPGuardsWhatItHasLost(t *testing.T) {
	t.Parallel()
	n, gw, peer, flow := newBGPEnds(nil).serve(t, "BIRD")
	flow.Stop()
	leaks := n.Internet.Filter("forward", "ip daddr "+lab.CloudHost, "")
	hole := blackHole(n, lab.CloudAddr)
	peer.Kill()
	awaitLeads(n, n.Customer, within(4*time.Second))
	if p := n.Host.Ping(lab.CloudHost, 10, lab.Echo{Wait: 100 * time.Millisecond}); p.Received > 0 || leaks.Packets() > 0 {
		t.Errorf("the session is lost: %v, %d packets in clear", p, leaks.Packets())
	}
	gw.Kill()
	if p := n.Host.Ping(lab.CloudHost, 10, lab.Echo{Wait: 100 * time.Millisecond}); p.Received > 0 || leaks.Packets() > 0 {
		t.Errorf("the daemon is killed: %v, %d packets in clear", p, leaks.Packets())
	}
	hole.Remove()
}
