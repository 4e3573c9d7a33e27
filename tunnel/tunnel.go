// Package tunnel decides how tunnels stand and what they need of the host: their
// state and its cause, which routes go into which tunnel, their MTU, when a
// device is tried again. It is sans-IO like package ike: Facts and the time go
// in, Actions come out. It holds no keys, sends nothing, and does not speak IKE.
//
// A Group is whatever shares routes: a connection with its one or two tunnels,
// or a pair of connections. Groups do not know each other, so the work for a
// change is proportional to its group.
//
// What leaves a host in clear is a security decision, so routes into a tunnel
// are wanted from when the tunnel first carries packets until the operator or the
// configuration takes it down: while its SAs are gone, packets for the remote
// subnets are dropped and counted, and do not fall through to the default route.
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

// Config is one tunnel of a Group as the configuration has it.
type Config struct {
	Conn   *config.Connection
	Tunnel *config.Tunnel
	Device string      // the TUN's name
	Wants  []*sa.Child // the Child SAs that make the tunnel whole
	From   *Taken      // the tunnel as it was in another Group; nil: it is new
	Reopen bool        // with From: its device is made again, though it keeps its name
}

// Taken is a tunnel that has left its Group, on its way into the next one.
type Taken struct{ m *member }

// Take removes a tunnel from the group; nil: the group has none of that name.
// With Config.From it goes on elsewhere, with its device and its SAs.
func (g *Group) Take(tunnel string) *Taken {
	m := g.find(tunnel)
	if m == nil {
		return nil
	}
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	return &Taken{m}
}

// Inner is the largest inner packet that a Child SA carries when its path takes
// outer packets of outer bytes; 0: none. The data plane knows.
type Inner func(outer int, c *ipsec.ChildSA, path ipsec.Path) int

// Group is the tunnels that share routes. Not safe for concurrent use.
type Group struct {
	inner   Inner
	members []*member
	own     []netip.Addr // the host's addresses
	paths   map[netip.Addr]path

	actions []Action
	noted   bool // since the last Advance
	want    Want // the last one
	repeat  bool // emit the next Want even if it equals the last
	applies bool // the last Want is not answered yet
	retryAt time.Time
}

// New makes a Group. Its tunnels have no devices yet: Advance asks for them.
// own are the host's addresses.
func New(now time.Time, tunnels []Config, own []netip.Addr, inner Inner) *Group {
	g := &Group{inner: inner, own: own, paths: map[netip.Addr]path{}, noted: true}
	for _, t := range tunnels {
		g.members = append(g.members, newMember(now, t))
	}
	return g
}

// Tunnels are the names of the group's tunnels, in the order of the configuration.
func (g *Group) Tunnels() []string {
	var out []string
	for _, m := range g.members {
		out = append(out, m.Tunnel.Name)
	}
	return out
}

// Note takes a fact. Only what must not wait is concluded at once: which MTU
// fits, because the first packet may meet a new SA before Advance.
func (g *Group) Note(now time.Time, f Fact) {
	g.noted = true
	switch f := f.(type) {
	case IKE:
		if m := g.find(f.Tunnel); m != nil {
			m.noteIKE(now, f.Fact)
		}
	case Moved:
		if m := g.find(f.Tunnel); m != nil && m.sas[f.SPIIn] != nil {
			m.sas[f.SPIIn].path = f.Path
		}
	case Device:
		if m := g.find(f.Tunnel); m != nil {
			m.noteDevice(now, f.Cause)
		}
	case Held:
		if m := g.find(f.Tunnel); m != nil {
			m.noteHeld(f.Held)
		}
	case Raised:
		if m := g.find(f.Tunnel); m != nil {
			m.raised = true
		}
	case Sent:
		if m := g.find(f.Tunnel); m != nil {
			m.sent = f.Cause
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
		g.own = f.Addresses
		clear(g.paths) // learned on an underlay that has changed
		for _, m := range g.members {
			m.asked = false
		}
	}
	g.fit()
}

// Advance concludes what follows from the facts, and does what is due.
func (g *Group) Advance(now time.Time) {
	if due := g.Deadline(); !g.noted && (due.IsZero() || now.Before(due)) {
		return
	}
	g.noted = false
	for _, m := range g.members {
		m.advance(now, g)
	}
	g.expirePaths(now)
	g.fit()
	if reached(g.retryAt, now) {
		g.retryAt, g.repeat = time.Time{}, true
	}
	g.emitWant()
	if g.applies { // a tunnel is up when its routes are in
		return
	}
	for _, m := range g.members {
		g.assess(now, m)
	}
}

// Deadline is when Advance wants to be called though nothing is noted; zero: never.
func (g *Group) Deadline() time.Time {
	d := g.retryAt
	for _, m := range g.members {
		d = sa.Earliest(d, m.deadline())
	}
	for _, p := range g.paths {
		d = sa.Earliest(d, p.until)
	}
	return d
}

// Next is what to do now; nil: nothing.
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

// Status is how one tunnel stands since the last Advance.
type Status struct {
	State  State
	Since  time.Time
	Cause  diag.Cause // the last failure; OK when the tunnel is up
	Held   bool       // by the operator
	Raised bool       // by the operator
	Device bool       // it has one
	MTU    int        // of the device
}

// Status is how a tunnel stands; false: the group has none of that name.
func (g *Group) Status(tunnel string) (Status, bool) {
	m := g.find(tunnel)
	if m == nil {
		return Status{}, false
	}
	return Status{m.state, m.since, m.cause, m.held, m.raised, m.fault.OK(), m.mtu}, true
}

// Initiates reports whether it is for us to bring a tunnel up.
func (g *Group) Initiates(tunnel string) bool {
	m := g.find(tunnel)
	return m != nil && m.initiates()
}

// reached reports whether t is set and not after now.
func reached(t, now time.Time) bool { return sa.Due(now, t) }
