package gateway

import (
	"time"

	"vpngw/config"
	"vpngw/esp"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// keep has the data plane keep packets for an SA where the tunnel starts on traffic.
func (g *Gateway) keep(e *entry) {
	if e.open == nil {
		return
	}
	if err := e.open.data.Keep(policiesOf(e.tunnel)...); err != nil {
		g.Log.Error("packets do not wait for an SA", "conn", e.conn.Name, "tunnel", e.tunnel.Name, "err", err)
	}
}

// policiesOf are the packets that a tunnel waits for.
func policiesOf(t *config.Tunnel) []esp.Policy {
	if t.Start != config.StartOnTraffic {
		return nil
	}
	if t.Pairs == nil {
		return []esp.Policy{{Local: ipsec.SelectorsOf(t.Local.Subnets), Remote: ipsec.SelectorsOf(t.Remote.Subnets)}}
	}
	var out []esp.Policy
	for _, c := range t.ChildSAs() {
		out = append(out, esp.Policy{Local: c.Local, Remote: c.Remote})
	}
	return out
}

// initiate tells IKE whether it initiates a tunnel.
func (g *Gateway) initiate(now time.Time, e *entry, a tunnel.Initiate) {
	if a.On && a.Source.IsValid() {
		g.Log.Info("a packet raises the tunnel", "conn", e.conn.Name, "tunnel", a.Tunnel, "source", a.Source, "target", a.Target)
	}
	g.peers.changed(e.peer)
	if a.On && a.Anew {
		g.ike.Do(now, sa.Raise{Tunnel: a.Tunnel})
	}
}
