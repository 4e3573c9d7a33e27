package ikev2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// child is one negotiated Child SA: a pair of ESP SAs. An sa.Child is the
// configuration that it serves.
type child struct {
	cfg      *sa.Child
	sa       *ipsec.ChildSA
	made     bool   // this end sent the request
	out      bool   // the outbound half is installed
	lowNonce []byte // the lower of the two nonces of its exchange

	successor    *child      // the child that replaces this one; installed
	rekey        *rekeyChild // our rekey, from the time it is queued until the peer answers
	deleting     bool        // our Delete is queued or under way
	gone         bool        // both ends deleted it; the inbound half still receives
	softAt       time.Time   // when to rekey it
	softWhy      diag.Kept   // why it is rekeyed at softAt, or has ended before removeAt
	hardAt       time.Time   // when its lifetime ends
	removeAt     time.Time   // when to remove a child that is gone
	failingSince time.Time   // the first of its rekeys that failed in a row
}

// leaving reports whether the child is deleted, or its successor carries the traffic.
func (c *child) leaving() bool { return c.gone || c.deleting || c.successor != nil && c.successor.out }

// latest follows the successors of a child to the last one; a child without a
// successor is its own latest.
func (c *child) latest() *child {
	for n := 0; c.successor != nil && n < 8; n++ {
		c = c.successor
	}
	return c
}

// loses reports whether c goes of two children that both ends have asked for at once: the one with the lowest of the four nonces.
func (c *child) loses(rival *child) bool { return bytes.Compare(c.lowNonce, rival.lowNonce) < 0 }

// standing is the last successor of c, or c itself, unless that one is deleted; nil: there is none.
func (s *SA) standing(c *child) *child {
	if c == nil {
		return nil
	}
	if c = c.latest(); s.findIn(c.sa.SPIIn) != c || c.gone || c.deleting {
		return nil
	}
	return c
}

// sameTraffic reports whether two children carry the same traffic.
func sameTraffic(a, b *child) bool {
	return a.cfg == b.cfg && ipsec.Covers(a.sa.Local, b.sa.Local) && ipsec.Covers(b.sa.Local, a.sa.Local) &&
		ipsec.Covers(a.sa.Remote, b.sa.Remote) && ipsec.Covers(b.sa.Remote, a.sa.Remote)
}

func (c *child) deadline() time.Time { return sa.Earliest(c.softAt, c.hardAt, c.removeAt) }

func (s *SA) findIn(spiIn uint32) *child {
	for _, c := range s.fam.children {
		if c.sa.SPIIn == spiIn {
			return c
		}
	}
	return nil
}

func (s *SA) findOut(spiOut []byte) *child {
	if len(spiOut) != 4 {
		return nil
	}
	for _, c := range s.fam.children {
		if c.sa.SPIOut == binary.BigEndian.Uint32(spiOut) {
			return c
		}
	}
	return nil
}

// childPayloads returns the SA, TSi and TSr payloads of a request.
func childPayloads(spi uint32, ps []ipsec.Proposal, local, remote []ipsec.Selector) []wire.Payload {
	return []wire.Payload{
		&wire.SA{Proposals: offer(ipsec.ProtoESP, u32(spi), ps)},
		&wire.TS{Selectors: local},
		&wire.TS{Responder: true, Selectors: remote},
	}
}

// childOffer is our request for a Child SA, to check the response against.
type childOffer struct {
	cfg           *sa.Child
	local, remote []ipsec.Selector
	spiIn         uint32
	dh            *sa.DH // nil: the request has no KE payload
}

