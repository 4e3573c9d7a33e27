package ike

import (
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// A path takes its time: a message arrives after messageTime, and of the packets of ESP, which both ends send all the time, some
// arrive up to packetTime after they were sent, so messages overtake them.
type path struct {
	w        *world
	r        *mrand.Rand
	messages []delayed
	packets  []flight
	lose     int // the number of the message that is lost, counted from 0; -1: none is
	sent     int // messages
	lost     int // packets that the receiver had no SA for
}

type flight struct {
	at       time.Time
	from, to *end
	spi      uint32
}

const (
	messageTime = 60 * time.Millisecond
	packetTime  = 300 * time.Millisecond
)

// run has both ends send a packet every 10 ms, for d.
func (p *path) run(d time.Duration) {
	arriving := false
	p.w.filter = func(d *ipsec.Datagram) bool {
		if !arriving {
			if p.sent++; p.sent-1 != p.lose {
				p.messages = append(p.messages, delayed{p.w.now.Add(messageTime), *d})
			}
		}
		return arriving
	}
	a, b := p.w.order[0], p.w.order[1]
	for end := p.w.now.Add(d); p.w.now.Before(end); {
		for _, x := range [...]flight{{from: a, to: b}, {from: b, to: a}} {
			x.at, x.spi = p.w.now.Add(time.Duration(p.r.Int64N(int64(packetTime)))), x.from.sendsOn().SPIOut
			p.packets = append(p.packets, x)
		}
		p.w.run(10 * time.Millisecond)
		p.packets = slices.DeleteFunc(p.packets, func(x flight) bool {
			if x.at.After(p.w.now) {
				return false
			}
			if x.to.in[x.spi] == nil {
				p.lost++
			}
			x.to.receive(x.spi, x.from.addr)
			return true
		})
		arriving = true
		p.messages = slices.DeleteFunc(p.messages, func(m delayed) bool {
			if !m.at.After(p.w.now) {
				p.w.arrive(m.d)
			}
			return !m.at.After(p.w.now)
		})
		arriving = false
	}
	p.w.filter = nil
}

// When one of two IKE SAs ends that both ends began at once, no packet is lost: neither one that the end of the IKE SA overtakes, nor
// one that the other end sends before it knows, whichever end deletes it and whichever message is lost. Its Child SAs are gone a few seconds later, and
// that is no rekey.
func TestBothBeginAtOnceAndNoPacketIsLost(t *testing.T) {
	t.Parallel()
	for _, other := range []bool{false, true} { // whether the end deletes it that has not begun it
		onLoser := 0
		for seed := range byte(16) {
			for lose := -1; lose < 4; lose++ {
				w, a, b := pairWith(t, seed, func(_, pb *sa.Peer) { pb.Children[0].Initiate = true })
				w.run(dedupeAfter / 2)
				wantIKE(t, a, b, 2)
				wantPairs(t, a, b, 2)
				if other {
					b.peer(0).dedupeAt = time.Time{}
				}
				a.facts()
				b.facts()
				p := &path{w: w, r: mrand.New(mrand.NewPCG(uint64(seed), 0)), lose: lose}
				w.lossless = true
				was := [...]*ipsec.ChildSA{a.sendsOn(), b.sendsOn()}
				p.run(dedupeOther + 3*time.Second)
				if w.lossless = false; p.lost > 0 {
					t.Errorf("the other end %v, seed %d, message %d lost: %d packets are lost", other, seed, lose, p.lost)
				}
				w.run(30 * time.Second)
				wantPairs(t, a, b, 1)
				wantIKE(t, a, b, 1)
				for i, n := range w.order {
					n.noLeaks()
					if was[i] != n.sendsOn() {
						onLoser++
					}
					if got := n.facts(); slices.Contains(got, "ChildGone replaced") || !slices.Contains(got, "ChildGone collision") && !slices.Contains(got, "ChildGone peer-deleted-ike") {
						t.Errorf("%v: %q", n.addr, got)
					}
				}
				if t.Failed() {
					return
				}
			}
		}
		if onLoser == 0 {
			t.Error("no end sent on the Child SA that went")
		}
	}
}

// The same for IKEv1, where the Child SAs of the one that ends are replaced by rekeys first.
func TestV1BothBeginAtOnceAndNoPacketIsLost(t *testing.T) {
	t.Parallel()
	played := 0
	for seed := range byte(6) {
		w, a, b := pairWith(t, seed, func(pa, pb *sa.Peer) {
			v1(pa, pb)
			pb.Children[0].Initiate = true
		})
		w.run(dedupeAfter / 2)
		if len(a.peer(0).usable()) != 2 || len(a.newest) == 0 || len(b.newest) == 0 {
			continue // not begun at once, or a message waits for its repetition
		}
		played++
		p := &path{w: w, r: mrand.New(mrand.NewPCG(uint64(seed), 0)), lose: -1}
		w.lossless = true
		p.run(dedupeOther1 + 10*time.Second)
		if w.lossless = false; p.lost > 0 {
			t.Errorf("seed %d: %d packets are lost", seed, p.lost)
		}
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
	}
	if played == 0 {
		t.Error("none was begun at once")
	}
}
