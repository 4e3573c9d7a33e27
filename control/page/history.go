package page

import (
	"math"
	"sync"
	"time"

	"vpngw/desired"
	"vpngw/gateway"
)

// minutes is how far back the traffic is kept.
const minutes = 60

// history is the traffic of each tunnel, minute by minute. It is safe for concurrent use.
type history struct {
	mu      sync.Mutex
	tunnels map[string]*traffic
	noted   time.Time
}

// traffic is a ring of rates in bytes per second; what is older than the daemon is 0.
type traffic struct {
	in, out [minutes]uint32
	next    int
	last    gateway.TrafficStatus
	seen    bool // in the present note
}

// note adds a look at the status. It forgets the tunnels that are not there any more.
func (h *history) note(now time.Time, st desired.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tunnels == nil {
		h.tunnels = map[string]*traffic{}
	}
	elapsed := now.Sub(h.noted).Seconds()
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			r := h.tunnels[t.Name]
			switch {
			case r == nil:
				r = &traffic{}
				h.tunnels[t.Name] = r
			case elapsed > 0:
				r.in[r.next] = rate(r.last.BytesIn, t.Traffic.BytesIn, elapsed)
				r.out[r.next] = rate(r.last.BytesOut, t.Traffic.BytesOut, elapsed)
				r.next = (r.next + 1) % minutes
			}
			r.last, r.seen = t.Traffic, true
		}
	}
	h.noted = now
	for name, r := range h.tunnels {
		if !r.seen {
			delete(h.tunnels, name)
		}
		r.seen = false
	}
}

// rate is what a counter grew by in a second. A tunnel that was made anew counts from 0.
func rate(was, is uint64, seconds float64) uint32 {
	if is < was {
		was = 0
	}
	return uint32(min(float64(is-was)/seconds, math.MaxUint32))
}

func (h *history) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tunnels = nil
}

// of returns the rates of a tunnel, the oldest first.
func (h *history) of(tunnel string) (in, out [minutes]uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.tunnels[tunnel]
	if r == nil {
		return in, out
	}
	for i := range minutes {
		in[i], out[i] = r.in[(r.next+i)%minutes], r.out[(r.next+i)%minutes]
	}
	return in, out
}
