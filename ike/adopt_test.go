package ike

import (
	"fmt"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ipsec"
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

// A Child SA whose settings have changed carries until another does, and goes then. Where the peer refuses the new
// settings it goes after a while.
func TestAChangedChildCarriesUntilAnotherDoes(t *testing.T) {
	for _, version := range []int{1, 2} {
		for _, refused := range []bool{false, true} {
			t.Run(fmt.Sprintf("IKEv%d refused %v", version, refused), func(t *testing.T) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
					if version == 1 {
						v1(pa, pb)
					}
				})
				w.run(10 * time.Second)
				wantPairs(t, a, b, 1)
				// IKEv2's responder sends on a Child SA that replaces none before the initiator has heard of it.
				w.lossless, w.oneWay = !refused, version == 2
				old := a.newest[0].SPIIn
				pa, pb := peersFor()
				if version == 1 {
					v1(pa, pb)
				}
				pa.Children[0].Lifetime.Time = 2 * time.Hour
				if refused {
					pa.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256-sha512-modp4096")
				}
				a.SetPeer(w.now, a.peer(0).given, pa)
				if a.in[old] == nil || a.out[old] == nil {
					t.Error("it is gone at once")
				}
				w.run(5 * time.Second)
				if got := a.in[old] != nil; got != refused {
					t.Errorf("5 s later it is there: %v, want %v", got, refused)
				}
				w.run(orphanTime)
				if a.in[old] != nil || b.out[old] != nil {
					t.Error("it is there for ever")
				}
				if !refused {
					wantPairs(t, a, b, 1)
				}
			})
		}
	}
}

// A former Child SA ends with the tunnel that the operator takes down, and after its time too when the process is
// replaced meanwhile.
func TestAFormerChildEndsInAnyCase(t *testing.T) {
	for name, meanwhile := range map[string]func(a *end, refused func(*sa.Peer)){
		"down":   func(a *end, _ func(*sa.Peer)) { a.Do(a.w.now, sa.Lower{Tunnel: "a"}); a.w.run(time.Second) },
		"frozen": func(a *end, refused func(*sa.Peer)) { a.thaw(refused); a.w.run(orphanTime) },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, shared)
			w.run(10 * time.Second)
			wantPairs(t, a, b, 2)
			var old uint32
			for _, c := range a.newest {
				if c.Tunnel == "a" {
					old = c.SPIIn
				}
			}
			refused := func(p *sa.Peer) { p.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256-sha512-modp4096") }
			reload(a, refused)
			w.run(time.Second)
			if a.in[old] == nil {
				t.Fatal("it is gone at once")
			}
			if meanwhile(a, refused); a.in[old] != nil || b.out[old] != nil {
				t.Error("it is still there")
			}
			wantPairs(t, a, b, 1)
		})
	}
}
