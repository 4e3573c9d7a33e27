package gateway

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// Adopted is what an Adopt has done, in tunnels.
type Adopted struct {
	Added   int     `json:"added"`
	Changed int     `json:"changed"`
	Removed int     `json:"removed"`
	Kept    int     `json:"kept"`
	Faults  []Fault `json:"faults"`
}

// Fault is a tunnel that is down because it has no device. It is tried again.
type Fault struct {
	Tunnel string `json:"tunnel"`
	diag.Report
}

// Adopt makes c, which must be valid, the running configuration. Connections
// that have not changed keep their devices and SAs and lose no packet. When c
// can't be adopted, nothing changes.
func (g *Gateway) Adopt(ctx context.Context, c *config.Config) (done Adopted, err error) {
	err = g.call(ctx, func(now time.Time) (err error) {
		done, err = g.adopt(now, c)
		return err
	})
	return done, err
}

// wanted is one tunnel of a configuration, with the device that it gets.
type wanted struct {
	conn   *config.Connection
	tunnel *config.Tunnel
	device string
	group  string
}

// planOf works out what c wants, beside what runs. It touches nothing.
func planOf(c *config.Config, running *fleet) ([]wanted, error) {
	var out []wanted
	var tunnels []*config.Tunnel
	settings := map[sa.PeerKey]wanted{}
	for _, conn := range c.Connections {
		for i := range conn.Tunnels {
			w := wanted{conn: conn, tunnel: &conn.Tunnels[i], group: conn.Group()}
			// package config/load sees to it; here it would be a wrong key in use.
			first, ok := settings[w.tunnel.PeerKey()]
			if !ok {
				settings[w.tunnel.PeerKey()] = w
			} else if ours, theirs := w.tunnel.Settings(), first.tunnel.Settings(); len(theirs.Diff(&ours)) > 0 {
				return nil, fmt.Errorf("connections %q and %q have the same addresses and identities, so they share one IKE SA: their %s must be the same too",
					first.conn.Name, conn.Name, theirs.Diff(&ours)[0])
			}
			out, tunnels = append(out, w), append(tunnels, w.tunnel)
		}
	}
	taken := map[string]string{}
	for _, e := range running.entries {
		taken[e.tunnel.Name] = e.device
	}
	names, err := deviceNames(tunnels, taken)
	for i := range out {
		out[i].device = names[out[i].tunnel.Name]
	}
	return out, err
}

// same reports whether e says what w says, so that the tunnel is left alone.
func (e *entry) same(w wanted) bool {
	return e.conn.Name == w.conn.Name && e.conn.Side == w.conn.Side && e.conn.Dialect == w.conn.Dialect &&
		e.group.name == w.group && e.device == w.device && reflect.DeepEqual(e.tunnel, w.tunnel)
}

// change is an Adopt under way.
type change struct {
	done    Adopted
	closing []*device
	groups  []*group // new ones
	retired []string // names of groups that run no more
}

func (g *Gateway) adopt(now time.Time, c *config.Config) (Adopted, error) {
	if keys := g.config.Startup.Diff(c.Startup); len(keys) > 0 {
		return Adopted{}, &RestartError{keys}
	}
	plan, err := planOf(c, &g.fleet)
	if err != nil {
		return Adopted{}, err
	}
	ch := change{done: Adopted{Faults: []Fault{}}}
	g.config = c
	g.regroup(now, plan, &ch)
	g.see()
	g.tellUnserved()

	// What goes, goes first: a new tunnel may want its device or its peer.
	g.tellPeers(now)
	g.perform(now)
	for _, name := range ch.retired {
		if _, err := g.Host.Set(name, host.State{}); err != nil {
			g.Log.Error("cannot take out devices and routes", "conn", name, "err", err)
		}
	}
	for _, d := range ch.closing {
		g.data.close(d)
	}
	for _, gr := range ch.groups {
		g.decide(now, gr)
	}
	g.tellPeers(now)
	g.perform(now)
	for _, gr := range ch.groups {
		g.decide(now, gr)
	}

	ch.done.Kept = len(plan) - ch.done.Added - ch.done.Changed
	for _, e := range g.fleet.entries {
		if e.open == nil {
			ch.done.Faults = append(ch.done.Faults, Fault{e.tunnel.Name, e.status().Cause.Report()})
		}
	}
	g.Log.Info("configuration adopted", "added", ch.done.Added, "changed", ch.done.Changed, "removed", ch.done.Removed, "kept", ch.done.Kept)
	return ch.done, nil
}

// regroup makes the fleet what plan says. A group in which nothing changed
// stays; the tunnels of any other go on in a new one.
func (g *Gateway) regroup(now time.Time, plan []wanted, ch *change) {
	was := g.fleet.byName
	byName := make(map[string]*entry, len(plan))
	entries := make([]*entry, 0, len(plan))
	changed := map[string]bool{} // groups, by name
	for i, w := range plan {
		e := was[w.tunnel.Name]
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
	for _, e := range g.fleet.entries {
		if byName[e.tunnel.Name] == nil {
			ch.done.Removed++
			changed[e.group.name] = true
			g.peers.remove(e)
			ch.closing = append(ch.closing, e.open)
			e.open = nil
		}
	}
	members := map[string][]tunnel.Config{}
	inGroup := map[string][]*entry{}
	var order []string
	for i, w := range plan {
		e := entries[i]
		if !changed[w.group] {
			e.conn = w.conn // notes and the like
			continue
		}
		if members[w.group] == nil {
			order = append(order, w.group)
		}
		members[w.group] = append(members[w.group], g.change(e, w, ch))
		inGroup[w.group] = append(inGroup[w.group], e)
	}
	keep := g.fleet.groups[:0:0]
	for _, gr := range g.fleet.groups {
		if !changed[gr.name] {
			keep = append(keep, gr)
			continue
		}
		for _, e := range gr.entries { // none wants these
			gr.Take(e.tunnel.Name)
		}
		g.fleet.forget(gr)
		if members[gr.name] == nil {
			ch.retired = append(ch.retired, gr.name)
		}
	}
	for _, name := range order {
		gr := &group{Group: tunnel.New(now, members[name], g.under.addresses, g.data.inner), name: name, entries: inGroup[name]}
		for _, e := range gr.entries {
			e.group = gr
		}
		keep, ch.groups = append(keep, gr), append(ch.groups, gr)
	}
	g.fleet.groups, g.fleet.entries, g.fleet.byName = keep, entries, byName
	g.fleet.index()
	for _, e := range entries {
		if e.peer == nil {
			g.peers.add(e)
		}
	}
}

// change gives an entry what w says, and returns it for its next group.
func (g *Gateway) change(e *entry, w wanted, ch *change) tunnel.Config {
	c := tunnel.Config{Conn: w.conn, Tunnel: w.tunnel, Device: w.device, Wants: w.tunnel.ChildSAs()}
	if e.group != nil {
		c.From = e.group.Take(e.tunnel.Name)
		if e.device != w.device || e.tunnel.CopyDSCP != w.tunnel.CopyDSCP {
			// The device is made again: the old one goes like a removed tunnel's.
			ch.closing = append(ch.closing, e.open)
			e.open, c.Reopen = nil, true
		}
		g.peers.remove(e)
	}
	e.conn, e.tunnel, e.device = w.conn, w.tunnel, w.device
	return c
}

// RestartError is the answer to a configuration that differs in settings that
// are chosen at the start only. Keys are their names in the file.
type RestartError struct{ Keys []string }

func (e *RestartError) Error() string {
	return "a reload cannot change `" + strings.Join(e.Keys, "`, `") + "`: restart the daemon; nothing was changed"
}
