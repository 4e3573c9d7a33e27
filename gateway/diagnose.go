package gateway

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/ike/sa"
)

// Diagnose examines the tunnels of a connection, or one tunnel. It may be called from any goroutine while Run runs. Only
// what the daemon knows is gathered in the control loop; the host is asked outside of it.
func (g *Gateway) Diagnose(ctx context.Context, name string) ([]doctor.Diagnosis, error) {
	var tunnels []*doctor.Tunnel
	var leaks []leakAsk
	err := g.call(ctx, func(now time.Time) error {
		hit, err := g.fleet.named(name)
		for _, e := range hit {
			tunnels, leaks = append(tunnels, g.patient(now, e)), append(leaks, askFor(e))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	host := g.Host.Examination()
	defer host.Close()
	var out []doctor.Diagnosis
	for i, t := range tunnels {
		g.examine(host, t, leaks[i])
		t.Ended = g.events.ended(t.Name, time.Now().Add(-time.Hour))
		if t.BGP != nil {
			t.BGP.Large = t.Host.MTU
		}
		if a, ok := t.Ask(); ok {
			t.BGP.Neighbor = g.Host.AskNeighbor(a)
		}
		out = append(out, doctor.Examine(t))
	}
	return out, nil
}

// examine adds what the host says of a tunnel. It is called outside of the control loop.
func (g *Gateway) examine(host Examination, t *doctor.Tunnel, ask leakAsk) {
	t.Host = host.Examine(t.Want.Remote.Address, t.Device, doctor.Passages(t.Want, t.Device, t.Initiates))
	t.Leak = g.leakOf(ask)
}

// patient is what the control loop knows of a tunnel.
func (g *Gateway) patient(now time.Time, e *entry) *doctor.Tunnel {
	st := e.status()
	t := &doctor.Tunnel{
		Name: e.tunnel.Name, Conn: e.conn.Name, Dialect: e.conn.Dialect, Cloud: e.conn.Side == config.Cloud, Want: e.tunnel,
		Initiates: e.group.Initiates(e.tunnel.Name), Device: e.device, State: st.State, Since: ByClock(now, st.Since), Cause: st.Cause,
	}
	if i, ok := g.ike.Tunnel(e.tunnel.Name); ok {
		t.IKE = i.Why
		if i.IKE != nil {
			t.Established, t.Encap = true, i.IKE.Encap
		}
	}
	for _, in := range g.data.byTunnel[e.tunnel.Name] {
		n := g.data.Counters(in.sa.SPIIn)
		t.In, t.Out, t.Encap = t.In+n.PacketsIn, t.Out+n.PacketsOut, in.path.UDP
	}
	if e.open != nil {
		t.Drops = e.open.data.Counters().Drops
	}
	if e.tunnel.Remote.Any {
		want := *e.tunnel
		want.Remote.Address = g.presentRemote(e) // what the checks are about
		t.Want = &want
	}
	if r := g.peers.of(e); r != nil {
		t.Sent, t.Heard = r.asked, r.heard
	}
	t.BGP = e.spoken()
	return t
}

// presentRemote is where a peer is that may come from anywhere; invalid: nobody knows.
func (g *Gateway) presentRemote(e *entry) netip.Addr {
	if i, ok := g.ike.Tunnel(e.tunnel.Name); ok && i.IKE != nil && i.IKE.State == sa.Established {
		return i.IKE.Remote.Addr().Unmap()
	}
	return netip.Addr{}
}

// whereIs is where a tunnel's peer is, for the log.
func (g *Gateway) whereIs(e *entry) string {
	if e.tunnel.Remote.Any {
		if a := g.presentRemote(e); a.IsValid() {
			return a.String()
		}
	}
	return placeOf(e.tunnel)
}

// spoken is what the control loop knows of a tunnel's session; nil: it has none.
func (e *entry) spoken() *doctor.BGP {
	c := e.tunnel.BGP
	if c == nil || !e.tunnel.Inside.IsValid() || !e.tunnel.Peer.IsValid() {
		return nil
	}
	b := &doctor.BGP{
		Local: e.tunnel.Inside.Addr(), Remote: e.tunnel.Peer, Passive: c.Passive, Password: len(c.AuthKey) > 0, TTLSecurity: c.TTLSecurity,
		Announces: len(c.Announce) > 0 || c.Connected || c.Kernel || c.Transit, Hold: c.Hold,
	}
	r := e.report
	if r == nil {
		return b
	}
	b.Established, b.Complete, b.Out, b.Flaps, b.Last = r.State == bgp.Established, r.Complete, r.Out, r.Flaps, r.Last
	b.Hold = cmp.Or(r.Hold, b.Hold)
	for _, x := range r.Refused {
		b.Refused = append(b.Refused, x.Cause)
	}
	return b
}

// count counts an IKE message by the peer's port. The peer of a NAT has another than 500 and 4500.
func count(p *doctor.Ports, port uint16) {
	if port == portNATT {
		p.NATT++
	} else {
		p.IKE++
	}
}

// ended is how often the peer has deleted SAs of a tunnel since a time, as far as the events are kept.
func (l *events) ended(tunnel string, since time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.kept() {
		if e.Tunnel == tunnel && e.Time.After(since) && (e.Code == diag.PeerDeletedESP || e.Code == diag.PeerDeletedIKE) {
			n++
		}
	}
	return n
}
