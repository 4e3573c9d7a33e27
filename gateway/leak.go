package gateway

import (
	"context"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/tunnel"
)

// Leak says whether packets that a tunnel's routes cover can leave in clear.
type Leak string

const (
	LeakNone     Leak = "none"
	LeakPossible Leak = "possible"
)

// leakTime bounds how long the kernel is asked for one Status, some 30 to 100 µs for a tunnel. Tunnels that are not reached have no Leak.
const leakTime = 200 * time.Millisecond

// leakAsk is what to ask the kernel for one tunnel.
type leakAsk struct {
	routes, sources []netip.Prefix
	held, pass      bool // it may
}

// leakOf asks the kernel for packets of a tunnel that leave in clear; OK: there are none.
func (g *Gateway) leakOf(ask leakAsk) diag.Cause {
	l, ok := g.Host.Leak(ask.routes, ask.sources)
	if !ok {
		return diag.Cause{}
	}
	cause := diag.Cause{Code: diag.LeakRoute, Prefix: l.Prefix, Addr: l.To, Device: l.Device, Err: l.Route}
	switch {
	case ask.held:
		cause.Code = diag.LeakHeld
	case ask.pass:
		cause.Code = diag.LeakPass
	}
	return cause
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
func (g *Gateway) leaks(ctx context.Context, s Status, asks []leakAsk) {
	g.leaking.Lock()
	defer g.leaking.Unlock()
	end := time.Now().Add(leakTime)
	for _, c := range s.Connections {
		for i := range c.Tunnels {
			t, ask := &c.Tunnels[i], asks[0]
			asks = asks[1:]
			if ctx.Err() != nil || time.Now().After(end) {
				return
			}
			t.Leak = LeakNone
			cause := g.leakOf(ask)
			if cause.OK() {
				continue
			}
			t.Leak, t.LeakWhy, t.LeakCode = LeakPossible, cause.String(), cause.Code
		}
	}
}
