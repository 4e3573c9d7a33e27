package tunnel

import (
	"net/netip"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
)

// A tunnel with start: onTraffic has its routes from the beginning. A packet that finds no SA has it initiated, until every
// pair of subnets is carried, or until no such packet has come for a while. The routes stay, and the next packet begins again.

// wantedFor is how long a packet, or the operator, has a tunnel tried.
const wantedFor = time.Minute

// Acquire says that a packet found no SA of the tunnel.
type Acquire struct {
	Tunnel         string
	Source, Target netip.Addr
}

// Initiate has IKE initiate a tunnel, or with On false, leave it to the peer. SAs stay as they are.
type Initiate struct {
	Tunnel         string
	On             bool
	Anew           bool       // forget earlier failures; else the waits between attempts go on growing
	Source, Target netip.Addr // of the packet that wants it; unset: there is none
}

func (Acquire) fact()    {}
func (Initiate) action() {}

// onTraffic reports whether packets have the tunnel initiated.
func (m *member) onTraffic() bool { return m.Tunnel.Start == config.StartOnTraffic }

// noteWanted notes that a packet or the operator wants the tunnel.
func (m *member) noteWanted(now time.Time, packet Acquire) {
	if m.onTraffic() && !m.held {
		m.wanted, m.packet = now.Add(wantedFor), &packet
	}
}

// noteRaised notes that the operator wants the tunnel up.
func (m *member) noteRaised(now time.Time) {
	if m.onTraffic() {
		m.noteWanted(now, Acquire{})
	} else {
		m.raised = true
	}
}

// advanceStart tells IKE when the tunnel is to be initiated, and when no longer.
func (m *member) advanceStart(now time.Time, g *Group) {
	if sa.Due(now, m.wanted) || m.carries() && len(m.missing()) == 0 {
		m.wanted = time.Time{}
	}
	on := !m.wanted.IsZero()
	if !m.onTraffic() || on == m.begun {
		return
	}
	m.begun = on
	a := Initiate{Tunnel: m.Tunnel.Name, On: on}
	if on {
		// A peer that accepts and deletes at once is not asked once a second.
		a.Anew = m.begunAt.IsZero() || now.Sub(m.begunAt) >= wantedFor
		m.begunAt, a.Source, a.Target = now, m.packet.Source, m.packet.Target
	}
	g.emit(a)
}
