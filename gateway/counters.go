package gateway

import (
	"context"
	"time"

	"vpngw/ike"
	"vpngw/ike/sa"
)

// Counters counts dropped packets and refused messages since the daemon
// started, by name. A name with count 0 is absent.
type Counters struct {
	IKE     map[string]uint64            `json:"ike"`     // messages that no IKE SA got
	ESP     map[string]uint64            `json:"esp"`     // packets of the whole data plane, including those of Tunnels
	Host    map[string]uint64            `json:"host"`    // packets that the kernel drops for us
	Tunnels map[string]map[string]uint64 `json:"tunnels"` // packets of each tunnel, over all its SAs
}

// Counters returns a snapshot. It may be called from any goroutine while Run runs.
func (g *Gateway) Counters(ctx context.Context) (Counters, error) {
	c := Counters{Host: map[string]uint64{}, Tunnels: map[string]map[string]uint64{}}
	err := g.call(ctx, func(time.Time) error {
		c.IKE = g.refused(g.ike.Counters())
		c.ESP = g.data.PlaneCounters().Drops
		for _, e := range g.fleet.entries {
			if e.open != nil {
				c.Tunnels[e.tunnel.Name] = e.open.data.Counters().Drops
			}
		}
		return nil
	})
	if n := g.Host.Discarded(); n > 0 {
		c.Host["cleartext"] = n
	}
	return c, err
}

// refused counts by name what IKE refused or did without a trace elsewhere.
func (g *Gateway) refused(n ike.Counters) map[string]uint64 {
	out := map[string]uint64{}
	for name, n := range map[string]uint64{
		"malformed": n.Malformed, "wrong-version": n.WrongVersion, "unknown-spi": n.UnknownSPI,
		"unknown-source": n.UnknownSources, "init-refused": n.InitRefused, "cookies-sent": n.CookiesSent,
		"half-open-full": n.HalfOpenFull, "half-open-share": n.HalfOpenShare,
		"half-open-displaced": n.HalfOpenDisplaced, "queue-full": g.in.dropped.Load(),
		"reflected": n.Reflected, "exponentiations-refused": n.EffortRefused, "log-lines-left-out": n.LinesLeftOut,
		"v1-half-open-displaced": n.Displaced, "v1-aggressive-limited": n.Limited,
	} {
		if n > 0 {
			out[name] = n
		}
	}
	for why, n := range n.Dropped {
		if n > 0 {
			out[sa.Drop(why).String()] = n
		}
	}
	return out
}