// acceptOffer makes a child of the response to our request. If the response does
// not fit the request, the Cause says why.
func (s *SA) acceptOffer(now time.Time, o childOffer, ps []wire.Payload, ni, nr []byte) (*child, diag.Cause) {
	got, ok := wire.Find[*wire.SA](ps)
	tsi, okI := wire.FindType[*wire.TS](ps, wire.TypeTSi)
	tsr, okR := wire.FindType[*wire.TS](ps, wire.TypeTSr)
	if !ok || !okI || !okR {
		return nil, incomplete("Child SA in it")
	}
	own := o.cfg.Proposals
	if o.dh == nil {
		own = sa.WithoutKE(own)
	}
	suite, ok := chosen(got, own, ipsec.ProtoESP, o.dh != nil)
	if !ok || len(got.Proposals[0].SPI) != 4 {
		return nil, diag.Cause{Code: diag.ESPNotOffered, Theirs: sa.Difference(proposalsOf(got), own, o.dh != nil)}
	}
	if len(tsi.Selectors) == 0 || len(tsr.Selectors) == 0 || !ipsec.Covers(o.local, tsi.Selectors) || !ipsec.Covers(o.remote, tsr.Selectors) {
		return nil, diag.Cause{Code: diag.SelectorsWrong, Theirs: sa.ListText(tsi.Selectors) + " and " + sa.ListText(tsr.Selectors)}
	}
	if why := s.affords(o.cfg, nil, tsi.Selectors, tsr.Selectors); !why.OK() {
		return nil, why
	}
	spiOut := binary.BigEndian.Uint32(got.Proposals[0].SPI)
	if spiOut < 256 {
		return nil, diag.Cause{Code: diag.ReservedSPI}
	}
	var shared []byte
	if suite.KE.ID != 0 {
		ke, ok := wire.Find[*wire.KE](ps)
		if !ok || ke.Group != o.dh.Group() || suite.KE.ID != o.dh.Group() {
			return nil, incomplete("key exchange value of the group that we sent")
		}
		var err error
		if shared, err = o.dh.Shared(ke.Data); err != nil {
			return nil, diag.Cause{Code: diag.KeyExchange, Err: err.Error()}
		}
		o.dh.Clear()
	}
	if wire.FindNotify(ps, wire.AdditionalTSPossible) != nil {
		s.logger().Info("the peer allows more of the selectors in further Child SAs", "child", o.cfg.Name,
			"local", sa.ListText(tsi.Selectors), "remote", sa.ListText(tsr.Selectors))
	}
	c := s.newChild(now, o.cfg, suite, o.spiIn, spiOut, tsi.Selectors, tsr.Selectors, true, shared, ni, nr)
	c.sa.SilentESN = len(got.Proposals[0].Of(ipsec.ESN)) == 0
	return c, diag.Cause{}
}

// pairs is how many pairs of selectors an SPD entry has.
func pairs(local, remote []ipsec.Selector) int { return len(local) * len(remote) }

// affords says whether one more Child SA of cfg with these selectors is within the peer's budget, in
// place of rekeyed if that is not nil.
func (s *SA) affords(cfg *sa.Child, rekeyed *child, local, remote []ipsec.Selector) diag.Cause {
	n, own := pairs(local, remote), 0
	if n > max(maxPairs, pairs(cfg.Local, cfg.Remote)) {
		return diag.Cause{Code: diag.TooManyPairs, Count: n}
	}
	for _, c := range s.peer.Children {
		own += pairs(c.Local, c.Remote)
	}
	for _, c := range s.fam.children {
		if c != rekeyed && c.rekey == nil && !c.leaving() {
			n += pairs(c.sa.Local, c.sa.Remote)
		}
	}
	if n > max(maxAllPairs, 2*own) {
		return diag.Cause{Code: diag.TooManyPairs, Count: n}
	}
	return diag.Cause{}
}

// incomplete is the Cause of a response that lacks something.
func incomplete(lacks string) diag.Cause { return diag.Cause{Code: diag.AnswerIncomplete, Ours: lacks} }

// newChild makes a child of the negotiated values, and clears shared. With made,
// this end sent the request, so the keys of our direction come first.
func (s *SA) newChild(now time.Time, cfg *sa.Child, suite ipsec.Suite, in, out uint32, local, remote []ipsec.Selector, made bool, shared, ni, nr []byte) *child {
	mine, theirs := s.keys.childKeys(suite, shared, ni, nr)
	clear(shared)
	if !made {
		mine, theirs = theirs, mine
	}
	c := &child{
		cfg: cfg, made: made, lowNonce: lowest(ni, nr),
		sa: &ipsec.ChildSA{
			Tunnel: cfg.Tunnel, Child: cfg.Name, SPIIn: in, SPIOut: out, Suite: suite, In: theirs, Out: mine,
			Trunc96: cfg.Trunc96, Local: same(local, cfg.Local), Remote: same(remote, cfg.Remote), Path: s.childPath(), Follow: s.nat.MayMove(s.peer), Lifetime: cfg.Lifetime, Created: now,
		},
	}
	if life := cfg.Lifetime.Time; life > 0 {
		s.softLife(c)
		c.hardAt = now.Add(life)
	}
	sa.LogESP(s.env.KeyLog.To(sa.ESPKeys, c.sa.Tunnel), c.sa)
	return c
}

