package tunnel

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
)

// fast is the BFD of the tests.
var fast = dpd.BFD{Interval: 300 * time.Millisecond, Multiplier: 3}

// bidirectional is a tunnel with BGP and BFD.
func bidirectional(c Config, number byte) Config {
	withBGP(c.Tunnel)
	b := fast
	c.Tunnel.BGP.BFD = &b
	c.Tunnel.Inside = netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, number, 2}), 30)
	c.Tunnel.Peer = netip.AddrFrom4([4]byte{169, 254, number, 1})
	c.Discriminator = uint32(number)
	return c
}

// bfdScript is a script with the peers' BFD sessions.
type bfdScript struct {
	*script
	peers map[string]*dpd.BFDSession
	deaf  map[string]bool // what this peer sends is lost
	sent  int
}

func newBFDScript(t *testing.T, tunnels ...Config) *bfdScript {
	s := &bfdScript{peers: map[string]*dpd.BFDSession{}, deaf: map[string]bool{}}
	s.script = newScript(t, tunnels...)
	for i, c := range tunnels {
		s.peers[c.Tunnel.Name] = new(dpd.BFDSession)
		s.answer(c.Tunnel.Name, uint32(1000+i))
	}
	s.script.bfd = func(a BFDSend) {
		s.sent++
		if p := s.peers[a.Tunnel]; !s.deaf[a.Tunnel] && !p.Handle(s.now, a.Packet) {
			if state, _, _ := p.State(); state != dpd.BFDAdminDown {
				t.Errorf("the peer discards % x", a.Packet)
			}
		}
	}
	return s
}

// answer begins a peer's session.
func (s *bfdScript) answer(tunnel string, discriminator uint32) {
	s.peers[tunnel].Start(s.now, fast, discriminator, rand.New(rand.NewPCG(1, uint64(discriminator))).Float64)
}

