package gateway

import (
	"net/netip"
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

// regroup carries out a comparison of the fleet with a plan. A group in which nothing changes stays; the
// tunnels of a changed group move to a new one. own are the host's addresses.
func (f *fleet) regroup(now time.Time, cs comparison, ps *peers, own []netip.Addr, inner tunnel.Inner) change {
	ch := change{done: Adopted{Faults: []Fault{}, Plan: cs.report()}, releasing: map[string]bool{}}
	byName := make(map[string]*entry, len(cs.tunnels))
	entries := make([]*entry, 0, len(cs.tunnels))
	changed := map[string]bool{} // groups, by name
	for i, w := range cs.tunnels {
		e := w.entry
		switch {
		case e == nil:
			e = &entry{}
			ch.done.Added++
			changed[w.group] = true
		case w.class == "":
			ch.done.Kept++
		default:
			ch.done.Changed++
			if w.class != Nothing {
				changed[w.group], changed[e.group.name] = true, true
			}
		}
		e.pos = int32(i)
		entries, byName[w.tunnel.Name] = append(entries, e), e
	}
	for _, e := range cs.removed {
		ch.done.Removed++
		ch.removed = append(ch.removed, e.tunnel.Name)
		changed[e.group.name] = true
		ps.remove(e)
		ch.closing = append(ch.closing, e.part())
		delete(f.drawn, e.discriminator)
	}

	var order []*regrouped
	byGroup := map[string]*regrouped{} // by name
	for i, w := range cs.tunnels {
		e := entries[i]
		if !changed[w.group] {
			e.conn, e.tunnel = w.conn, w.tunnel
			if w.class == "" {
				e.group.Refer(w.conn, w.tunnel)
			}
			continue
		}
		r := byGroup[w.group]
		if r == nil {
			r = &regrouped{name: w.group}
			order, byGroup[w.group] = append(order, r), r
		}
		if e.discriminator == 0 && w.tunnel.BGP != nil && w.tunnel.BGP.BFD != nil {
			e.discriminator = f.drawn.draw()
		}
		r.configs, r.entries = append(r.configs, ch.take(e, w.plannedTunnel, ps)), append(r.entries, e)
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
		gr := &group{Group: tunnel.New(now, r.configs, own, inner), name: r.name, entries: r.entries}
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
	c := tunnel.Config{Conn: w.conn, Tunnel: w.tunnel, Device: w.device, Discriminator: e.discriminator}
	if e.group != nil {
		c.From = e.group.Take(e.tunnel.Name)
		if e.device != w.device {
			// The tunnel gets a new device; the old one is closed like a removed tunnel's.
			ch.closing = append(ch.closing, e.part())
			c.Reopen = true
			ch.releasing[e.group.name] = true
		}
		if e.open != nil {
			e.open.data.SetCopyDSCP(w.tunnel.CopyDSCP)
		}
		ps.remove(e)
	}
	e.conn, e.tunnel, e.device = w.conn, w.tunnel, w.device
	return c
}
