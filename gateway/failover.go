package gateway

import (
	"context"
	"time"

	"vpngw/diag"
	"vpngw/tunnel"
)

// Failover moves the traffic of a connection with two tunnels, or of the pair that a connection is of, to the standby, where
// it stays while the standby is well, until Failback or a restart. The error is a *tunnel.SwitchError if it cannot.
func (g *Gateway) Failover(ctx context.Context, name string) error {
	return g.switchTraffic(ctx, "failover", name, false)
}

// Failback undoes Failover, and moves the traffic to the active tunnel at once. If that cannot take the traffic the error is a
// *tunnel.SwitchError; the traffic goes back later as the configuration says.
func (g *Gateway) Failback(ctx context.Context, name string) error {
	return g.switchTraffic(ctx, "failback", name, true)
}

func (g *Gateway) switchTraffic(ctx context.Context, verb, name string, back bool) error {
	return g.call(ctx, func(now time.Time) error {
		hit, err := g.fleet.named(name)
		if err != nil {
			return err
		}
		g.Log.Info("operator: "+verb, "conn", hit[0].conn.Name)
		err = hit[0].group.Switch(back)
		g.decide(now, hit[0].group)
		return err
	})
}

// switched tells of traffic that has moved.
func (g *Gateway) switched(now time.Time, s tunnel.Switched) {
	g.each([]string{s.To}, func(t *Tally) { t.Switches++ })
	g.events.add(eventOf(now, g.fleet.byName[s.To], tunnel.Changed{Conn: s.Conn, Tunnel: s.To, Was: s.State, State: s.State, Cause: s.Cause}))
	log := g.Log.Info
	if s.Cause.Is(diag.FailedOver) {
		log = g.Log.Warn
	}
	log("traffic moves", "conn", s.Conn, "tunnel", s.To, "from", s.From, "why", s.Cause.String(), "code", s.Cause.Code)
}

// HealthStatus is what this end's pings through a tunnel say.
type HealthStatus struct {
	State    string  `json:"state"`  // unknown, healthy, ill
	Source   string  `json:"source"` // empty while this host has no address to ping from
	Target   string  `json:"target"`
	Sent     uint64  `json:"sent"`
	Answered uint64  `json:"answered"`
	Lost     uint64  `json:"lost"`
	RTTLast  float64 `json:"rtt_last_ms"` // round trips in milliseconds; 0: no answer yet
	RTTMin   float64 `json:"rtt_min_ms"`
	RTTAvg   float64 `json:"rtt_avg_ms"` // smoothed
}

func healthStatus(h *tunnel.HealthStatus) *HealthStatus {
	if h == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	out := &HealthStatus{
		State: h.Health.String(), Target: h.Target.String(), Sent: h.Count.Sent, Answered: h.Count.Answered, Lost: h.Count.Lost,
		RTTLast: ms(h.Count.Last), RTTMin: ms(h.Count.Min), RTTAvg: ms(h.Count.Avg),
	}
	if h.Source.IsValid() {
		out.Source = h.Source.String()
	}
	return out
}
