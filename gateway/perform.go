package gateway

import (
	"log/slog"
	"strings"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// perform performs the endpoint's Actions and passes its Facts on, in their
// order: a rekey loses no packet only in that order.
func (g *Gateway) perform(now time.Time) {
	for a := g.ike.Next(); a != nil; a = g.ike.Next() {
		switch a := a.(type) {
		case sa.Send:
			if a.Whole {
				g.under.probe(a.Path, a.Data)
				continue
			}
			g.sent(now, a, g.under.send(a.Path, a.Data, true))
		case sa.Keepalive:
			g.under.send(a.Path, []byte{0xff}, false)
		case sa.InstallIn:
			g.data.installIn(a.SA)
		case sa.InstallOut:
			g.data.installOut(a.SA)
		case sa.Hold:
			g.data.Hold(a.SPIIn)
		case sa.Resume:
			g.data.Resume(a.SPIIn)
		case sa.RemoveOut:
			g.data.removeOut(a.SPIIn)
		case sa.Remove:
			g.data.remove(a)
		case sa.Move:
			if in := g.data.move(a); in != nil {
				g.note(now, g.fleet.byName[in.sa.Tunnel], tunnel.Moved{Tunnel: in.sa.Tunnel, SPIIn: a.SPIIn, Path: a.Path})
			}
		case sa.Fact:
			g.count(now, a)
			g.attempted(now, a)
			g.meet(a)
			for _, name := range g.data.concerned(a) {
				g.note(now, g.fleet.byName[name], tunnel.IKE{Tunnel: name, Fact: a})
			}
			if f, ok := a.(sa.ChildFailed); ok {
				g.failedWhileUp(now, g.fleet.byName[f.Child.Tunnel], f.Cause)
			}
		}
	}
}

// sent notes whether an IKE message could be sent. It remembers configured
// addresses only: a flood from others would fill the memory.
func (g *Gateway) sent(now time.Time, s sa.Send, cause diag.Cause) {
	r := g.peers.byRemote[s.Path.Remote.Addr()]
	if r == nil {
		return
	}
	count(&r.asked, s.Path.Remote.Port())
	if r.sent.Equal(cause) {
		return
	}
	if r.sent = diag.Keep(cause); !cause.OK() {
		g.unsent(now, r)
	}
	for _, e := range r.entries {
		g.note(now, e, tunnel.Sent{Tunnel: e.tunnel.Name, Cause: cause})
	}
}

// failedWhileUp tells of what fails while the tunnel carries packets, such as a rekey: neither its state nor its cause
// changes by that.
func (g *Gateway) failedWhileUp(now time.Time, e *entry, cause diag.Cause) {
	if e == nil || cause.OK() || e.status().State != tunnel.Up {
		return
	}
	g.events.add(eventOf(now, e, tunnel.Changed{Conn: e.conn.Name, Tunnel: e.tunnel.Name, Was: tunnel.Up, State: tunnel.Up, Cause: cause}))
}

// note gives a fact to the group of e. A nil e is a tunnel that was removed.
func (g *Gateway) note(now time.Time, e *entry, f tunnel.Fact) {
	if e != nil {
		g.noteGroup(now, e.group, f)
	}
}

// noteGroup gives a fact to a group.
func (g *Gateway) noteGroup(now time.Time, gr *group, f tunnel.Fact) {
	gr.Note(now, f)
	g.carryOut(now, gr)
	g.fleet.enqueue(gr)
}

// maxConcluded bounds the groups that decide in one turn of the loop, so that a
// change that concerns all groups does not delay messages and commands for
// long.
const maxConcluded = 64

// conclude lets the groups decide that have new facts or have reached their deadline.
func (g *Gateway) conclude(now time.Time) {
	for range maxConcluded {
		gr := g.fleet.next(now)
		if gr == nil {
			break
		}
		g.decide(now, gr)
	}
	g.tellPeers(now)
}

// decide calls Advance of one group and performs its Actions until there is none.
func (g *Gateway) decide(now time.Time, gr *group) {
	const most = 8 // the answer to an Action may cause another Action; the bound ends a loop
	g.hearBFD(now, gr)
	for range most {
		gr.Advance(now)
		if !g.carryOut(now, gr) {
			break
		}
	}
	g.fleet.due.Set(gr, gr.Deadline())
}

// carryOut performs a group's Actions. It returns false if there was none.
func (g *Gateway) carryOut(now time.Time, gr *group) bool {
	any := false
	for a := gr.Next(); a != nil; a = gr.Next() {
		any = true
		switch a := a.(type) {
		case tunnel.Open:
			g.open(now, g.fleet.byName[a.Tunnel])
		case tunnel.Measure:
			gr.Note(now, tunnel.PathMTU{Remote: a.Remote, MTU: g.under.pathMTU(now, a.Remote)})
		case tunnel.Fit:
			if e := g.fleet.byName[a.Tunnel]; e.open != nil {
				g.Log.Info("tunnel MTU", "conn", e.conn.Name, "tunnel", a.Tunnel, "device", e.device, "mtu", a.MTU, "fragments", a.Cut)
				e.open.data.SetMTU(a.MTU)
				e.open.data.SetCut(a.Cut)
			}
		case tunnel.Probe:
			g.ike.Do(now, sa.Measure{Tunnel: a.Tunnel, Size: a.Size})
		case tunnel.Want:
			gr.Note(now, g.apply(now, gr, a))
			g.speak(now, gr)
		case tunnel.Neighbour:
			g.neighbour(gr, a)
		case tunnel.Initiate:
			g.initiate(now, g.fleet.byName[a.Tunnel], a)
		case tunnel.Ping:
			g.ping(g.fleet.byName[a.Tunnel], a)
		case tunnel.BFDSend:
			g.sendBFD(g.fleet.byName[a.Tunnel], a)
		case tunnel.Reconnect:
			g.reconnect(now, g.fleet.byName[a.Tunnel], a)
		case tunnel.Switched:
			g.switched(now, a)
		case tunnel.Changed:
			g.events.add(eventOf(now, g.fleet.byName[a.Tunnel], a))
			g.announce(now, a)
		}
	}
	return any
}

// reconnect starts a new IKE SA for a tunnel whose local address is gone, if
// another address of the host leads to the peer.
func (g *Gateway) reconnect(now time.Time, e *entry, a tunnel.Reconnect) {
	if to, err := g.under.source(e.tunnel.Remote.Address); err != nil || to == a.From {
		return
	}
	g.Log.Info(a.Cause.String(), "conn", e.conn.Name, "tunnel", a.Tunnel, "code", a.Cause.Code)
	if p := e.peer; p != nil && p.told != nil && p.told.Local == a.From {
		// It is the configured address. Until it comes back, the route to the peer chooses one, as behind a NAT.
		delete(g.under.seen, a.From)
		g.peers.changed(p)
		return
	}
	g.ike.Do(now, sa.Lower{Tunnel: a.Tunnel})
	g.ike.Do(now, sa.Raise{Tunnel: a.Tunnel})
}

// announce logs a change of a tunnel's state or cause.
func (g *Gateway) announce(now time.Time, c tunnel.Changed) {
	if c.Was == tunnel.Up {
		g.fleet.up--
	}
	if c.State == tunnel.Up {
		g.fleet.up++
	}
	e := g.fleet.byName[c.Tunnel]
	line := func(level slog.Level, msg string, more ...slog.Attr) {
		attrs := []slog.Attr{slog.String("conn", c.Conn), slog.String("tunnel", c.Tunnel), slog.String("peer", g.whereIs(e))}
		sa.Line(now, g.Log, level, msg, append(attrs, more...)...)
	}
	var said []slog.Attr
	if !c.Cause.OK() {
		said = []slog.Attr{sa.Why(c.Cause)}
	}
	switch {
	case c.State == tunnel.Up && c.Was != tunnel.Up:
		line(slog.LevelInfo, "tunnel is up", slog.String("device", c.Device), slog.Int("mtu", c.MTU))
		if len(c.Weak) > 0 {
			line(slog.LevelWarn, "tunnel uses weak algorithms", slog.String("why", strings.Join(c.Weak, "; ")))
		}
	case c.State != c.Was && (c.Cause.OK() || c.Cause.Severity() == diag.Info):
		line(slog.LevelInfo, "tunnel is "+string(c.State), said...)
	case c.State == tunnel.Down && !c.Cause.Is(diag.OperatorDown):
		line(slog.LevelError, "tunnel is "+string(c.State), said...)
	case !c.Cause.OK():
		line(slog.LevelWarn, "tunnel is "+string(c.State), said...)
	}
}
