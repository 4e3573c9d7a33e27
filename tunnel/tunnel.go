// Package tunnel decides the state of tunnels and what they need from the host:
// the cause of the state, which routes lead into which tunnel, the MTU, when to
// try again to make a device. It is sans-IO like package ike: Facts and the time
// go in, Actions come out. It holds no keys, sends nothing, and does not speak
// IKE.
//
// A Group is a set of tunnels that share routes: a connection with its one or
// two tunnels, or a pair of connections. Groups are independent of each other,
// so the work for a change is proportional to its group.
//
// Whether packets may leave a host in clear is a security decision. So what a tunnel's
// routes cover is guarded from the start, before there is a device, until the operator or the
// configuration takes the tunnel down; `before_up: pass` forgoes that. The routes stay from the first packets that the tunnel
// can carry, or that it waits for: while its SAs are gone, packets for the remote
// subnets are dropped and counted, and do not follow the default route.
package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Config is the configuration of one tunnel of a Group.
type Config struct {
	Conn   *config.Connection
	Tunnel *config.Tunnel
	Device string // the TUN's name
	From   *Taken // the tunnel as it was in another Group; nil: it is new
	Reopen bool   // with From: it needs a new device, though of the same name
	// Discriminator is that of the tunnel's BFD session: not 0, and no other tunnel has it.
	Discriminator uint32
}

// Taken is a tunnel between two Groups: Take removed it from one, and Config.From puts it into the
// next.
type Taken struct{ m *member }

// Take removes a tunnel from the group; nil: the group has no tunnel of that
// name. Config.From puts it into another Group, with its device and its SAs.
func (g *Group) Take(tunnel string) *Taken {
	m := g.find(tunnel)
	if m == nil {
		return nil
	}
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	return &Taken{m}
}

// Inner returns the largest inner packet that a Child SA carries if its path
// takes outer packets of outer bytes; 0: none fits. The data plane implements
// it.
type Inner func(outer int, c *ipsec.ChildSA, path ipsec.Path) int

// Group is a set of tunnels that share routes. Not safe for concurrent use.
type Group struct {
	inner   Inner
	members []*member
	own     []netip.Addr // the host's addresses
	paths   paths

	gained  bool // it has an address that it had not before the last change
	asked   bool // an operator asks for a move to the preferred member
	noted   bool // a fact came after the last Advance
	repeat  bool // emit the next Want even if it equals the last
	applies bool // the last Want has no Applied yet

	current  *member   // has the routes to what several members lead to; of those that share the traffic, the first
	started  time.Time // when the first member began; zero: some member has been well before
	chooseAt time.Time // when the choice is due again; zero: after a fact

	actions []Action
	table   table
	want    Want // the last one
	retryAt time.Time
}

// New makes a Group. Its tunnels have no devices yet: Advance asks for them.
// own are the host's addresses.
func New(now time.Time, tunnels []Config, own []netip.Addr, inner Inner) *Group {
	g := &Group{inner: inner, own: own, noted: true}
	for _, t := range tunnels {
		g.members = append(g.members, newMember(now, t))
	}
	g.begin(now)
	return g
}

