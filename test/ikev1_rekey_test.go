package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

var rekeyRow1 = row1{suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha256", espGroup: "modp2048", initiate: true}, false}

func rekeyCounts1() (child, ike int) {
	if soak {
		return 200, 20
	}
	return 5, 1
}

// onePair1 is onePair for IKEv1, in which a replaced ISAKMP SA may exist for a while.
func onePair1(t *testing.T, n *lab.Net, gw *lab.Vpngw, peer *lab.Charon) {
	t.Helper()
	n.Await(within(30*time.Second), "one pair at each end", func() (bool, string) {
		ours, theirs := gw.Tunnel("row").Children, peer.SAs()
		return len(ours) == 1 && len(theirs) == 1 && len(theirs[0].Children) == 1, fmt.Sprintf("ours %+v\ntheirs %+v", ours, theirs)
	})
}

// awaitOneChild waits until charon has one Child SA again, the other end of one of ours.
func awaitOneChild(t *testing.T, n *lab.Net, peer *lab.Charon) {
	t.Helper()
	n.Await(within(time.Minute), "one ISAKMP SA and one Child SA at strongSwan", func() (bool, string) {
		count := 0
		theirs := peer.SAs()
		for _, ike := range theirs {
			count += len(ike.Children)
		}
		return count == 1 && len(theirs) == 1, fmt.Sprintf("%+v", theirs)
	})
}

func TestIKEv1RekeysAgainstStrongswanWithoutLoss(t *testing.T) {
	children, ikes := rekeyCounts1()
	for _, by := range []string{"vpngw", "strongSwan"} {
		t.Run("by "+by, func(t *testing.T) {
			beside(t)
			n := lab.Direct(t, lab.CharonTools...)
			cloud := charon1(n.Cloud)
			cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
			cloud.Load(strongswan1("row", rekeyRow1))
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native1("row", rekeyRow1)}})
			gw.AwaitUp("row")
			flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
			for i := range children + ikes {
				before := gw.Tunnel("row")
				var err error
				if i == 0 {
					time.Sleep(3 * time.Second)
				}
				ike := i%10 == 9 && i/10 < ikes || i >= children
				switch {
				case by == "vpngw":
					err = gw.Rekey("row", ike)
				case ike:
					err = cloud.RekeyIKE("row")
				default:
					err = cloud.RekeyChild("row")
				}
				if err != nil {
					t.Fatalf("rekey %d: %v", i, err)
				}
				gw.AwaitRekey(before, ike)
				if ike || i%20 == 0 || by != "vpngw" { // vpngw deletes the old ones a few seconds later
					awaitOneChild(t, n, cloud)
				}
				if ike {
					time.Sleep(3 * time.Second) // or the next rekey is one of both at once
				}
			}
			onePair1(t, n, gw, cloud)
			ab, ba := flow.Stop()
			t.Logf("%d phase 2 and %d phase 1 rekeys by %s", children, ikes, by)
			lossless(t, ab, ba)
			if t.Failed() {
				t.Log(gw.Command("status", "--drops"))
			}
			if n := strings.Count(gw.Log(), "expired before"); n > 0 {
				t.Errorf("%d SAs expired", n)
			}
		})
	}
}
