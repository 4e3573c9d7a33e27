package gateway

import (
	"net/netip"

	"vpngw/host"
)

// leftOwner owns the guards that an earlier run has left for what BGP told it. No connection can have this name.
const leftOwner = "left:bgp"

// left are guards in the kernel that no static route explains. What BGP told an earlier run must not leave in clear until it is
// told again, and this run does not know yet of what that was: so they stay until each session was complete once. A session that
// never comes keeps them, as one that is lost keeps its own; `vpngw down` of its tunnel ends that.
type left struct {
	guards []host.Guard
	waits  map[string]bool // tunnels whose session was not complete yet
	due    bool            // to be looked at again, when no group has anything to decide
}

// findLeft is called once, before the first configuration is adopted.
func (g *Gateway) findLeft() {
	static, waits := map[netip.Prefix]bool{}, map[string]bool{}
	for _, c := range g.config.Connections {
		for i := range c.Tunnels {
			t := &c.Tunnels[i]
			for _, p := range t.Routes {
				static[p.Masked()] = true
			}
			if t.BGP != nil && !t.Pass {
				waits[t.Name] = true
			}
		}
	}
	if len(waits) == 0 {
		return
	}
	for _, guard := range g.Host.Left() {
		if !static[guard.Prefix] {
			g.left.guards = append(g.left.guards, guard)
		}
	}
	if len(g.left.guards) == 0 {
		return
	}
	g.left.waits, g.left.due = waits, true
	g.Log.Info("prefixes that BGP told an earlier run of stay blocked until it tells what it has now", "count", len(g.left.guards))
	if _, err := g.Host.Set(leftOwner, host.State{Guards: g.left.guards}); err != nil {
		g.Log.Error("cannot keep the unreachable routes of what BGP told an earlier run", "err", err)
	}
}

// told notes that a session was complete.
func (l *left) told(tunnel string) {
	if l.waits[tunnel] {
		delete(l.waits, tunnel)
		l.due = true
	}
}

// reviewLeft lets go of the guards that are left when nobody is waited for.
func (g *Gateway) reviewLeft() {
	l := &g.left
	if !l.due || len(g.fleet.queue) > 0 { // a group may be about to want some of them
		return
	}
	l.due = false
	if l.guards == nil {
		return
	}
	for name := range l.waits {
		if e := g.fleet.byName[name]; e != nil && e.tunnel.BGP != nil && !e.tunnel.Pass && !e.status().Held {
			return
		}
	}
	l.guards, l.waits = nil, nil
	if _, err := g.Host.Set(leftOwner, host.State{}); err != nil {
		g.Log.Error("cannot remove the unreachable routes of what BGP told an earlier run", "err", err)
	}
}
