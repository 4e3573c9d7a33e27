package tunnel

import (
	"net/netip"
	"slices"

	"vpngw/diag"
)

// RouteEntry is a prefix that a tunnel leads to, or did.
type RouteEntry struct {
	Prefix          netip.Prefix
	Static, Learned bool // by the configuration; by the peer, in the present session or before its restart
	Wanted          bool // it is a route of the tunnel in the last Want
	On              string
	Guarded         bool // its packets leave by a device of ours or not at all
	Why             diag.Cause
}

// Routes lists what a tunnel leads to, sorted, as of the last Advance. On names the other tunnel that has the route, and Why says
// what keeps an entry that no tunnel has out of the kernel.
func (g *Group) Routes(tunnel string) []RouteEntry {
	m := g.find(tunnel)
	if m == nil {
		return nil
	}
	wanted := map[netip.Prefix]string{}
	for _, d := range g.want.Devices {
		for _, r := range d.Routes {
			if _, ok := wanted[r.Prefix]; !ok || d.Tunnel == tunnel {
				wanted[r.Prefix] = d.Tunnel
			}
		}
	}
	guarded := make(map[netip.Prefix]bool, len(g.want.Guards))
	for _, gd := range g.want.Guards {
		guarded[gd.Prefix] = true
	}
	static := slices.SortedFunc(slices.Values(m.Tunnel.Routes), netip.Prefix.Compare)
	all := slices.Concat(static, m.session.Routes, m.guarded)
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	why := m.cause.Cause()
	if m.reachable() {
		why = diag.Cause{} // the peer has not told it again yet
		if !m.session.Up {
			why = m.unestablished()
		}
	}
	out := make([]RouteEntry, 0, len(all))
	for _, p := range all {
		e := RouteEntry{Prefix: p, Static: in(static, p), Learned: in(m.session.Routes, p), Guarded: guarded[p]}
		switch on, ok := wanted[p]; {
		case on == tunnel:
			e.Wanted = true
		case ok:
			e.On = on
		case e.Static || e.Learned:
			e.Why = m.cause.Cause()
		default:
			e.Why = why
		}
		out = append(out, e)
	}
	return out
}
