package gateway

import (
	"net/netip"

	"vpngw/diag"
	"vpngw/tunnel"
)

// Leak says whether packets that a tunnel's routes cover can leave in clear.
type Leak string

const (
	LeakNone     Leak = "none"
	LeakPossible Leak = "possible"
)

// leakAsk is what to ask the kernel for one tunnel.
type leakAsk struct {
	routes, sources []netip.Prefix
	held, pass      bool
}

// askFor is called in the control loop.
func askFor(e *entry) leakAsk {
	st := e.status()
	return leakAsk{
		routes: e.tunnel.Routes, sources: e.tunnel.Local.Subnets, held: st.Held,
		pass: e.tunnel.Pass && st.State != tunnel.Up && st.State != tunnel.Degraded,
	}
}

// leaks adds to a Status what the kernel would do with packets. It runs outside of the control loop, which does not wait for it,
// one at a time: whoever may look must not be able to busy every processor.
func (g *Gateway) leaks(s Status, asks []leakAsk) {
	g.leaking.Lock()
	defer g.leaking.Unlock()
	for _, c := range s.Connections {
		for i := range c.Tunnels {
			t, ask := &c.Tunnels[i], asks[0]
			asks = asks[1:]
			t.Leak = LeakNone
			l, ok := g.Host.Leak(ask.routes, ask.sources)
			if !ok {
				continue
			}
			cause := diag.Cause{Code: diag.LeakRoute, Prefix: l.Prefix, Addr: l.To, Device: l.Device, Err: l.Route}
			switch {
			case ask.held:
				cause.Code = diag.LeakHeld
			case ask.pass:
				cause.Code = diag.LeakPass
			}
			t.Leak, t.LeakWhy, t.LeakCode = LeakPossible, cause.String(), cause.Code
		}
	}
}
