package ike

import (
	mrand "math/rand/v2"
	"os"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// TestSetUpUnderLoss: a tunnel comes up within 30 s although 30 % of the messages are lost.
func TestSetUpUnderLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(pa, pb *sa.Peer)
		least  float64 // per cent
	}{
		{"IKEv2", nil, 99},
		{"main mode", func(pa, pb *sa.Peer) { v1(pa, pb); fastGroup(pa, pb) }, 97},
		{"aggressive mode", func(pa, pb *sa.Peer) { aggressive(pa, pb); fastGroup(pa, pb) }, 97},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, up := 200, 0
			if os.Getenv("SOAK") != "" {
				n = 10_000
			}
			for seed := range n {
				w, a, b := pairWith(t, byte(seed), c.change)
				loss := mrand.New(mrand.NewPCG(uint64(seed), 2))
				w.filter = func(*ipsec.Datagram) bool { return loss.Float64() >= 0.3 }
				w.run(30 * time.Second)
				if a.view()[0].Children[0].Up && b.view()[0].Children[0].Up {
					up++
				}
			}
			share := 100 * float64(up) / float64(n)
			t.Logf("%d of %d are up within 30 s: %.2f %%", up, n, share)
			if share < c.least {
				t.Errorf("want at least %v %%", c.least)
			}
		})
	}
}

// firsts notes when an end sends the first message of an IKE SA, and again.
func firsts(w *world, from *end) *[]time.Time {
	var at []time.Time
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.SPIr == 0 && d.Remote.Addr() == from.addr {
			at = append(at, w.now)
		}
		return true
	}
	return &at
}

// onlyAnswers has b wait for a.
func onlyAnswers(change func(pa, pb *sa.Peer)) func(pa, pb *sa.Peer) {
	return func(pa, pb *sa.Peer) {
		if change != nil {
			change(pa, pb)
		}
		pb.Children[0].Initiate = false
		pa.DPD.Interval, pa.DPD.Timeout = 2*time.Second, 6*time.Second
	}
}

var versions = map[string]func(pa, pb *sa.Peer){"IKEv2": nil, "IKEv1": v1}

func TestThePeersDeleteIsAnsweredByANewIKESAAtOnce(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, onlyAnswers(version))
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			at := firsts(w, a)
			for n, m := range b.peer(0).machines {
				if n == 0 {
					m.Close(w.now, operatorAsked)
				}
			}
			w.run(300 * time.Millisecond)
			if len(*at) == 0 {
				t.Fatal("no new IKE SA is begun")
			}
			w.run(time.Second)
			wantPairs(t, a, b, 1)
		})
	}
}

// TestALostPeerIsTriedBriskly: for a minute a message goes out every two seconds or so, and so a peer that returns is up
// within 5 s; later one every 30 s at least.
func TestALostPeerIsTriedBriskly(t *testing.T) {
	for name, version := range versions {
		for _, away := range []time.Duration{7 * time.Second, 20 * time.Second, 58 * time.Second, 5 * time.Minute, 20 * time.Minute} {
			t.Run(name+" "+away.String(), func(t *testing.T) {
				w, a, b := pairOf(t, onlyAnswers(version))
				w.run(2 * time.Minute)
				wantPairs(t, a, b, 1)
				at := firsts(w, a)
				b.dead = true
				w.run(away)
				b.dead = false
				limit := 5 * time.Second
				if away > time.Minute {
					limit = 31 * time.Second // a message every 30 s
				}
				up := func() bool {
					return len(a.out) == 1 && b.in[a.newest[len(a.newest)-1].SPIOut] != nil
				}
				for waited := time.Duration(0); !up(); waited += 100 * time.Millisecond {
					if waited > limit {
						t.Fatalf("not up %v after the peer's return, of %d messages the last %v before it", waited, len(*at), w.now.Sub((*at)[len(*at)-1]))
					}
					w.run(100 * time.Millisecond)
				}
			})
		}
	}
}

// TestAPeerThatAcceptsAndDeletesIsBackedOffFrom, up to 20 s; after a minute with an IKE SA all begins anew.
func TestAPeerThatAcceptsAndDeletesIsBackedOffFrom(t *testing.T) {
	w, a, b := pairOf(t, onlyAnswers(nil))
	at := firsts(w, a)
	for range 10 {
		for len(b.peer(0).usable()) == 0 {
			w.run(10 * time.Millisecond)
		}
		b.peer(0).main().Close(w.now, operatorAsked)
		w.run(10 * time.Millisecond)
	}
	var waits []time.Duration
	for i := 1; i < len(*at); i++ {
		waits = append(waits, (*at)[i].Sub((*at)[i-1]).Round(100*time.Millisecond))
	}
	if waits[0] > 200*time.Millisecond || waits[len(waits)-1] < 15*time.Second {
		t.Errorf("waits %v, want 0 and then more and more", waits)
	}
	for _, d := range waits {
		if d > 21*time.Second {
			t.Errorf("waits %v", waits)
		}
	}
	for len(b.peer(0).usable()) == 0 {
		w.run(10 * time.Millisecond)
	}
	w.run(time.Minute + time.Second)
	*at = nil
	b.peer(0).main().Close(w.now, operatorAsked)
	w.run(300 * time.Millisecond)
	if len(*at) == 0 {
		t.Error("after a minute with an IKE SA the next attempt is not at once")
	}
}
