package host

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// coalesce is how long Watch gathers events before it reports them.
const coalesce = 100 * time.Millisecond

// watcher is one Watch. It remembers links to distinguish a change from a
// repeated message.
type watcher struct {
	host   *Host
	events *events
	links  map[int]seenLink
	owners map[string]struct{} // to report
}

type seenLink struct {
	flags uint32
	mtu   int
}

// Watch calls changed after a change of the host's links, addresses or routes, or after another program
// changed an object of ours: once for all changes within 100 ms, and not for changes by Set. Source and
// PathMTU may then give other answers. owners, sorted, names the owners whose part the change concerns:
// an object of theirs is gone or altered, or a foreign object that blocks them came or went. Set each of
// them again with its State to restore it. After an overrun of netlink's events, owners names all
// owners.
//
// Watch returns nil when ctx ends, else an error. Changes between New and Watch count. One
// Watch at a time.
func (h *Host) Watch(ctx context.Context, changed func(owners []string)) error {
	w := &watcher{host: h, events: h.watched, links: make(map[int]seenLink), owners: make(map[string]struct{})}
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
		owners := slices.Sorted(maps.Keys(w.owners))
		clear(w.owners)
		changed(owners)
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *watcher) seed() error {
	links, err := retryDump(w.host.nl.LinkList)
	for _, l := range links {
		a := l.Attrs()
		w.links[a.Index] = seenLink{a.RawFlags & (unix.IFF_UP | unix.IFF_RUNNING), a.MTU}
	}
	return err
}

// gather waits for a relevant event until a deadline; the zero deadline is never reached.
func (w *watcher) gather(ctx context.Context, until time.Time) error {
	w.events.SetReadDeadline(until)
	for ctx.Err() == nil {
		msgs, err := w.events.wait()
		switch {
		case err == errOverrun:
			w.everything()
			return nil
		case err != nil:
			return err
		}
		if w.take(msgs) {
			return nil
		}
	}
	return ctx.Err()
}

// everything notes all owners, after an overrun.
func (w *watcher) everything() {
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	w.host.have.fresh = false
	clear(w.host.closing)
	for owner := range w.host.want.parts {
		w.owners[owner] = struct{}{}
	}
}

// take reports whether any of the messages is relevant, and notes the owners that they concern.
func (w *watcher) take(msgs []syscall.NetlinkMessage) (matters bool) {
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	for _, m := range msgs {
		e, ok := w.host.parse(m)
		switch {
		case !ok:
			if e.typ == unix.RTM_DELLINK {
				delete(w.host.closing, e.index)
			}
		case e.ours:
			matters = w.ours(e) || matters
		default:
			matters = w.foreign(e) || matters
		}
	}
	return matters
}

func (w *watcher) foreign(e event) (matters bool) {
	want := &w.host.want
	switch e.typ {
	case unix.RTM_NEWLINK:
		is := seenLink{e.flags, e.mtu}
		was, known := w.links[e.index]
		w.links[e.index] = is
		if e.flags&unix.IFF_UP == 0 {
			w.behind(e.index)
		}
		return known && was != is // a new link is of interest when it gets an address
	case unix.RTM_DELLINK:
		delete(w.links, e.index)
		w.behind(e.index)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		for _, a := range want.addresses[e.addr.Addr()] {
			w.tell(a.device)
		}
		w.source(e.addr.Addr())
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if q := want.contests[e.key.prefix]; q != nil {
			w.tellAll(q)
		}
	}
	return true
}

// ours distinguishes another program's change of an object of ours from the event of our own change.
// Set holds the lock until h.have contains its changes. So if h.have still has a removed object,
// another program removed it. The exception costs an idle call: Set removed it and added it back
// meanwhile.
func (w *watcher) ours(e event) bool {
	h := w.host
	switch e.typ {
	case unix.RTM_NEWLINK:
		is := h.have.links[e.index]
		if (e.flags&unix.IFF_UP != 0 || !is.up) && (e.mtu == 0 || e.mtu == is.mtu) {
			return false
		}
		w.tell(h.want.links[e.index])
	case unix.RTM_DELLINK:
		w.tell(h.want.links[e.index])
	case unix.RTM_DELADDR:
		if _, ok := h.have.addrs[address{e.index, e.addr}]; !ok {
			return false
		}
		w.tell(h.want.links[e.index])
		w.source(e.addr.Addr())
	case unix.RTM_DELROUTE:
		if !h.have.hasRoute(e) {
			return false
		}
		if q := h.want.guards[e.key]; q != nil && e.guard {
			w.tellPart(q.owner())
		}
		if c := h.want.routes[e.key]; c != nil && !e.guard {
			w.tell(c.device)
		}
	case unix.RTM_DELRULE:
		if _, ok := h.have.rules[e.rule]; !ok {
			return false
		}
		for u := range h.want.rules[e.rule] {
			w.tellPart(u.owner())
			break // the Set of any of them puts the rule back
		}
	default:
		return false
	}
	w.confirm(e)
	return true
}

// confirm makes the next Set see the change, even if a running Set took the event for one of
// its own.
func (w *watcher) confirm(e event) {
	h := w.host
	h.readEvents(h.apply)
	_, addr := h.have.addrs[address{e.index, e.addr}]
	_, rule := h.have.rules[e.rule]
	if e.typ == unix.RTM_DELADDR && addr || e.typ == unix.RTM_DELROUTE && h.have.hasRoute(e) || e.typ == unix.RTM_DELRULE && rule {
		h.have.fresh = false
	}
}

// hasRoute reports whether a route or guard of ours, of which an event tells, is in place.
func (k *kernel) hasRoute(e event) bool {
	key := routeKey{e.key, e.metric}
	if e.guard {
		return k.guards.has(key)
	}
	return k.routes.has(key)
}

// behind notes the owners that a foreign link blocks. IPv4 sends no event for the routes that go
// with it.
func (w *watcher) behind(index int) {
	for _, q := range w.host.want.contests {
		if q.obstacle.table != 0 && q.obstacle.route.index == index {
			w.tellAll(q)
		}
	}
	for _, list := range w.host.want.addresses {
		for _, a := range list {
			if a.takenBy == index {
				w.tell(a.device)
			}
		}
	}
}

// source notes the owners of routes that have an address as their source.
func (w *watcher) source(a netip.Addr) {
	for c := range w.host.want.sources[a] {
		w.tell(c.device)
	}
}

func (w *watcher) tell(d *device) {
	if d != nil {
		w.tellPart(d.part)
	}
}

func (w *watcher) tellPart(p *part) { w.owners[p.owner] = struct{}{} }

// tellAll notes the owners whom a foreign route concerns.
func (w *watcher) tellAll(q *contest) {
	for _, c := range q.claims {
		w.tell(c.device)
	}
	if len(q.guards) > 0 {
		w.tellPart(q.owner()) // the Set of one owner sets the guard for all
	}
}
