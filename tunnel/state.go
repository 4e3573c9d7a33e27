package tunnel

import (
	"slices"
	"strconv"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// State is the state of a tunnel.
type State string

const (
	// Up: Child SAs installed in both directions carry every configured pair of
	// subnets, and addresses and routes are in place: a packet sent now is
	// carried.
	Up State = "up"
	// Degraded: a part of that holds, or nothing answers the health check, or BFD lost the peer, or the tunnel has no routes but BGP's and BGP
	// has no session. (With static routes that is a warning: they carry packets.)
	Degraded State = "degraded"
	// Connecting: nothing is carried; vpngw keeps trying to establish the SAs.
	Connecting State = "connecting"
	// Waiting: nothing is carried, and the peer or a packet must initiate.
	Waiting State = "waiting"
	// Down: taken down by `vpngw down`, or without a device.
	Down State = "down"
)

// silence is how long a peer may take to answer before the cause says that it does not.
const silence = 5 * time.Second

// assess is the only place where a tunnel's state changes.
func (g *Group) assess(now time.Time, m *member) {
	state, cause := m.judge()
	was := m.state
	if state == was && m.cause.Equal(cause) {
		return
	}
	if state != was {
		m.state, m.since = state, now
	}
	m.cause = diag.Keep(cause)
	c := Changed{
		Conn: m.Conn.Name, Tunnel: m.Tunnel.Name, Was: was, State: state, Cause: cause,
		Device: m.Device, MTU: m.mtu,
	}
	if state == Up && was != Up {
		c.Weak = m.weak()
	}
	g.emit(c)
}

// warning is the trouble of a tunnel that is up: it will break at its next rekey, or BGP tells it no routes beside its own.
func (m *member) warning() diag.Cause {
	if t := m.trouble(); t.Is(diag.PFSMismatch) {
		return t
	}
	return m.waits()
}

// judge returns the state of the tunnel and the cause. One that is up has no cause but a warning.
func (m *member) judge() (State, diag.Cause) {
	switch {
	case !m.fault.OK():
		return Down, m.fault.Cause()
	case m.held:
		return Down, diag.Cause{Code: diag.OperatorDown}
	}
	carries, open := m.carries(), m.missing()
	switch {
	case len(open) == 0 && m.lacks.OK() && m.ill().OK() && m.late && len(m.Tunnel.Routes) == 0:
		return Degraded, m.waits() // it leads nowhere
	case len(open) == 0 && m.lacks.OK() && m.ill().OK():
		return Up, m.warning()
	case carries && !m.lacks.OK():
		return Degraded, m.lacks.Cause()
	case carries && len(open) == 0:
		return Degraded, m.ill()
	case carries:
		return Degraded, diag.Cause{Code: diag.Uncovered, Ours: sa.Few(open)}.Since(m.trouble())
	}
	cause := diag.First(m.trouble(), m.sent.Cause())
	if cause.OK() && m.silent && len(m.ikes) == 0 {
		cause = diag.Cause{Code: diag.NoAnswerYet, Peer: m.attempt.Path.Remote}
		if m.Tunnel.NATT && m.Tunnel.Remote.Port == 0 && cause.Peer.Port() == sa.PortIKE {
			cause.Ours = strconv.Itoa(sa.PortNATT)
		}
	}
	if m.initiates() {
		return Connecting, cause
	}
	if m.onTraffic() && cause.OK() {
		cause = diag.Cause{Code: diag.AwaitsTraffic}
	}
	return Waiting, cause
}

// trouble returns the cause that IKE reported. A Child SA's cause is more specific than the IKE
// SA's, so it comes first.
func (m *member) trouble() diag.Cause {
	if len(m.causes) > 0 {
		for _, c := range m.Tunnel.ChildSAs() {
			if cause := m.causes[c.Name]; !cause.OK() {
				return cause
			}
		}
	}
	return m.failed.Cause()
}

// weak explains which of the negotiated algorithms are weak.
func (m *member) weak() []string {
	var out []string
	if i := m.ike(); i != nil {
		out = append(out, i.Suite.Weak()...)
	}
	for _, c := range m.carrying() {
		out = append(out, c.Suite.Weak()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
