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
	err = g.call(ctx, func(now time.Time) (err error) {
		done, err = g.adopt(now, c)
		return err
	})
	return done, err
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
	plan, err := planOf(c, &g.fleet)
	if err != nil {
		return Adopted{}, err
	}
	g.config = c
	ch := g.fleet.regroup(now, plan, &g.peers, g.under.addresses, g.data.inner)
	for _, name := range ch.removed { // who adds it again wants it up
		if err := g.Holds.Hold(name, false); err != nil {
			g.Log.Error("a restart will hold a tunnel again if it is added again", "tunnel", name, "err", err)
		}
	}
	for _, e := range g.fleet.entries {
		if g.Holds.Held(e.tunnel.Name) && !e.status().Held {
			e.group.Note(now, tunnel.Held{Tunnel: e.tunnel.Name, Held: true})
		}
	}
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

	for _, e := range g.fleet.entries {
		e.answer(g.under.addresses)
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
