package tunnel

import (
	"fmt"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
)

// Of two tunnels one has the routes to what both lead to: the active one, and while that is not well the standby. Both
// are up, and both take what comes in. The traffic goes back when the active one has been well for a while,
// which grows when it flaps: each change moves flows, and may cost packets.
const (
	// startGrace is how long the first traffic waits for the active tunnel when the standby is up first.
	startGrace = 5 * time.Second
	// The hold doubles with each flap that is younger than flapLife, up to maxHold.
	flapLife = 10 * time.Minute
	maxHold  = 5 * time.Minute
	maxFlaps = 16
)

// wellness is how a tunnel has been.
type wellness struct {
	since time.Time   // when it became well; zero: it is not
	ever  bool        // it has been well
	flaps []time.Time // when it became ill, the newest last

	current bool // it has the routes of its Group, alone or with another
	pinned  bool // the operator wants the traffic here
}

// Switched says that the traffic of two tunnels has moved.
type Switched struct {
	Conn, From, To string // Conn is the connection of To
	State          State  // of To
	Cause          diag.Cause
}

func (Switched) action() {}

// SwitchError is why Switch leaves the traffic where it is.
type SwitchError struct {
	Tunnel string     // to which the traffic should go; empty: there is one tunnel
	Cause  diag.Cause // why it does not
	Stays  string     // where the traffic is
	Shared bool       // both tunnels take traffic, and there is no standby
}

func (e *SwitchError) Error() string {
	if e.Shared {
		return fmt.Sprintf("tunnel %s shares the traffic with the other tunnel (balance: true), so there is no standby to move it to: vpngw down NAME takes a tunnel out", e.Stays)
	}
	if e.Tunnel == "" {
		return fmt.Sprintf("tunnel %s is alone: failover needs a connection with two tunnels, or a pair", e.Stays)
	}
	why := "it is not up"
	if !e.Cause.OK() {
		why = e.Cause.String()
	}
	return fmt.Sprintf("the traffic stays on tunnel %s, for tunnel %s cannot take it: %s", e.Stays, e.Tunnel, why)
}

// Switch moves the traffic to the standby at an operator's request, and has it stay there while the standby is well. With
// back it moves to the active tunnel, and the standby is preferred no more, even if the active tunnel cannot take the
// traffic now. The next Advance carries it out.
func (g *Group) Switch(back bool) error {
	if len(g.members) < 2 {
		return &SwitchError{Stays: g.members[0].Tunnel.Name}
	}
	if g.balanced() {
		return g.switchShare(back)
	}
	to := g.active()
	if !back {
		to = g.members[(slices.Index(g.members, to)+1)%len(g.members)]
	}
	if !back && !g.well(to) {
		return &SwitchError{Tunnel: to.Tunnel.Name, Cause: g.reason(to), Stays: g.current.Tunnel.Name}
	}
	for _, m := range g.members {
		m.wellness.pinned = !back && m == to
	}
	g.noted = true
	if !g.well(to) {
		return &SwitchError{Tunnel: to.Tunnel.Name, Cause: g.reason(to), Stays: g.current.Tunnel.Name}
	}
	g.asked = true
	return nil
}

// active is the member that the configuration prefers.
func (g *Group) active() *member {
	if i := slices.IndexFunc(g.members, func(m *member) bool { return m.Tunnel.Role != config.Standby }); i >= 0 {
		return g.members[i]
	}
	return g.members[0]
}

// preferred is the member that gets the traffic when it is well.
func (g *Group) preferred() *member {
	if i := slices.IndexFunc(g.members, func(m *member) bool { return m.wellness.pinned }); i >= 0 {
		return g.members[i]
	}
	return g.active()
}

// begin chooses the member that has the routes first: the one that had them in another Group, or the preferred one.
func (g *Group) begin(now time.Time) {
	if len(g.members) == 0 {
		return
	}
	g.started = now
	g.current = g.preferred()
	for _, m := range g.members {
		if m.wellness.ever {
			g.started = time.Time{}
		}
		if m.wellness.current && !g.current.wellness.current {
			g.current = m
		}
	}
	if g.balanced() {
		g.beginShare()
		return
	}
	g.mark()
}

// mark notes in the members which of them is current, for the Group that they may be taken to.
func (g *Group) mark() {
	for _, m := range g.members {
		m.wellness.current = m == g.current && len(g.members) > 1
	}
}

