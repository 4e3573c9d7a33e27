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
	// switchTime is how long an initiator goes on sending on the old SA after message 3 of
	// a quick mode, unless the peer is seen on the new one: a peer may install it only with that message.
	switchTime = time.Second
	// deleteAfter is how long an SA that was replaced stays before the end that replaced
	// it deletes it: packets on it are under way. The other end waits longer.
	deleteAfter     = 3 * time.Second
	deleteAfterPeer = 4 * time.Second
	lingerTime      = 2 * time.Second  // keeps the inbound half of a deleted SA that has a successor
	confirmTime     = 25 * time.Second // a responder waits so long for message 3
	// soonMin to soonMax is how long a new ISAKMP SA has until we rekey Child SAs over it, if they need that.
	soonMin, soonMax = 600 * time.Millisecond, 900 * time.Millisecond
	// holdTime is how long a responder's packets wait for message 3, each time that it sends message 2.
	holdTime       = 200 * time.Millisecond
	maxChildren    = 1024
	maxUnconfirmed = 64
)

// child is one Child SA: a pair of ESP SAs. Not to be confused with sa.Child,
// which is the wish for one.
type child struct {
	cfg    *sa.Child
	sa     *ipsec.ChildSA
	made   bool   // we asked for it
	out    bool   // the outbound half is installed
	minted []byte // the lower of the nonces that made it

	asked     uint32     // SPIIn of the one that we asked for this one in place of; 0: of none
	successor *child     // has taken, or is to take, this one's place
	gone      bool       // deleted; the inbound half lingers
	doubted   bool       // the peer may have it no more
	failed    diag.Cause // why it was not replaced yet, after an attempt
	softAt    time.Time  // rekey
	hardAt    time.Time  // end
	outAt     time.Time  // install the outbound half
	heldUntil time.Time  // its packets are kept back
	confirmBy time.Time  // remove, if nothing has proven that the peer has it
	deleteAt  time.Time  // replaced: delete it
	removeAt  time.Time  // gone: forget it
}

// leaving reports whether the child is on its way out.
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

// negotiated is what makes a child.
type negotiated struct {
	cfg           *sa.Child
	suite         ipsec.Suite
	in, out       uint32
	local, remote ipsec.Selector
	made          bool
	shared        []byte // g(qm)^xy, cleared
	ni, nr        []byte
	life          lifetime // agreed; zero fields never end it
	rekeyed       bool     // whether we rekey it by time
}

// newChild derives the keys of what was negotiated.
func (s *SA) newChild(now time.Time, n negotiated) *child {
	c := &child{
		cfg: n.cfg, made: n.made, minted: lowest(n.ni, n.nr),
		sa: &ipsec.ChildSA{
			Tunnel: n.cfg.Tunnel, Child: n.cfg.Name, SPIIn: n.in, SPIOut: n.out, Suite: n.suite,
			In:      s.keys.childKeys(n.suite, n.shared, n.in, n.ni, n.nr),
			Out:     s.keys.childKeys(n.suite, n.shared, n.out, n.ni, n.nr),
			Trunc96: n.cfg.Trunc96, Local: []ipsec.Selector{n.local}, Remote: []ipsec.Selector{n.remote}, Path: s.childPath(),
			Lifetime: ipsec.Lifetime{Time: n.life.time, Bytes: n.life.bytes, Packets: n.cfg.Lifetime.Packets}, Created: now,
		},
	}
	clear(n.shared)
	c.limit(s, now, n.life.time, n.rekeyed)
	if s.env.KeyLog != nil {
		sa.LogESP(s.env.KeyLog, c.sa)
	}
	return c
}

// limit sets when a child is rekeyed, and when it ends.
func (c *child) limit(s *SA, now time.Time, life time.Duration, rekeyed bool) {
	if life > 0 {
		if c.hardAt = now.Add(life); rekeyed {
			c.softAt = now.Add(s.env.SoftTime(life, c.made))
		}
	}
}

// lowest is the smaller of two nonces, octet by octet.
func lowest(a, b []byte) []byte {
	if slices.Compare(a, b) <= 0 {
		return slices.Clone(a)
	}
	return slices.Clone(b)
}

