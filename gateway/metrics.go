package gateway

import (
	"context"
	"maps"
	"slices"
	"time"

	"vpngw/bgp"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// Metrics is a snapshot of what the daemon counts and knows. A map counts by name, and has no zeros.
type Metrics struct {
	Tunnels []TunnelMetrics // all that are configured, in their order
	Groups  []GroupMetrics  // of two tunnels

	HalfOpen int               // IKE SAs that are not established
	Cookies  uint64            // that were asked for
	IKE      map[string]uint64 // messages that no IKE SA got, as in Counters
	Drops    map[string]uint64 // packets of the whole data plane
	Discards uint64            // packets that the kernel discards because they came in clear

	Handshakes, ChildRekeys, IKERekeys, Liveness, Health Histogram

	Engines []time.Duration // processor time of each thread that carries packets; the last one's is IKE's on port 4500
	Loop    time.Duration   // for which the control loop was at work
	Sockets []SocketMetrics
}

// TunnelMetrics is one tunnel. Its counts are those since the daemon's start, over all SAs and devices.
type TunnelMetrics struct {
	Conn, Name, Group, Dialect, Side, Role, Device, Remote string

	State  tunnel.State
	Since  time.Time
	Cause  diag.Cause // OK: there is none
	Active bool

	IKE       time.Time // when the IKE SA was established; zero: there is none
	Children  int       // Child SAs that carry packets
	Child     time.Time // when the oldest of them came; zero: there is none
	Traffic   TrafficStatus
	Drops     map[string]uint64
	TUNDrops  uint64 // packets that the kernel dropped because the device's queue was full
	Health    *dpd.Health
	Pings     dpd.Count // of the health check
	BFD       *dpd.BFDState
	BFDSpoilt uint64         // packets of BFD that were discarded
	BGP       *SessionStatus // nil: no BGP

	Tally
}

// GroupMetrics is a group of two tunnels that stand in for each other.
type GroupMetrics struct {
	Name        string
	Tunnels, Up int
}

// SocketMetrics is one socket of the underlay.
type SocketMetrics struct {
	Kind, Local string // ike, natt, natt-ike, esp; its address
	host.SocketStats
}

// maxMeasured bounds the tunnels whose metrics are taken in one turn of the loop, some 2 µs each.
const maxMeasured = 512

// Metrics takes a snapshot. The control loop only copies what it knows, some tunnels in one turn; the kernel is asked outside
// of it. It may be called from any goroutine while Run runs.
func (g *Gateway) Metrics(ctx context.Context) (Metrics, error) {
	m := Metrics{}
	var threads []func() time.Duration
	var entries []*entry
	err := g.call(ctx, func(now time.Time) error {
		n := g.ike.Counters()
		m.HalfOpen, m.Cookies, m.IKE, m.Drops = g.ike.HalfOpen(), n.CookiesSent, g.refused(n), g.data.PlaneCounters().Drops
		delete(m.IKE, "cookies-sent")
		delete(m.IKE, "log-lines-left-out")
		t := &g.times
		m.Handshakes, m.ChildRekeys, m.IKERekeys, m.Liveness, m.Health = t.handshakes, t.childRekeys, t.ikeRekeys, t.liveness, t.health
		m.Loop = now.Sub(g.began) - g.idle
		threads = g.data.threads
		entries = g.fleet.entries
		return nil
	})
	m.Tunnels = make([]TunnelMetrics, 0, len(entries))
	for part := range slices.Chunk(entries, maxMeasured) {
		if err != nil {
			break
		}
		err = g.call(ctx, func(now time.Time) error {
			for _, e := range part {
				if g.fleet.byName[e.tunnel.Name] == e { // else a reload has removed it meanwhile
					m.Tunnels = append(m.Tunnels, g.tunnelMetrics(now, e))
				}
			}
			return nil
		})
	}
	if err != nil {
		return m, err
	}
	m.Groups = groupsOf(m.Tunnels)
	for _, t := range threads {
		m.Engines = append(m.Engines, t())
	}
	m.Discards = g.Host.Discarded()
	if drops, err := g.Host.TUNDrops(); err == nil {
		for i := range m.Tunnels {
			m.Tunnels[i].TUNDrops = drops[m.Tunnels[i].Device]
		}
	} else {
		g.Log.Debug("cannot read the statistics of the devices", "err", err)
	}
	so := g.under.sockets
	for _, l := range []struct {
		kind string
		list []Socket
	}{{"ike", so.IKE}, {"natt", so.NATT}, {"natt-ike", so.Marked}, {"esp", so.Raw}} {
		for _, s := range l.list {
			m.Sockets = append(m.Sockets, SocketMetrics{l.kind, s.Local().String(), s.Stats()})
		}
	}
	return m, nil
}

// groupsOf are the groups of more than one of the tunnels.
func groupsOf(tunnels []TunnelMetrics) []GroupMetrics {
	var out []GroupMetrics
	at := map[string]int{}
	for i := range tunnels {
		t := &tunnels[i]
		k, ok := at[t.Group]
		if !ok {
			k = len(out)
			at[t.Group], out = k, append(out, GroupMetrics{Name: t.Group})
		}
		out[k].Tunnels++
		if t.State == tunnel.Up {
			out[k].Up++
		}
	}
	return slices.DeleteFunc(out, func(g GroupMetrics) bool { return g.Tunnels < 2 })
}

func (g *Gateway) tunnelMetrics(now time.Time, e *entry) TunnelMetrics {
	t, st := e.tunnel, e.status()
	m := TunnelMetrics{
		Conn: e.conn.Name, Name: t.Name, Group: e.group.name, Dialect: e.conn.Dialect, Side: e.conn.Side.String(), Role: string(t.Role),
		Device: e.device, Remote: placeOf(t),
		State: st.State, Since: ByClock(now, st.Since), Cause: st.Cause, Active: st.Active,
		Traffic: e.past, Drops: maps.Clone(e.pastDrops), Tally: e.tally,
	}
	if i, ok := g.ike.Tunnel(t.Name); ok && i.IKE != nil && i.IKE.State == sa.Established {
		m.IKE = ByClock(now, i.IKE.Since)
	}
	for _, in := range g.data.byTunnel[t.Name] {
		if !in.out {
			continue
		}
		m.Children++
		if at := ByClock(now, in.sa.Created); m.Child.IsZero() || at.Before(m.Child) {
			m.Child = at
		}
	}
	if e.open != nil {
		c := e.open.data.Counters()
		m.Traffic.add(c)
		m.Drops = sumOf(m.Drops, c.Drops)
	}
	if st.Health != nil {
		m.Health, m.Pings = &st.Health.Health, st.Health.Count
	}
	if st.BFD != nil {
		m.BFD = &st.BFD.State
		if e.open != nil {
			m.BFDSpoilt = e.open.data.DiscardedBFD()
		}
	}
	if t.BGP != nil {
		m.BGP = &SessionStatus{State: string(bgp.Idle)}
		if r := e.report; r != nil {
			m.BGP = &SessionStatus{State: string(r.State), Since: ByClock(now, r.Since), In: r.In, Out: r.Out, Refused: r.RefusedN, Flaps: r.Flaps, Stale: r.Stale}
		}
	}
	return m
}

// sumOf adds what is counted in b to a, which may be nil.
func sumOf(a, b map[string]uint64) map[string]uint64 {
	if a == nil {
		return b
	}
	for name, n := range b {
		a[name] += n
	}
	return a
}

// woke notes how long the control loop waited for something to do, and returns the time.
func (g *Gateway) woke(slept time.Time) time.Time {
	now := time.Now()
	g.idle += now.Sub(slept)
	return now
}
