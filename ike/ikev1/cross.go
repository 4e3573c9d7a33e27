package ikev1

import (
	"slices"
	"time"

	"vpngw/ike/sa"
)

// Two quick modes for the same traffic, one of each end, that cross. RFC 2409 says nothing about them.
//
// Two vpngw know each other by their vendor id, and agree by the nonces which of the two Child SAs goes. Another peer takes
// the one that it has installed last for a rekey of the one before: it sends on the newest only, and is mute when that is deleted.
// strongSwan deletes neither. It installs its own with our message 2, and ours with our message 3. So the later message
// decides; but messages get lost, and a peer with several threads can take them in another order than they came
// in. So this end soon asks for a third Child SA, which is the newest in any case, and deletes both.

// againMin to againMax is how long after the change to a Child SA this end asks for another in its place.
const againMin, againMax = 50 * time.Millisecond, 300 * time.Millisecond

// lowest is the smaller of two nonces, octet by octet.
func lowest(a, b []byte) []byte {
	if slices.Compare(a, b) <= 0 {
		return slices.Clone(a)
	}
	return slices.Clone(b)
}

// crossed settles which Child SA stays when our quick mode has made c after the peer has begun one for the same
// traffic, which has made r and is not over. Message 3 for c goes out next, so c is the newest here.
func (s *SA) crossed(now time.Time, c, r *child) {
	n := r.successor
	switch {
	case !s.peerSays.vpngw:
		s.askAgain(now, c)
	case n != nil && n != c && !n.gone && s.fam.find(n.sa.SPIIn) == n:
		s.yield(now, c, n)
	default:
		s.collide(now, c, r)
	}
}

// askAgain lets another Child SA replace c soon, once this end sends on c.
func (s *SA) askAgain(now time.Time, c *child) {
	c.softAt = now.Add(switchTime + s.env.Jitter(againMin, againMax))
	s.log.Debug("both ends asked for the same Child SA, and the peer may take either for the newer one", "asked_again_for", sa.Hex32(c.sa.SPIIn))
}

// justAsked reports whether the peer may have begun the quick mode of c before it had message 3 of one of ours.
func (s *SA) justAsked(now time.Time, c *child) bool {
	return slices.ContainsFunc(s.fam.children, func(o *child) bool {
		return o.made && !o.gone && sameTraffic(o, c) && now.Sub(o.sa.Created) < againMin+againMax
	})
}

// collide chooses between two Child SAs that both ends asked for at once. The one with the
// lowest of the four nonces goes, as in IKEv2 (RFC 7296 section 2.8.1). The end that asked for the other one deletes it.
func (s *SA) collide(now time.Time, a, b *child) {
	lost, won := a, b
	if slices.Compare(a.lowNonce, b.lowNonce) > 0 {
		lost, won = b, a
	}
	for _, c := range s.fam.children {
		if c != won && c != lost && (c.successor == lost || c.successor == nil && sameTraffic(c, won)) {
			c.successor = won
		}
	}
	lost.successor, won.successor = won, nil
	won.deleteAt = time.Time{}
	if won.out {
		lost.succeeded(now)
	}
	s.log.Debug("both ends asked for the same Child SA", "stays", sa.Hex32(won.sa.SPIIn), "goes", sa.Hex32(lost.sa.SPIIn))
}

// yield lets c go, which comes so late that n has taken the traffic over already.
func (s *SA) yield(now time.Time, c, n *child) {
	for _, old := range s.fam.children {
		if old.successor == c {
			old.successor = n
		}
	}
	c.successor, n.successor = n, nil
	if n.out {
		c.succeeded(now)
	}
}

// keepsLonger reports whether a replaced Child SA should stay a little longer, because the peer still sends
// on it, or may take it for the successor. When two quick modes cross and one of their messages is lost,
// the ends can reach different verdicts, and each would delete the Child SA that the other keeps. Then
// the one with the lowest nonce goes after all. (If this end asked for the successor as a replacement of
// c, the two did not cross: c was up already.)
func (s *SA) keepsLonger(now time.Time, c *child) bool {
	const disputed, long = 10 * time.Second, 4500 * time.Millisecond
	n := c.successor
	crossed := s.peerSays.vpngw && c.made != n.made && n.asked != c.sa.SPIIn && n.sa.Created.Sub(c.sa.Created).Abs() < disputed
	heard := now.Sub(s.env.LastInbound(c.sa.SPIIn)) < deleteAfter/2
	if crossed && slices.Compare(c.lowNonce, n.lowNonce) < 0 || now.Sub(n.sa.Created) > long {
		return false
	}
	return crossed || heard
}
