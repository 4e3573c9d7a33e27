package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// bgpNear and bgpFar are the addresses in the tunnel of the customer and of the cloud.
const (
	bgpNear, bgpFar       = "169.254.20.2", "169.254.20.1"
	bgpNearASN, bgpFarASN = uint32(65010), uint32(45104)
)

// routeBased is the connection "row" whose SAs take any address, with addresses in the tunnel.
func routeBased() lab.Connection {
	c := native("row", natSuites)
	c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
	c.Native.Inside = map[string]string{"local": bgpNear + "/30", "remote": bgpFar}
	c.Routes = []string{}
	return c
}

// BGP of others goes through a tunnel without routes of its own: BIRD and FRR on the gateways establish with a password
// and TTL security, their BFD is up, they exchange routes, and traffic follows them.
func TestBGPOfOthersGoesThroughTheTunnel(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]lab.BGPPeer{
		"password and TTL security": {Password: "apassword", TTLSecurity: true},
		"BFD":                       {BFD: true}, // FRR takes a peer with TTL security for one several hops away
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.RouterTools...)
			joined(n, routeBased())
			near, far := both, both
			near.Local, near.Remote, near.RemoteASN = bgpNear, bgpFar, bgpFarASN
			far.Local, far.Remote, far.RemoteASN = bgpFar, bgpNear, bgpNearASN
			start := time.Now()
			customer := n.Customer.BIRD(lab.BGP{ASN: bgpNearASN, Announce: []string{lab.CustomerLAN}, Kernel: true, Peers: []lab.BGPPeer{near}})
			cloud := n.Cloud.FRR(lab.BGP{ASN: bgpFarASN, Announce: []string{lab.CloudLAN}, Kernel: true, Peers: []lab.BGPPeer{far}})
			n.AwaitEstablished(customer, bgpFar, lab.Patience)
			n.AwaitEstablished(cloud, bgpNear, lab.Patience)
			t.Logf("established after %v", time.Since(start).Round(10*time.Millisecond))
			n.AwaitRoutes(customer, bgpFar, lab.Patience, lab.CloudLAN)
			n.AwaitRoutes(cloud, bgpNear, lab.Patience, lab.CustomerLAN)
			if both.BFD {
				n.Await(lab.Patience, "BFD is up at both ends", func() (bool, string) {
					ok, saw := customer.BFDUp(bgpFar)
					if ok {
						ok, saw = cloud.BFDUp(bgpNear)
					}
					return ok, saw
				})
			}
			n.Host.Reaches(lab.CloudHost)
			cloud.Announce(append(lab.Prefixes(40), lab.CloudLAN)...)
			n.AwaitRoutes(customer, bgpFar, lab.Patience, append(lab.Prefixes(40), lab.CloudLAN)...)
			customer.Announce()
			n.AwaitRoutes(cloud, bgpNear, lab.Patience)
			t.Logf("all within %v", time.Since(start).Round(10*time.Millisecond))
		})
	}
}
