package ike

import (
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// A course is one schedule of TestSchedules: what two ends are told, and what happens to their messages, for
// a while; then calm.
type course struct {
	t       *testing.T
	version int
	w       *world
	r       *mrand.Rand
	a, b    *end
	loss    float64
	late    []delayed // messages that others overtake
	traffic bool
	pace    time.Duration // between packets
	done    []string      // what the ends were told
}

type delayed struct {
	at time.Time
	d  ipsec.Datagram
}

// newCourse connects two ends in one of several constellations.
func newCourse(t *testing.T, seed uint64, version int) *course {
	r := mrand.New(mrand.NewPCG(seed, uint64(version)))
	s := &course{t: t, version: version, r: r, loss: 0.3 * r.Float64(), traffic: r.IntN(3) > 0, pace: 100 * time.Millisecond}
	s.w = newWorld(t, 0)
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	s.w.rand = mrand.NewChaCha8(key)
	s.a, s.b = s.w.host("192.0.2.1", 0x1000), s.w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	if r.IntN(3) == 0 {
		shared(pa, pb)
	}
	switch {
	case version == 1 && r.IntN(2) == 0:
		v1(pa, pb)
		fastGroup(pa, pb)
	case version == 1:
		aggressive(pa, pb)
		fastGroup(pa, pb)
	}
	if r.IntN(2) == 0 { // both begin
		for _, c := range pb.Children {
			c.Initiate = true
		}
	}
	s.b.SetPeers(s.w.now, []*sa.Peer{pb})
	s.a.SetPeers(s.w.now, []*sa.Peer{pa})
	return s
}

// disturb lets some messages get lost, come twice, or come late.
func (s *course) disturb(d *ipsec.Datagram) bool {
	if s.r.Float64() < s.loss {
		return false
	}
	x := *d
	x.Data = slices.Clone(d.Data)
	switch s.r.IntN(8) {
	case 0: // twice
		s.late = append(s.late, delayed{s.w.now.Add(s.delay()), x})
	case 1, 2: // late
		s.late = append(s.late, delayed{s.w.now.Add(s.delay()), x})
		return false
	}
	return true
}

func (s *course) delay() time.Duration {
	return time.Duration(s.r.Int64N(int64([...]time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}[s.r.IntN(3)])))
}

// run lets time pass, in small steps, for d.
func (s *course) run(d time.Duration) {
	const step = 25 * time.Millisecond
	for end, n := s.w.now.Add(d), 0; s.w.now.Before(end); n++ {
		next := end
		if len(s.late) > 0 || s.traffic {
			next = s.w.now.Add(step)
			if len(s.late) == 0 {
				next = s.w.now.Add(s.pace)
			}
		}
		s.w.run(min(next.Sub(s.w.now), end.Sub(s.w.now)))
		if s.traffic && (len(s.late) == 0 || n%4 == 0) {
			s.w.esp()
		}
		s.late = slices.DeleteFunc(s.late, func(x delayed) bool {
			if x.at.After(s.w.now) {
				return false
			}
			s.w.wire = append(s.w.wire, x.d)
			return true
		})
		s.r.Shuffle(len(s.w.wire), func(i, j int) { s.w.wire[i], s.w.wire[j] = s.w.wire[j], s.w.wire[i] })
	}
}

// tell tells one end, or both at once, to do something.
func (s *course) tell() {
	ends := [][]*end{{s.a}, {s.b}, {s.a, s.b}, {s.b, s.a}}[s.r.IntN(4)]
	for _, n := range ends {
		p := n.peer(0)
		c := p.children[s.r.IntN(len(p.children))]
		what := [...]string{"rekey", "rekey", "rekey", "rekey IKE", "rekey IKE", "rekey IKE", "delete", "delete IKE", "down and up", "expired"}[s.r.IntN(10)]
		s.done = append(s.done, fmt.Sprintf("%v %v: %s %s", s.w.now.Format("05.000"), n.addr, what, c.cfg.Name))
		m := p.main()
		switch what {
		case "rekey":
			n.Do(s.w.now, sa.Rekey{Tunnel: c.cfg.Tunnel})
		case "rekey IKE":
			n.Do(s.w.now, sa.RekeyIKE{Tunnel: c.cfg.Tunnel})
		case "delete":
			if m != nil {
				m.DeleteChildren(s.w.now, c.cfg)
				n.touch(m)
			}
		case "delete IKE":
			if m != nil {
				m.Close(s.w.now, operatorAsked)
				n.touch(m)
			}
		case "down and up":
			n.Do(s.w.now, sa.Lower{Tunnel: c.cfg.Tunnel})
			s.run(s.delay())
			n.Do(s.w.now, sa.Raise{Tunnel: c.cfg.Tunnel})
		case "expired":
			if len(n.newest) > 0 {
				n.Do(s.w.now, sa.Expired{SPIIn: n.sendsOn().SPIIn, Limit: ipsec.LimitBytes})
			}
		}
	}
}

