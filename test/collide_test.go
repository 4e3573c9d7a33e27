package test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// Both ends rekey at the same moment (RFC 7296 sections 2.8.1, 2.8.2 and 2.25).
// The large groups take so long that each end starts before it hears of the
// other.
var collideSuites = suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp4096", espEncr: "aes128gcm16", espGroup: "modp4096", initiate: true}

// collision says what each end rekeys: the IKE SA, or else the Child SA.
type collision struct{ ours, theirs bool }

func (c collision) String() string {
	kind := map[bool]string{false: "Child SA", true: "IKE SA"}
	return fmt.Sprintf("ours of the %s, theirs of the %s", kind[c.ours], kind[c.theirs])
}

// atOnce runs both at the same moment.
func atOnce(t *testing.T, a, b func(bool) error, c collision) {
	t.Helper()
	var errs [2]error
	var wg sync.WaitGroup
	gate := make(chan struct{})
	wg.Go(func() { <-gate; errs[0] = a(c.ours) })
	wg.Go(func() { <-gate; errs[1] = b(c.theirs) })
	close(gate)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("rekey, %v: %v", c, err)
		}
	}
}

// decided counts how often an end decided that its own SA loses the collision.
func decided(gw *lab.Vpngw) (child, ike int) {
	log := gw.Log()
	return strings.Count(log, "rekey collision: ours goes"), strings.Count(log, "rekey collision: our IKE SA goes")
}

// between makes two vpngw rekey at the same moment, and waits until both have rekeyed.
func (c collision) between(t *testing.T, gw, cloud *lab.Vpngw) {
	before := map[*lab.Vpngw]lab.TunnelStatus{gw: gw.Tunnel("row"), cloud: cloud.Tunnel("row")}
	atOnce(t, vpngwPeer{gw}.rekey, vpngwPeer{cloud}.rekey, c)
	for end, b := range before {
		for _, ike := range []bool{false, true} {
			if ike == c.ours || ike == c.theirs {
				end.AwaitRekey(b, ike)
			}
		}
	}
}

func TestBothVpngwRekeyAtOnceWithoutLoss(t *testing.T) {
	rounds := []struct {
		collision
		count int
	}{{collision{false, false}, 6}, {collision{true, true}, 4}, {collision{false, true}, 1}, {collision{true, false}, 1}}
	if soak {
		for i, n := range []int{100, 20, 20, 20} {
			rounds[i].count = n
		}
	}
	n := lab.Direct(t)
	c := native("row", collideSuites)
	gw, cloud := joined(n, c)
	flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	decisions := func() (child, ike int) {
		child, ike = decided(gw)
		child2, ike2 := decided(cloud)
		return child + child2, ike + ike2
	}
	for i, r := range rounds {
		times := 0
		for ; times < r.count || times < maxTries && !met(i, decisions); times++ {
			r.between(t, gw, cloud)
		}
		t.Logf("%d times at once: %v", times, r.collision)
	}
	n.Await(lab.Patience, "one pair at each end, the same", func() (bool, string) {
		a, b := gw.Tunnel("row"), cloud.Tunnel("row")
		ok := a.IKE != nil && b.IKE != nil && a.IKE.SPIi == b.IKE.SPIi && a.IKE.SPIr == b.IKE.SPIr &&
			len(a.Children) == 1 && len(b.Children) == 1 && a.Children[0].SPIIn == b.Children[0].SPIOut && a.Children[0].SPIOut == b.Children[0].SPIIn
		return ok, fmt.Sprintf("%+v\n%+v", a, b)
	})
	arrives(t, n, flow)
	ab, ba := flow.Stop()
	lossless(t, ab, ba)
	child, ike := decisions()
	t.Logf("collisions that were decided: %d of Child SAs, %d of IKE SAs", child, ike)
	if child == 0 || ike == 0 {
		t.Errorf("the ends never met in %d tries: the test shows nothing", maxTries)
	}
}

// maxTries bounds the attempts to make two ends rekey at the same moment: on a busy machine
// one of them may be late.
const maxTries = 100

// met reports whether the ends have met in the round: the first is of Child SAs, the second of IKE SAs.
func met(round int, decisions func() (child, ike int)) bool {
	child, ike := decisions()
	return round > 1 || round == 0 && child > 0 || round == 1 && ike > 0
}

