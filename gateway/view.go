package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/ike"
	"vpngw/ipsec"
)

// carrying is the SAs that are installed both ways.
func (t *tunnel) carrying() []*ipsec.ChildSA {
	var out []*ipsec.ChildSA
	for _, in := range t.sas {
		if in.out {
			out = append(out, in.sa)
		}
	}
	return out
}

// missing is the wanted pairs that no SA carries.
func (t *tunnel) missing() []string {
	if t.stale {
		t.stale, t.open = false, nil
		carrying := t.carrying()
		for _, c := range t.tunnel.ChildSAs() {
			for _, p := range missing(c.Local, c.Remote, carrying) {
				t.open = append(t.open, p.String())
			}
		}
	}
	return t.open
}

// ikeView is what IKE says of one tunnel.
type ikeView struct {
	ike    *ike.IKEStatus
	remote netip.Addr
	why    string
}

// ikeStatus is what IKE says, by tunnel.
func (g *Gateway) ikeStatus() map[string]ikeView {
	out := make(map[string]ikeView, len(g.tunnels))
	for _, p := range g.ike.Status() {
		for _, c := range p.Children {
			v := out[c.Tunnel]
			v.ike, v.remote = p.IKE, p.Remote
			// The child's own trouble says more than the IKE SA's.
			v.why = cmp.Or(v.why, c.Why, p.Why)
			out[c.Tunnel] = v
		}
	}
	return out
}

// Status is a snapshot of every connection. It may be called from any goroutine while Run runs.
func (g *Gateway) Status(ctx context.Context) (Status, error) {
	s := Status{Connections: []ConnectionStatus{}}
	err := g.call(ctx, func() error {
		ikes := g.ikeStatus()
		for _, t := range g.tunnels {
			n := len(s.Connections)
			if n == 0 || s.Connections[n-1].Name != t.conn.Name {
				s.Connections = append(s.Connections, ConnectionStatus{
					Name: t.conn.Name, Dialect: t.conn.Dialect, Side: t.conn.Side.String(), Unserved: unserved(t.conn),
				})
				n++
			}
			c := &s.Connections[n-1]
			c.Tunnels = append(c.Tunnels, g.tunnelStatus(t, ikes[t.tunnel.Name]))
		}
		return nil
	})
	return s, err
}

// unserved is what a connection is without, because vpngw does not serve it yet.
func unserved(c *config.Connection) []string {
	var out []string
	for _, f := range Unserved(c) {
		out = append(out, string(f))
	}
	for _, t := range c.Tunnels {
		if t.Role == config.Standby && len(c.Tunnels) > 1 {
			out = append(out, "routes into "+t.Name+", the standby")
		}
	}
	return out
}

// tellUnserved logs that of every connection.
func (g *Gateway) tellUnserved() {
	for _, c := range g.config.Connections {
		if what := unserved(c); len(what) > 0 {
			g.Log.Warn("not served yet, and the connection runs without", "conn", c.Name, "what", strings.Join(what, ", "))
		}
	}
}

func (g *Gateway) tunnelStatus(t *tunnel, in ikeView) TunnelStatus {
	s := TunnelStatus{
		Name: t.tunnel.Name, Role: string(t.tunnel.Role), State: t.state, Since: t.since.UTC(), Why: t.why,
		Device: t.device, Remote: t.tunnel.Remote.Address.String(), Children: []ChildStatus{},
	}
	if a := g.local(t.tunnel.Local.Address); a.IsValid() {
		s.Local = a.String()
	} else if a, err := g.source(t.tunnel.Remote.Address); err == nil && a.IsValid() {
		s.Local = a.String()
	}
	if i := in.ike; i != nil {
		s.IKE = &IKEStatus{
			Version: i.Version, Mode: i.Mode, State: i.State, Proposal: i.Proposal, NAT: i.NAT, Encap: i.Encap,
			SPIi: fmt.Sprintf("%016x", i.SPIi), SPIr: fmt.Sprintf("%016x", i.SPIr),
		}
		if i.Local.Addr().IsValid() {
			s.Local = i.Local.Addr().String()
		}
		if i.Remote.Addr().IsValid() {
			s.Remote = i.Remote.Addr().String()
		}
	}
	for _, in := range t.sas {
		s.Children = append(s.Children, g.childStatus(in))
	}
	slices.SortFunc(s.Children, func(a, b ChildStatus) int {
		return cmp.Or(slices.Compare(a.LocalTS, b.LocalTS), slices.Compare(a.RemoteTS, b.RemoteTS), cmp.Compare(a.SPIIn, b.SPIIn))
	})
	return s
}

func (g *Gateway) childStatus(in *installed) ChildStatus {
	n := g.plane.Counters(in.sa.SPIIn)
	if n.Drops == nil {
		n.Drops = map[string]uint64{}
	}
	return ChildStatus{
		SPIIn: spiString(in.sa.SPIIn), SPIOut: spiString(in.sa.SPIOut), Proposal: in.sa.Suite.String(),
		LocalTS: cidrs(in.sa.Local), RemoteTS: cidrs(in.sa.Remote),
		BytesIn: n.BytesIn, BytesOut: n.BytesOut, PacketsIn: n.PacketsIn, PacketsOut: n.PacketsOut,
		Drops: n.Drops,
	}
}

// cidrs prints selectors as CIDRs; one that is limited to a protocol or port
// says so behind it.
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
