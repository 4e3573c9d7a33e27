package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/doctor"
)

// The daemon looks at its host by itself, as `vpngw doctor` does, outside of the control loop: soon after the start, after
// changes of links, addresses and routes, and from time to time for what nothing tells of, such as a packet filter. What is
// in the way is said once, when it is found. Nothing of the host is changed.
const (
	firstLook = time.Second // the devices are there by then
	lookEvery = 30 * time.Second
	lookGap   = 2 * time.Second // between two looks, however much changes
	lookTime  = time.Second     // for one look; the next goes on with the other tunnels
	lookShare = 20              // of the time at most one part goes into looks
	maxLooked = 64              // tunnels in one look
	maxFound  = 16              // of one tunnel
	wholeHost = ""              // in place of a tunnel's name: what concerns all
)

// obstacles are what was said of the host. One goroutine uses it.
type obstacles struct {
	next  int                     // the tunnel to begin with
	found map[string][]diag.Cause // by tunnel
	given []string                // sentences that the log has from the start
}

// watchHost looks until ctx ends.
func (g *Gateway) watchHost(ctx context.Context, given []string) error {
	o := obstacles{found: map[string][]diag.Cause{}, given: given}
	took := time.Duration(0)
	for timer := time.NewTimer(firstLook); ; timer.Reset(max(lookEvery, took*lookShare)) {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-g.look:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(max(lookGap, took*lookShare)):
			}
		}
		began := time.Now()
		g.lookAround(ctx, &o)
		took = time.Since(began)
	}
}

// lookAround examines some of the tunnels, and says what is new.
func (g *Gateway) lookAround(ctx context.Context, o *obstacles) {
	var asked []*doctor.Tunnel
	var leaks []leakAsk
	names := map[string]bool{}
	err := g.call(ctx, func(now time.Time) error {
		all := g.fleet.entries
		for _, e := range all {
			names[e.tunnel.Name] = true
		}
		for i := range min(len(all), maxLooked) {
			e := all[(o.next+i)%len(all)]
			asked, leaks = append(asked, g.patient(now, e)), append(leaks, askFor(e))
		}
		return nil
	})
	if err != nil {
		if !errors.Is(err, ErrStopped) && ctx.Err() == nil {
			g.Log.Warn("the host is not looked at", "err", err)
		}
		return
	}
	for name := range o.found {
		if name != wholeHost && !names[name] {
			delete(o.found, name)
		}
	}
	var whole []diag.Cause
	end := time.Now().Add(lookTime)
	for i, t := range asked {
		if ctx.Err() != nil || time.Now().After(end) {
			break
		}
		o.next++
		g.examine(t, leaks[i])
		var own []diag.Cause
		for _, c := range doctor.Obstacles(t) {
			if !doctor.OfAll(c) {
				own = append(own, c)
			} else if !slices.ContainsFunc(whole, c.Equal) {
				whole = append(whole, c)
			}
		}
		g.say(o, t, own)
	}
	if len(names) > 0 {
		o.next %= len(names)
	}
	g.say(o, &doctor.Tunnel{Dialect: "native"}, whole)
}

// say makes a line and an event of what is new of a tunnel, or of the host where t has no name, and a line of what is over.
func (g *Gateway) say(o *obstacles, t *doctor.Tunnel, found []diag.Cause) {
	found = found[:min(len(found), maxFound)]
	log := g.Log
	if t.Name != wholeHost {
		log = log.With("conn", t.Conn, "tunnel", t.Name)
	}
	was := o.found[t.Name]
	for _, c := range found {
		if slices.ContainsFunc(was, c.Equal) {
			continue
		}
		if i := slices.Index(o.given, c.String()); i >= 0 {
			o.given = slices.Delete(o.given, i, i+1)
		} else {
			log.Warn(c.String(), "code", c.Code)
		}
		g.events.add(Event{
			Time: time.Now().UTC(), Severity: c.Severity(), Connection: t.Conn, Tunnel: t.Name, Report: c.Report(), Advice: c.Advice(t.Dialect, t.Cloud),
		})
	}
	for _, c := range was {
		if !slices.ContainsFunc(found, c.Equal) {
			log.Info("no longer in the way: " + c.String())
		}
	}
	o.found[t.Name] = found
}