// same is the configured list where the negotiated one is equal to it: so the two are in memory once.
func same(negotiated, configured []ipsec.Selector) []ipsec.Selector {
	if slices.Equal(negotiated, configured) {
		return configured
	}
	return negotiated
}

// softLife sets the rekey before the lifetime of a child ends.
func (s *SA) softLife(c *child) {
	if life := c.cfg.Lifetime.Time; life > 0 {
		c.softAt, c.softWhy = c.sa.Created.Add(s.env.SoftTime(life, c.made)), diag.Keep(diag.Cause{Code: diag.LifetimeReached})
	}
}

// installIn installs the inbound half of a child.
func (s *SA) installIn(c *child) {
	s.fam.children = append(s.fam.children, c)
	s.env.Owner.Emit(sa.InstallIn{SA: c.sa})
}

// installOut installs the outbound half of a child, once.
func (s *SA) installOut(now time.Time, c *child) {
	if c.out || c.gone || c.deleting || s.findIn(c.sa.SPIIn) != c {
		return
	}
	c.out = true
	s.env.Owner.Emit(sa.InstallOut{SA: c.sa})
	s.info(now, "Child SA up", slog.String("child", c.cfg.Name), slog.String("spi", sa.Hex32(c.sa.SPIIn)), slog.String("spi_out", sa.Hex32(c.sa.SPIOut)),
		slog.String("proposal", c.sa.Suite.String()), slog.String("local", fmt.Sprint(c.sa.Local)), slog.String("remote", fmt.Sprint(c.sa.Remote)))
	s.env.Owner.ChildChanged(now, s, c.cfg, diag.Cause{})
}

// installBoth installs both halves of a child that we requested: the response
// proves that the peer is ready to receive.
func (s *SA) installBoth(now time.Time, c *child) {
	s.installIn(c)
	s.installOut(now, c)
}

// useChild installs a child that we requested. If it is held by now, it is deleted.
func (s *SA) useChild(now time.Time, c *child) {
	if s.env.Owner.Held(c.cfg) {
		s.installIn(c)
		s.deleteChild(c)
		return
	}
	s.installBoth(now, c)
}

// remove takes a child out at once.
func (s *SA) remove(now time.Time, c *child, why diag.Cause) {
	i := slices.Index(s.fam.children, c)
	if i < 0 {
		return
	}
	s.fam.children = slices.Delete(s.fam.children, i, i+1)
	s.env.Owner.Emit(sa.Remove{SPIIn: c.sa.SPIIn, Why: why})
	stays := c.successor != nil
	for _, old := range s.fam.children {
		if old.successor == c && !old.gone && !old.deleting { // the peer took the replacement back
			old.successor, stays = nil, true
			if old.softAt.IsZero() && !old.hardAt.IsZero() {
				s.rekeyLater(now, old, diag.Cause{Code: diag.SuccessorDeleted})
			}
		}
	}
	if !stays {
		s.env.Owner.ChildChanged(now, s, c.cfg, why)
	}
}

// retire removes a child that both ends have deleted. A child with a successor
// keeps its inbound half for lingerTime, because packets may be under way.
func (s *SA) retire(now time.Time, c *child, why diag.Cause) {
	c.gone, c.softAt, c.hardAt = true, time.Time{}, time.Time{}
	if c.successor == nil {
		s.remove(now, c, why)
		return
	}
	c.removeAt, c.softWhy = now.Add(lingerTime), diag.Keep(replaced)
}

