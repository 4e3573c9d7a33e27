package gateway

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/tunnel"
)

// change counts what regroup changed, and lists the devices to close and the groups to start and to
// retire.
type change struct {
	done    Adopted
	closing []*device // no tunnel uses them any more
	groups  []*group  // new ones
	retired []string  // names of groups without tunnels
	removed []string  // tunnels

	releasing map[string]bool // groups that lose a device, by name
}

// regrouped is a group of the plan that is new or whose tunnels have changed.
type regrouped struct {
	name    string
	configs []tunnel.Config
	entries []*entry
}

// same reports whether w has the same settings as e, so that the tunnel need not change.
func (e *entry) same(w plannedTunnel) bool {
	return e.conn.Name == w.conn.Name && e.conn.Side == w.conn.Side && e.conn.Dialect == w.conn.Dialect && e.conn.Switching == w.conn.Switching &&
		e.group.name == w.group && e.device == w.device && reflect.DeepEqual(e.tunnel, w.tunnel)
}

// regroup changes the fleet to match plan. An unchanged group stays; the
// tunnels of a changed group move to a new one. own are the host's addresses.
func (f *fleet) regroup(now time.Time, plan []plannedTunnel, ps *peers, own []netip.Addr, inner tunnel.Inner) change {
	ch := change{done: Adopted{Faults: []Fault{}}, releasing: map[string]bool{}}
	byName := make(map[string]*entry, len(plan))
	entries := make([]*entry, 0, len(plan))
	changed := map[string]bool{} // groups, by name
	for i, w := range plan {
		e := f.byName[w.tunnel.Name]
		switch {
		case e == nil:
			e = &entry{}
			ch.done.Added++
			changed[w.group] = true
		case !e.same(w):
			ch.done.Changed++
			changed[w.group], changed[e.group.name] = true, true
		}
		e.pos = i
		entries, byName[w.tunnel.Name] = append(entries, e), e
	}
	for _, e := range f.entries {
		if byName[e.tunnel.Name] == nil {
			ch.done.Removed++
			ch.removed = append(ch.removed, e.tunnel.Name)
			changed[e.group.name] = true
			ps.remove(e)
			ch.closing = append(ch.closing, e.open)
			e.open = nil
		}
	}
	ch.done.Kept = len(plan) - ch.done.Added - ch.done.Changed

	var order []*regrouped
	byGroup := map[string]*regrouped{} // by name
	for i, w := range plan {
		e := entries[i]
		if !changed[w.group] {
			e.conn = w.conn
			continue
		}
		r := byGroup[w.group]
		if r == nil {
			r = &regrouped{name: w.group}
			order, byGroup[w.group] = append(order, r), r
		}
		r.configs, r.entries = append(r.configs, ch.take(e, w, ps)), append(r.entries, e)
	}
	var groups []*group
	for _, gr := range f.groups {
		if !changed[gr.name] {
			groups = append(groups, gr)
			continue
		}
		f.due.Remove(gr)
		if byGroup[gr.name] == nil {
			ch.retired = append(ch.retired, gr.name)
		}
	}
	f.queue = slices.DeleteFunc(f.queue, func(gr *group) bool { return changed[gr.name] })
	// A group that loses a device comes first: another may need that device.
	var first, rest []*regrouped
	for _, r := range order {
		if ch.releasing[r.name] {
			first = append(first, r)
		} else {
			rest = append(rest, r)
		}
	}
	for _, r := range append(first, rest...) {
		gr := &group{Group: tunnel.New(now, r.configs, own, inner), name: r.name}
		for _, e := range r.entries {
			e.group = gr
			ps.add(e)
		}
		groups, ch.groups = append(groups, gr), append(ch.groups, gr)
	}
	f.groups, f.entries, f.byName = groups, entries, byName
	f.index()
	return ch
}

// take updates an entry to w and returns its tunnel for the new group.
func (ch *change) take(e *entry, w plannedTunnel, ps *peers) tunnel.Config {
	c := tunnel.Config{Conn: w.conn, Tunnel: w.tunnel, Device: w.device, Wants: w.tunnel.ChildSAs()}
	if e.group != nil {
		c.From = e.group.Take(e.tunnel.Name)
		if e.device != w.device || e.tunnel.CopyDSCP != w.tunnel.CopyDSCP {
			// The tunnel gets a new device; the old one is closed like a removed tunnel's.
			ch.closing = append(ch.closing, e.open)
			e.open, c.Reopen = nil, true
			ch.releasing[e.group.name] = true
		}
		ps.remove(e)
	}
	e.conn, e.tunnel, e.device = w.conn, w.tunnel, w.device
	return c
}