// well reports whether a member can carry the traffic, as far as we know.
func (g *Group) well(m *member) bool {
	return !m.held && m.fault.OK() && m.carries() && m.ill().OK() && !g.behind(m)
}

// reason is why a member is not well.
func (g *Group) reason(m *member) diag.Cause {
	switch {
	case m.held:
		return diag.Cause{Code: diag.OperatorDown}
	case !m.fault.OK():
		return m.fault.Cause()
	case m.ill().OK() && g.behind(m):
		return m.unestablished()
	}
	return diag.First(m.ill(), m.trouble(), m.sent.Cause())
}

// watch notes how a member is.
func (g *Group) watch(now time.Time, m *member) {
	w := &m.wellness
	switch well := g.well(m) && !g.unheard(m); {
	case well && w.since.IsZero():
		w.since, w.ever = now, true
	case !well && !w.since.IsZero():
		w.since = time.Time{}
		if m.held {
			return // the operator's doing says nothing about the tunnel
		}
		if len(w.flaps) == maxFlaps {
			w.flaps = w.flaps[1:]
		}
		w.flaps = append(w.flaps, now)
	}
}

// hold is how long a member must be well before the traffic goes back to it.
func (m *member) hold(now time.Time) time.Duration {
	base := m.Conn.Switching.Hold
	hold, young := base, 0
	for _, at := range m.wellness.flaps {
		if now.Sub(at) < flapLife {
			young++
		}
	}
	for ; young > 1 && hold < maxHold; young-- {
		hold *= 2
	}
	return max(base, min(hold, maxHold))
}

// choose decides which member has the routes.
func (g *Group) choose(now time.Time) {
	asked := g.asked
	g.asked, g.chooseAt = false, time.Time{}
	if len(g.members) < 2 {
		return
	}
	for _, m := range g.members {
		g.watch(now, m)
	}
	if g.balanced() {
		g.share(now, asked)
		return
	}
	cur, want := g.current, g.preferred()
	switch {
	case !g.well(cur):
		to := g.instead(cur)
		if to == nil {
			return // where both are ill, the present one stays
		}
		if until := g.started.Add(startGrace); !cur.wellness.ever && g.coming(cur) && now.Before(until) {
			g.chooseAt = until
			return
		}
		g.move(to, diag.Cause{Code: diag.FailedOver, Name: to.Tunnel.Name, Theirs: cur.Tunnel.Name}.Since(g.reason(cur)))
	case want == cur || !g.well(want):
	case asked && want == g.active():
		g.move(want, diag.Cause{Code: diag.FailedBack, Name: want.Tunnel.Name, Theirs: cur.Tunnel.Name}.Since(diag.Cause{Code: diag.OperatorAsked}))
	case asked:
		g.move(want, diag.Cause{Code: diag.FailedOver, Name: want.Tunnel.Name, Theirs: cur.Tunnel.Name}.Since(diag.Cause{Code: diag.OperatorAsked}))
	case want.Conn.Switching.Manual:
	case want.wellness.since.IsZero(): // its session must come first
	default:
		until := want.wellness.since.Add(want.hold(now))
		switch {
		case now.Before(until):
			g.chooseAt = until
		case want.Tunnel.Asked() != nil && !want.pings.Proven(now): // an answer will prove it
		default:
			g.move(want, diag.Cause{Code: diag.FailedBack, Name: want.Tunnel.Name, Theirs: cur.Tunnel.Name, After: now.Sub(want.wellness.since).Round(time.Second)})
		}
	}
}

// coming reports whether a member that is not well may be soon.
func (g *Group) coming(m *member) bool {
	return !m.held && (m.fault.OK() || m.fault.Is(diag.DeviceOpening))
}

// instead is the member that takes the traffic of one that is not well; nil: none can.
func (g *Group) instead(of *member) *member {
	for _, m := range g.members {
		if m != of && g.well(m) {
			return m
		}
	}
	for _, m := range g.members {
		if m != of && of.held && !m.held { // it is wanted, at least
			return m
		}
	}
	return nil
}

func (g *Group) move(to *member, cause diag.Cause) {
	from := g.current
	g.current = to
	g.mark()
	g.emit(Switched{Conn: to.Conn.Name, From: from.Tunnel.Name, To: to.Tunnel.Name, State: to.state, Cause: cause})
}

// chooseDeadline is when choose must look again though nothing happens.
func (g *Group) chooseDeadline() time.Time {
	d := g.chooseAt
	for _, m := range g.members {
		d = sa.Earliest(d, m.pings.Deadline())
	}
	return d
}
