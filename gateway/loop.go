package gateway

import (
	"context"
	"time"

	"vpngw/diag"
	"vpngw/esp"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// loop is the control loop. It ends after ctx has ended and the IKE SAs are
// deleted, or when a reader fails.
func (g *Gateway) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	g.began = time.Now()
	for {
		now := time.Now()
		g.step(now)
		timer.Reset(g.wait(now))
		slept := time.Now()
		select {
		case <-g.in.arrived:
			g.messages(g.woke(slept))
		case e := <-g.in.events:
			g.happened(g.woke(slept), e)
		case f := <-g.commands:
			f(g.woke(slept))
		case d := <-g.lost:
			g.lostDevice(g.woke(slept), d)
		case <-g.speakers.news.arrived:
			g.hear(g.woke(slept))
		case <-g.names.arrived:
			g.woke(slept)
			g.named()
		case <-g.underlayChanged:
			g.newUnderlay(g.woke(slept))
		case <-timer.C:
			g.woke(slept)
		case <-g.io.Done():
			return nil // the errgroup returns the error
		case <-ctx.Done():
			g.goodbye(timer)
			return nil
		}
	}
}

// step runs the due timers, performs the Actions of IKE, and lets the groups decide.
func (g *Gateway) step(now time.Time) {
	g.follow(now)
	if sa.Due(now, g.ike.Deadline()) {
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
	g.networksDue(now)
	g.reviewLeft()
	g.kept = g.data.ExpireKept(now)
	if sa.Due(now, g.settles) {
		g.settles = time.Time{}
		g.data.settle(len(g.fleet.entries))
	}
	if s := g.fleet.summary(); s != g.summary {
		g.summary = s
		g.Notify(s)
	}
	if well, stuck := g.watchdog.look(now); well {
		g.Notify("WATCHDOG=1")
	} else if stuck != nil {
		g.Log.Error("threads that carry packets are stuck: the service manager restarts the daemon unless they go on", "engines", stuck)
	}
	if n := g.in.dropped.Load(); n != g.droppedLogged && now.Sub(g.droppedSaid) >= droppedEvery {
		g.Log.Warn("IKE messages dropped: they arrive faster than they can be handled", "count", n-g.droppedLogged)
		g.droppedLogged, g.droppedSaid = n, now
	}
}

// droppedEvery separates the lines that say how many messages found no room.
const droppedEvery = 10 * time.Second

// messages handles IKE messages, a few in one turn of the loop. It performs what each causes before it takes the next.
func (g *Gateway) messages(now time.Time) {
	for range handledOnce {
		d, ok := g.in.next()
		if !ok {
			return
		}
		count(&g.peers.from(d.Remote.Addr().Unmap()).heard, d.Remote.Port())
		g.ike.Handle(now, d)
		g.perform(now)
	}
	g.in.wake()
}

// wait is how long the loop may sleep. The least wait keeps a deadline that
// does not move from taking the whole processor.
func (g *Gateway) wait(now time.Time) time.Duration {
	if len(g.fleet.queue) > 0 {
		return 0
	}
	wait := time.Hour
	if t := sa.Earliest(g.ike.Deadline(), g.fleet.due.Deadline(), g.moves, g.kept, g.settles, g.speakers.listAt, g.watchdog.at, g.names.due(), g.names.turns.due.Deadline()); !t.IsZero() {
		wait = min(wait, t.Sub(now))
	}
	return max(wait, time.Millisecond)
}

// happened handles an event of the data plane and those that wait behind it, a few in one turn of the loop: as many health
// checks may be answered as the groups asked in one turn.
func (g *Gateway) happened(now time.Time, e esp.Event) {
	for range maxConcluded {
		g.event(now, e)
		select {
		case e = <-g.in.events:
		default:
			return
		}
	}
	g.event(now, e)
}

// event passes an event of the data plane to IKE or to a group.
func (g *Gateway) event(now time.Time, e esp.Event) {
	switch e := e.(type) {
	case esp.SeenInbound:
		g.ike.Do(now, sa.SeenInbound{SPIIn: e.SPIIn})
	case esp.Expired:
		g.ike.Do(now, sa.Expired{SPIIn: e.SPIIn, Limit: e.Limit})
	case esp.PeersMoved:
		// step asks the data plane for the new address.
	case esp.Acquire:
		g.note(now, g.fleet.byName[e.Tunnel], tunnel.Acquire(e))
	case esp.Answered:
		g.answered(now, e)
	case esp.HeardBFD:
		if e := g.fleet.byName[e.Tunnel]; e != nil {
			g.fleet.enqueue(e.group) // hearBFD takes it
		}
	case esp.InvalidSPI:
		g.ike.Do(now, sa.InvalidSPI{Remote: e.Remote, SPI: e.SPI})
	case esp.PathMTU:
		for _, gr := range g.data.groupsTo(e.Remote, g.fleet.byName) {
			g.noteGroup(now, gr, tunnel.TooBig{Remote: e.Remote, MTU: e.MTU})
		}
	}
}

// newUnderlay handles a change of the links, addresses or routes of the host.
func (g *Gateway) newUnderlay(now time.Time) {
	was := g.under.addresses
	g.under.look()
	g.under.awaited(was, false)
	g.data.SetOwn(g.under.addresses)
	g.fleet.answerAgain(g.under.addresses)
	g.peers.see(g.under, g.fleet.entries)
	concerns := g.under.disturbed.take()
	for _, gr := range g.fleet.groups {
		gr.Note(now, tunnel.Underlay{Addresses: g.under.addresses})
		if concerns(gr.name) {
			gr.Note(now, tunnel.Disturbed{})
		}
		g.fleet.enqueue(gr)
	}
	g.networksChanged(now)
	g.tellPeers(now)
	g.ike.Do(now, sa.PathChanged{})
	g.names.resolver.Hurry()
}

// tellPeers hands the changed peers to IKE. A tunnel that the operator took
// down stays down with its new settings.
func (g *Gateway) tellPeers(now time.Time) {
	for _, p := range g.peers.take() {
		next := p.saPeer(g.under.local)
		if p.told == nil && next == nil {
			continue
		}
		g.attempts.replace(p.told, next)
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
	g.keep(e)
	e.answer(g.under.addresses)
	e.listenBFD()
	e.group.Note(now, tunnel.Device{Tunnel: e.tunnel.Name, Cause: cause})
	if d != nil {
		g.peers.changed(e.peer)
		g.obstacles.opened = append(g.obstacles.opened, e.tunnel.Name)
		nudge(g.lookNew)
	}
}

// lostDevice handles the loss of a device that another program removed. It removes the tunnel's SAs too: a
// sequence number must never be used twice.
func (g *Gateway) lostDevice(now time.Time, d *device) {
	e := g.fleet.byName[d.tunnel]
	if e == nil || e.open != d {
		return
	}
	e.part()
	g.note(now, e, tunnel.Device{Tunnel: d.tunnel, Cause: diag.Cause{Code: diag.DeviceGone, Device: e.device, Err: "another program removed it"}})
	g.peers.changed(e.peer)
	g.tellPeers(now)
	g.perform(now)
	g.data.close(d)
}

// goodbye deletes every IKE SA and waits at most shutdownGrace for the peers' answers.
func (g *Gateway) goodbye(timer *time.Timer) {
	g.Log.Info("shutting down")
	g.Notify("STOPPING=1")
	g.speakers.endAll()
	for _, e := range g.fleet.entries {
		g.leave(time.Now(), e)
	}
	end := time.Now().Add(shutdownGrace)
	g.ike.Do(time.Now(), sa.Shutdown{})
	for {
		now := time.Now()
		if sa.Due(now, g.ike.Deadline()) {
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
		case <-g.in.arrived:
			g.messages(time.Now())
		case <-timer.C:
		case <-g.io.Done():
			return
		}
	}
}
