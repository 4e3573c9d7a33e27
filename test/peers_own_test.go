package test

import (
	"testing"

	"vpngw/test/lab"
)

// ownKind is what a peer loses at rekeys against its own kind, by version of IKE and phase.
type ownKind map[int][]int

// measureOwnKind has two of a kind rekey under traffic.
func (p realPeer) measureOwnKind(t *testing.T) ownKind {
	var ends [2]ikeDaemon // the customer's, which stands for vpngw, and the cloud's
	var talks [2]func(local, remote string) lab.Talker
	var n *lab.Net
	if p.rooted {
		n = lab.Direct(t, "debootstrap")
		ends = [2]ikeDaemon{p.daemon(n.Customer.Rooted(p.suite, p.packages...)), p.daemon(n.Cloud.Rooted(p.suite, p.packages...))}
		talks = [2]func(local, remote string) lab.Talker{n.Host.Talk, n.CloudHost.Talk}
	} else {
		l := lab.New(t, lab.GuestTools...)
		n = &lab.Net{Lab: l, Internet: l.Namespace("internet")}
		for i, device := range []string{"customer", "cloud"} {
			g := n.Internet.Guest("peer-"+device, device, p.suite, p.packages...)
			bring(g, i == 1)
			ends[i], talks[i] = p.daemon(g), g.Talk
		}
		n.Internet.Address("customer", "203.0.113.254/24", "2001:db8:c::fe/64")
		n.Internet.Address("cloud", "198.51.100.254/24", "2001:db8:a::fe/64")
	}
	out := ownKind{}
	for _, version := range []int{2, 1} {
		t.Run(cell{version: version, suite: "gcm"}.String(), func(t *testing.T) {
			n.Use(t)
			c := cell{version: version, suite: "gcm"}
			customer, cloud := c.sites()
			ends[0].start(c, customer, cloud)
			ends[1].start(c, cloud, customer)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("---- the customer's log ----\n%s\n---- the cloud's log ----\n%s", ends[0].log(), ends[1].log())
				}
			})
			if err := ends[0].initiate(); err != nil {
				t.Fatal(err)
			}
			f := startPeerFlow(n, talks[0], customer.host, talks[1], cloud.host)
			t.Cleanup(f.close)
			for _, p := range phases {
				f.mark()
				end := ends[1]
				if p.ours {
					end = ends[0]
				}
				for range p.turns {
					rests := func() (bool, string) {
						_, _, a, saw := ends[0].count()
						_, _, b, saw2 := ends[1].count()
						return a && b, saw + "\n" + saw2
					}
					n.Await(2*lab.Patience, "both rest", rests)
					before := end.keys(p.ike)
					if err := end.rekey(p.ike); err != nil {
						t.Fatalf("%s: %v", p.name, err)
					}
					n.Await(2*lab.Patience, p.name, func() (bool, string) {
						now := end.keys(p.ike)
						return now != before && now != "", now
					})
					n.Await(2*lab.Patience, "both rest", rests)
				}
			}
			out[version] = f.stop()
			t.Logf("%s", f)
		})
	}
	return out
}