// play runs the schedule.
func (s *course) play() {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("loss %.2f, %q", s.loss, s.done)
		}
	}()
	if s.r.IntN(4) > 0 {
		s.run(2 * time.Second)
	}
	s.w.filter = s.disturb
	for range 2 + s.r.IntN(8) {
		s.tell()
		s.run(time.Duration(s.r.Int64N(int64([...]time.Duration{50 * time.Millisecond, time.Second, 8 * time.Second}[s.r.IntN(3)]))))
	}
	s.w.filter, s.traffic, s.pace = nil, true, time.Second
	s.run(calm)
	wantPairs(s.t, s.a, s.b, len(s.a.peer(0).children))
	if s.version == 2 {
		wantIKE(s.t, s.a, s.b, 1)
	}
	// Nothing answers IKEv1's Delete of an ISAKMP SA, and while packets come nobody asks. The next rekey finds out.
	for _, c := range s.a.peer(0).children {
		s.a.Do(s.w.now, sa.Rekey{Tunnel: c.cfg.Tunnel})
	}
	s.run(calm)
	s.b.Do(s.w.now, sa.RekeyIKE{Tunnel: "b"})
	s.run(calm)
	wantPairs(s.t, s.a, s.b, len(s.a.peer(0).children))
	wantIKE(s.t, s.a, s.b, 1)
	if x, y := s.a.ikeOf(), s.b.ikeOf(); x.SPIi != y.SPIi || x.SPIr != y.SPIr {
		s.t.Errorf("the ends use different IKE SAs")
	}
	for i, c := range s.a.peer(0).children {
		if x, y := c.sas(), s.b.peer(0).children[i].sas(); len(x) != 1 || len(y) != 1 || x[0].SA.SPIIn != y[0].SA.SPIOut {
			s.t.Errorf("%s: %d and %d Child SAs", c.cfg.Name, len(x), len(y))
		}
	}
	g := &game{w: s.w}
	g.over(s.t)
}

// calm is how long after the last trouble all must be in order: longer than a request is repeated, an end waits for the
// other's Delete, and a dead peer is waited for.
const calm = 3 * time.Minute

// TestSchedules: after any schedule of rekeys, deletes and collisions over a path that loses, doubles and delays, the two ends
// have one IKE SA and each Child SA once, and no SPI is lost. With SOAK there are 10,000; SEED plays one, and with PLAYS so many from there.
func TestSchedules(t *testing.T) {
	first, n := 0, 150
	if os.Getenv("SOAK") != "" {
		n = 10_000
	}
	if s := os.Getenv("SEED"); s != "" {
		first, n = number(t, s), 1
	}
	if s := os.Getenv("PLAYS"); s != "" {
		n = number(t, s)
	}
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("IKEv%d", version), func(t *testing.T) {
			var failed atomic.Int64
			t.Run("all", func(t *testing.T) {
				workers := runtime.NumCPU()
				for worker := range workers {
					t.Run(fmt.Sprint(worker), func(t *testing.T) {
						t.Parallel()
						for seed := first + worker; seed < first+n; seed += workers {
							if !t.Run(fmt.Sprint(seed), func(t *testing.T) { newCourse(t, uint64(seed), version).play() }) {
								failed.Add(1)
							}
						}
					})
				}
			})
			t.Logf("%d of %d schedules end well", int64(n)-failed.Load(), n)
		})
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
