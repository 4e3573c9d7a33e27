package gateway

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"vpngw/diag"
	"vpngw/doctor"
)

// The daemon looks at its host by itself, as `vpngw doctor` does, outside of the control loop: soon after the start, after
// changes of links, addresses, routes, nftables and forwarding, and from time to time for what nothing tells of, such as the
// kernel's older packet filter. What is in the way is said once, when it is found, and stands in the status. Nothing of the host
// is changed.
const (
	firstLook  = time.Second // the devices are there by then
	lookEvery  = 30 * time.Second
	lookSettle = 300 * time.Millisecond // after a change
	lookGap    = time.Second            // between two looks, however much changes
	lookTime   = 300 * time.Millisecond // for one look; the next goes on with the other tunnels
	lookShare  = 20                     // of a processor's time at most one part goes into looks after changes,
	roundShare = 200                    // and into the other looks of a round of many tunnels
	maxLooked  = 128                    // tunnels in one look
	maxFound   = 16                     // of one tunnel
	wholeHost  = ""                     // in place of a tunnel's name: what concerns all
)

// reading is what the looks of one round have in common. Most changes end it early.
type reading struct {
	Examination
	until time.Time
}

// reading returns the present one, or begins another.
func (g *Gateway) reading(o *obstacles) Examination {
	if o.host.Examination == nil || time.Now().After(o.host.until) {
		o.forget()
		o.host = reading{g.Host.Examination(), time.Now().Add(lookEvery / 2)}
	}
	return o.host.Examination
}

// forget ends the present reading.
func (o *obstacles) forget() {
	if o.host.Examination != nil {
		o.host.Close()
		o.host = reading{}
	}
}

// obstacles are what was said of the host. One goroutine uses it, but for found and opened.
type obstacles struct {
	host    reading
	next    int         // the tunnel to begin with
	changed bool        // something has, since the last look
	left    int         // tunnels that were not looked at since then
	unseen  int         // tunnels that were never looked at
	whole   []witnessed // what found has of the whole host
	given   []string    // sentences that the log has from the start

	mu    sync.Mutex              // of found
	found map[string][]diag.Cause // by tunnel; those that have nothing are left out

	opened []string // tunnels with a new device that nobody has looked at; the control loop's
}

// asked is a tunnel of one look.
type asked struct {
	*doctor.Tunnel
	leak leakAsk
	turn bool // it is one of those whose turn it is, and counts for next
}

// of is what was found of a tunnel, or of the whole host.
func (o *obstacles) of(name string) []diag.Cause {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found[name]
}

// witnessed is what concerns all of the host, with a tunnel that found it. One look sees a part of the tunnels, and the others may
// not come by the same devices: so each look asks the witness again.
type witnessed struct {
	diag.Cause
	tunnel string
}

// watchHost looks until ctx ends.
func (g *Gateway) watchHost(ctx context.Context, given []string) error {
	o := &g.obstacles
	o.given = given
	defer o.forget()
	earliest := time.Now().Add(firstLook)
	for timer := time.NewTimer(firstLook); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-g.look:
			pause(ctx, max(lookSettle, time.Until(earliest)))
			o.changed = true
			select {
			case <-g.look: // meanwhile
			default:
			}
		case <-g.lookNew:
			pause(ctx, max(lookSettle, time.Until(earliest)))
		}
		spent := g.spend(func() { g.lookAround(ctx, o) })
		earliest = time.Now().Add(max(lookGap, spent*lookShare))
		wait := max(lookGap, spent*roundShare)
		if o.left == 0 && o.unseen == 0 {
			o.forget()
			wait = max(lookEvery, wait)
		}
		timer.Reset(wait)
	}
}

// spend is how much processor time a function takes: on a busy host it waits most of the time.
func (g *Gateway) spend(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spent := g.Host.ThreadTime()
	began := spent()
	f()
	return spent() - began
}

// lookAround examines some of the tunnels, and says what is new.
func (g *Gateway) lookAround(ctx context.Context, o *obstacles) {
	var tunnels []asked
	fleet, unseen := 0, 0 // tunnels, and those of them that still wait for their first look
	err := g.call(ctx, func(now time.Time) error {
		place := map[*entry]int{} // in tunnels
		ask := func(e *entry, turn bool) {
			i, ok := place[e]
			if !ok {
				i = len(tunnels)
				place[e] = i
				tunnels = append(tunnels, asked{Tunnel: g.patient(now, e), leak: askFor(e)})
			}
			tunnels[i].turn = tunnels[i].turn || turn
		}
		o.mu.Lock()
		maps.DeleteFunc(o.found, func(name string, _ []diag.Cause) bool { return name != wholeHost && g.fleet.byName[name] == nil })
		o.mu.Unlock()
		o.whole = slices.DeleteFunc(o.whole, func(w witnessed) bool { return g.fleet.byName[w.tunnel] == nil })
		all := g.fleet.entries
		fresh := min(len(o.opened), maxLooked)
		for _, name := range o.opened[:fresh] {
			if e := g.fleet.byName[name]; e != nil {
				ask(e, false)
			}
		}
		if o.opened = o.opened[fresh:]; len(o.opened) == 0 {
			o.opened = nil
		}
		fleet, unseen = len(all), len(o.opened)
		for i := range min(fleet, maxLooked-fresh) {
			ask(all[(o.next+i)%fleet], true)
		}
		for _, w := range o.whole {
			ask(g.fleet.byName[w.tunnel], false)
		}
		return nil
	})
	if err != nil {
		if !errors.Is(err, ErrStopped) && ctx.Err() == nil {
			g.Log.Warn("the host is not looked at", "err", err)
		}
		return
	}
	if o.changed {
		o.forget()
		o.changed, o.left = false, fleet
	}
	o.unseen = unseen
	host := g.reading(o)
	var whole []witnessed
	seen := map[string]bool{}
	end := time.Now().Add(lookTime)
	for _, t := range tunnels {
		if ctx.Err() != nil || time.Now().After(end) {
			o.left = fleet // some of the others may be new
			break
		}
		if t.turn {
			o.next++
			o.left = max(o.left-1, 0)
		}
		seen[t.Name] = true
		g.examine(host, t.Tunnel, t.leak)
		var own []diag.Cause
		for _, c := range doctor.Obstacles(t.Tunnel) {
			if doctor.OfAll(c) {
				whole = append(whole, witnessed{c, t.Name})
			} else {
				own = append(own, c)
			}
		}
		g.say(o, t.Tunnel, own)
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
	was := o.of(t.Name)
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.found[t.Name] = found; len(found) == 0 {
		delete(o.found, t.Name)
	}
}

// inTheWay is what of a Status tells of obstacles.
func inTheWay(found []diag.Cause, advice func(diag.Cause) diag.Advice) (out []doctor.Finding) {
	for _, c := range found {
		a := advice(c)
		out = append(out, doctor.Finding{Severity: c.Severity(), Report: c.Report(), Advice: a, Do: a.String()})
	}
	return out
}