// bequeath gives the Child SAs of an IKE SA that ends to another one of the peer, where that one has a Child SA for the same
// traffic: both ends have begun at once, or the peer has begun anew. New packets take the other Child SA. The inbound half
// stays for lingerTime at most, for the packets that are under way, and for those of a peer that has not handled our Delete yet:
// the Delete is repeated for no longer.
func (s *SA) bequeath(now time.Time, why diag.Cause) {
	if s.fam.current != s || s.rivalAlive() { // the rival inherits them
		return
	}
	s.fam.children = slices.DeleteFunc(s.fam.children, func(c *child) bool {
		heir, twin := s.heir(c)
		if heir == nil {
			return false
		}
		if c.out {
			c.out = false
			s.env.Owner.Emit(sa.RemoveOut{SPIIn: c.sa.SPIIn})
		}
		if !c.gone {
			c.gone, c.removeAt, c.softWhy = true, sa.Earliest(now.Add(lingerTime), c.hardAt), diag.Keep(why)
			c.softAt, c.hardAt = time.Time{}, time.Time{}
		}
		c.successor = twin
		heir.fam.children = append(heir.fam.children, c)
		s.env.Owner.Stirred(heir)
		return true
	})
}

// heir is another IKE SA of the peer with a child for the traffic of c; nil: there is none.
func (s *SA) heir(c *child) (*SA, *child) {
	for _, m := range s.env.Owner.Others(s) {
		o, ok := m.(*SA)
		if !ok || o.state != sa.Established || o.fam.current != o || len(o.fam.children) >= maxChildren {
			continue
		}
		for _, t := range o.fam.children {
			if t.out && !t.leaving() && sameTraffic(c, t) {
				return o, t
			}
		}
	}
	return nil, nil
}

// childRequest is a request of the peer for a Child SA.
type childRequest struct {
	sa            *wire.SA
	local, remote []ipsec.Selector // TSr and TSi
	tsi, tsr      *wire.TS
	ke            *wire.KE
	rekeyed       *child
	withKE        bool
}

// readChildRequest reads the peer's request for a Child SA; false: the message has none.
func readChildRequest(ps []wire.Payload) (childRequest, bool, error) {
	var o childRequest
	var okS, okI, okR bool
	o.sa, okS = wire.Find[*wire.SA](ps)
	o.tsi, okI = wire.FindType[*wire.TS](ps, wire.TypeTSi)
	o.tsr, okR = wire.FindType[*wire.TS](ps, wire.TypeTSr)
	o.ke, _ = wire.Find[*wire.KE](ps)
	if !okS && !okI && !okR {
		return o, false, nil
	}
	if !okS || !okI || !okR {
		return o, false, syntax("a request for a Child SA without SA, TSi or TSr")
	}
	o.local, o.remote = o.tsr.Selectors, o.tsi.Selectors
	return o, true, nil
}