// run lets time pass for the Group and the peers, and forgets BFD's packets.
func (s *bfdScript) run(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for n := 0; s.now.Before(end); n++ {
		if n > 100_000 {
			s.t.Fatal("it never rests")
		}
		next := end
		for name, p := range s.peers {
			for packet := p.Due(s.now); packet != nil; packet = p.Due(s.now) {
				if !s.deaf[name] {
					s.Note(s.now, BFDHeard{name, packet})
				}
			}
			if at := p.Deadline(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		s.step()
		if at := s.Deadline(); !at.IsZero() && at.Before(next) {
			next = at
		}
		if next.After(s.now) {
			s.now = next
		}
	}
	s.calm()
}

// calm removes BFD's packets from the trace.
func (s *bfdScript) calm() {
	s.trace = slices.DeleteFunc(s.trace, func(a string) bool { return strings.HasPrefix(a, "bfd ") })
}

func (s *bfdScript) state(tunnel string, ours, theirs dpd.BFDState) {
	s.t.Helper()
	st, _ := s.Status(tunnel)
	if p, _, _ := s.peers[tunnel].State(); st.BFD == nil || st.BFD.State != ours || p != theirs {
		s.t.Errorf("%s: BFD is %+v here, %v there; want %v and %v", tunnel, st.BFD, p, ours, theirs)
	}
}

// A lost peer costs the learned routes at once, and nothing else: the static route, the guards and the SAs stay.
func TestBFDTakesLearnedRoutesAway(t *testing.T) {
	s := newBFDScript(t, bidirectional(spoken(there), 1))
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.facts(tells("hq", "10.1.0.0/16"))
	s.run(3 * time.Second)
	s.state("hq", dpd.BFDUp, dpd.BFDUp)
	s.stands("hq", Up, "")
	if st, _ := s.Status("hq"); st.BFD.Every != 300*time.Millisecond || st.BFD.Detect != 900*time.Millisecond || st.BFD.Local != addr("169.254.1.2") || st.BFD.Remote != addr("169.254.1.1") {
		t.Errorf("got %+v", st.BFD)
	}
	s.run(time.Minute)
	s.wants()

	s.deaf["hq"] = true
	cut := s.now
	s.run(time.Second)
	s.wants("want dev-hq/1440 at 169.254.1.2/30 10.10.0.0/16 src 192.168.3.1", "hq does not reach its neighbour", "hq: up -> degraded (bfd-down)")
	st, _ := s.Status("hq")
	if after := st.Since.Sub(cut); after > 900*time.Millisecond {
		t.Errorf("it took %v", after)
	}
	if c := st.Cause; c.Peer.Addr() != addr("169.254.1.1") || c.After != 900*time.Millisecond {
		t.Errorf("got %+v", c)
	}
	s.guarded("[10.1.0.0/16 10.10.0.0/16]")
	s.deaf["hq"] = false
	s.run(5 * time.Second)
	s.state("hq", dpd.BFDUp, dpd.BFDUp)
	s.wants("want dev-hq/1440 at 169.254.1.2/30 10.10.0.0/16 src 192.168.3.1 10.1.0.0/16 src 192.168.3.1", "hq reaches its neighbour", "hq: degraded -> up")
}

func TestBFDSaysNothingBeforeItWasUp(t *testing.T) {
	s := newBFDScript(t, bidirectional(spoken(there), 1))
	s.peers["hq"].Stop(s.now)
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.trace = nil
	s.facts(tells("hq", "10.1.0.0/16"))
	s.calm()
	s.trace = nil
	s.sent = 0
	s.run(time.Minute)
	s.wants()
	s.stands("hq", Up, "")
	if s.sent < 60 || s.sent > 80 {
		t.Errorf("%d packets in a minute: one a second until the peer answers", s.sent)
	}
}

// What ends a session on purpose is told to the peer, which goes on without BFD.
func TestThePeerIsToldOfBFDsEnd(t *testing.T) {
	for name, end := range map[string]Fact{"vpngw down": Held{"hq", true}, "removal": Leaving{"hq"}} {
		s := newBFDScript(t, bidirectional(spoken(there), 1))
		s.facts(device("hq"))
		s.up("hq", here, there)
		s.run(3 * time.Second)
		s.trace = nil
		s.Note(s.now, end)
		s.drain()
		s.wants("bfd hq rests") // before anything else is done
		if state, _, _ := s.peers["hq"].State(); state != dpd.BFDDown || s.peers["hq"].Health() == dpd.Ill {
			t.Errorf("%s: the peer's session is %v and says that the tunnel is %v", name, state, s.peers["hq"].Health())
		}
		s.sent = 0
		s.run(time.Minute)
		if s.sent > 0 {
			t.Errorf("%s: %d packets after the end", name, s.sent)
		}
	}
}

// And likewise in the other direction.
func TestThePeerMayEndBFD(t *testing.T) {
	s := newBFDScript(t, bidirectional(spoken(there), 1))
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.facts(tells("hq", "10.1.0.0/16"))
	s.run(3 * time.Second)
	s.trace = nil
	s.Note(s.now, BFDHeard{"hq", s.peers["hq"].Stop(s.now)})
	s.run(time.Minute)
	s.wants()
	s.stands("hq", Up, "")
	s.state("hq", dpd.BFDDown, dpd.BFDAdminDown)
}

// Until BFD misses its packets, an SA that goes and comes leaves it as it is; later it begins again.
func TestBFDGoesWithTheSAs(t *testing.T) {
	s := newBFDScript(t, bidirectional(spoken(there), 1))
	s.facts(device("hq"))
	c := s.up("hq", here, there)
	s.run(3 * time.Second)
	s.deaf["hq"] = true
	s.facts(gone(c))
	s.run(500 * time.Millisecond)
	c = s.up("hq", here, there)
	s.deaf["hq"] = false
	s.trace = nil
	s.run(3 * time.Second)
	s.wants()
	s.state("hq", dpd.BFDUp, dpd.BFDUp)

	s.deaf["hq"] = true
	s.facts(gone(c))
	s.run(2 * time.Second)
	s.state("hq", dpd.BFDAdminDown, dpd.BFDDown)
	s.trace, s.sent = nil, 0
	s.run(time.Minute)
	s.wants()
	if s.sent > 0 {
		t.Errorf("%d packets without an SA", s.sent)
	}
	s.deaf["hq"] = false
	s.up("hq", here, there)
	s.stands("hq", Up, "")
	s.run(3 * time.Second)
	s.state("hq", dpd.BFDUp, dpd.BFDUp)
}

// Of two tunnels the one that BFD has lost gives the traffic away, static routes included.
func TestBFDMovesTheTraffic(t *testing.T) {
	one, two := tunnelOf("one", here, there), tunnelOf("two", here, there)
	one.Tunnel.Role, two.Tunnel.Role = config.Active, config.Standby
	one.Conn.Switching.Hold = 2 * time.Second
	two.Conn = one.Conn
	s := newBFDScript(t, bidirectional(one, 1), bidirectional(two, 2))
	s.facts(device("one"), device("two"))
	s.up("one", here, there)
	s.up("two", here, there)
	s.facts(tells("one", "10.1.0.0/16"), tells("two", "10.1.0.0/16"))
	s.run(3 * time.Second)
	s.trace = nil
	s.deaf["one"] = true
	cut := s.now
	s.run(time.Second)
	s.wants("one -> two (failover)",
		"want dev-one/1440 at 169.254.1.2/30 dev-two/1440 at 169.254.2.2/30 10.10.0.0/16 src 192.168.3.1 10.1.0.0/16 src 192.168.3.1",
		"one does not reach its neighbour", "one: up -> degraded (bfd-down)")
	if st, _ := s.Status("one"); st.Since.Sub(cut) > 900*time.Millisecond {
		t.Errorf("it took %v", st.Since.Sub(cut))
	}
	s.deaf["one"] = false
	s.run(10 * time.Second)
	s.wants("one reaches its neighbour", "one: degraded -> up",
		"two -> one (failback)",
		"want dev-one/1440 at 169.254.1.2/30 10.10.0.0/16 src 192.168.3.1 10.1.0.0/16 src 192.168.3.1 dev-two/1440 at 169.254.2.2/30")
}

// A reload keeps the session. Other timers or addresses make it a new one, of which the peer is told; none ends it.
func TestReloadAndBFD(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Tunnel)
		rests  bool
		after  dpd.BFDState
	}{
		"the same":        {func(*config.Tunnel) {}, false, dpd.BFDUp},
		"another":         {func(t *config.Tunnel) { t.BGP.Hold = time.Minute }, false, dpd.BFDUp},
		"other timers":    {func(t *config.Tunnel) { t.BGP.BFD.Multiplier = 5 }, true, dpd.BFDUp},
		"another address": {func(t *config.Tunnel) { t.Peer = addr("169.254.1.3") }, true, dpd.BFDUp},
		"no BFD":          {func(t *config.Tunnel) { t.BGP.BFD = nil }, true, dpd.BFDAdminDown},
		"no BGP":          {func(t *config.Tunnel) { t.BGP = nil }, true, dpd.BFDAdminDown},
	} {
		s := newBFDScript(t, bidirectional(spoken(there), 1))
		s.facts(device("hq"))
		s.up("hq", here, there)
		s.run(3 * time.Second)
		next := bidirectional(spoken(there), 1)
		c.change(next.Tunnel)
		next.From = s.Take("hq")
		s.Group = New(s.now, []Config{next}, s.own, inner)
		s.trace = nil
		s.step()
		if rests := slices.Contains(s.trace, "bfd hq rests"); rests != c.rests {
			t.Errorf("%s: %v", name, s.trace)
		}
		s.run(3 * time.Second)
		m := s.find("hq")
		if state, _, _ := cmp.Or(m.bfd, new(hop)).session.State(); state != c.after {
			t.Errorf("%s: %v, want %v", name, state, c.after)
		}
	}
}

// A fact of BFD that is no news, and a packet that is due, have nothing else computed.
func TestBFDCostsLittle(t *testing.T) {
	s := newBFDScript(t, bidirectional(spoken(there), 1))
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.run(3 * time.Second)
	p := s.peers["hq"]
	for range 10 {
		s.now = s.now.Add(200 * time.Millisecond)
		packet := p.Due(s.now)
		if packet == nil {
			continue
		}
		if n := testing.AllocsPerRun(100, func() {
			s.Note(s.now, BFDHeard{"hq", packet})
			if s.noted {
				t.Fatal("it is news")
			}
		}); n > 0 {
			t.Errorf("%v allocations to hear a packet", n)
		}
		s.step()
	}
	if n := testing.AllocsPerRun(100, func() { s.Advance(s.now) }); n > 0 {
		t.Errorf("%v allocations while nothing is due", n)
	}
	s.stands("hq", Up, diag.Code(""))
}

// BenchmarkBFD is a second of a group with BFD at 300 ms, both directions.
func BenchmarkBFD(b *testing.B) {
	s := newBFDScript(new(testing.T), bidirectional(spoken(there), 1))
	s.facts(device("hq"))
	s.up("hq", here, there)
	s.run(3 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		s.run(time.Second)
	}
}
