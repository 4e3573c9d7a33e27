package gateway

import (
	"strings"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// perform carries out the endpoint's Actions in their order, which is the
// safety argument of a rekey, and passes its Facts on.
func (g *Gateway) perform(now time.Time) {
	for a := g.ike.Next(); a != nil; a = g.ike.Next() {
		switch a := a.(type) {
		case sa.Send:
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
		case sa.Remove:
			g.data.remove(a)
		case sa.Move:
			if in := g.data.move(a); in != nil {
				g.note(now, g.fleet.byName[in.sa.Tunnel], tunnel.Moved{Tunnel: in.sa.Tunnel, SPIIn: a.SPIIn, Path: a.Path})
			}
		case sa.Fact:
			for _, name := range g.data.concerned(a) {
				g.note(now, g.fleet.byName[name], tunnel.IKE{Tunnel: name, Fact: a})
			}
		}
	}
}

// sent notes how sending an IKE message went. Only addresses of the
// configuration are remembered: others would fill memory.
func (g *Gateway) sent(now time.Time, s sa.Send, cause diag.Cause) {
	r := g.peers.byRemote[s.Path.Remote.Addr()]
	if r == nil || r.sent.Equal(cause) {
		return
	}
	r.sent = cause
	for e := range r.entries {
		g.note(now, e, tunnel.Sent{Tunnel: e.tunnel.Name, Cause: cause})
	}
}

// note tells the group of e a fact. e may be nil: the tunnel runs no more.
func (g *Gateway) note(now time.Time, e *entry, f tunnel.Fact) {
	if e != nil {
		e.group.Note(now, f)
		g.carryOut(now, e.group)
		g.fleet.enqueue(e.group)
	}
}

// maxConcluded is from how many groups a turn of the loop concludes, so that a
// change that concerns all of them keeps nobody else waiting for long.
const maxConcluded = 64

// conclude has the groups that have facts, or whose time has come, decide.
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

// decide has one group conclude, until it has no more to say.
func (g *Gateway) decide(now time.Time, gr *group) {
	const most = 8 // an answer can lead to one more conclusion, but not for ever
	for range most {
		gr.Advance(now)
		if !g.carryOut(now, gr) {
			break
		}
	}
	g.fleet.due.Set(gr, gr.Deadline())
}

// carryOut performs a group's Actions; false: there was none.
func (g *Gateway) carryOut(now time.Time, gr *group) bool {
	any := false
	for a := gr.Next(); a != nil; a = gr.Next() {
		any = true
		switch a := a.(type) {
		case tunnel.Open:
			g.open(now, g.fleet.byName[a.Tunnel])
		case tunnel.Measure:
			gr.Note(now, tunnel.PathMTU{Remote: a.Remote, MTU: g.under.pathMTU(a.Remote)})
		case tunnel.Fit:
			if e := g.fleet.byName[a.Tunnel]; e.open != nil {
				g.Log.Info("tunnel MTU", "conn", e.conn.Name, "tunnel", a.Tunnel, "device", e.device, "mtu", a.MTU)
				e.open.data.SetMTU(a.MTU)
			}
		case tunnel.Want:
			gr.Note(now, g.apply(now, gr, a))
		case tunnel.Reconnect:
			g.reconnect(now, g.fleet.byName[a.Tunnel], a)
		case tunnel.Changed:
			g.announce(a)
		}
	}
	return any
}

// reconnect begins another IKE SA for a tunnel whose address is gone, if another
// address leads to the peer.
func (g *Gateway) reconnect(now time.Time, e *entry, a tunnel.Reconnect) {
	if to, err := g.under.source(e.tunnel.Remote.Address); err != nil || to == a.From {
		return
	}
	g.Log.Info(a.Cause.String(), "conn", e.conn.Name, "tunnel", a.Tunnel, "code", a.Cause.Code)
	g.ike.Do(now, sa.Lower{Tunnel: a.Tunnel})
	g.ike.Do(now, sa.Raise{Tunnel: a.Tunnel})
}

// announce logs that a tunnel's state, or the cause of it, has changed.
func (g *Gateway) announce(c tunnel.Changed) {
	if c.Was == tunnel.Up {
		g.fleet.up--
	}
	if c.State == tunnel.Up {
		g.fleet.up++
	}
	e := g.fleet.byName[c.Tunnel]
	log := g.Log.With("conn", c.Conn, "tunnel", c.Tunnel, "peer", e.tunnel.Remote.Address)
	said := []any{"why", c.Cause.String(), "code", c.Cause.Code}
	switch {
	case c.State == tunnel.Up && c.Was != tunnel.Up:
		log.Info("tunnel is up", "device", c.Device, "mtu", c.MTU)
		if len(c.Weak) > 0 {
			log.Warn("tunnel uses weak algorithms", "why", strings.Join(c.Weak, "; "))
		}
	case c.State != c.Was && (c.Cause.OK() || c.Cause.Severity() == diag.Info):
		log.Info("tunnel is " + string(c.State))
	case c.State == tunnel.Down && !c.Cause.Is(diag.OperatorDown):
		log.Error("tunnel is "+string(c.State), said...)
	case !c.Cause.OK():
		log.Warn("tunnel is "+string(c.State), said...)
	}
}
