package ike

import (
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
)

// An IKE SA goes on with another lifetime and other DPD settings. One that is older than its new lifetime is rekeyed
// before it ends, and no packet is lost.
func TestAnIKESAGoesOnWithLiveSettings(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(map[int]string{1: "IKEv1", 2: "IKEv2"}[version], func(t *testing.T) {
			settings := func(life time.Duration, d dpd.Config) func(pa, pb *sa.Peer) {
				return func(pa, pb *sa.Peer) {
					for _, p := range []*sa.Peer{pa, pb} {
						p.Lifetime, p.DPD = life, d
					}
					if version == 1 {
						v1(pa, pb)
					}
				}
			}
			w, a, b := pairOf(t, settings(24*time.Hour, dpd.Config{}))
			w.run(10 * time.Second)
			w.lossless = true
			old, sent := a.ikeOf().SPIi, len(w.sent)
			adopt := func(change func(pa, pb *sa.Peer)) {
				pa, pb := peersFor()
				change(pa, pb)
				a.SetPeer(w.now, a.peer(0).given, pa)
				b.SetPeer(w.now, b.peer(0).given, pb)
			}
			adopt(settings(24*time.Hour, dpd.Config{Interval: 30 * time.Second}))
			if w.run(time.Second); len(w.sent) != sent || a.ikeOf().SPIi != old {
				t.Fatal("the settings of DPD sent something at once, or replaced the IKE SA")
			}
			if w.run(time.Minute); len(w.sent) == sent {
				t.Error("nobody asks the peer, as the new settings of DPD say")
			}
			w.run(2 * time.Hour)
			adopt(settings(time.Hour, dpd.Config{}))
			if a.ikeOf().SPIi != old {
				t.Fatal("another lifetime replaced the IKE SA at once")
			}
			if w.run(sa.AdoptGrace); a.ikeOf().SPIi == old {
				t.Error("an IKE SA of two hours is there, with a lifetime of one")
			}
			sent = len(w.sent)
			if w.run(10 * time.Minute); len(w.sent) != sent {
				t.Error("without DPD somebody asks the peer")
			}
			next := a.ikeOf().SPIi
			adopt(settings(24*time.Hour, dpd.Config{}))
			if w.run(3 * time.Hour); version == 2 && a.ikeOf().SPIi != next {
				t.Error("a longer lifetime is not heeded")
			}
			wantPairs(t, a, b, 1)
		})
	}
}
