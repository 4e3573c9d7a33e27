package bgp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ipsec"
)

// invariants watches a keeper from outside: what its actions may never be, whatever the facts are.
type invariants struct {
	t       *testing.T
	k       *keeper
	alive   bool // a child was asked for and has not died
	ready   bool // it said that it started
	killed  bool
	peers   map[string]Session
	told    map[netip.Prefix]bool
	reports map[string]Report
}

func (v *invariants) check(now time.Time) {
	seen := map[string]bool{}
	for a := v.k.next(); a != nil; a = v.k.next() {
		switch a := a.(type) {
		case start:
			if v.alive {
				v.t.Fatal("a second start without a death")
			}
			v.alive, v.ready, v.killed, v.peers, v.told = true, false, false, map[string]Session{}, map[netip.Prefix]bool{}
		case kill:
			if !v.alive || v.killed {
				v.t.Fatal("kill of nobody")
			}
			v.killed = true
		case ask, tell, addPeer, deletePeer, export:
			if !v.ready || v.killed {
				v.t.Fatalf("%T to a child that isn't there", a)
			}
			v.peer(a)
		case report:
			if seen[a.Tunnel] && v.k.find(a.Tunnel) != nil {
				v.t.Fatal("two reports of a tunnel in one advance")
			}
			seen[a.Tunnel] = true
			v.report(a.Report)
		}
	}
	if d := v.k.deadline(); !d.IsZero() && !d.After(now) {
		v.t.Fatalf("the deadline is %v before now", now.Sub(d))
	}
	if len(v.k.reach) > 3 {
		v.t.Fatalf("%d tunnels are remembered", len(v.k.reach))
	}
	for _, s := range v.k.sessions {
		r := &s.rib
		if _, _, keep := s.bounds(); len(r.entries) > 2*keep || len(r.recent) > MaxRefused || len(r.changed) > 3*keep {
			v.t.Fatalf("%d entries", len(r.entries))
		}
		var n [3]int
		stale := 0
		for p, e := range r.entries {
			n[e.class]++
			if e.stale {
				stale++
			}
			if e.told.Prefix != p || e.stale && e.class != isAccepted {
				v.t.Fatalf("entry %v is %+v", p, e)
			}
		}
		if n[isAccepted] != r.accepted || n[isRefused] != r.refused || n[isWaiting] != len(r.waiting.list) || stale != r.stale || r.beyond < 0 {
			v.t.Fatalf("counts of %v are %d accepted %d refused %d waiting, %d stale: %+v", n, r.accepted, r.refused, len(r.waiting.list), stale, r)
		}
		if r.complete && r.stale > 0 {
			v.t.Fatal("complete and stale")
		}
	}
}

func (v *invariants) peer(a action) {
	switch a := a.(type) {
	case tell:
		for _, t := range a.add {
			v.told[t.Prefix] = true
		}
		for _, t := range a.withdraw {
			if !v.told[t.Prefix] {
				v.t.Fatalf("%v is withdrawn, and was not told", t.Prefix)
			}
			delete(v.told, t.Prefix)
		}
	case addPeer:
		if _, ok := v.peers[a.session.Tunnel]; ok {
			v.t.Fatal("a peer is added twice")
		}
		for name, o := range v.peers {
			if o.Remote == a.session.Remote {
				v.t.Fatalf("%s is added at the address of %s", a.session.Tunnel, name)
			}
		}
		v.peers[a.session.Tunnel] = a.session
	case deletePeer:
		if was, ok := v.peers[a.session.Tunnel]; !ok || was.Remote != a.session.Remote {
			v.t.Fatal("delete of nobody")
		}
		delete(v.peers, a.session.Tunnel)
	case export:
		if _, ok := v.peers[a.session.Tunnel]; !ok {
			v.t.Fatal("export policy of nobody")
		}
	}
}

func (v *invariants) report(r Report) {
	v.reports[r.Tunnel] = r
	s := v.k.find(r.Tunnel)
	if s == nil {
		if len(r.Routes) > 0 {
			v.t.Fatal("a removed session has routes")
		}
		return
	}
	_, places, _ := s.bounds()
	if len(r.Routes) != r.In || r.In > places || len(r.Refused) > MaxRefused || r.RefusedN < len(r.Refused) && s.rib.beyond > 0 {
		v.t.Fatalf("%d routes, %d in, %d places, %d refused of %d", len(r.Routes), r.In, places, len(r.Refused), r.RefusedN)
	}
	for i, l := range r.Routes {
		if i > 0 && r.Routes[i-1].Prefix.Compare(l.Prefix) >= 0 {
			v.t.Fatal("routes are not sorted")
		}
		if c := refuses(&s.Session, &Told{Prefix: l.Prefix, Path: l.Path, Next: s.Remote}); !c.OK() {
			v.t.Fatalf("%v is accepted: %s, %s", l.Prefix, c.Ours, c.Theirs)
		}
	}
	if r.State != Established && !r.Stale && len(r.Routes) > 0 {
		v.t.Fatalf("routes without a session: %+v", r)
	}
	if r.State == Established && (!v.ready || v.killed) || r.Stale && !s.reach {
		v.t.Fatalf("report %+v", r)
	}
}

func TestRandomFacts(t *testing.T) {
	steps := 100000
	if testing.Short() {
		steps = 10000
	}
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomFacts(t, rand.New(rand.NewPCG(seed, 1)), steps/2) })
	}
}

