package gateway

import (
	"cmp"
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

	releasing map[string]bool // groups that lose a device, by name
}

func releases(groups map[string]bool, name string) int {
	if groups[name] {
		return 0
	}
	return 1
}

// same reports whether w has the same settings as e, so that the tunnel need not change.
func (e *entry) same(w plannedTunnel) bool {
	return e.conn.Name == w.conn.Name && e.conn.Side == w.conn.Side && e.conn.Dialect == w.conn.Dialect &&
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
			changed[e.group.name] = true
			ps.remove(e)
			ch.closing = append(ch.closing, e.open)
			e.open = nil
		}
	}
	ch.done.Kept = len(plan) - ch.done.Added - ch.done.Changed

	members := map[string][]tunnel.Config{}
	inGroup := map[string][]*entry{}
	var order []string
	for i, w := range plan {
		e := entries[i]
		if !changed[w.group] {
			e.conn = w.conn
			continue
		}
		if members[w.group] == nil {
			order = append(order, w.group)
		}
		members[w.group] = append(members[w.group], ch.take(e, w, ps))
		inGroup[w.group] = append(inGroup[w.group], e)
	}
	var groups []*group
	for _, gr := range f.groups {
		if !changed[gr.name] {
			groups = append(groups, gr)
			continue
		}
		f.forget(gr)
		if members[gr.name] == nil {
			ch.retired = append(ch.retired, gr.name)
		}
	}
	// A group that loses a device comes first: another may need that device.
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(releases(ch.releasing, a), releases(ch.releasing, b)) })
	for _, name := range order {
		gr := &group{Group: tunnel.New(now, members[name], own, inner), name: name, entries: inGroup[name]}
		for _, e := range gr.entries {
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
