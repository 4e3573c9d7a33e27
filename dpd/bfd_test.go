package dpd

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

var bfdZero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// bfdPair is two sessions and the path between them.
type bfdPair struct {
	t      *testing.T
	now    time.Time
	ends   [2]BFDSession
	sent   [2][]time.Time
	polls  [2]int  // packets that poll
	cut    [2]bool // what end i sends is lost
	random func() float64
}

func newBFDPair(t *testing.T, a, b BFD) *bfdPair {
	p := &bfdPair{t: t, now: bfdZero, random: rand.New(rand.NewPCG(1, 2)).Float64}
	p.ends[0].Start(p.now, a, 11, p.random)
	p.ends[1].Start(p.now, b, 22, p.random)
	return p
}

// run plays until a time after the present.
func (p *bfdPair) run(d time.Duration) {
	p.t.Helper()
	end := p.now.Add(d)
	for step := 0; ; step++ {
		if step > 100_000 {
			p.t.Fatal("it never rests")
		}
		next := end
		for i := range p.ends {
			if at := p.ends[i].Deadline(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		p.now = maxTime(p.now, next)
		idle := true
		for i := range p.ends {
			if b := p.ends[i].Due(p.now); b != nil {
				idle = false
				p.sent[i] = append(p.sent[i], p.now)
				p.polls[i] += int(b[1] >> 5 & 1)
				if !p.cut[i] && !p.ends[1-i].Handle(p.now, b) {
					p.t.Fatalf("end %d discards % x", 1-i, b)
				}
			}
		}
		if idle && !p.now.Before(end) {
			return
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *bfdPair) want(a, b BFDState) {
	p.t.Helper()
	if s, r := p.ends[0].state, p.ends[1].state; s != a || r != b {
		p.t.Fatalf("%v: states %v and %v; want %v and %v", p.now.Sub(bfdZero), s, r, a, b)
	}
}

func TestBFDComesUpAndNotesALoss(t *testing.T) {
	fast := BFD{Interval: 300 * time.Millisecond, Multiplier: 3}
	p := newBFDPair(t, fast, BFD{Interval: 200 * time.Millisecond, Multiplier: 5})
	p.run(2 * time.Second)
	p.want(BFDUp, BFDUp)
	if p.ends[0].poll || p.ends[1].poll {
		t.Fatal("a poll has no end")
	}

	p.sent = [2][]time.Time{}
	p.run(30 * time.Second)
	for i, at := range p.sent {
		for k := 1; k < len(at); k++ {
			if d := at[k].Sub(at[k-1]); d < 225*time.Millisecond || d > 300*time.Millisecond {
				t.Fatalf("end %d sends after %v; want 225 to 300 ms: the slower end decides", i, d)
			}
		}
	}

	p.cut[1] = true // nothing of 1 arrives: 0 detects it after 5 x 300 ms, and tells 1
	cut := p.now
	p.run(time.Second)
	p.want(BFDUp, BFDUp)
	p.run(600 * time.Millisecond)
	p.want(BFDDown, BFDDown)
	if _, since, why := p.ends[0].State(); why != BFDExpired || since.Sub(cut) > 1500*time.Millisecond || p.ends[0].Health() != Ill {
		t.Fatalf("down after %v by %d, health %v", since.Sub(cut), why, p.ends[0].Health())
	}
	if _, _, why := p.ends[1].State(); why != BFDTold || p.ends[1].Health() != Ill {
		t.Fatalf("the other end is down by %d", why)
	}
	p.sent = [2][]time.Time{}
	p.run(10 * time.Second)
	if n := len(p.sent[0]); n < 10 || n > 14 {
		t.Fatalf("%d packets in 10 s of a session that is down; want one in 750 to 1000 ms", n)
	}
	p.cut[1] = false
	p.run(2500 * time.Millisecond)
	p.want(BFDUp, BFDUp)
	if p.ends[0].Health() != Healthy {
		t.Fatal("it is up and not healthy")
	}
}

func TestBFDEndsOnPurpose(t *testing.T) {
	p := newBFDPair(t, DefaultBFD, DefaultBFD)
	p.run(4 * time.Second)
	p.want(BFDUp, BFDUp)
	last := p.ends[1].Stop(p.now)
	if !p.ends[0].Handle(p.now, last) {
		t.Fatal("the last packet is discarded")
	}
	p.want(BFDDown, BFDAdminDown)
	if p.ends[0].Health() != Unknown {
		t.Fatalf("a peer that ends BFD makes the path %v", p.ends[0].Health())
	}
	p.cut[0] = true
	p.run(10 * time.Second)
	if p.ends[0].Health() != Unknown || !p.ends[1].Deadline().IsZero() {
		t.Fatal("it did not stay so")
	}
	if p.ends[1].Handle(p.now, p.ends[0].packet(false)) {
		t.Fatal("a session at rest takes packets")
	}
	p.cut[0] = false
	p.ends[1].Start(p.now, DefaultBFD, 33, p.random)
	p.run(4 * time.Second)
	p.want(BFDUp, BFDUp)
}

func TestBFDSaysNothingOfAPeerWithoutIt(t *testing.T) {
	var s BFDSession
	s.Start(bfdZero, DefaultBFD, 1, func() float64 { return 0.5 })
	for now := bfdZero; now.Sub(bfdZero) < time.Minute; now = now.Add(100 * time.Millisecond) {
		s.Due(now)
	}
	if s.Health() != Unknown || s.Stop(bfdZero) != nil {
		t.Fatal("a peer that never answered makes the path ill, or gets a goodbye")
	}
}

func TestBFDTellsAChangeOfMultiplierOneInTime(t *testing.T) {
	one := BFD{Interval: 100 * time.Millisecond, Multiplier: 1}
	p := newBFDPair(t, one, one)
	p.run(5 * time.Minute)
	p.want(BFDUp, BFDUp)
	for i, at := range p.sent {
		for k := max(1, len(at)-100); k < len(at); k++ {
			if d := at[k].Sub(at[k-1]); d < 75*time.Millisecond || d > 90*time.Millisecond {
				t.Fatalf("end %d sends after %v; want 75 to 90 %% of the interval", i, d)
			}
		}
	}
	for i := range p.ends {
		if since := p.ends[i].since; since.Sub(bfdZero) > 3*time.Second {
			t.Fatalf("end %d went down by its own jitter, and is up since %v", i, since.Sub(bfdZero))
		}
	}
}

// RFC 5880 section 6.8.6, in its order.
func TestBFDDiscards(t *testing.T) {
	good := func() []byte {
		b := make([]byte, 24)
		b[0], b[1], b[2], b[3] = 1<<5, byte(BFDDown)<<6, 3, 24
		binary.BigEndian.PutUint32(b[4:], 7)
		binary.BigEndian.PutUint32(b[12:], 1_000_000)
		binary.BigEndian.PutUint32(b[16:], 1_000_000)
		return b
	}
	for name, change := range map[string]func([]byte) []byte{
		"short":                        func(b []byte) []byte { return b[:23] },
		"empty":                        func([]byte) []byte { return nil },
		"version 2":                    func(b []byte) []byte { b[0] = 2 << 5; return b },
		"length under 24":              func(b []byte) []byte { b[3] = 23; return b },
		"length beyond the packet":     func(b []byte) []byte { b[3] = 25; return b },
		"multiplier 0":                 func(b []byte) []byte { b[2] = 0; return b },
		"multipoint":                   func(b []byte) []byte { b[1] |= 1; return b },
		"my discriminator 0":           func(b []byte) []byte { clear(b[4:8]); return b },
		"your discriminator of others": func(b []byte) []byte { b[11] = 5; return b },
		"no discriminator and Init":    func(b []byte) []byte { b[1] = byte(BFDInit) << 6; return b },
		"no discriminator and Up":      func(b []byte) []byte { b[1] = byte(BFDUp) << 6; return b },
		"authenticated":                func(b []byte) []byte { b[1] |= 4; return b },
	} {
		var s BFDSession
		s.Start(bfdZero, DefaultBFD, 9, func() float64 { return 0 })
		if s.Handle(bfdZero, change(good())) || s.state != BFDDown {
			t.Errorf("%s: it is taken", name)
		}
		if !s.Handle(bfdZero, good()) || s.state != BFDInit {
			t.Errorf("%s: a good one is discarded", name)
		}
	}
}

// RFC 5880 section 6.8.3: a change of the interval is polled for.
func TestBFDPollsWhenItGetsFaster(t *testing.T) {
	p := newBFDPair(t, BFD{Interval: 300 * time.Millisecond, Multiplier: 3}, DefaultBFD)
	p.run(4 * time.Second)
	if p.polls != [2]int{1, 0} || p.ends[0].poll {
		t.Fatalf("%v packets poll, and it is still polling: %v; want one of the end that gets faster", p.polls, p.ends[0].poll)
	}
}

func TestBFDAnswersAPollAtOnce(t *testing.T) {
	p := newBFDPair(t, DefaultBFD, DefaultBFD)
	p.run(5 * time.Second)
	p.ends[0].poll = true
	b := p.ends[0].packet(false)
	if !p.ends[1].Handle(p.now, b) || p.ends[1].Deadline().After(p.now) {
		t.Fatal("the answer is not due at once")
	}
	if b = p.ends[1].Due(p.now); b == nil || b[1]&48 != 16 {
		t.Fatalf("the answer is % x", b)
	}
	if p.ends[0].Handle(p.now, b); p.ends[0].poll {
		t.Fatal("the poll did not end")
	}
}

// A demanding peer gets no packets but answers; one that wants none gets none.
func TestBFDIsSilentWhereThePeerWantsIt(t *testing.T) {
	p := newBFDPair(t, DefaultBFD, DefaultBFD)
	p.run(5 * time.Second)
	b := p.ends[1].packet(false)
	b[1] |= 2
	p.ends[0].Handle(p.now, b)
	if !p.ends[0].next.IsZero() {
		t.Fatal("it sends in demand mode")
	}
	b[1] &^= 2
	binary.BigEndian.PutUint32(b[16:], 0)
	p.ends[0].Handle(p.now, b)
	if !p.ends[0].next.IsZero() {
		t.Fatal("it sends to a peer that wants nothing")
	}
	if d := p.ends[0].Deadline(); d.IsZero() {
		t.Fatal("it forgot that the peer may be gone")
	}
}

func FuzzBFD(f *testing.F) {
	f.Add([]byte{0x20, 0x40, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 15, 66, 64, 0, 15, 66, 64, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s BFDSession
		now := bfdZero
		s.Start(now, DefaultBFD, 9, func() float64 { return 0.9 })
		for range 4 {
			s.Handle(now, b)
			for range 3 {
				s.Due(now)
			}
			d := s.Deadline()
			if d.IsZero() {
				return
			}
			if d.After(now) {
				now = d
			}
		}
	})
}
