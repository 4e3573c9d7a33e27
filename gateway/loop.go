package gateway

import (
	"context"
	"time"

	"vpngw/diag"
	"vpngw/esp"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// loop is the control loop. It ends when ctx does, after the peers were told,
// or when a reader has failed.
func (g *Gateway) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		g.step(now)
		timer.Reset(g.wait(now))
		select {
		case d := <-g.in.datagrams:
			g.ike.Handle(time.Now(), d)
		case e := <-g.in.events:
			g.event(time.Now(), e)
		case f := <-g.commands:
			f(time.Now())
		case l := <-g.lost:
			g.lostDevice(time.Now(), l)
		case <-g.underlayChanged:
			g.newUnderlay(time.Now())
		case <-timer.C:
		case <-g.io.Done():
			return nil // the group has the reason
		case <-ctx.Done():
			g.goodbye(timer)
			return nil
		}
	}
}

// step does what is due, performs the Actions, and has the groups conclude.
func (g *Gateway) step(now time.Time) {
	if due(g.ike.Deadline(), now) {
		g.ike.Advance(now)
	}
	var moved []esp.Moved
	moved, g.moves = g.data.Moves(now)
	for _, m := range moved {
		g.ike.Do(now, sa.Moved{SPIIn: m.SPIIn, Remote: m.Remote})
	}
	g.perform(now)
	g.conclude(now)
	g.perform(now)
	if s := g.fleet.summary(); s != g.summary {
		g.summary = s
		g.Notify(s)
	}
	if n := g.in.dropped.Load(); n != g.droppedLogged {
		g.Log.Warn("IKE messages dropped: more came than could be handled", "count", n-g.droppedLogged)
		g.droppedLogged = n
	}
}

func due(t, now time.Time) bool { return sa.Due(now, t) }

// wait is how long the loop may sleep. The least wait keeps a deadline that
// does not move from taking the whole processor.
func (g *Gateway) wait(now time.Time) time.Duration {
	if len(g.fleet.queue) > 0 {
		return 0
	}
	wait := time.Hour
	if t := sa.Earliest(g.ike.Deadline(), g.fleet.due.Deadline(), g.moves); !t.IsZero() {
		wait = min(wait, t.Sub(now))
	}
	return max(wait, time.Millisecond)
}

// event passes on what the data plane saw.
func (g *Gateway) event(now time.Time, e esp.Event) {
	switch e := e.(type) {
	case esp.SeenInbound:
		g.ike.Do(now, sa.SeenInbound{SPIIn: e.SPIIn})
	case esp.Expired:
		g.ike.Do(now, sa.Expired{SPIIn: e.SPIIn, Limit: e.Limit})
	case esp.PeersMoved:
		// step asks where to.
	case esp.InvalidSPI:
		g.ike.Do(now, sa.InvalidSPI{Remote: e.Remote})
	case esp.PathMTU:
		for _, gr := range g.data.groupsTo(e.Remote, g.fleet.byName) {
			gr.Note(now, tunnel.TooBig{Remote: e.Remote, MTU: e.MTU})
			g.carryOut(now, gr)
			g.fleet.enqueue(gr)
		}
	}
}

// newUnderlay is called after links, addresses or routes of the host have changed.
func (g *Gateway) newUnderlay(now time.Time) {
	g.under.look()
	g.peers.see(g.under, g.fleet.entries)
	concerns := g.under.disturbed.take()
	for _, gr := range g.fleet.groups {
		gr.Note(now, tunnel.Underlay{Addresses: g.under.addresses})
		if concerns(gr.name) {
			gr.Note(now, tunnel.Disturbed{})
		}
		g.fleet.enqueue(gr)
	}
	g.tellPeers(now)
}

// tellPeers hands IKE the peers that have changed. A tunnel that the operator
// took down stays down with its new settings.
func (g *Gateway) tellPeers(now time.Time) {
	for _, p := range g.peers.take() {
		next := p.saPeer(g.under.local)
		if p.told == nil && next == nil {
			continue
		}
		g.ike.SetPeer(now, p.told, next)
		p.told = next
		for _, e := range p.entries {
			if e.open != nil && e.status().Held {
				g.ike.Do(now, sa.Lower{Tunnel: e.tunnel.Name})
			}
		}
	}
}

// open makes a tunnel's device.
func (g *Gateway) open(now time.Time, e *entry) {
	d, cause := g.data.open(e, g.group, g.io, g.lost)
	e.open = d
	e.group.Note(now, tunnel.Device{Tunnel: e.tunnel.Name, Cause: cause})
	if d != nil {
		g.peers.changed(e.peer)
	}
}

// lostDevice is called when the reading of a device has ended by itself: somebody
// deleted the device, or reading it fails. The tunnel's SAs go with it, for
// sequence numbers must never begin again.
func (g *Gateway) lostDevice(now time.Time, l lost) {
	e := g.fleet.byName[l.tunnel]
	if e == nil || e.open != l.device {
		return
	}
	e.open = nil
	g.note(now, e, tunnel.Device{Tunnel: l.tunnel, Cause: diag.Cause{Code: diag.DeviceGone, Device: e.device, Err: l.text()}})
	g.peers.changed(e.peer)
	g.tellPeers(now)
	g.perform(now)
	g.data.close(l.device)
}

// goodbye deletes every IKE SA and gives the peers a little while to answer.
func (g *Gateway) goodbye(timer *time.Timer) {
	g.Log.Info("shutting down")
	g.Notify("STOPPING=1")
	end := time.Now().Add(shutdownGrace)
	g.ike.Do(time.Now(), sa.Shutdown{})
	for {
		now := time.Now()
		if due(g.ike.Deadline(), now) {
			g.ike.Advance(now)
		}
		g.perform(now)
		if !now.Before(end) || g.ike.Idle() {
			return
		}
		wait := end.Sub(now)
		if t := g.ike.Deadline(); !t.IsZero() {
			wait = min(wait, max(t.Sub(now), time.Millisecond))
		}
		timer.Reset(wait)
		select {
		case d := <-g.in.datagrams:
			g.ike.Handle(time.Now(), d)
		case <-timer.C:
		case <-g.io.Done():
			return
		}
	}
}
