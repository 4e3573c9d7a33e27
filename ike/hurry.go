package ike

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

const (
	// hurryGap is the least time between two attempts that changes of the host's links begin. It doubles up to hurryMost
	// while they go on, and starts again after hurryRest without one: a storm of changes must not become a storm of messages.
	hurryGap  = time.Second
	hurryMost = 4 * time.Second
	hurryRest = time.Minute
	// hurrySpread spreads the attempts at all peers behind one link.
	hurrySpread = 200 * time.Millisecond
)

// hurry is the wish of a peer without an IKE SA to be tried at once, because a link, address or route has changed.
type hurry struct {
	at   time.Time // when; zero: there is no wish
	last time.Time
	gap  time.Duration // after last
}

// pathChanged has absent peers tried at once.
func (e *Endpoint) pathChanged(now time.Time) {
	for _, p := range e.inOrder() {
		if p.main() == nil && p.toInitiate() != nil && p.hurry.at.IsZero() {
			p.hurry.at = now.Add(e.env.Jitter(0, hurrySpread))
			if next := p.hurry.last.Add(p.hurry.gap); p.hurry.at.Before(next) {
				p.hurry.at = next
			}
			p.wake()
		}
	}
}

// unplaced says of the peers with a name why it has no address. Nothing is sent to them until SetPeer brings one.
func (e *Endpoint) unplaced(now time.Time, c sa.Unplaced) {
	for _, p := range inOrder(slices.Clone(e.peersAt[netip.Addr{}])) {
		err, ok := c.Why[p.cfg.Host]
		why := diag.Cause{Code: diag.NameUnresolved, Name: p.cfg.Host, Err: err}
		if ok && !p.why.Equal(why) {
			p.fail(now, why)
			p.wake()
		}
	}
}

// tryAtOnce ends the attempts that nobody has answered, and the wait for the next one.
func (p *peer) tryAtOnce(now time.Time) {
	h := &p.hurry
	if now.Sub(h.last) > hurryRest {
		h.gap = 0
	}
	h.at, h.last, h.gap = time.Time{}, now, min(max(2*h.gap, hurryGap), hurryMost)
	for _, m := range slices.Clone(p.machines) {
		if in := m.Info(); in.Initiator && in.State == sa.Connecting && in.SPIr == 0 {
			m.Drop(now, noCause)
		}
	}
	p.nextTry = now
}
