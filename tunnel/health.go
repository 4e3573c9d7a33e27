package tunnel

import (
	"hash/fnv"
	"net/netip"
	"strconv"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
)

// HealthStatus is what this end's pings through a tunnel say.
type HealthStatus struct {
	Source, Target netip.Addr // Source is unset while this host has no address to ping from
	Health         dpd.Health
	Count          dpd.Count
}

// noPings is of every member that never had a health check. It never asks, and nothing changes it.
var noPings dpd.Prober

// checks takes over the health check of the member's configuration. was is that of the configuration before.
func (m *member) checks(now time.Time, was *config.Health) {
	is := m.Tunnel.Asked()
	if m.pings == &noPings {
		if is == nil {
			return
		}
		m.pings = new(dpd.Prober)
	}
	if was == nil || is == nil || was.Source != is.Source || was.Target != is.Target {
		m.pings.Change(dpd.Probes{})
	}
	if is == nil {
		return
	}
	m.pings.Change(dpd.Probes{Interval: is.Interval, Timeout: is.Timeout, Retries: is.Retries})
	if m.pingID == 0 {
		h := fnv.New32a()
		h.Write([]byte(m.Tunnel.Name + strconv.FormatInt(now.UnixNano(), 16)))
		m.pingID = uint16(h.Sum32()) | 1
	}
}

// firstPing is how long the first question waits when the tunnel begins to carry packets: the peer may not have its SA yet,
// and with retries of 1 a single loss makes the tunnel ill.
const firstPing = 500 * time.Millisecond

// ping asks the health check's next question, if one is due. It rests while no packet can be carried.
func (m *member) ping(now time.Time, g *Group) {
	h := m.Tunnel.Asked()
	if h == nil {
		return
	}
	source := m.pingSource(h, g)
	if m.held || !m.fault.OK() || !m.carries() || !source.IsValid() {
		m.pings.Stop()
		return
	}
	m.pings.Start(now.Add(firstPing))
	if seq, ask := m.pings.Due(now); ask {
		g.emit(Ping{m.Tunnel.Name, source, h.Target, m.pingID, seq})
	}
}

// pingSource is the address that pings: the configured one, or this host's in the local subnets.
func (m *member) pingSource(h *config.Health, g *Group) netip.Addr {
	if h.Source.IsValid() {
		return h.Source
	}
	return sourceFor(netip.PrefixFrom(h.Target, h.Target.BitLen()), m.Tunnel.Local.Subnets, g.own)
}

func (m *member) notePong(now time.Time, p Pong) {
	if p.ID == m.pingID {
		m.pings.Answer(now, p.Seq)
	}
}

// ill returns the cause if BFD or the health check says that the tunnel is ill.
func (m *member) ill() diag.Cause { return diag.First(m.bfdDown(), m.unanswered()) }

// unanswered returns the cause if the health check says that the tunnel is ill.
func (m *member) unanswered() diag.Cause {
	h := m.Tunnel.Asked()
	if h == nil || m.pings.Health() != dpd.Ill {
		return diag.Cause{}
	}
	c := diag.Cause{Code: diag.HealthFailed, Peer: netip.AddrPortFrom(h.Target, 0), Count: max(1, h.Retries), Ours: "its routes are taken away until it answers"}
	switch {
	case m.Tunnel.Role != config.Single:
		c.Ours = ""
	case h.Keep:
		c.Ours = "its routes stay, by the check's policy"
	}
	return c
}

// revoked reports whether the tunnel's routes are taken away because it is ill. Of two tunnels the routes move instead.
func (g *Group) revoked(m *member) bool {
	h := m.Tunnel.Asked()
	return len(g.members) == 1 && h != nil && !h.Keep && m.pings.Health() == dpd.Ill
}

// health is the member's part of Status; nil: this end does not ping.
func (m *member) health(g *Group) *HealthStatus {
	h := m.Tunnel.Asked()
	if h == nil {
		return nil
	}
	return &HealthStatus{Source: m.pingSource(h, g), Target: h.Target, Health: m.pings.Health(), Count: m.pings.Count}
}