// Note takes a fact. It decides only the MTU at once, because a packet may use
// a new SA before Advance.
func (g *Group) Note(now time.Time, f Fact) {
	if f, ok := f.(BFDHeard); ok { // several come each second, and most are no news
		if m := g.find(f.Tunnel); m != nil {
			g.noteBFD(now, m, f.Packet)
		}
		return
	}
	g.noted = true
	switch f := f.(type) {
	case IKE:
		if f, ok := f.Fact.(sa.Measured); ok {
			g.noteMeasured(now, f)
		}
		if m := g.find(f.Tunnel); m != nil {
			m.noteIKE(now, f.Fact)
		}
	case Moved:
		if m := g.find(f.Tunnel); m != nil {
			if c := m.child(f.SPIIn); c != nil {
				c.path = f.Path
			}
		}
	case Device:
		if m := g.find(f.Tunnel); m != nil {
			m.noteDevice(now, f.Cause)
		}
	case Held:
		if m := g.find(f.Tunnel); m != nil {
			m.noteHeld(f.Held)
			if f.Held {
				g.endBFD(now, m)
			}
		}
	case Raised:
		if m := g.find(f.Tunnel); m != nil {
			m.noteRaised(now)
		}
	case Acquire:
		if m := g.find(f.Tunnel); m != nil {
			m.noteWanted(now, f)
		}
	case Sent:
		if m := g.find(f.Tunnel); m != nil {
			m.sent = diag.Keep(f.Cause)
		}
	case Pong:
		if m := g.find(f.Tunnel); m != nil {
			m.notePong(now, f)
		}
	case Leaving:
		if m := g.find(f.Tunnel); m != nil {
			m.leaving = true
			g.endBFD(now, m)
		}
	case Session:
		if m := g.find(f.Tunnel); m != nil {
			m.noteSession(f)
		}
	case Applied:
		g.noteApplied(now, f)
	case PathMTU:
		g.notePath(now, f)
	case TooBig:
		g.noteTooBig(now, f)
	case Disturbed:
		g.repeat = true
	case Underlay:
		g.noteUnderlay(f.Addresses)
		for _, m := range g.members {
			m.asked = false
		}
	}
	g.fit()
}

// Advance decides what follows from the noted facts, and runs the due timers.
func (g *Group) Advance(now time.Time) {
	for _, m := range g.members {
		g.advanceBFD(now, m)
	}
	if due := g.newsDeadline(); !g.noted && (due.IsZero() || now.Before(due)) {
		return
	}
	g.noted = false
	for _, m := range g.members {
		m.advance(now, g)
		m.ping(now, g)
	}
	g.choose(now)
	g.expirePaths(now)
	g.probe(now)
	g.fit()
	if sa.Due(now, g.retryAt) {
		g.retryAt, g.repeat = time.Time{}, true
	}
	g.emitWant()
	for _, m := range g.members {
		g.tellNeighbour(m)
	}
	if g.applies { // a tunnel counts as up only after Applied says that its routes are in place
		return
	}
	for _, m := range g.members {
		g.assess(now, m)
	}
}

// Deadline returns when to call Advance even if there is no fact; zero: never.
func (g *Group) Deadline() time.Time {
	d := g.newsDeadline()
	for _, m := range g.members {
		if m.bfd != nil {
			d = sa.Earliest(d, m.bfd.session.Deadline())
		}
	}
	return d
}

// newsDeadline is Deadline without the packets of BFD, which change nothing else.
func (g *Group) newsDeadline() time.Time {
	d := sa.Earliest(g.retryAt, g.chooseDeadline())
	for _, m := range g.members {
		d = sa.Earliest(d, m.deadline())
	}
	for _, p := range g.paths {
		d = sa.Earliest(d, g.expires(p), p.waits)
	}
	return d
}

// Next returns the next Action; nil: there is none.
func (g *Group) Next() Action {
	if len(g.actions) == 0 {
		g.actions = nil
		return nil
	}
	a := g.actions[0]
	g.actions = g.actions[1:]
	return a
}

func (g *Group) emit(a Action) { g.actions = append(g.actions, a) }

func (g *Group) find(tunnel string) *member {
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.Tunnel.Name == tunnel })
	if i < 0 {
		return nil
	}
	return g.members[i]
}

// Status is the state of one tunnel after the last Advance.
type Status struct {
	State State
	Since time.Time
	Cause diag.Cause // the last failure; OK when the tunnel is up
	Held  bool       // by the operator
	// Active says that the tunnel has the routes to what the tunnels of its Group lead to, alone or with another. A tunnel alone is active.
	Active bool
	Health *HealthStatus // nil: this end does not ping
	BFD    *BFDStatus    // nil: no BFD
}

// Status returns the status of a tunnel; false: the group has no tunnel of that name.
func (g *Group) Status(tunnel string) (Status, bool) {
	m := g.find(tunnel)
	if m == nil {
		return Status{}, false
	}
	return Status{m.state, m.since, m.cause.Cause(), m.held, g.takes(m), m.health(g), m.bfdStatus()}, true
}

// Initiates reports whether this end initiates a tunnel.
func (g *Group) Initiates(tunnel string) bool {
	m := g.find(tunnel)
	return m != nil && m.initiates()
}
