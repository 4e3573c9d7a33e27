package gateway

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/resolve"
)

// names are the peers that the configuration gives by name. A goroutine of its own looks them up; the control loop takes the
// answers, and adopts the same configuration again when a peer has another address. So a change does what a reload
// would do, to the peer's own group alone. The last good answer serves until there is another.
type names struct {
	resolver *resolve.Resolver
	known    map[string]*answer // by name; the control loop's
	wanted   []string           // as the resolver was told
	fresh    map[string]bool    // have answers that follow has not looked at
	next     time.Time          // when follow may look again
	turns    turns

	arrived chan struct{} // has a value when there are answers
	mu      sync.Mutex    // of waiting
	waiting map[string]resolve.Answer
}

// answer is what is known of a name.
type answer struct {
	addrs []netip.Addr // of the last good answer, in its order
	err   string       // why the last lookup failed; empty: it did not, or there was none
}

func newNames(lookup resolve.Lookup) *names {
	n := &names{known: map[string]*answer{}, fresh: map[string]bool{}, turns: newTurns(), arrived: make(chan struct{}, 1), waiting: map[string]resolve.Answer{}}
	n.resolver = resolve.New(lookup, n.tell)
	return n
}

// tell keeps an answer for the control loop, and of each name only the last. The resolver's goroutine calls it.
func (n *names) tell(a resolve.Answer) {
	n.mu.Lock()
	n.waiting[a.Name] = a
	n.mu.Unlock()
	nudge(n.arrived)
}

// want has these names looked up, which are in order, and no others.
func (n *names) want(wanted []string) {
	if !slices.Equal(wanted, n.wanted) {
		for name := range n.known {
			if _, ok := slices.BinarySearch(wanted, name); !ok {
				delete(n.known, name)
			}
		}
		n.wanted = wanted
		n.resolver.Want(wanted)
	}
}

// filled is c with addresses, and the names in c in order. c stays as it is.
func (n *names) filled(c *config.Config) (*config.Config, []string) {
	var wanted []string
	named := func(t config.Tunnel) bool { return t.Remote.Host != "" }
	out := *c
	out.Connections = nil
	for i, conn := range c.Connections {
		if !slices.ContainsFunc(conn.Tunnels, named) {
			continue
		}
		if out.Connections == nil {
			out.Connections = slices.Clone(c.Connections)
		}
		with := *conn
		with.Tunnels = slices.Clone(conn.Tunnels)
		for j := range with.Tunnels {
			if t := &with.Tunnels[j]; named(*t) {
				wanted = append(wanted, t.Remote.Host)
				n.place(t)
			}
		}
		out.Connections[i] = &with
	}
	if out.Connections == nil {
		return c, nil
	}
	slices.Sort(wanted)
	return &out, slices.Compact(wanted)
}

// place gives a tunnel the address of its peer's name, and the identity that goes with it where none is configured.
func (n *names) place(t *config.Tunnel) {
	key := t.PeerKey()
	n.turns.keys[t.Name] = key
	t.Remote.Address = n.turns.of(key, n.candidates(t))
	if t.Remote.ID.Type == 0 && t.Remote.Address.IsValid() {
		t.Remote.ID = ipsec.IdentityOf(t.Remote.Address)
	}
}

// take returns the answers that wait.
func (n *names) take() map[string]resolve.Answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.waiting
	n.waiting = map[string]resolve.Answer{}
	return out
}

// named takes the answers of the resolver; follow does what they say.
func (g *Gateway) named() {
	answers := g.names.take()
	for name, a := range answers {
		if _, ok := slices.BinarySearch(g.names.wanted, name); !ok {
			continue
		}
		k := g.names.known[name]
		if k == nil {
			k = &answer{}
			g.names.known[name] = k
		}
		if a.Err != nil {
			if k.err == "" {
				g.Log.Warn("cannot look up a peer's name", "name", name, "err", a.Err, "serves", k.addrs)
			}
			k.err = a.Err.Error()
			continue
		}
		k.err = ""
		k.addrs = a.Addrs
	}
	for name := range answers {
		g.names.fresh[name] = true
	}
}

// followGap is the least time between two adoptions for the sake of names: each compares all tunnels.
const followGap = time.Second

// due is when follow has something to do; zero: never.
func (n *names) due() time.Time {
	if len(n.fresh) == 0 {
		return time.Time{}
	}
	return n.next
}

// follow adopts the configuration again if a name has led a peer elsewhere, and tells which peers are nowhere.
func (g *Gateway) follow(now time.Time) {
	turned := g.turn(now)
	if len(g.names.fresh) == 0 || now.Before(g.names.next) {
		return
	}
	g.names.next = now.Add(followGap)
	moved := false
	for _, e := range g.fleet.entries {
		if e.tunnel.Remote.Host == "" {
			continue
		}
		key := g.names.turns.keys[e.tunnel.Name]
		to := g.names.turns.of(key, g.names.candidates(e.tunnel))
		if to == e.tunnel.Remote.Address {
			continue
		}
		moved = true
		if !turned[key] {
			g.Log.Info("the peer's name has another address", "conn", e.conn.Name, "tunnel", e.tunnel.Name, "name", e.tunnel.Remote.Host,
				"was", textOf(e.tunnel.Remote.Address), "is", textOf(to))
		}
	}
	if moved {
		if _, err := g.adopt(now, g.config); err != nil {
			g.Log.Error("cannot follow a peer to its new address", "err", err)
		}
	}
	why := map[string]string{}
	for name := range g.names.fresh {
		if k := g.names.known[name]; k != nil {
			why[name] = cmp.Or(k.err, "it has no address of the family of this end's")
		}
	}
	clear(g.names.fresh)
	g.ike.Do(now, sa.Unplaced{Why: why}) // concerns only peers without an address
}