// answerChild negotiates a Child SA that the peer requests. It returns the child,
// not yet installed, and the payloads SA, [KE,] TSi, TSr and
// [N(ADDITIONAL_TS_POSSIBLE)] of the response.
func (s *SA) answerChild(now time.Time, o childRequest, ni, nr []byte) (*child, []wire.Payload, error) {
	if o.tsi.Malformed || o.tsr.Malformed { // INVALID_SYNTAX would end the IKE SA
		return nil, nil, refuse(wire.TSUnacceptable, diag.Cause{Code: diag.Malformed, Err: "traffic selectors that cannot be read"})
	}
	cfg, local, remote := s.match(o)
	if cfg == nil {
		why := diag.Cause{Code: diag.Selectors, Theirs: selectorText(o.local, o.remote), Ours: s.peer.Wishes()}
		s.noteRefusal(now, why)
		return nil, nil, refuse(wire.TSUnacceptable, why)
	}
	if s.env.Owner.Held(cfg) {
		return nil, nil, refuse(wire.TSUnacceptable, diag.Cause{Code: diag.ChildHeld, Name: cfg.Name})
	}
	if why := s.affords(cfg, o.rekeyed, local, remote); !why.OK() {
		return nil, nil, refuse(wire.NoAdditionalSAs, why)
	}
	own := cfg.Proposals
	if !o.withKE {
		own = sa.WithoutKE(own)
	}
	var group uint16
	if o.ke != nil {
		group = o.ke.Group
	}
	from, suite := choose(own, o.sa, ipsec.ProtoESP, o.withKE, group, true)
	if from == nil {
		from, suite = choose(own, o.sa, ipsec.ProtoESP, o.withKE, group, false)
	}
	if from == nil {
		why := diag.Cause{Code: diag.ESPProposal, Theirs: sa.Difference(proposalsOf(o.sa), own, o.withKE)}
		s.env.Owner.ChildChanged(now, s, cfg, why)
		return nil, nil, refuse(wire.NoProposalChosen, why)
	}
	if suite.KE.ID != group && suite.KE.ID != 0 {
		return nil, nil, &wire.NotifyError{Kind: wire.InvalidKEPayload, Data: u16(suite.KE.ID), Cause: diag.Cause{Code: diag.ESPGroup, Ours: suite.KE.String()}}
	}
	if len(from.SPI) != 4 {
		return nil, nil, syntax("an ESP proposal with an SPI of %d bytes", len(from.SPI))
	}
	spiOut := binary.BigEndian.Uint32(from.SPI)
	if spiOut < 256 {
		return nil, nil, syntax("a reserved SPI")
	}
	var secret []byte
	var ke []wire.Payload
	if suite.KE.ID != 0 {
		g, public, err := s.exchangeKE(o.ke)
		if err != nil {
			return nil, nil, err
		}
		secret, ke = g, []wire.Payload{&wire.KE{Group: group, Data: public}}
	}
	spiIn, err := s.env.AllocSPI()
	if err != nil {
		return nil, nil, refuse(wire.NoAdditionalSAs, diag.Cause{Code: diag.NoSPI, Err: err.Error()})
	}
	c := s.newChild(now, cfg, suite, spiIn, spiOut, local, remote, false, secret, ni, nr)
	c.sa.SilentESN = len(from.Of(ipsec.ESN)) == 0
	ps := []wire.Payload{answer(from, u32(spiIn), suite)}
	ps = append(ps, ke...)
	ps = append(ps, &wire.TS{Selectors: remote}, &wire.TS{Responder: true, Selectors: local})
	if s.takesMore(o, cfg, local, remote) {
		ps = append(ps, &wire.Notify{Kind: wire.AdditionalTSPossible})
	}
	return c, ps, nil
}

// exchangeKE makes our public value for the peer's, and the shared secret of both.
func (s *SA) exchangeKE(ke *wire.KE) (shared, public []byte, err error) {
	dh, err := sa.NewDH(ke.Group, s.env.Rand)
	if err != nil {
		return nil, nil, refuse(wire.NoProposalChosen, internal("make a key exchange value", err))
	}
	if shared, err = dh.Shared(ke.Data); err != nil {
		return nil, nil, refuse(wire.InvalidSyntax, diag.Cause{Code: diag.KeyExchange, Err: err.Error()})
	}
	dh.Clear()
	return shared, dh.Public(), nil
}

// match finds the configured child that fits a request best, and narrows the
// request's selectors to it (RFC 7296 section 2.9). A child that covers the whole
// request fits best. Next comes a child that covers its first selectors, because a
// subset "that includes the initiator's first choices" is a MUST; then the first
// child that covers any part.
func (s *SA) match(o childRequest) (cfg *sa.Child, local, remote []ipsec.Selector) {
	candidates := s.peer.Children
	if o.rekeyed != nil {
		candidates = []*sa.Child{o.rekeyed.cfg}
	}
	best := 0
	for _, c := range candidates {
		l, r := ipsec.Narrow(o.local, c.Local), ipsec.Narrow(o.remote, c.Remote)
		fit := 1
		switch {
		case len(l) == 0 || len(r) == 0:
			continue
		case ipsec.Covers(c.Local, o.local) && ipsec.Covers(c.Remote, o.remote):
			return c, l, r
		case ipsec.Covers(c.Local, o.local[:1]) && ipsec.Covers(c.Remote, o.remote[:1]):
			fit = 2
		}
		if fit > best {
			best, cfg, local, remote = fit, c, l, r
		}
	}
	return cfg, local, remote
}

// takesMore reports whether another Child SA could carry a part of a request that was
// lost when the request was narrowed to local and remote. ADDITIONAL_TS_POSSIBLE says so: "the responder
// narrowed the proposed Traffic Selectors but that other Traffic
// Selectors would also have been acceptable, though only in a separate SA".
func (s *SA) takesMore(o childRequest, cfg *sa.Child, local, remote []ipsec.Selector) bool {
	return slices.ContainsFunc(s.peer.Children, func(c *sa.Child) bool {
		l, r := ipsec.Narrow(o.local, c.Local), ipsec.Narrow(o.remote, c.Remote)
		return c != cfg && len(l) > 0 && len(r) > 0 && !s.env.Owner.Held(c) &&
			!(ipsec.Covers(local, l) && ipsec.Covers(remote, r))
	})
}