// arrives waits until numbered packets come through both ways.
func arrives(t *testing.T, n *lab.Net, f *lab.Flow) {
	t.Helper()
	ab, ba := f.Received()
	n.Await(lab.Patience, "numbered packets come through", func() (bool, string) {
		ab2, ba2 := f.Received()
		return ab2 > ab+500 && ba2 > ba+500, fmt.Sprintf("%d there, %d back", ab2-ab, ba2-ba)
	})
}

// charon does not promise to lose nothing, but there is one working pair soon (in a soak, 10 s)
// after the last new SA. It takes a while because each end may refuse to rekey one kind of SA
// while it rekeys the other, and because a command that arrives after the other end's rekey
// starts a second one.
func TestBothRekeyAtOnceAgainstStrongswan(t *testing.T) {
	t.Parallel()
	bar := within(10 * time.Second)
	rounds := []collision{{}, {true, true}, {}, {true, true}, {false, true}}
	if soak {
		rounds = slices.Repeat(append(rounds, collision{true, false}), 10)
	}
	n := lab.Direct(t, lab.CharonTools...)
	// charon drops a response with the same message id as a request that it is
	// processing ("already processing"). It retransmits only after 4 s.
	cloud := n.Cloud.Charon("retransmit_timeout = 0.5")
	cloud.PSK(psk)
	cloud.Load(strongswan("row", collideSuites))
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", collideSuites)}})
	gw.AwaitUp("row")
	flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	// While charon moves its Child SAs from an IKE SA to the successor, it finds
	// no Child SA to rekey. Then our rekey came first, and it is the only one.
	theirs := func(ike bool) error {
		err := charonPeer{cloud}.rekey(ike)
		if err != nil && strings.Contains(err.Error(), "no matching SAs to rekey") {
			return nil
		}
		return err
	}
	detected := func() int { return strings.Count(cloud.Log(), "collision with") }
	for i := 0; i < len(rounds) || i < maxTries && detected() == 0; i++ {
		c := rounds[i%len(rounds)]
		known := spis(gw.Tunnel("row"))
		before := len(known)
		var newest time.Time
		atOnce(t, vpngwPeer{gw}.rekey, theirs, c)
		n.Await(3*lab.Patience, fmt.Sprintf("one pair, after %v", c), func() (bool, string) {
			ours, theirs := gw.Tunnel("row"), cloud.SAs()
			for spi := range spis(ours) {
				if !known[spi] {
					known[spi], newest = true, time.Now()
				}
			}
			return len(known) > before && samePair(ours, theirs), fmt.Sprintf("%+v\n%+v", ours, theirs)
		})
		took := time.Since(newest).Round(10 * time.Millisecond)
		n.Host.Reaches(lab.CloudHost)
		t.Logf("%v: one working pair after %v, bar %v", c, took, bar)
		if took > bar {
			t.Errorf("%v: one pair took %v, want at most %v", c, took, bar)
		}
	}
	ab, ba := flow.Stop()
	t.Logf("there: %v; back: %v", ab, ba)
	child, ike := decided(gw)
	t.Logf("collisions that strongSwan detected: %d; that vpngw lost: %d of Child SAs, %d of IKE SAs", detected(), child, ike)
	if detected() == 0 {
		t.Errorf("the ends never met in %d tries: the test shows nothing", maxTries)
	}
}

// spis returns the SPIs of a tunnel's IKE SA and Child SAs.
func spis(s lab.TunnelStatus) map[string]bool {
	out := map[string]bool{}
	if s.IKE != nil {
		out[s.IKE.SPIi] = true
	}
	for _, c := range s.Children {
		out[c.SPIIn] = true
	}
	return out
}

// samePair says that both ends have one IKE SA with one Child SA, the same.
func samePair(ours lab.TunnelStatus, theirs []lab.IKESA) bool {
	if ours.IKE == nil || len(ours.Children) != 1 || len(theirs) != 1 || len(theirs[0].Children) != 1 {
		return false
	}
	for _, c := range theirs[0].Children {
		if c.State != "INSTALLED" || c.SPIIn != ours.Children[0].SPIOut || c.SPIOut != ours.Children[0].SPIIn {
			return false
		}
	}
	return theirs[0].State == "ESTABLISHED" && theirs[0].InitiatorSP == ours.IKE.SPIi && theirs[0].ResponderSP == ours.IKE.SPIr
}
