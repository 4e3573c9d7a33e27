package ike

import (
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// TestEarlyRekeyShowsWhetherPFSAgrees some seconds after the start. A difference is said once, and the tunnel carries on.
func TestEarlyRekeyShowsWhetherPFSAgrees(t *testing.T) {
	for _, c := range []struct {
		name, ours, theirs string
		early              bool
		want               string // in the cause; empty: rekeyed
	}{
		{"the same group", "aes128gcm16-ecp256", "aes128gcm16-ecp256", true, ""},
		{"no PFS", "aes128gcm16", "aes128gcm16", true, ""},
		{"another group", "aes128gcm16-ecp256", "aes128gcm16-modp2048", true, "PFS in ecp256; the peer answered NO_PROPOSAL_CHOSEN"},
		{"PFS here only", "aes128gcm16-ecp256", "aes128gcm16", true, "PFS in ecp256; the peer answered NO_PROPOSAL_CHOSEN"},
		{"PFS there only", "aes128gcm16", "aes128gcm16-ecp256", true, "no PFS; the peer answered NO_PROPOSAL_CHOSEN"},
		{"the peer's second group", "aes128gcm16-ecp256-modp2048", "aes128gcm16-modp2048", true, ""},
		{"not asked for", "aes128gcm16-ecp256", "aes128gcm16-modp2048", false, ""},
	} {
		for _, begins := range []string{"this end", "the peer"} {
			t.Run(c.name+", "+begins+" begins", func(t *testing.T) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
					pa.Children[0].Proposals, pb.Children[0].Proposals = proposals(ipsec.ProtoESP, c.ours), proposals(ipsec.ProtoESP, c.theirs)
					pa.Children[0].EarlyRekey, pb.Children[0].Lifetime.Time = c.early, 24*time.Hour
					pa.Children[0].Initiate, pb.Children[0].Initiate = begins == "this end", begins != "this end"
				})
				w.run(time.Second)
				wantPairs(t, a, b, 1)
				first, ike := a.newest[0].SPIIn, a.ikeOf().SPIi
				w.run(6 * time.Second)
				asked := w.count(wire.ExchangeCreateChild, false)
				rekeyed := a.newest[len(a.newest)-1].SPIIn != first
				v := a.view()[0].Children[0]
				if rekeyed != (c.early && c.want == "") || !strings.Contains(v.Why, c.want) || c.want == "" && v.Why != "" {
					t.Errorf("after 7 s: rekeyed %v, why %q, want %q", rekeyed, v.Why, c.want)
				}
				if why := a.peer(0).children[0].why; why.Is(diag.PFSMismatch) != (c.want != "") {
					t.Errorf("the cause is %v", why)
				}
				w.run(40 * time.Minute)
				wantPairs(t, a, b, 1)
				if n := w.count(wire.ExchangeCreateChild, false) - asked; n != 0 || a.ikeOf().SPIi != ike || !v.Up {
					t.Errorf("%d exchanges after the early rekey, up %v", n, v.Up)
				}
				w.run(19 * time.Minute)
				if w.count(wire.ExchangeCreateChild, false) == asked {
					t.Error("no rekey before the lifetime ends")
				}
			})
		}
	}
}

// TestEarlyRekeyIsAskedForOncePerStart, not after each rekey of the IKE SA.
func TestEarlyRekeyIsAskedForOncePerStart(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Children[0].EarlyRekey = true })
	for _, c := range []struct {
		does func()
		want int // exchanges then
	}{
		{func() {}, 1},
		{func() { a.Do(w.now, sa.RekeyIKE{Tunnel: "a"}) }, 2},
		{func() { b.peer(0).main().Close(w.now, operatorAsked) }, 3},
	} {
		c.does()
		w.run(20 * time.Second)
		if n := w.count(wire.ExchangeCreateChild, false); n != c.want {
			t.Errorf("%d exchanges, want %d", n, c.want)
		}
	}
}

// TestEarlyRekeyWaitsForABusyPeer: that says nothing about PFS.
func TestEarlyRekeyWaitsForABusyPeer(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Children[0].EarlyRekey = true })
	w.run(time.Second)
	first := a.newest[0].SPIIn
	w.filter = func(d *ipsec.Datagram) bool { // b's rekey of the IKE SA stays open
		h, _ := wire.ParseHeader(d.Data)
		return h.Exchange != wire.ExchangeCreateChild || d.Remote.Addr() != b.addr || h.Flags&wire.FlagResponse != 0
	}
	b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
	w.run(8 * time.Second)
	if why := a.view()[0].Children[0].Why; why != "" || a.newest[len(a.newest)-1].SPIIn != first {
		t.Errorf("rekeyed, or said %q", why)
	}
	w.filter = nil
	w.run(20 * time.Second)
	wantPairs(t, a, b, 1)
	if why := a.view()[0].Children[0].Why; why != "" || a.newest[0].SPIIn == first {
		t.Errorf("not rekeyed, or said %q", why)
	}
}
