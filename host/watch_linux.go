package host

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// coalesce is how long Watch gathers events before it tells of them.
const coalesce = 100 * time.Millisecond

// watcher is one Watch. What it knows of links is for telling a change from a
// message that repeats itself.
type watcher struct {
	host   *Host
	events *events
	links  map[int]seenLink
}

type seenLink struct {
	flags uint32
	mtu   int
}

// Watch calls changed when links, addresses or routes of the host changed, or
// something of ours was taken away: once for all that happens within 100 ms, and
// not for what Set does. What may follow is Set, Source and PathMTU. It returns
// nil when ctx ends, else an error. What happened between New and Watch counts.
// One Watch at a time.
func (h *Host) Watch(ctx context.Context, changed func()) error {
	w := &watcher{host: h, events: h.watched, links: make(map[int]seenLink)}
	if err := w.seed(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { w.events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		var err error
		if err := w.gather(ctx, time.Time{}); err != nil {
			return ended(ctx, err)
		}
		until := time.Now().Add(coalesce)
		for err == nil {
			err = w.gather(ctx, until)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return ended(ctx, err)
		}
		changed()
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *watcher) seed() error {
	links, err := again(w.host.nl.LinkList)
	for _, l := range links {
		a := l.Attrs()
		w.links[a.Index] = seenLink{a.RawFlags & (unix.IFF_UP | unix.IFF_RUNNING), a.MTU}
	}
	return err
}

// gather waits for an event that matters, until a time or, with none, for ever.
func (w *watcher) gather(ctx context.Context, until time.Time) error {
	w.events.SetReadDeadline(until)
	for ctx.Err() == nil {
		msgs, err := w.events.wait()
		if err == errOverrun {
			return nil
		}
		if err != nil {
			return err
		}
		matters := false
		w.host.mu.Lock()
		for _, m := range msgs {
			if e, ok := w.host.parse(m); ok && w.matters(e) {
				matters = true
			}
		}
		w.host.mu.Unlock()
		if matters {
			return nil
		}
	}
	return ctx.Err()
}

// matters tells a change from the echo of our own. Set holds the lock until
// h.have says what it did; so what h.have still holds, somebody else took away,
// unless Set took it out and put it back meanwhile, which costs one idle call.
func (w *watcher) matters(e event) bool {
	have := &w.host.have
	switch {
	case e.typ == unix.RTM_NEWLINK && !e.ours:
		is := seenLink{e.flags, e.mtu}
		was, known := w.links[e.index]
		w.links[e.index] = is
		return known && was != is // a new link is of interest when it gets an address
	case e.typ == unix.RTM_DELLINK && !e.ours:
		delete(w.links, e.index)
		return true
	case !e.ours:
		return true
	case e.typ == unix.RTM_NEWLINK:
		is := have.links[e.index]
		return e.flags&unix.IFF_UP == 0 && is.up || e.mtu != 0 && e.mtu != is.mtu
	case e.typ == unix.RTM_DELLINK:
		return true
	case e.typ == unix.RTM_DELADDR:
		_, ok := have.addrs[address{e.index, e.addr}]
		return ok
	case e.typ == unix.RTM_DELROUTE:
		_, ok := have.routes[routeKey{e.key, e.metric}]
		return ok
	}
	return false
}
