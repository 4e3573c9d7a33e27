package test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"vpngw/test/lab"
)

// bgpPrompt is how soon a session is up behind its tunnel, both ends willing.
const bgpPrompt = 3 * time.Second

// quick are the timers of most tests.
func quick(more map[string]any) map[string]any {
	out := map[string]any{"hold": "3s", "keepalive": "1s", "announce": []string{lab.CustomerLAN}}
	maps.Copy(out, more)
	return out
}

// bgpEnds are the customer's connection "row" with BGP, the cloud's connection that only carries it, and the cloud's
// router, of which each test changes what it is about.
type bgpEnds struct {
	ours, carrier lab.Connection
	theirs        lab.BGP
}

func newBGPEnds(more map[string]any) bgpEnds {
	e := bgpEnds{ours: routeBased(), carrier: mirror(routeBased())}
	e.ours.Native.Local.ASN, e.ours.Native.Remote.ASN = bgpNearASN, bgpFarASN
	e.ours.BGP = quick(more)
	e.theirs = lab.BGP{ASN: bgpFarASN, Announce: []string{lab.CloudLAN}, Kernel: true, Peers: []lab.BGPPeer{
		{Local: bgpFar, Remote: bgpNear, RemoteASN: bgpNearASN},
	}}
	return e
}

// start starts the cloud's gateway and router, and then the customer's gateway. It returns when the tunnel is up.
func (e bgpEnds) start(n *lab.Net, kind string) (gw *lab.Vpngw, peer lab.Router) {
	n.Helper()
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{e.carrier}})
	peer = lab.Routers[kind](n.Cloud, e.theirs)
	gw = n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{e.ours}})
	gw.AwaitUp("row")
	return gw, peer
}

// awaitLeads waits until exactly these prefixes lead into vpngw's devices.
func awaitLeads(n *lab.Net, gw *lab.Namespace, within time.Duration, prefixes ...string) {
	n.Helper()
	want := slices.Sorted(slices.Values(prefixes))
	n.Await(within, fmt.Sprintf("%d prefixes lead into the tunnel", len(prefixes)), func() (bool, string) {
		got := slices.Sorted(slices.Values(gw.Leads("")))
		if len(got) > 60 {
			return slices.Equal(got, want), fmt.Sprintf("%d prefixes", len(got))
		}
		return slices.Equal(got, want), fmt.Sprint(got)
	})
}

// A session is up within 3 s of its tunnel: with BIRD and with FRR, whoever connects, and when both do at once.
func TestBGPIsUpSoonAfterItsTunnel(t *testing.T) {
	t.Parallel()
	for kind := range lab.Routers {
		for role, passive := range map[string][2]bool{"we connect": {false, true}, "the peer connects": {true, false}, "both connect": {false, false}} {
			t.Run(kind+"/"+role, func(t *testing.T) {
				t.Parallel()
				n := lab.Direct(t, lab.RouterTools...)
				e := newBGPEnds(map[string]any{"passive": passive[0]})
				e.theirs.Peers[0].Passive = passive[1]
				gw, peer := e.start(n, kind)
				var times []time.Duration
				for i := range counted(2, 20) {
					if i > 0 {
						gw.Restart()
						gw.AwaitUp("row")
					}
					// This end says it: the peer may still take the session before for alive.
					start := time.Now()
					n.Await(within(bgpPrompt), "the session is established", func() (bool, string) {
						s := gw.Tunnel("row").Session
						return s != nil && s.State == "established", fmt.Sprintf("%+v", s)
					})
					times = append(times, time.Since(start))
					awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
					n.AwaitEstablished(peer, bgpNear, lab.Patience)
				}
				spread(t, "established after the tunnel", times, bgpPrompt)
			})
		}
	}
}

