package gateway

import (
	"context"
	"time"

	"vpngw/esp"
	"vpngw/ike/sa"
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
		case d := <-g.datagrams:
			g.ike.Handle(time.Now(), d)
		case e := <-g.events:
			g.event(time.Now(), e)
		case f := <-g.commands:
			f(time.Now())
		case e := <-g.ended:
			g.lostDevice(e, time.Now())
		case <-g.underlay:
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

// step does what is due, performs the Actions, and brings status and host in
// step with them.
func (g *Gateway) step(now time.Time) {
	if due(g.ike.Deadline(), now) {
		g.ike.Advance(now)
	}
	var moved []esp.Moved
	moved, g.moves = g.plane.Moves(now)
	for _, m := range moved {
		g.ike.Do(now, sa.Moved{SPIIn: m.SPIIn, Remote: m.Remote})
	}
	g.perform()
	if due(g.again, now) {
		g.again = time.Time{}
		g.reopen(now)
		g.rescue(now)
		g.perform()
		g.dirty = true
	}
	switch {
	case !g.dirty:
	case !now.Before(g.settled):
		g.settle(now)
		// With very many tunnels settling takes a while; it must not take all.
		g.settled = now.Add(10 * time.Since(now))
	default:
		g.wakeAt(g.settled)
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// wait is how long the loop may sleep. The least wait keeps a deadline that
// does not move from taking the whole processor.
func (g *Gateway) wait(now time.Time) time.Duration {
	wait := time.Hour
	for _, t := range [...]time.Time{g.ike.Deadline(), g.again, g.moves} {
		if !t.IsZero() {
			wait = min(wait, t.Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}

// wakeAt makes settle run again at t at the latest.
func (g *Gateway) wakeAt(t time.Time) {
	if g.again.IsZero() || t.Before(g.again) {
		g.again = t
	}
}

// perform carries out the endpoint's Actions in their order, which is the
// safety argument of a rekey.
func (g *Gateway) perform() {
	for {
		switch a := g.ike.Next().(type) {
		case nil:
			return
		case sa.Send:
			g.send(a.Path, a.Data, true)
		case sa.Keepalive:
			g.send(a.Path, []byte{0xff}, false)
		case sa.InstallIn:
			g.installIn(a.SA)
		case sa.InstallOut:
			g.installOut(a.SA)
		case sa.Hold:
			g.plane.Hold(a.SPIIn)
		case sa.Resume:
			g.plane.Resume(a.SPIIn)
		case sa.Remove:
			g.remove(a)
		case sa.Move:
			g.move(a)
		case sa.Changed:
			g.dirty = true
		}
	}
}

// event passes on what the data plane saw.
func (g *Gateway) event(now time.Time, e esp.Event) {
	switch e := e.(type) {
	case esp.SeenInbound:
		g.ike.Do(now, sa.SeenInbound{SPIIn: e.SPIIn})
	case esp.Expired:
		g.ike.Do(now, sa.Expired{SPIIn: e.SPIIn, Why: e.Limit.String()})
	case esp.PeersMoved:
		// step asks where to.
	case esp.InvalidSPI:
		g.ike.Do(now, sa.InvalidSPI{Remote: e.Remote})
	case esp.PathMTU:
		g.lowerPathMTU(e.Remote, e.MTU, now)
	}
}

// tell takes an event of the data plane, whose goroutine must not wait.
func (g *Gateway) tell(e esp.Event) bool {
	select {
	case g.events <- e:
		return true
	default:
		return false
	}
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
		g.perform()
		if !now.Before(end) || g.ike.Idle() {
			return
		}
		timer.Reset(min(g.wait(now), end.Sub(now)))
		select {
		case d := <-g.datagrams:
			g.ike.Handle(time.Now(), d)
		case <-timer.C:
		case <-g.io.Done():
			return
		}
	}
}
