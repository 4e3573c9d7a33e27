package test

import (
	"fmt"
	"testing"
	"time"

	"vpngw/test/lab"
)

// bfdFast is BFD as the lab's routers have it.
func bfdFast() map[string]any {
	return map[string]any{"bfd": map[string]any{"interval": "300ms", "multiplier": 3}}
}

// awaitBFD waits until a gateway's BFD session is in a state.
func awaitBFD(n *lab.Net, gw *lab.Vpngw, within time.Duration, state string) lab.BFDStatus {
	n.Helper()
	var b lab.BFDStatus
	n.Await(within, "BFD is "+state, func() (bool, string) {
		s := gw.Tunnel("row").BFD
		if s == nil {
			return false, "no BFD"
		}
		b = *s
		return b.State == state, fmt.Sprintf("%+v", b)
	})
	return b
}

// BFD with BIRD and FRR: it is up, though this host's firewall takes nothing but IKE and ESP, and stays up over rekeys; a loss
// is found, and so is that it is over; of `vpngw down` the peer is told.
func TestBFDWithOthers(t *testing.T) {
	for kind := range lab.Routers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, append(lab.RouterTools, "nft")...)
			shut(n.Customer)
			e := newBGPEnds(bfdFast())
			e.ours.Routes = []string{lab.CloudLAN} // up without BGP, which the firewall stops
			e.theirs.Peers[0].BFD = true
			gw, peer := e.start(n, kind)
			awaitBFD(n, gw, lab.Patience, "up")
			n.Await(lab.Patience, "the peer's BFD is up", func() (bool, string) { return peer.BFDUp(bgpNear) })
			b := awaitDetect(n, gw)
			for range 5 {
				gw.Command("rekey", "row")
				time.Sleep(time.Second)
			}
			if again := awaitBFD(n, gw, lab.Patience, "up"); !again.Since.Equal(b.Since) || again.Discarded != 0 {
				t.Errorf("was %+v, is %+v", b, again)
			}

			rule := blackHole(n, lab.CloudAddr)
			cut := time.Now()
			lost := awaitBFD(n, gw, lab.Patience, "down")
			t.Logf("lost after %v", lost.Since.Sub(cut).Round(time.Millisecond))
			if d := lost.Since.Sub(cut); d > within(1200*time.Millisecond) {
				t.Errorf("it took %v", d)
			}
			if s := gw.Tunnel("row"); s.State != "degraded" || s.Code != "bfd-down" {
				t.Errorf("the tunnel is %s: %s", s.State, s.Why)
			}
			rule.Remove()
			awaitBFD(n, gw, lab.Patience, "up")
			gw.AwaitUp("row")
			gw.Command("down", "row")
			n.Await(lab.Patience, "the peer is told", func() (bool, string) {
				ok, saw := peer.BFDUp(bgpNear)
				return !ok, saw
			})
		})
	}
}

// awaitDetect waits until the timers of the peer's packets are those that it was asked for.
func awaitDetect(n *lab.Net, gw *lab.Vpngw) (b lab.BFDStatus) {
	n.Helper()
	n.Await(lab.Patience, "the timers are negotiated", func() (bool, string) {
		b = *gw.Tunnel("row").BFD
		return b.Interval == 300 && b.Detect == 900, fmt.Sprintf("%+v", b)
	})
	return b
}
