package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// Adopted counts the tunnels that an Adopt added, changed, removed and kept.
type Adopted struct {
	Added   int     `json:"added"`
	Changed int     `json:"changed"`
	Removed int     `json:"removed"`
	Kept    int     `json:"kept"`
	Faults  []Fault `json:"faults"`
	Plan    Plan    `json:"plan"` // what Gateway.Plan would have said
}

// Fault is a tunnel that is down because it has no device. The gateway tries to make the device
// again.
type Fault struct {
	Tunnel string `json:"tunnel"`
	diag.Report
}

// Adopt makes c, which must be valid, the running configuration. Connections
// that have not changed keep their devices and SAs and lose no packet. When c
// can't be adopted, nothing changes.
func (g *Gateway) Adopt(ctx context.Context, c *config.Config) (done Adopted, err error) {
	err = g.call(ctx, func(now time.Time) error {
		if done, err = g.adopt(now, c); err == nil {
			g.release()
		}
		return err
	})
	return done, err
}

// AdoptForNow is Adopt of a configuration that is perhaps gone back on: a tunnel that it removes and that the operator has
// taken down is held again when it comes back. Keep ends that.
func (g *Gateway) AdoptForNow(ctx context.Context, c *config.Config) (done Adopted, err error) {
	err = g.call(ctx, func(now time.Time) error {
		done, err = g.adopt(now, c)
		return err
	})
	return done, err
}

// Keep says that what AdoptForNow has adopted stays.
func (g *Gateway) Keep(ctx context.Context) error {
	return g.call(ctx, func(time.Time) error { g.release(); return nil })
}

// release lets go of what the operator held of removed tunnels: who adds one again wants it up.
func (g *Gateway) release() {
	for _, name := range g.removed {
		if g.fleet.byName[name] != nil {
			continue
		}
		if err := g.Holds.Hold(name, false); err != nil {
			g.Log.Error("a restart will hold a tunnel again if it is added again", "tunnel", name, "err", err)
		}
	}
	g.removed = nil
}

// plannedTunnel is one tunnel of a configuration, with the device and the group that it gets.
type plannedTunnel struct {
	conn   *config.Connection
	tunnel *config.Tunnel
	device string
	group  string
}

// planOf assigns a device and a group to each tunnel of c; a tunnel that runs keeps its device. It
// changes nothing.
func planOf(c *config.Config, running *fleet) ([]plannedTunnel, error) {
	var out []plannedTunnel
	var tunnels []*config.Tunnel
	settings := map[sa.PeerKey]plannedTunnel{}
	for _, conn := range c.Connections {
		for i := range conn.Tunnels {
			w := plannedTunnel{conn: conn, tunnel: &conn.Tunnels[i], group: conn.Group()}
			// config/load refuses such a pair too. Without this check an IKE SA could use the wrong
			// key.
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

func (g *Gateway) adopt(now time.Time, c *config.Config) (Adopted, error) {
	if keys := g.config.Startup.Diff(c.Startup); len(keys) > 0 {
		return Adopted{}, &RestartError{keys}
	}
	placed, wanted := g.names.filled(c)
	plan, err := planOf(placed, &g.fleet)
	if err != nil {
		return Adopted{}, err
	}
	g.config = c
	g.names.want(wanted)
	g.Host.Retain()
	cs := g.fleet.compare(plan)
	for _, e := range cs.removed {
		g.leave(now, e)
	}
	ch := g.fleet.regroup(now, cs, &g.peers, g.under.addresses, g.data.inner)
	g.removed = append(g.removed, ch.removed...)
	for _, e := range g.fleet.entries {
		if g.Holds.Held(e.tunnel.Name) && !e.status().Held {
			e.group.Note(now, tunnel.Held{Tunnel: e.tunnel.Name, Held: true})
		}
	}
	g.names.turns.keep(g.fleet.entries)
	g.peers.see(g.under, g.fleet.entries)
	g.in.know(g.peers.addresses())
	warnUnserved(g.Log, c.Connections)

	// Removals come first: a new tunnel may need a removed one's device or peer.
	g.tellPeers(now)
	g.perform(now)
	for _, name := range ch.retired {
		if _, err := g.Host.Set(name, host.State{}); err != nil {
			g.Log.Error("cannot remove devices and routes", "conn", name, "err", err)
		}
		g.speakers.end(g.speakers.running[name])
	}
	g.data.close(ch.closing...)
	for _, gr := range ch.groups {
		g.decide(now, gr)
	}
	started := map[*group]bool{}
	for _, gr := range ch.groups {
		started[gr] = true
	}
	for _, e := range g.fleet.entries {
		if started[e.group] {
			g.keep(e)
		}
	}
	g.tellPeers(now)
	g.perform(now)
	for _, gr := range ch.groups {
		g.decide(now, gr)
	}

	allowGarbage(garbageOf(len(g.fleet.entries), true))
	g.settles = now.Add(settleTime)
	g.left.due = true
	if err := g.Host.Release(); err != nil {
		g.Log.Error("cannot remove the unreachable routes of what is no longer configured", "err", err)
	}

	for _, e := range g.fleet.entries {
		e.answer(g.under.addresses)
		e.listenBFD()
		if e.open == nil {
			ch.done.Faults = append(ch.done.Faults, Fault{e.tunnel.Name, e.status().Cause.Report()})
		}
	}
	g.Log.Info("configuration adopted", "added", ch.done.Added, "changed", ch.done.Changed, "removed", ch.done.Removed, "kept", ch.done.Kept)
	return ch.done, nil
}

// RestartError is the answer to a configuration that differs in settings that
// are chosen at the start only. Keys are their names in the file.
type RestartError struct{ Keys []string }

func (e *RestartError) Error() string {
	return "a reload cannot change `" + strings.Join(e.Keys, "`, `") + "`: restart the daemon; nothing was changed"
}
