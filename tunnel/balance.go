package tunnel

import (
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// With `balance:` both tunnels have the routes to what both lead to, and the kernel divides the traffic between them by flow.
// One that is not well leaves, and is back when it has been well for the hold, as an active tunnel would be. Both roles count the same.

// balanced reports whether the members share the traffic.
func (g *Group) balanced() bool {
	return len(g.members) > 1 && !slices.ContainsFunc(g.members, func(m *member) bool { return !m.Conn.Switching.Balance })
}

// takes reports whether a member is to have the routes to what several members lead to.
func (g *Group) takes(m *member) bool {
	if g.balanced() {
		return m.wellness.current
	}
	return m == g.current
}

// beginShare has all members take traffic, or those that did in another Group.
func (g *Group) beginShare() {
	any := slices.ContainsFunc(g.members, func(m *member) bool { return m.wellness.current })
	for _, m := range g.members {
		m.wellness.current = m.wellness.current || !any
	}
	g.current = g.members[slices.IndexFunc(g.members, g.takes)]
}

// share decides which members take traffic. asked: an operator wants them back that may be.
func (g *Group) share(now time.Time, asked bool) {
	for _, m := range g.members {
		if !m.wellness.current && g.able(m) && g.mayJoin(now, m, asked) {
			m.wellness.current = true
			if len(m.wellness.flaps) > 0 && g.well(m) && g.others(m) {
				g.tell(m, diag.Cause{Code: diag.Rejoined, Name: m.Tunnel.Name, Theirs: g.current.Tunnel.Name, After: now.Sub(m.wellness.since).Round(time.Second)})
			}
		}
	}
	for _, m := range g.members {
		to := g.besides(m)
		if !m.wellness.current || g.able(m) || to == nil {
			continue
		}
		m.wellness.current, to.wellness.current = false, true
		if m.wellness.ever {
			g.tell(to, diag.Cause{Code: diag.FailedOver, Name: to.Tunnel.Name, Theirs: m.Tunnel.Name}.Since(g.reason(m)))
		}
	}
	g.current = g.members[slices.IndexFunc(g.members, g.takes)] // at least one remains
}

// able reports whether a member can take traffic: it is well, or the next packet is to raise it.
func (g *Group) able(m *member) bool {
	return g.well(m) || !m.held && m.fault.OK() && m.onTraffic() && g.reason(m).OK()
}

// others reports whether a member other than m takes traffic and can.
func (g *Group) others(m *member) bool {
	return slices.ContainsFunc(g.members, func(o *member) bool { return o != m && o.wellness.current && g.able(o) })
}

// mayJoin reports whether a member that is well takes traffic again, and sees to it that share looks again when it may.
func (g *Group) mayJoin(now time.Time, m *member, asked bool) bool {
	if !g.others(m) || asked || len(m.wellness.flaps) == 0 {
		return true
	}
	if m.Conn.Switching.Manual || m.wellness.since.IsZero() { // its session must come first
		return false
	}
	if until := m.wellness.since.Add(m.hold(now)); now.Before(until) {
		g.chooseAt = sa.Earliest(g.chooseAt, until)
		return false
	}
	return m.Tunnel.Asked() == nil || m.pings.Proven(now) // an answer will prove it
}

// besides is the member that takes the traffic of one that cannot; nil: where all are ill, the present ones stay.
func (g *Group) besides(m *member) *member {
	i := slices.IndexFunc(g.members, func(o *member) bool { return o != m && o.wellness.current && g.able(o) })
	if i >= 0 {
		return g.members[i]
	}
	return g.instead(m)
}

// tell says that to has got traffic, or more of it.
func (g *Group) tell(to *member, cause diag.Cause) {
	g.emit(Switched{Conn: to.Conn.Name, From: cause.Theirs, To: to.Tunnel.Name, State: to.state, Cause: cause})
}

// switchShare is Switch where the members share the traffic.
func (g *Group) switchShare(back bool) error {
	if !back {
		return &SwitchError{Stays: g.current.Tunnel.Name, Shared: true}
	}
	g.noted, g.asked = true, true
	for _, m := range g.members {
		m.wellness.pinned = false
		if !m.wellness.current && !g.well(m) {
			return &SwitchError{Tunnel: m.Tunnel.Name, Cause: g.reason(m), Stays: g.current.Tunnel.Name}
		}
	}
	return nil
}
