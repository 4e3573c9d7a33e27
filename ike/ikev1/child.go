package ikev1

import (
	"fmt"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	// switchTime is how long an initiator still sends on the old SA after message 3 of a quick mode, unless
	// the peer is seen on the new one: some peers install the new SA only when they have message 3.
	switchTime = time.Second
	// deleteAfter is how long the end that replaced an SA waits before it deletes the old one, on
	// which packets are under way. The other end waits for deleteAfterPeer.
	deleteAfter     = 3 * time.Second
	deleteAfterPeer = 4 * time.Second
	lingerTime      = 2 * time.Second  // how long the inbound half of a deleted SA with a successor stays
	confirmTime     = 25 * time.Second // how long a responder waits for message 3
	// soonMin to soonMax is how long after phase 1 this end rekeys Child SAs that the peer may have lost.
	soonMin, soonMax = 600 * time.Millisecond, 900 * time.Millisecond
	// holdTime is how long each message 2 makes a responder's packets wait for message 3.
	holdTime = 200 * time.Millisecond
	// readyTime is how long a responder that has seen the peer on the new SA still waits for message 3, which the peer
	// sends when it is ready to receive.
	readyTime     = 100 * time.Millisecond
	maxChildren   = 1024
	maxUnfinished = 64
)

// child is one Child SA: a pair of ESP SAs. Its configuration is the sa.Child.
type child struct {
	cfg      *sa.Child
	sa       *ipsec.ChildSA
	made     bool   // this end began its quick mode
	out      bool   // the outbound half is installed
	lowNonce []byte // the lower of the nonces that made it

	asked     uint32     // SPIIn of the Child SA that this end wanted to replace by it; 0: none
	successor *child     // the one that replaces it, now or soon; nil: none
	gone      bool       // deleted; the inbound half lingers
	stale     bool       // the peer may have lost it
	failed    diag.Cause // why the last rekey failed; OK: none has failed
	softAt    time.Time  // when to rekey it
	hardAt    time.Time  // when it ends
	outAt     time.Time  // when to install the outbound half
	heldUntil time.Time  // until when its packets are kept back
	confirmBy time.Time  // when to remove it, unless the peer has proven that it has it
	deleteAt  time.Time  // when to delete it, because it was replaced
	removeAt  time.Time  // when to take it out, because it is gone
}

// leaving reports whether the Child SA is deleted or replaced.
func (c *child) leaving() bool { return c.gone || c.successor != nil && c.successor.out }

func (c *child) deadline() time.Time {
	return sa.Earliest(c.softAt, c.hardAt, c.outAt, c.heldUntil, c.confirmBy, c.deleteAt, c.removeAt)
}

func (f *family) find(spiIn uint32) *child {
	for _, c := range f.children {
		if c.sa.SPIIn == spiIn {
			return c
		}
	}
	return nil
}

func (f *family) findOut(spiOut uint32) *child {
	for _, c := range f.children {
		if c.sa.SPIOut == spiOut {
			return c
		}
	}
	return nil
}

// negotiated holds the terms that a quick mode has agreed on.
type negotiated struct {
	cfg           *sa.Child
	suite         ipsec.Suite
	in, out       uint32
	local, remote ipsec.Selector
	made          bool
	shared        []byte // g(qm)^xy, cleared
	ni, nr        []byte
	life          lifetime // zero fields: no limit
	rekeyed       bool     // whether this end rekeys it by time
}

// newChild makes a Child SA with its keys.
func (s *SA) newChild(now time.Time, n negotiated) *child {
	c := &child{
		cfg: n.cfg, made: n.made, lowNonce: lowest(n.ni, n.nr),
		sa: &ipsec.ChildSA{
			Tunnel: n.cfg.Tunnel, Child: n.cfg.Name, SPIIn: n.in, SPIOut: n.out, Suite: n.suite,
			In:      s.keys.childKeys(n.suite, n.shared, n.in, n.ni, n.nr),
			Out:     s.keys.childKeys(n.suite, n.shared, n.out, n.ni, n.nr),
			Trunc96: n.cfg.Trunc96, Local: []ipsec.Selector{n.local}, Remote: []ipsec.Selector{n.remote}, Path: s.childPath(), Follow: s.nat.MayMove(s.peer),
			Lifetime: ipsec.Lifetime{Time: n.life.time, Bytes: n.life.bytes, Packets: n.cfg.Lifetime.Packets}, Created: now,
		},
	}
	clear(n.shared)
	c.limit(s, now, n.life.time, n.rekeyed)
	sa.LogESP(s.env.KeyLog.To(sa.ESPKeys, c.sa.Tunnel), c.sa)
	return c
}

