package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// ownKind is what a peer loses at rekeys against its own kind, by version of IKE and phase; -1: the two did not get over one.
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
			over := 0 // phases
			for _, p := range phases {
				f.mark()
				end := ends[1]
				if p.ours {
					end = ends[0]
				}
				if !ownPhase(n, ends, end, p.ike, p.turns) {
					break
				}
				over++
			}
			lost := f.stop()
			for len(lost) < len(phases) {
				lost = append(lost, -1)
			}
			for i := over; i < len(lost); i++ {
				lost[i] = -1
			}
			out[version] = lost
			t.Logf("%s", f)
		})
	}
	return out
}

// ownPhase has one of two ends rekey, and reports whether both had usable SAs after each time.
func ownPhase(n *lab.Net, ends [2]ikeDaemon, end ikeDaemon, ike bool, turns int) bool {
	n.Helper()
	before := ""
	rested := func() bool {
		for start := time.Now(); time.Since(start) < 2*lab.Patience; time.Sleep(100 * time.Millisecond) {
			_, _, a, _ := ends[0].count()
			_, _, b, _ := ends[1].count()
			if now := end.keys(ike); a && b && now != before && now != "" {
				before = now
				return true
			}
		}
		n.Logf("the two have no usable SAs any more, or no new ones")
		return false
	}
	if !rested() {
		return false
	}
	for range turns {
		if err := end.rekey(ike); err != nil {
			n.Fatalf("rekey: %v", err)
		}
		if !rested() {
			return false
		}
	}
	return true
}
