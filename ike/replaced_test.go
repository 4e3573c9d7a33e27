package ike

import (
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// The end of an IKE SA that was replaced.

// dropDeletes loses every request that deletes an IKE SA, and counts them by sender.
func dropDeletes(w *world) map[*end]int {
	tap, n := newTap(w), map[*end]int{}
	w.filter = func(d *ipsec.Datagram) bool {
		h, ps, _ := tap.payloads(d.Data)
		del, ok := wire.Find[*wire.Delete](ps)
		if !ok || del.Protocol != ipsec.ProtoIKE || h.Flags&wire.FlagResponse != 0 {
			return true
		}
		n[w.ends[d.Remote.Addr()]]++
		return false
	}
	return n
}

// TestDeleteOfAReplacedIKESAIsRepeatedAsAnyRequest: a peer that misses the first Delete would keep an empty IKE
// SA. In a collision the winner deletes the old SA and the loser its own new one.
func TestDeleteOfAReplacedIKESAIsRepeatedAsAnyRequest(t *testing.T) {
	for name, rekey := range map[string]func(a, b *end){
		"by one":  func(a, _ *end) { a.Do(a.w.now, sa.RekeyIKE{Tunnel: "a"}) },
		"by both": func(a, b *end) { a.Do(a.w.now, sa.RekeyIKE{Tunnel: "a"}); b.Do(b.w.now, sa.RekeyIKE{Tunnel: "b"}) },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, nil)
			w.run(time.Second)
			old := a.ikeOf().SPIi
			w.lossless = true
			deletes := dropDeletes(w)
			rekey(a, b)
			w.run(40 * time.Second)
			if deletes[a] < 6 || name == "by both" && deletes[b] < 6 {
				t.Errorf("%d and %d Deletes in 40 s", deletes[a], deletes[b])
			}
			for _, n := range []*end{a, b} {
				if st := n.view()[0].IKE; st == nil || st.SPIi == old || st.State != "established" {
					t.Errorf("%v shows the IKE SA %+v", n.addr, st)
				}
			}
			w.filter = nil
			w.run(16 * time.Second) // less than an end waits for the other's Delete
			wantIKE(t, a, b, 1)
			wantPairs(t, a, b, 1)
		})
	}
}

// TestDeleteOfAReplacedIKESAIsGivenUp when the peer never answers, and the tunnel does not suffer.
func TestDeleteOfAReplacedIKESAIsGivenUp(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	w.lossless = true
	dropDeletes(w)
	a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
	w.run(61 * time.Second)
	if len(a.table.bySPI) != 1 {
		t.Errorf("%d IKE SAs, though nobody has answered for a minute", len(a.table.bySPI))
	}
	w.run(10 * time.Second)
	wantIKE(t, a, b, 1)
	wantPairs(t, a, b, 1)
}

// TestReplacedIKESADelaysNoEnd: a shutdown or a Lower does not wait for the Delete of a replaced IKE SA.
func TestReplacedIKESADelaysNoEnd(t *testing.T) {
	for name, end := range map[string]func(a *end){
		"shutdown": func(a *end) { a.Do(a.w.now, sa.Shutdown{}) },
		"down":     func(a *end) { a.Do(a.w.now, sa.Lower{Tunnel: "a"}) },
		"reload":   func(a *end) { a.SetPeers(a.w.now, nil) },
	} {
		for _, when := range []time.Duration{0, time.Millisecond, 3 * time.Second, 30 * time.Second} {
			w, a, _ := pairOf(t, nil)
			w.run(time.Second)
			dropDeletes(w)
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(when)
			end(a)
			w.run(6 * time.Second)
			if len(a.table.bySPI) != 0 || !a.Idle() {
				t.Errorf("%s %v after a rekey: %d IKE SAs are left after 6 s", name, when, len(a.table.bySPI))
			}
			a.noLeaks()
		}
	}
}