// limit sets when a Child SA is rekeyed, and when it ends.
func (c *child) limit(s *SA, now time.Time, life time.Duration, rekeyed bool) {
	if life > 0 {
		if c.hardAt = now.Add(life); rekeyed {
			c.softAt = now.Add(s.env.SoftTime(life, c.made))
		}
	}
}

// sameTraffic reports whether two Child SAs carry the same traffic. The newer one replaces
// the older one then: IKEv1 has no other sign of a rekey.
func sameTraffic(a, b *child) bool {
	return a.cfg == b.cfg && slices.Equal(a.sa.Local, b.sa.Local) && slices.Equal(a.sa.Remote, b.sa.Remote)
}

// add installs the inbound half of c, and makes c the successor of the Child SAs that it replaces.
func (s *SA) add(c *child) {
	for _, old := range s.fam.children {
		if !old.gone && old.successor == nil && sameTraffic(old, c) {
			old.successor = c
		}
	}
	s.fam.children = append(s.fam.children, c)
	s.env.Owner.Emit(sa.InstallIn{SA: c.sa})
}

// markStale handles INITIAL-CONTACT on a new ISAKMP SA: this end "might then elect to delete any existing SA's"
// (RFC 2407 section 4.6.3.3). But strongSwan also sends it when a quick mode crosses its rekey, and then keeps the
// Child SAs. So a Child SA that carries traffic stays until another replaces it. The peer asks for the other one
// in a moment, or else this end does. An SA that does not send yet never starts: its message 3 may be lost.
func (s *SA) markStale(now time.Time) {
	const longest = 25 * time.Second
	for _, c := range s.fam.children {
		if c.gone || !c.sa.Created.Before(s.authedAt) {
			continue
		}
		c.stale = true
		c.hardAt = sa.Earliest(c.hardAt, now.Add(longest))
		if c.out && (c.successor == nil || !c.successor.out) {
			c.successor = nil
			c.softAt = now.Add(s.env.Jitter(soonMin, soonMax))
		}
		c.outAt = time.Time{}
	}
}

// expiry is why a Child SA ends at its hard end.
func (c *child) expiry() diag.Cause {
	why := diag.Cause{Code: diag.LifetimeEnded}
	if c.stale {
		why.Code = diag.NoneSince
	}
	return why.Since(c.failed)
}

// notWanted is why a Child SA goes that the operator took down or the configuration lost.
var notWanted = diag.Cause{Code: diag.NotWanted}

// leadsTo reports whether to is among the successors of c.
func (c *child) leadsTo(to *child) bool {
	for n := 0; c.successor != nil && n < 8; n++ {
		if c = c.successor; c == to {
			return true
		}
	}
	return false
}

// succeeded sets when c is deleted, because its successor carries its traffic now.
func (c *child) succeeded(now time.Time) {
	c.softAt = time.Time{}
	wait := deleteAfterPeer
	if c.successor.made {
		wait = deleteAfter
	}
	if at := now.Add(wait); c.deleteAt.IsZero() || at.Before(c.deleteAt) {
		c.deleteAt = at
	}
}

// sendOn installs the outbound half of c, so that new packets take it. The Child SAs that it
// replaces are deleted a little later, first by the end that asked for c.
func (s *SA) sendOn(now time.Time, c *child) {
	c.outAt, c.confirmBy = time.Time{}, time.Time{}
	if c.out || c.gone || c.successor != nil && c.successor.out || s.fam.find(c.sa.SPIIn) != c {
		return
	}
	c.out = true
	s.env.Owner.Emit(sa.InstallOut{SA: c.sa})
	s.log.Info("Child SA up", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn), "spi_out", sa.Hex32(c.sa.SPIOut), "proposal", c.sa.Suite.String(),
		"local", fmt.Sprint(c.sa.Local), "remote", fmt.Sprint(c.sa.Remote))
	for _, old := range s.fam.children {
		if sameTraffic(old, c) {
			s.resume(old)
		}
		if old != c && !old.gone && old.leadsTo(c) {
			old.successor = c
			old.succeeded(now)
		}
	}
	s.env.Owner.ChildChanged(now, s, c.cfg, diag.Cause{})
}

// hold keeps packets back that would go out on the Child SAs that c replaces, until the peer has proven that
// it has c, or for holdTime. Our message 2 can make the peer remove these Child SAs, as strongSwan does, and
// packets that arrive on them later are lost. Packets that were sent before message 2 arrive before it.
func (s *SA) hold(now time.Time, c *child) {
	if c.out || c.gone {
		return
	}
	for _, old := range s.fam.children {
		if old.carriesFor(c) && old.heldUntil.IsZero() {
			old.holdUntil(s, now.Add(holdTime))
		}
	}
}

