package ike

import (
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// The first Child SA of IKEv2 has its keys from the key exchange of the IKE SA, so a difference in PFS shows only when it is rekeyed. An
// early rekey asks for that some seconds after the tunnel is up. IKEv1's first quick mode has PFS already.
const earlyMin, earlyMax = 3 * time.Second, 6 * time.Second

// early is when a child is rekeyed early.
type early struct {
	at   time.Time // zero: not
	done bool      // since the IKE SA was established
}

// up notes that c has a Child SA.
func (e *early) up(c *child, now time.Time) {
	if m := c.peer.main(); c.given.EarlyRekey && !e.done && m != nil && m.Info().Version == 2 {
		e.at, e.done = now.Add(c.peer.e.env.Jitter(earlyMin, earlyMax)), true
	}
}

// advance rekeys c if it is time.
func (e *early) advance(now time.Time, c *child, m sa.Machine) {
	if sa.Due(now, e.at) {
		e.at = time.Time{}
		m.RekeyChildren(now, c.cfg, diag.Cause{Code: diag.EarlyRekey})
	}
}
