package gateway

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/ike/sa"
	"vpngw/schedule"
)

// turns choose among the addresses of a peer's name: those of the family of this end's configured address, in the order of
// the answer. The first is tried first, and each for turnAfter, in which both of IKE's ports are asked; one that nobody
// answers at gives its turn to the next, and after the last comes the first again. An address stays while it answers anything,
// and over a new answer that has it. The control loop owns them.
type turns struct {
	at    map[sa.PeerKey]netip.Addr // the address whose turn it is, by the peer as configured
	keys  map[string]sa.PeerKey     // of at, by tunnel
	tries map[sa.PeerKey]*try
	due   schedule.Queue[sa.PeerKey] // when the next address is tried
}

const (
	// turnAfter is how long an address may be silent; each time that all were it doubles, up to turnMost.
	turnAfter = 10 * time.Second
	turnMost  = time.Minute
	// turnUnsent is how long an address may be one to which nothing can be sent, as one of IPv6 without a route.
	turnUnsent = time.Second
)

// try is what becomes of an address in its turn.
type try struct {
	tunnel string // one of the peer's
	addr   netip.Addr
	heard  doctor.Ports // from it, when its turn came
	failed bool         // the attempt is over, and nobody has answered
	turned int          // how many addresses before this one were silent
}

func newTurns() turns {
	return turns{at: map[sa.PeerKey]netip.Addr{}, keys: map[string]sa.PeerKey{}, tries: map[sa.PeerKey]*try{}}
}

// fitting are the addresses of an answer that this end's configured address can reach.
func fitting(addrs []netip.Addr, own netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return own.IsValid() && own.Is4() != a.Is4() })
}

// of is the address whose turn it is of a peer's, and has it stay; the zero address: there is none.
func (ts *turns) of(key sa.PeerKey, addrs []netip.Addr) netip.Addr {
	if a := ts.at[key]; slices.Contains(addrs, a) {
		return a
	}
	if len(addrs) == 0 {
		return netip.Addr{}
	}
	ts.at[key] = addrs[0]
	return addrs[0]
}

// keep forgets the peers that no tunnel has any more.
func (ts *turns) keep(entries []*entry) {
	names, keys := map[string]bool{}, map[sa.PeerKey]bool{}
	for _, e := range entries {
		if key, ok := ts.keys[e.tunnel.Name]; ok && e.tunnel.Remote.Host != "" {
			names[e.tunnel.Name], keys[key] = true, true
		}
	}
	for name := range ts.keys {
		if !names[name] {
			delete(ts.keys, name)
		}
	}
	for key := range ts.at {
		if !keys[key] {
			ts.drop(key)
			delete(ts.at, key)
		}
	}
}

func (ts *turns) drop(key sa.PeerKey) {
	delete(ts.tries, key)
	ts.due.Remove(key)
}

// candidates are the addresses that a tunnel's peer can have.
func (n *names) candidates(t *config.Tunnel) []netip.Addr {
	if k := n.known[t.Remote.Host]; k != nil && t.Remote.Host != "" {
		return fitting(k.addrs, t.Local.Address)
	}
	return nil
}

// nth is which of the addresses of its name a tunnel's peer has, from 1, and of how many; 0: it has no name, or one address.
func (n *names) nth(t *config.Tunnel) (nth, of int) {
	c := n.candidates(t)
	if i := slices.Index(c, t.Remote.Address); i >= 0 && len(c) > 1 {
		return i + 1, len(c)
	}
	return 0, 0
}

// silences are causes of an attempt that nobody has answered, or that could not begin.
var silences = []diag.Code{diag.NoAnswer, diag.NoAnswerAuth, diag.NoAnswerKeys, diag.NoAnswerSize, diag.NoRoute, diag.SendFailed}

// attempted follows the attempts at peers with a name.
func (g *Gateway) attempted(now time.Time, f sa.Fact) {
	switch f := f.(type) {
	case sa.IKEConnecting:
		g.tries(now, f.SA.Peer)
	case sa.IKEEstablished:
		for _, tunnel := range f.SA.Peer.Tunnels() {
			if key, ok := g.names.turns.keys[tunnel]; ok {
				g.names.turns.drop(key)
			}
		}
	case sa.IKEFailed:
		if f.Connecting || !slices.Contains(silences, f.Cause.Code) {
			return
		}
		if key, t := g.tries(now, f.Peer); t != nil {
			t.failed = true
			g.names.turns.due.Set(key, now.Add(turnUnsent)) // no sooner, where no attempt takes any time
		}
	}
}

// tries notes that a peer is tried; nil: it has not several addresses.
func (g *Gateway) tries(now time.Time, p *sa.Peer) (sa.PeerKey, *try) {
	tunnels := p.Tunnels()
	if len(tunnels) == 0 || p.Host == "" {
		return sa.PeerKey{}, nil
	}
	ts, tunnel := &g.names.turns, tunnels[0]
	key, ok := ts.keys[tunnel]
	e := g.fleet.byName[tunnel]
	if !ok || e == nil || e.tunnel.Remote.Address != p.Remote {
		return key, nil
	}
	all := len(g.names.candidates(e.tunnel))
	if all < 2 {
		ts.drop(key)
		return key, nil
	}
	t := ts.tries[key]
	if t == nil {
		t = &try{}
		ts.tries[key] = t
	}
	if t.addr != p.Remote {
		t.tunnel, t.addr, t.failed = tunnel, p.Remote, false
		wait := min(turnAfter<<min(t.turned/all, 10), turnMost)
		if r := g.peers.byRemote[p.Remote]; r != nil {
			t.heard = r.heard
			if t.failed = !r.sent.OK(); t.failed {
				wait = turnUnsent
			}
		}
		ts.due.Set(key, now.Add(wait))
	}
	return key, t
}

// unsent notes that nothing can be sent to an address.
func (g *Gateway) unsent(now time.Time, r *remote) {
	for _, e := range r.entries {
		key := g.names.turns.keys[e.tunnel.Name]
		if t := g.names.turns.tries[key]; t != nil && t.addr == e.tunnel.Remote.Address && !t.failed {
			t.failed = true
			g.names.turns.due.Set(key, now.Add(turnUnsent))
		}
	}
}

// turn gives the next address its turn where one was silent for long. follow takes the peers there.
func (g *Gateway) turn(now time.Time) (turned map[sa.PeerKey]bool) {
	ts := &g.names.turns
	for {
		key, ok := ts.due.Due(now)
		if !ok {
			return turned
		}
		ts.due.Remove(key)
		t := ts.tries[key]
		e := g.fleet.byName[t.tunnel]
		if e == nil || e.tunnel.Remote.Address != t.addr || e.status().Held {
			ts.drop(key)
			continue
		}
		if r := g.peers.byRemote[t.addr]; r != nil && r.heard != t.heard && !t.failed {
			t.addr = netip.Addr{} // it answers something: the end of the attempt decides
			continue
		}
		c := g.names.candidates(e.tunnel)
		if len(c) < 2 {
			ts.drop(key)
			continue
		}
		i := (slices.Index(c, t.addr) + 1) % len(c)
		g.Log.Info("nobody answers at this address of the peer's name: the next one is tried", "conn", e.conn.Name, "tunnel", e.tunnel.Name,
			"name", key.Host, "silent", t.addr, "next", c[i], "nth", i+1, "of", len(c))
		t.turned++
		ts.at[key] = c[i]
		g.names.fresh[key.Host] = true
		if turned == nil {
			turned = map[sa.PeerKey]bool{}
		}
		turned[key] = true
	}
}
