package ike

import (
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// questions is how many liveness checks were sent.
func questions(w *world) int {
	return w.count(wire.ExchangeInformational, false) + w.count(wire.ExchangeInfo1, false)
}

// TestTrafficCountsAsLife: while packets flow in, nobody asks, and a packet ends the wait for an answer.
func TestTrafficCountsAsLife(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				if version != nil {
					version(pa, pb)
				}
				pa.DPD, pb.DPD = dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}, dpd.Config{}
			})
			w.run(10 * time.Second)
			before := questions(w)
			for range 20 {
				a.receive(a.newest[0].SPIIn, b.addr)
				w.run(9 * time.Second)
			}
			if n := questions(w) - before; n != 0 {
				t.Errorf("%d questions beside traffic", n)
			}
			w.run(25 * time.Second)
			if n := questions(w) - before; n != 3 && n != 6 { // IKEv1's answers are informational exchanges too
				t.Errorf("%d messages in 34 s of silence, want three questions", n)
			}
			if version == nil { // the retransmission of the request decides besides
				return
			}
			// IKE is filtered, so no answer comes; but packets do, one during each question.
			w.filter = func(*ipsec.Datagram) bool { return false }
			for range 10 {
				w.run(20 * time.Second)
				a.receive(a.newest[0].SPIIn, b.addr)
			}
			wantPairs(t, a, b, 1)
		})
	}
}

// TestDeadPeerIsMissedInTime: within the interval and the timeout, whatever packet was the last.
func TestDeadPeerIsMissedInTime(t *testing.T) {
	for name, version := range versions {
		for _, last := range []time.Duration{0, 300 * time.Millisecond, time.Second, 1900 * time.Millisecond} {
			t.Run(name+" "+last.String(), func(t *testing.T) {
				w, a, b := pairOf(t, onlyAnswers(version))
				w.run(time.Minute + last)
				a.receive(a.newest[0].SPIIn, b.addr)
				b.dead = true
				gone := w.now
				before := len(w.sent)
				for len(a.in) > 0 && w.now.Sub(gone) < time.Minute {
					w.run(10 * time.Millisecond)
				}
				if took := w.now.Sub(gone); took > 7800*time.Millisecond {
					t.Errorf("missed after %v, want less than 2 s and 6 s", took)
				}
				asked := 0
				for _, h := range w.sent[before:] {
					if h.Exchange == wire.ExchangeInformational || h.Exchange == wire.ExchangeInfo1 {
						asked++
					}
				}
				if asked < 3 {
					t.Errorf("asked %d times", asked)
				}
			})
		}
	}
}

// TestClearedPeerIsNotTriedAgain, until it begins, or somebody wants it up.
func TestClearedPeerIsNotTriedAgain(t *testing.T) {
	for name, version := range versions {
		for _, by := range []string{"the peer", "the operator"} {
			t.Run(name+" back by "+by, func(t *testing.T) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
					onlyAnswers(version)(pa, pb)
					pa.DPD.Clear = true
				})
				w.run(time.Minute)
				wantPairs(t, a, b, 1)
				at := firsts(w, a)
				b.dead = true
				w.run(time.Hour)
				if len(*at) > 0 || len(a.in) > 0 {
					t.Fatalf("tried %d times, %d Child SAs left", len(*at), len(a.in))
				}
				a.noLeaks()
				wantWhy(t, "a", a.view()[0].Children[0].Why, "the peer is dead")
				a.Do(w.now, sa.PathChanged{})
				w.run(time.Minute)
				if len(*at) > 0 {
					t.Fatal("tried after a link event")
				}
				nb := w.host(b.addr.String(), 0x5000)
				_, pb := peersFor()
				if version != nil {
					pa, _ := peersFor()
					version(pa, pb)
				}
				pb.Children[0].Initiate = by == "the peer"
				nb.SetPeers(w.now, []*sa.Peer{pb})
				if by == "the operator" {
					a.Do(w.now, sa.Raise{Tunnel: "a"})
				}
				w.run(time.Second)
				wantPairs(t, a, nb, 1)
				// A Delete is no death.
				nb.peer(0).main().Close(w.now, operatorAsked)
				w.run(5 * time.Second)
				wantPairs(t, a, nb, 1)
			})
		}
	}
}

// TestLinkEventHasAnAbsentPeerTriedAtOnce, wherever its attempts stand; and a storm of events is no storm of messages.
func TestLinkEventHasAnAbsentPeerTriedAtOnce(t *testing.T) {
	for name, version := range versions {
		for _, away := range []time.Duration{20 * time.Second, 5 * time.Minute, 5*time.Minute + 7*time.Second, 5*time.Minute + 31*time.Second} {
			t.Run(name+" "+away.String(), func(t *testing.T) {
				w, a, b := pairOf(t, onlyAnswers(version))
				w.run(2 * time.Minute)
				b.dead = true
				w.run(away)
				b.dead = false
				a.Do(w.now, sa.PathChanged{})
				w.run(900 * time.Millisecond)
				if len(a.out) != 1 || b.in[a.newest[0].SPIOut] == nil {
					t.Fatal("not up within a second")
				}
				before := len(w.sent)
				for range 200 { // of one that is up
					a.Do(w.now, sa.PathChanged{})
					w.run(50 * time.Millisecond)
				}
				if n := len(w.sent) - before; n > 25 {
					t.Errorf("%d messages while it is up", n)
				}
			})
		}
		t.Run(name+" storm", func(t *testing.T) {
			w, a, b := pairOf(t, onlyAnswers(version))
			w.run(2 * time.Minute)
			b.dead = true
			w.run(5 * time.Minute)
			at := firsts(w, a)
			for range 200 {
				a.Do(w.now, sa.PathChanged{})
				w.run(50 * time.Millisecond)
			}
			if n := len(*at); n < 3 || n > 12 {
				t.Errorf("%d messages in a storm of 200 events", n)
			}
			b.dead = false
			w.run(5 * time.Second)
			if len(a.out) != 1 || b.in[a.newest[0].SPIOut] == nil {
				t.Error("not up 5 s after the storm")
			}
		})
	}
}