// Forty routes each way get into the kernels, and traffic follows them. What is withdrawn goes, and comes back when it is
// announced again; a next hop other than the peer is refused.
func TestBGPRoutesComeAndGo(t *testing.T) {
	t.Parallel()
	for kind := range lab.Routers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.RouterTools...)
			ours := []string{lab.CustomerLAN}
			for i := range 39 {
				ours = append(ours, fmt.Sprintf("172.20.%d.0/24", i))
			}
			theirs := append(lab.Prefixes(39), lab.CloudLAN)
			e := newBGPEnds(map[string]any{"announce": ours})
			e.theirs.Announce = theirs
			gw, peer := e.start(n, kind)
			n.AwaitRoutes(peer, bgpNear, lab.Patience, ours...)
			awaitLeads(n, n.Customer, lab.Patience, theirs...)
			awaitForeign(n, n.Cloud, 40)
			n.Host.Reaches(lab.CloudHost)
			if p := n.Host.Ping(lab.CloudHost, 100); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}

			peer.Announce(theirs[1:]...)
			awaitLeads(n, n.Customer, lab.Patience, theirs[1:]...)
			peer.Announce(theirs...)
			awaitLeads(n, n.Customer, lab.Patience, theirs...)

			e.theirs.Announce = theirs
			e.theirs.Peers = []lab.BGPPeer{e.theirs.Peers[0]}
			e.theirs.Peers[0].NextHop = "192.0.2.1"
			peer.Set(e.theirs)
			awaitLeads(n, n.Customer, lab.Patience)
			e.theirs.Peers = []lab.BGPPeer{e.theirs.Peers[0]}
			e.theirs.Peers[0].NextHop = ""
			peer.Set(e.theirs)
			awaitLeads(n, n.Customer, lab.Patience, theirs...)

			e.ours.BGP = quick(map[string]any{"announce": ours[:1]})
			gw.Reload(lab.Config{Connections: []lab.Connection{e.ours}})
			n.AwaitRoutes(peer, bgpNear, lab.Patience, ours[0])
			gw.Command("down", "row")
			awaitLeads(n, n.Customer, lab.Patience)
		})
	}
}

// awaitForeign waits until a kernel has so many routes into vpngw's device by a router of another maker.
func awaitForeign(n *lab.Net, ns *lab.Namespace, count int) {
	n.Helper()
	n.Await(lab.Patience, fmt.Sprintf("the router has %d routes in its kernel", count), func() (bool, string) {
		got := len(foreign(ns, "vpngw0"))
		return got == count, fmt.Sprint(got)
	})
}

// Each kind of session is up after a reload has made it one of that kind.
func TestBGPOfEachKind(t *testing.T) {
	t.Parallel()
	for kind := range lab.Routers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.RouterTools...)
			e := newBGPEnds(nil)
			gw, peer := e.start(n, kind)
			n.AwaitEstablished(peer, bgpNear, lab.Patience)
			for _, tt := range []struct {
				name        string
				near, far   any
				nearN, far4 uint32
				more        map[string]any
				peer        lab.BGPPeer
			}{
				{"4-octet AS numbers", uint32(4200000001), uint32(4200000002), 4200000001, 4200000002, nil, lab.BGPPeer{}},
				{"dotted AS numbers", "64086.59905", "1.10", 4200000001, 65546, nil, lab.BGPPeer{}},
				{"iBGP", 65020, 65020, 65020, 65020, nil, lab.BGPPeer{}},
				{"a password", 65010, 45104, 65010, 45104, map[string]any{"key": "apassword"}, lab.BGPPeer{Password: "apassword"}},
				{"TTL security", 65010, 45104, 65010, 45104, map[string]any{"ttl_security": true}, lab.BGPPeer{TTLSecurity: true}},
			} {
				e.ours.Native.Local.ASN, e.ours.Native.Remote.ASN = tt.near, tt.far
				e.ours.BGP = quick(tt.more)
				p := tt.peer
				p.Local, p.Remote, p.RemoteASN = bgpFar, bgpNear, tt.nearN
				e.theirs.ASN, e.theirs.Peers = tt.far4, []lab.BGPPeer{p}
				gw.Reload(lab.Config{Connections: []lab.Connection{e.ours}})
				peer.Set(e.theirs)
				start := time.Now()
				n.AwaitRoutes(peer, bgpNear, lab.Patience, lab.CustomerLAN)
				awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
				t.Logf("%s: after %v", tt.name, time.Since(start).Round(10*time.Millisecond))
				want := []uint32{tt.nearN}
				if tt.nearN == tt.far4 {
					want = nil
				}
				if got := peer.Routes(bgpNear); len(got) == 1 && !slices.Equal(got[0].Path, want) {
					t.Errorf("%s: AS path %v, want %v", tt.name, got[0].Path, want)
				}
			}
		})
	}
}