// sameTraffic reports whether two children carry the same: one is the other's
// replacement then. IKEv1 has no other sign of a rekey.
func sameTraffic(a, b *child) bool {
	return a.cfg == b.cfg && slices.Equal(a.sa.Local, b.sa.Local) && slices.Equal(a.sa.Remote, b.sa.Remote)
}

// add makes the inbound half of a child ready, and marks those that it is to replace.
func (s *SA) add(c *child) {
	for _, old := range s.fam.children {
		if !old.gone && old.successor == nil && sameTraffic(old, c) {
			old.successor = c
		}
	}
	s.fam.children = append(s.fam.children, c)
	s.env.Owner.Emit(sa.InstallIn{SA: c.sa})
}

// collide settles two children that both ends asked for at once: the one with the
// lowest of the four nonces goes. So IKEv2 does (RFC 7296 section 2.8.1), and RFC
// 2409 says nothing. The end that made the other deletes it.
func (s *SA) collide(now time.Time, a, b *child) {
	lost, won := a, b
	if slices.Compare(a.minted, b.minted) > 0 {
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

// spares reports whether a child that was replaced should stay a little longer: the peer still sends
// on it, or may think that it is the other that was replaced. When two quick modes have crossed and a
// message of them was lost, the ends can come to different ends of it, and each would
// delete what the other keeps. Then the one with the lowest nonce goes after all. (Where we asked for
// the successor in its place, they have not crossed: it was up.)
func (s *SA) spares(now time.Time, c *child) bool {
	const disputed, long = 10 * time.Second, 4500 * time.Millisecond
	n := c.successor
	crossed := c.made != n.made && n.asked != c.sa.SPIIn && n.sa.Created.Sub(c.sa.Created).Abs() < disputed
	heard := now.Sub(s.env.LastInbound(c.sa.SPIIn)) < deleteAfter/2
	if crossed && slices.Compare(c.minted, n.minted) < 0 || now.Sub(n.sa.Created) > long {
		return false
	}
	return crossed || heard
}

// doubt is for a peer that says INITIAL-CONTACT on a new ISAKMP SA: we "might then elect to delete any existing SA's"
// (RFC 2407 section 4.6.3.3). But strongSwan says so too when a quick mode crosses its rekey, and keeps the Child
// SAs. So what carries traffic does so until there is another, which the peer or else we ask for in a moment.
// What was just made does not begin to: its last message may not have come to pass.
func (s *SA) doubt(now time.Time) {
	const longest = 25 * time.Second
	for _, c := range s.fam.children {
		if c.gone || !c.sa.Created.Before(s.authedAt) {
			continue
		}
		c.doubted = true
		c.hardAt = sa.Earliest(c.hardAt, now.Add(longest))
		if c.out && (c.successor == nil || !c.successor.out) {
			c.successor = nil
			c.softAt = now.Add(s.env.Jitter(soonMin, soonMax))
		}
		c.outAt = time.Time{}
	}
}

// expiry is why a child ends at its hard end.
func (c *child) expiry() diag.Cause {
	why := diag.Cause{Code: diag.LifetimeEnded}
	if c.doubted {
		why.Code = diag.NoneSince
	}
	return why.Since(c.failed)
}

// notWanted is why a child goes that the operator or the configuration took away.
var notWanted = diag.Cause{Code: diag.NotWanted}

// leadsTo reports whether c comes after the child in the line of its successors.
func (c *child) leadsTo(to *child) bool {
	for n := 0; c.successor != nil && n < 8; n++ {
		if c = c.successor; c == to {
			return true
		}
	}
	return false
}

// succeeded sets when a child goes whose successor carries its traffic.
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

// sendOn lets new packets take a child. What it replaces is deleted a little later, by
// the end that made the new one.
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

// hold keeps back what would go out on the children that c is to replace, until the peer has shown that it
// has c, or for a moment. With our message 2 the peer can put c in their place, as strongSwan does, and
// what is under way on them then is lost. All that was sent before comes to it before that message.
func (s *SA) hold(now time.Time, c *child) {
	if c.out || c.gone {
		return
	}
	for _, old := range s.fam.children {
		if old.carriesFor(c) && old.heldUntil.IsZero() {
			old.heldUntil = now.Add(holdTime)
			s.env.Owner.Emit(sa.Hold{SPIIn: old.sa.SPIIn})
		}
	}
}

func (s *SA) resume(c *child) {
	if !c.heldUntil.IsZero() {
		c.heldUntil = time.Time{}
		s.env.Owner.Emit(sa.Resume{SPIIn: c.sa.SPIIn})
	}
}

// remove takes a child out at once.
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
		if old.successor == nil && old.softAt.IsZero() && !old.hardAt.IsZero() { // the peer thought better of replacing it
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

// lastGone ends an ISAKMP SA that was kept for its Child SAs only.
func (s *SA) lastGone(now time.Time) {
	if c := s.fam.current; c.state == sa.Outlived && len(s.fam.children) == 0 {
		c.die(now, c.why)
	}
}

// deleteChild tells the peer that a child is deleted, by the SPI that we receive
// on, and takes it out: at once, or if it has a successor when nothing can be under way any more.
func (s *SA) deleteChild(now time.Time, c *child, why diag.Cause) {
	if c.gone {
		return
	}
	s.fam.current.inform(deletion(c))
	s.retire(now, c, why)
}

func deletion(c *child) wire.Payload {
	return &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{u32(c.sa.SPIIn)}}
}

// retire is for a child that is deleted.
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

// releaseChildren removes them all, without a word to the peer.
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

// advanceChildren does what is due.
func (s *SA) advanceChildren(now time.Time) {
	for _, c := range slices.Clone(s.fam.children) {
		if sa.Due(now, c.outAt) {
			s.sendOn(now, c)
		}
		if sa.Due(now, c.heldUntil) {
			s.resume(c)
		}
		switch {
		case sa.Due(now, c.removeAt):
			if c.made { // the Delete may have been lost, and nobody answers it
				s.inform(deletion(c))
			}
			s.remove(now, c, replacedBy)
		case sa.Due(now, c.confirmBy):
			s.remove(now, c, diag.Cause{Code: diag.PeerStopped, Message: "message 3 of quick mode", After: confirmTime})
		case sa.Due(now, c.hardAt):
			s.log.Warn("Child SA expired", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn), sa.Why(c.expiry()))
			s.inform(deletion(c))
			if c.successor != nil && s.fam.find(c.successor.sa.SPIIn) == c.successor {
				s.sendOn(now, c.successor)
			}
			s.remove(now, c, c.expiry())
		case sa.Due(now, c.deleteAt):
			c.deleteAt = now.Add(time.Second)
			switch {
			case c.successor != nil && !c.successor.out: // traffic is still on this one
			case c.successor != nil && s.spares(now, c): // or the peer's may be
			default:
				s.deleteChild(now, c, replacedBy)
			}
		case sa.Due(now, c.softAt):
			c.softAt = time.Time{}
			s.startRekey(now, c, diag.Cause{Code: diag.LifetimeReached})
		}
	}
}

// SeenInbound implements sa.Machine: the peer uses the SA, so it can receive on it too.
func (s *SA) SeenInbound(now time.Time, spiIn uint32) bool {
	c := s.fam.find(spiIn)
	if c != nil {
		s.fam.current.sendOn(now, c)
	}
	return c != nil
}

// limits are the causes of a rekey that is not for the time.
var limits = map[ipsec.Limit]diag.Code{
	ipsec.LimitBytes: diag.BytesReached, ipsec.LimitPackets: diag.PacketsReached, ipsec.LimitSequence: diag.SequenceReached,
}

// Expired implements sa.Machine.
func (s *SA) Expired(now time.Time, spiIn uint32, limit ipsec.Limit) bool {
	c := s.fam.find(spiIn)
	if c != nil {
		s.fam.current.startRekey(now, c, diag.Cause{Code: limits[limit]})
		s.fam.pump(now)
	}
	return c != nil
}

// RekeyChildren implements sa.Machine.
func (s *SA) RekeyChildren(now time.Time, cfg *sa.Child, why diag.Cause) {
	for _, c := range slices.Clone(s.fam.children) {
		if c.cfg == cfg && (c.out || c.made) { // else the peer has begun to rekey this moment
			s.fam.current.startRekey(now, c, why)
		}
	}
	s.fam.pump(now)
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
		if !c.leaving() {
			out = append(out, sa.ChildInfo{Child: c.cfg, SA: c.sa, Out: c.out})
		}
	}
	return out
}

// Creating implements sa.Machine.
func (s *SA) Creating(c *sa.Child) bool {
	return s.fam.asked(func(q *quick) bool { return q.old == nil && q.cfg == c }) != nil
}