func (c *child) holdUntil(s *SA, at time.Time) {
	held := !c.heldUntil.IsZero()
	if c.heldUntil = at; !held {
		s.env.Owner.Emit(sa.Hold{SPIIn: c.sa.SPIIn})
	}
}

func (s *SA) resume(c *child) {
	if !c.heldUntil.IsZero() {
		c.heldUntil = time.Time{}
		s.env.Owner.Emit(sa.Resume{SPIIn: c.sa.SPIIn})
	}
}

// remove takes a Child SA out at once.
func (s *SA) remove(now time.Time, c *child, why diag.Cause) {
	i := slices.Index(s.fam.children, c)
	if i < 0 {
		return
	}
	s.fam.children = slices.Delete(s.fam.children, i, i+1)
	stays := c.successor != nil
	for _, old := range s.fam.children {
		if old.successor != c || old.gone {
			continue
		}
		stays = true
		old.deleteAt = time.Time{}
		if old.successor = c.successor; old.successor == old {
			old.successor = nil
		}
		if old.successor == nil {
			old.successor = s.fam.newer(old)
		}
		if old.successor == nil && old.softAt.IsZero() && !old.hardAt.IsZero() { // the peer gave its rekey up
			old.softAt = now.Add(s.env.Jitter(retryMin, retryMax))
		}
		switch {
		case old.successor == nil && !old.out && old.confirmBy.IsZero():
			s.sendOn(now, old)
		case old.successor != nil && old.successor.out:
			old.succeeded(now)
		}
	}
	s.env.Owner.Emit(sa.Remove{SPIIn: c.sa.SPIIn, Why: why})
	if !stays {
		s.env.Owner.ChildChanged(now, s, c.cfg, why)
	}
	s.lastGone(now)
}

// newer is the newest Child SA that carries the traffic of c and came after it, or nil.
func (f *family) newer(c *child) *child {
	for _, o := range slices.Backward(f.children) {
		if o == c {
			return nil
		}
		if o.carriesFor(c) {
			return o
		}
	}
	return nil
}

// lastGone ends an ISAKMP SA that only stayed for its Child SAs, when the last of these is gone.
func (s *SA) lastGone(now time.Time) {
	if c := s.fam.current; c.state == sa.Outlived && len(s.fam.children) == 0 {
		c.die(now, c.why)
	}
}

// deleteChild deletes a Child SA at the peer, by the SPI of its inbound half, and takes it out: at
// once, or with a successor when no packet can be under way any more.
func (s *SA) deleteChild(now time.Time, c *child, why diag.Cause) {
	if c.gone {
		return
	}
	s.fam.tellDeletion(c)
	s.retire(now, c, why)
}

// tellDeletion tells the peer that c is deleted. strongSwan looks for it only among those that the same ISAKMP SA has made.
func (f *family) tellDeletion(c *child) {
	p := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{u32(c.sa.SPIIn)}}
	f.current.inform(p)
	for _, m := range f.members {
		if m != f.current && m.state == sa.Established && !m.peerSays.vpngw {
			m.inform(p)
		}
	}
}

// retire takes out a Child SA that either end has deleted.
func (s *SA) retire(now time.Time, c *child, why diag.Cause) {
	if c.successor != nil && s.fam.find(c.successor.sa.SPIIn) == c.successor {
		s.sendOn(now, c.successor)
	}
	c.gone = true
	s.resume(c)
	c.softAt, c.hardAt, c.outAt, c.confirmBy, c.deleteAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if c.successor == nil {
		s.remove(now, c, why)
		return
	}
	c.removeAt = now.Add(lingerTime)
}

// releaseChildren takes all Child SAs out, without a word to the peer.
func (s *SA) releaseChildren(now time.Time, why diag.Cause) {
	if s.fam.current != s {
		return
	}
	children := s.fam.children
	s.fam.children, s.fam.queue = nil, nil
	for _, c := range children {
		s.env.Owner.Emit(sa.Remove{SPIIn: c.sa.SPIIn, Why: why})
	}
	for _, c := range children {
		s.env.Owner.ChildChanged(now, s, c.cfg, why)
	}
}