// noteRefusal reports a refusal that concerns no single child for every child that
// is not up.
func (s *SA) noteRefusal(now time.Time, why diag.Cause) {
	for _, c := range s.peer.Children {
		if !slices.ContainsFunc(s.fam.children, func(up *child) bool { return up.cfg == c }) {
			s.env.Owner.ChildChanged(now, s, c, why)
		}
	}
}

// selectorText writes the selectors of both ends for a sentence.
func selectorText(local, remote []ipsec.Selector) string {
	return sa.ListText(local) + " here and " + sa.ListText(remote) + " there"
}

// childRefused reports that the peer refused a Child SA.
func (s *SA) childRefused(now time.Time, cfg *sa.Child, local, remote []ipsec.Selector, n *wire.Notify) {
	why := diag.Cause{Code: diag.ESPRefused, Ours: sa.ProposalText(cfg.Proposals), Notify: n.Kind.String()}
	switch n.Kind {
	case wire.TSUnacceptable, wire.SinglePairRequired, wire.InvalidSelectors:
		why.Code, why.Ours = diag.SelectorsRefuse, selectorText(local, remote)
	}
	s.logger().Warn("Child SA refused", "child", cfg.Name, "notify", n.Kind.String())
	s.env.Owner.ChildRefused(now, s, cfg, local, remote, why)
}

// SeenInbound implements sa.Machine. A peer that sends on a Child SA can receive on
// it too (RFC 7296 section 2.8).
func (s *SA) SeenInbound(now time.Time, spiIn uint32) bool {
	c := s.findIn(spiIn)
	if c == nil || s.fam.current != s {
		return false
	}
	s.installOut(now, c)
	return true
}

// limits has the code of the rekey for each limit that a Child SA can reach.
var limits = map[ipsec.Limit]diag.Code{
	ipsec.LimitBytes:    diag.BytesReached,
	ipsec.LimitPackets:  diag.PacketsReached,
	ipsec.LimitSequence: diag.SequenceReached,
}

// Expired implements sa.Machine.
func (s *SA) Expired(now time.Time, spiIn uint32, limit ipsec.Limit) bool {
	c := s.findIn(spiIn)
	if c == nil || s.fam.current != s {
		return false
	}
	s.startRekey(now, c, diag.Cause{Code: limits[limit]})
	s.pump(now)
	return true
}

// RekeyChildren implements sa.Machine.
func (s *SA) RekeyChildren(now time.Time, cfg *sa.Child, why diag.Cause) {
	if s.fam.current != s {
		return
	}
	for _, c := range s.fam.children {
		if c.cfg == cfg {
			s.startRekey(now, c, why)
		}
	}
	s.pump(now)
}

// DeleteChildren implements sa.Machine.
func (s *SA) DeleteChildren(now time.Time, cfg *sa.Child) {
	if s.fam.current != s {
		return
	}
	for _, c := range slices.Clone(s.fam.children) {
		if c.cfg == cfg {
			s.deleteChild(c)
		}
	}
	s.pump(now)
}

// advanceChildren removes, ends and rekeys the children whose time has come.
func (s *SA) advanceChildren(now time.Time) {
	for _, c := range slices.Clone(s.fam.children) {
		switch {
		case sa.Due(now, c.removeAt):
			s.remove(now, c, c.softWhy.Cause())
		case sa.Due(now, c.hardAt):
			c.hardAt, c.softAt = time.Time{}, time.Time{}
			s.installOut(now, c.latest())
			s.logger().Warn("Child SA expired before a rekey succeeded", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn))
			s.deleteChild(c)
			s.remove(now, c, diag.Cause{Code: diag.LifetimeEnded}) // it "MUST NOT be used" (section 2.8)
		case sa.Due(now, c.softAt):
			c.softAt = time.Time{}
			s.startRekey(now, c, c.softWhy.Cause())
		}
	}
}