func randomFacts(t *testing.T, r *rand.Rand, steps int) {
	now := time.Unix(1e9, 0)
	pick := func(n int) bool { return r.IntN(n) == 0 }
	tunnel := func() string { return fmt.Sprintf("t%d", 1+r.IntN(3)) }
	prefix := func() netip.Prefix {
		a := netip.AddrFrom4([4]byte{[]byte{10, 11, 12, 100, 127, 0, 203, 224}[r.IntN(8)], byte(r.IntN(4)), byte(r.IntN(4)), 0})
		if pick(20) {
			return netip.PrefixFrom(a, 8+r.IntN(17))
		}
		return netip.PrefixFrom(a, []int{0, 8, 16, 24, 24, 24}[r.IntN(6)]).Masked()
	}
	configs := func() Config {
		c := group()
		for i := range byte(3) {
			s := plain(fmt.Sprintf("t%d", i+1), 10+i)
			s.RemoteASN += uint32(i)
			s.MaxPrefixes = 1 + r.IntN(8)
			s.OverLimit = []config.OverLimit{config.OverWarn, config.OverTruncate, config.OverEnd}[r.IntN(3)]
			s.Passive, s.Graceful, s.Transit, s.Connected = pick(2), pick(2), pick(3), pick(2)
			if pick(3) {
				s.Accept = parsePrefixes("10.0.0.0/8", "0.0.0.0/0")[:1+r.IntN(2)]
			}
			if pick(3) {
				s.AuthKey = ipsec.Secret([]string{"", "a", "b"}[r.IntN(3)])
			}
			s.MED, s.MaxTell = uint32(r.IntN(2)), r.IntN(4)
			if pick(6) {
				s.NeverTell = parsePrefixes("10.0.0.0/8")
			}
			if !pick(4) {
				c.Sessions = append(c.Sessions, s)
			}
		}
		if len(c.Sessions) == 2 && pick(3) { // two tunnels change their addresses
			a, b := &c.Sessions[0], &c.Sessions[1]
			a.Local, a.Remote, b.Local, b.Remote = b.Local, b.Remote, a.Local, a.Remote
		}
		return c
	}
	v := &invariants{t: t, k: newKeeper(now, configs(), r.Float64), reports: map[string]Report{}}
	var established, stale, routes int
	for range steps {
		var f fact
		switch r.IntN(14) {
		case 0:
			if v.alive && (v.killed || pick(6)) {
				f = died{diag.Cause{Code: diag.BGPChildDied}}
				v.alive, v.ready = false, false
			}
		case 1, 2:
			if v.alive && !v.killed && !v.ready {
				f, v.ready = started{}, true
			}
		case 3:
			f = answered{}
		case 4, 5:
			f = peerIs{tunnel(), []State{Idle, Connecting, Opening, Established, Established}[r.IntN(5)], time.Second, time.Duration(r.IntN(3)) * time.Minute}
		case 6:
			f = said{tunnel(), diag.Cause{Code: []diag.Code{diag.BGPHold, diag.BGPAS, diag.BGPNotification}[r.IntN(3)]}}
		case 7, 8, 9:
			x := told{tunnel: tunnel()}
			for range r.IntN(40) {
				s := v.k.find(x.tunnel)
				if s == nil {
					s = newSession(now, Session{})
				}
				p := Told{Prefix: prefix(), Next: s.Remote, Path: []uint32{s.RemoteASN, 7}[:1+r.IntN(2)], Withdrawn: pick(3)}
				if pick(10) {
					p.Next, p.Path = s.Local, nil
				}
				x.routes = append(x.routes, p)
			}
			f = x
		case 10:
			f = endOfRIB{tunnel()}
		case 11:
			f = reachable{tunnel(), !pick(3)}
		case 12:
			f = networks{connected: parsePrefixes("10.68.0.0/16", "10.69.0.0/16", "127.0.0.0/8")[:r.IntN(4)]}
		case 13:
			if pick(30) {
				v.k.change(now, configs())
			}
		}
		if f != nil {
			v.k.note(now, f)
		}
		v.k.advance(now)
		v.check(now)
		for _, x := range v.reports {
			if x.State == Established {
				established++
			}
			if x.Stale {
				stale++
			}
			routes += x.In
		}
		d := v.k.deadline()
		switch {
		case pick(3):
		case pick(20) && !d.IsZero():
			now = d
		default:
			now = now.Add(time.Duration(r.IntN(3)) * 200 * time.Millisecond)
		}
		if until := now.Sub(d); !d.IsZero() && pick(200) && until < 0 {
			now = d.Add(-1) // nothing is due a moment before
			v.k.advance(now)
			if got := v.k.deadline(); !got.Equal(d) {
				t.Fatalf("the deadline moved from %v to %v", d, got)
			}
			for a := v.k.next(); a != nil; a = v.k.next() {
				t.Fatalf("%T before its time", a)
			}
		}
	}
	t.Logf("of %d steps: %d established, %d stale, %d routes", steps, established, stale, routes)
	if established < steps/20 || stale < steps/1000 || routes < steps/20 || !slices.ContainsFunc(v.k.sessions, func(s *session) bool { return true }) {
		t.Errorf("the facts don't reach enough: %d established, %d stale, %d routes", established, stale, routes)
	}
}
