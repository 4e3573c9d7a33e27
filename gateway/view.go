package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Status returns a snapshot of every connection. It may be called from any goroutine while Run
// runs.
func (g *Gateway) Status(ctx context.Context) (Status, error) {
	s := Status{Connections: []ConnectionStatus{}}
	var asks []leakAsk
	err := g.call(ctx, func(now time.Time) error {
		for _, e := range g.fleet.entries {
			n := len(s.Connections)
			if n == 0 || s.Connections[n-1].Name != e.conn.Name {
				s.Connections = append(s.Connections, ConnectionStatus{
					Name: e.conn.Name, Dialect: e.conn.Dialect, Side: e.conn.Side.String(), Unserved: unserved(e.conn),
				})
				n++
			}
			c := &s.Connections[n-1]
			c.Tunnels = append(c.Tunnels, g.tunnelStatus(now, e))
			asks = append(asks, askFor(e))
		}
		return nil
	})
	s.Obstacles = inTheWay(g.obstacles.of(wholeHost), func(c diag.Cause) diag.Advice { return c.Advice("native", false) })
	if err == nil {
		g.leaks(ctx, s, asks)
	}
	return s, err
}

// unserved lists in words what a connection lacks because vpngw does not serve it yet.
func unserved(c *config.Connection) []string {
	var out []string
	for _, f := range Unserved(c) {
		out = append(out, string(f))
	}
	return out
}

// warnUnserved logs what each connection lacks.
func warnUnserved(log *slog.Logger, cs []*config.Connection) {
	for _, c := range cs {
		if what := unserved(c); len(what) > 0 {
			log.Warn("not served yet, and the connection runs without", "conn", c.Name, "what", strings.Join(what, ", "))
		}
	}
}

func (g *Gateway) tunnelStatus(now time.Time, e *entry) TunnelStatus {
	t := e.tunnel
	st := e.status()
	s := TunnelStatus{
		Name: t.Name, Role: string(t.Role), Active: st.Active, State: st.State, Since: ByClock(now, st.Since).UTC(), Report: st.Cause.Report(), Advice: e.advice(st.Cause),
		Device: e.device, Remote: placeOf(t), RemoteName: t.Remote.Host, Children: []ChildStatus{}, Health: healthStatus(st.Health), BFD: e.bfd(now, st.BFD), Session: e.session(now),
	}
	s.RemoteNth, s.RemoteOf = g.names.nth(t)
	if i, ok := g.ike.Tunnel(t.Name); ok && i.IKE != nil {
		i := i.IKE
		s.IKE = &IKEStatus{
			Version: i.Version, Mode: i.Mode, State: i.State.String(), Proposal: i.Proposal(), NAT: i.NAT.String(), Encap: i.Encap,
			SPIi: sa.Hex64(i.SPIi), SPIr: sa.Hex64(i.SPIr),
		}
		if i.Local.Addr().IsValid() {
			s.Local = i.Local.Addr().String()
		}
		if i.Remote.Addr().IsValid() && (!t.Remote.Any || i.State == sa.Established) { // else it is who says to be the peer
			s.Remote = i.Remote.Addr().String()
		}
	}
	switch a := g.under.local(t.Local.Address); {
	case s.Local != "":
	case a.IsValid():
		s.Local = a.String()
	case t.Remote.Address.IsValid(): // else its name has no address yet
		if a, err := g.under.source(t.Remote.Address); err == nil && a.IsValid() { // this asks the kernel
			s.Local = a.String()
		}
	}
	s.Exposed = g.exposed.status(t.Name, g.KeyLog != nil)
	s.Obstacles = inTheWay(g.obstacles.of(t.Name), e.advice)
	s.Traffic = e.past
	if e.open != nil {
		s.Traffic.add(e.open.data.Counters())
	}
	for _, in := range g.data.byTunnel[t.Name] {
		s.Children = append(s.Children, g.data.childStatus(in))
	}
	slices.SortFunc(s.Children, func(a, b ChildStatus) int {
		return cmp.Or(slices.Compare(a.LocalTS, b.LocalTS), slices.Compare(a.RemoteTS, b.RemoteTS), cmp.Compare(a.SPIIn, b.SPIIn))
	})
	return s
}

// silentESN is the note about a peer whose proposals say nothing of sequence numbers.
const silentESN = "the peer names no form of sequence numbers (ESN), so they have 32 bits"

func noteOf(c *ipsec.ChildSA) string {
	if c.SilentESN {
		return silentESN
	}
	return ""
}

// placeOf is where the peer is by the configuration: an address, "any", or empty while its name has no address.
func placeOf(t *config.Tunnel) string {
	if t.Remote.Any {
		return config.Anywhere
	}
	return textOf(t.Remote.Address)
}

// textOf is an address; empty: there is none.
func textOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (d *dataPlane) childStatus(in *installed) ChildStatus {
	n := d.Counters(in.sa.SPIIn)
	if n.Drops == nil {
		n.Drops = map[string]uint64{}
	}
	return ChildStatus{
		SPIIn: sa.Hex32(in.sa.SPIIn), SPIOut: sa.Hex32(in.sa.SPIOut), Proposal: in.sa.Suite.String(),
		LocalTS: cidrs(in.sa.Local), RemoteTS: cidrs(in.sa.Remote),
		BytesIn: n.BytesIn, BytesOut: n.BytesOut, PacketsIn: n.PacketsIn, PacketsOut: n.PacketsOut,
		Drops: n.Drops, Note: noteOf(in.sa),
	}
}

// cidrs prints selectors as CIDRs, followed by the protocol and port of a
// selector that is limited to them.
func cidrs(sel []ipsec.Selector) []string {
	out := []string{}
	for _, s := range sel {
		if !s.AnyPort() {
			out = append(out, s.String())
			continue
		}
		for _, p := range s.Prefixes() {
			out = append(out, p.String())
		}
	}
	return out
}
