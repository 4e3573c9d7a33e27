package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
)

// A BGP session tells what its tunnel leads to beside the static routes, and whether the tunnel should have the traffic. Its routes are
// in the kernel only while the tunnel reaches the peer. The guards of what it told stay when the session or the tunnel is lost: only
// a peer that is heard, and no longer tells a prefix, lets packets to it leave in clear.
//
// Of two tunnels with sessions, one whose session is missing does not get the traffic while the other has one. While none is established
// the traffic stays where it is, unless other signs speak against that: static routes go on as if there were no BGP.

// sessionGrace is how long a session may take when its tunnel begins to reach the peer. One that was established is missed at once.
const sessionGrace = 10 * time.Second

// neighbour is what a member knows of BGP.
type neighbour struct {
	session *Session       // never changed
	guarded []netip.Prefix // to guard, as told by the peer now or before; sorted, never changed

	told  reach     // the last Neighbour
	ever  bool      // there was a session
	had   bool      // there was one since the tunnel last began to reach the peer
	dueAt time.Time // when the session counts as missing; zero: it is there, or missing already
	late  bool      // the session should be there, and is not
}

// noSession is what is told of a session that there is not.
var noSession Session

// reach is what a Neighbour said; the zero value: there was none yet.
type reach uint8

const (
	reached reach = iota + 1
	unreached
)

// stands reports whether the session's routes hold.
func (s *Session) stands() bool { return s.Up || s.Stale }

// reachable reports whether BGP's peer can be reached through the tunnel.
func (m *member) reachable() bool {
	return !m.held && m.fault.OK() && m.carries() && !m.cutOff()
}

// cutOff reports whether BFD or the health check takes learned routes away.
func (m *member) cutOff() bool {
	if !m.bfdDown().OK() {
		return true
	}
	h := m.Tunnel.Asked()
	return h != nil && m.pings.Health() == dpd.Ill && !(h.Keep && m.Tunnel.Role == config.Single)
}

// learned returns what the tunnel leads to by BGP at the moment.
func (m *member) learned() []netip.Prefix {
	if m.Tunnel.BGP == nil || !m.session.stands() || !m.reachable() {
		return nil
	}
	return m.session.Routes
}

func (m *member) noteSession(s Session) {
	if m.Tunnel.BGP == nil {
		return
	}
	if !s.stands() {
		s.Routes = nil
	}
	if !slices.IsSortedFunc(s.Routes, netip.Prefix.Compare) {
		s.Routes = slices.SortedFunc(slices.Values(s.Routes), netip.Prefix.Compare)
	}
	m.session = &s
	switch {
	case m.held:
	case s.Up && s.Complete:
		m.guarded = s.Routes
	default:
		m.guarded = merged(m.guarded, s.Routes, m.mostGuarded())
	}
}

// mostGuarded bounds the guards that a peer can cause whose sessions end before they are complete.
func (m *member) mostGuarded() int {
	return 2 * max(m.Tunnel.BGP.MaxPrefixes, config.DefaultMaxPrefixes, len(m.session.Routes))
}

// merged is the union of what was and what is, both sorted: all of what is, and of what was as much as most leaves room for.
func merged(was, is []netip.Prefix, most int) []netip.Prefix {
	if len(is) == 0 {
		return was
	}
	room := most - len(is)
	out := make([]netip.Prefix, 0, len(is)+len(was))
	for _, p := range is {
		for ; len(was) > 0 && was[0].Compare(p) < 0; was = was[1:] {
			if room > 0 {
				out, room = append(out, was[0]), room-1
			}
		}
		if len(was) > 0 && was[0] == p {
			was = was[1:]
		}
		out = append(out, p)
	}
	return append(out, was[:max(0, min(room, len(was)))]...)
}

// holdSession lets go of what the peer told when the tunnel is taken down, and takes it up again. An `up` of one that is not down
// changes nothing.
func (m *member) holdSession(held bool) {
	switch {
	case held:
		m.guarded = nil
	case m.held:
		m.guarded = m.session.Routes
	}
}

// adoptSession takes over the configuration: another speaker may have the session, so reachability is told again.
func (m *member) adoptSession() {
	if m.Tunnel.BGP == nil {
		m.neighbour = neighbour{session: &noSession}
	}
	m.told = 0
}

// advanceSession notes whether the session is missing.
func (m *member) advanceSession(now time.Time) {
	switch {
	case m.Tunnel.BGP == nil || !m.reachable():
		m.had, m.late, m.dueAt = false, false, time.Time{}
	case m.session.stands():
		m.ever, m.had, m.late, m.dueAt = true, true, false, time.Time{}
	case m.had:
		m.late = true
	case m.late:
	case m.dueAt.IsZero():
		m.dueAt = now.Add(sessionGrace)
	case sa.Due(now, m.dueAt):
		m.late, m.dueAt = true, time.Time{}
	}
}

// tellNeighbour emits a Neighbour when it is news.
func (g *Group) tellNeighbour(m *member) {
	if m.Tunnel.BGP == nil {
		return
	}
	is := unreached
	if m.reachable() {
		is = reached
	}
	if is != m.told {
		m.told = is
		g.emit(Neighbour{m.Tunnel.Name, is == reached})
	}
}

// behind reports whether BGP says that another tunnel is to have the traffic: its session is established and m's is not. While
// no session is, the other signs decide. The tunnel that has the traffic may take a while for its first session.
func (g *Group) behind(m *member) bool {
	if m.Tunnel.BGP == nil || m.session.stands() || g.takes(m) && !m.late {
		return false
	}
	return slices.ContainsFunc(g.members, func(o *member) bool { return o != m && o.session.Up && o.reachable() })
}

// unheard reports whether a member must have a session before it counts as well again. Where no tunnel ever had one, BGP says nothing.
func (g *Group) unheard(m *member) bool {
	return m.Tunnel.BGP != nil && !m.session.stands() && slices.ContainsFunc(g.members, func(o *member) bool { return o.ever })
}

// waits is why the tunnel carries less than it should: its session is missing.
func (m *member) waits() diag.Cause {
	if !m.late {
		return diag.Cause{}
	}
	return m.unestablished()
}

func (m *member) unestablished() diag.Cause {
	return diag.Cause{Code: diag.BGPWaits, Peer: netip.AddrPortFrom(m.Tunnel.Peer, 0)}.Since(m.session.Cause)
}