// advanceChildren does what is due on the Child SAs.
func (s *SA) advanceChildren(now time.Time) {
	for _, c := range slices.Clone(s.fam.children) {
		if sa.Due(now, c.outAt) { // before any hold ends, so that what was kept back goes out on it
			s.sendOn(now, c)
		}
	}
	for _, c := range slices.Clone(s.fam.children) {
		if sa.Due(now, c.heldUntil) {
			s.resume(c)
		}
		switch {
		case sa.Due(now, c.removeAt):
			if c.made || !s.peerSays.vpngw { // again: nobody answers a Delete, so the first may be lost
				s.fam.tellDeletion(c)
			}
			s.remove(now, c, superseded)
		case sa.Due(now, c.confirmBy):
			s.remove(now, c, diag.Cause{Code: diag.PeerStopped, Message: "message 3 of quick mode", After: confirmTime})
		case sa.Due(now, c.hardAt):
			s.log.Warn("Child SA expired", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn), sa.Why(c.expiry()))
			s.fam.tellDeletion(c)
			if c.successor != nil && s.fam.find(c.successor.sa.SPIIn) == c.successor {
				s.sendOn(now, c.successor)
			}
			s.remove(now, c, c.expiry())
		case sa.Due(now, c.deleteAt):
			c.deleteAt = now.Add(time.Second)
			switch {
			case c.successor != nil && !c.successor.out: // c still carries the traffic
			case c.successor != nil && s.keepsLonger(now, c): // the peer may still send on c
			default:
				s.deleteChild(now, c, superseded)
			}
		case sa.Due(now, c.softAt):
			c.softAt = time.Time{}
			s.startRekey(now, c, diag.Cause{Code: diag.LifetimeReached})
		}
	}
}

// SeenInbound implements sa.Machine. A peer that answered the quick mode can receive on an SA on which it sends.
// One that began it has the keys, but may not be ready to receive: Libreswan installs its outbound SA first, then the
// inbound one, and then sends message 3. Others have removed the old SA by now. So packets wait for message 3, which is
// right behind, and for a moment only, as it may be lost.
func (s *SA) SeenInbound(now time.Time, spiIn uint32) bool {
	c := s.fam.find(spiIn)
	switch {
	case c == nil:
	case c.made || c.out || c.gone || !s.replaces(c):
		s.fam.current.sendOn(now, c)
	case !c.confirmBy.IsZero(): // else it was seen before
		c.confirmBy, c.outAt = time.Time{}, now.Add(readyTime)
		for _, old := range s.fam.children {
			if old.carriesFor(c) {
				old.holdUntil(s, c.outAt)
			}
		}
	}
	return c != nil
}

// limits are the causes of a rekey by bytes, packets or sequence numbers.
var limits = map[ipsec.Limit]diag.Code{
	ipsec.LimitBytes: diag.BytesReached, ipsec.LimitPackets: diag.PacketsReached, ipsec.LimitSequence: diag.SequenceReached,
}

// Expired implements sa.Machine.
func (s *SA) Expired(now time.Time, spiIn uint32, limit ipsec.Limit) bool {
	c := s.fam.find(spiIn)
	if c != nil {
		s.fam.current.startRekey(now, c, diag.Cause{Code: limits[limit]})
		s.fam.startNext(now)
	}
	return c != nil
}

// RekeyChildren implements sa.Machine.
func (s *SA) RekeyChildren(now time.Time, cfg *sa.Child, why diag.Cause) {
	for _, c := range slices.Clone(s.fam.children) {
		if c.cfg == cfg && (c.out || c.made) { // else the peer is rekeying this moment
			s.fam.current.startRekey(now, c, why)
		}
	}
	s.fam.startNext(now)
}

// DeleteChildren implements sa.Machine.
func (s *SA) DeleteChildren(now time.Time, cfg *sa.Child) {
	if s.fam.current != s {
		return
	}
	s.fam.unqueue(func(q *quick) bool { return q.cfg == cfg })
	for _, c := range slices.Clone(s.fam.children) {
		if c.cfg == cfg && !c.gone {
			c.successor = nil
			s.deleteChild(now, c, notWanted)
		}
	}
}

// Children implements sa.Machine.
func (s *SA) Children() []sa.ChildInfo {
	if s.fam.current != s {
		return nil
	}
	var out []sa.ChildInfo
	for _, c := range s.fam.children {
		out = append(out, sa.ChildInfo{Child: c.cfg, SA: c.sa, Out: c.out, Leaving: c.leaving()})
	}
	return out
}

// Creating implements sa.Machine.
func (s *SA) Creating(c *sa.Child, local, remote []ipsec.Selector) bool {
	return s.fam.asked(func(q *quick) bool {
		return q.old == nil && q.cfg == c && slices.Contains(local, q.local) && slices.Contains(remote, q.remote)
	}) != nil
}
