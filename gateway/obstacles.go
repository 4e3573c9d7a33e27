package gateway

import (
	"context"
	"errors"
	"maps"
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
	found map[string][]diag.Cause // by tunnel; those that have nothing are left out
	whole []witnessed             // what found has of the whole host
	given []string                // sentences that the log has from the start
}

// witnessed is what concerns all of the host, with a tunnel that found it. One look sees a part of the tunnels, and the others may
// not come by the same devices: so each look asks the witness again.
type witnessed struct {
	diag.Cause
	tunnel string
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
	turn, fleet := 0, 0 // tunnels whose turn it is, and all
	err := g.call(ctx, func(now time.Time) error {
		ask := func(e *entry) {
			asked, leaks = append(asked, g.patient(now, e)), append(leaks, askFor(e))
		}
		maps.DeleteFunc(o.found, func(name string, _ []diag.Cause) bool { return name != wholeHost && g.fleet.byName[name] == nil })
		o.whole = slices.DeleteFunc(o.whole, func(w witnessed) bool { return g.fleet.byName[w.tunnel] == nil })
		all := g.fleet.entries
		turn, fleet = min(len(all), maxLooked), len(all)
		for i := range turn {
			ask(all[(o.next+i)%len(all)])
		}
		for _, w := range o.whole {
			if !slices.ContainsFunc(asked, func(t *doctor.Tunnel) bool { return t.Name == w.tunnel }) {
				ask(g.fleet.byName[w.tunnel])
			}
		}
		return nil
	})
	if err != nil {
		if !errors.Is(err, ErrStopped) && ctx.Err() == nil {
			g.Log.Warn("the host is not looked at", "err", err)
		}
		return
	}
	var whole []witnessed
	seen := map[string]bool{}
	began := time.Now()
	end := began.Add(lookTime)
	for i, t := range asked {
		if ctx.Err() != nil || time.Now().After(end) {
			break
		}
		if i < turn {
			o.next++
		}
		seen[t.Name] = true
		g.examine(began, t, leaks[i])
		var own []diag.Cause
		for _, c := range doctor.Obstacles(t) {
			if doctor.OfAll(c) {
				whole = append(whole, witnessed{c, t.Name})
			} else {
				own = append(own, c)
			}
		}
		g.say(o, t, own)
	}
	if fleet > 0 {
		o.next %= fleet
	}
	o.testify(whole, seen)
	var found []diag.Cause
	for _, w := range o.whole {
		found = append(found, w.Cause)
	}
	g.say(o, &doctor.Tunnel{Dialect: "native"}, found)
}

// testify takes what a look has found of the whole host at the tunnels that it has seen. What was there before comes first, for only
// some is said.
func (o *obstacles) testify(found []witnessed, seen map[string]bool) {
	var whole []witnessed
	for _, w := range o.whole {
		if i := slices.IndexFunc(found, w.same); i >= 0 {
			whole = append(whole, found[i])
		} else if !seen[w.tunnel] {
			whole = append(whole, w)
		}
	}
	for _, w := range found {
		if len(whole) < maxFound && !slices.ContainsFunc(whole, w.same) {
			whole = append(whole, w)
		}
	}
	o.whole = whole
}

func (w witnessed) same(o witnessed) bool { return w.Equal(o.Cause) }

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
	if o.found[t.Name] = found; len(found) == 0 {
		delete(o.found, t.Name)
	}
}
