package ikev2

import (
	"bytes"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// CREATE_CHILD_SA that rekeys the IKE SA, RFC 7296 sections 1.3.2, 2.8.2, 2.18.
//
//	Initiator                         Responder
//	HDR, SK {SA, Ni, KEi}  -->
//	                             <--  HDR, SK {SA, Nr, KEr}

type rekeyIKE struct {
	plain
	spi   uint64
	dh    *sa.DH
	group uint16
	ni    []byte
	tries int
	back  bool // to the group of our first choice (see regroup)
}

// RekeyIKE implements sa.Machine.
func (s *SA) RekeyIKE(now time.Time, why diag.Cause) {
	if s.state != sa.Established || s.fam.current != s {
		return
	}
	for _, t := range s.tasks() {
		if _, ok := t.(*rekeyIKE); ok {
			return
		}
	}
	s.logger().Debug("rekeying the IKE SA", sa.Why(why))
	s.rekeyWhy = diag.Keep(why)
	t := &rekeyIKE{}
	if why.Code == diag.GroupUnproven {
		t.group, t.back = firstGroup(s.peer.Proposals), true
	}
	s.enqueue(t)
	s.pump(now)
}

// regroup rekeys a new IKE SA of ours that began in another group than that of our first choice, in that group. The
// INVALID_KE_PAYLOAD that led away from it was in the clear, so anybody may have sent it; what the peer answers now is authentic.
func (s *SA) regroup(now time.Time) {
	first := firstGroup(s.peer.Proposals)
	if first == s.suite.KE.ID {
		return
	}
	s.RekeyIKE(now, diag.Cause{Code: diag.GroupUnproven, Theirs: s.suite.KE.String(), Ours: sa.GroupText(first)})
}

func (t *rekeyIKE) build(s *SA, _ time.Time) (request, bool) {
	if s.state != sa.Established || s.fam.current != s {
		return request{}, false
	}
	if t.group == 0 {
		t.group = s.suite.KE.ID
	}
	var err error
	if t.dh, err = sa.NewDH(t.group, s.env.Rand); err != nil {
		return request{}, false
	}
	if t.ni, err = s.env.Nonce(); err != nil {
		return request{}, false
	}
	t.spi = s.env.Owner.NewSPI()
	return request{wire.ExchangeCreateChild, []wire.Payload{
		&wire.SA{Proposals: offer(ipsec.ProtoIKE, u64(t.spi), s.peer.Proposals)},
		&wire.Nonce{Data: t.ni},
		&wire.KE{Group: t.group, Data: t.dh.Public()},
	}}, true
}

func (t *rekeyIKE) answered(s *SA, now time.Time, ps []wire.Payload) error {
	n := errorNotify(ps)
	if s.state == sa.Established {
		s.busy(now, n)
	}
	defer t.dh.Clear()
	if n != nil {
		t.refused(s, now, n)
		return nil
	}
	got, _ := wire.Find[*wire.SA](ps)
	nonce, _ := wire.Find[*wire.Nonce](ps)
	ke, hasKE := wire.Find[*wire.KE](ps)
	suite, ok := chosen(got, s.peer.Proposals, ipsec.ProtoIKE, true)
	if !ok || !hasKE || ke.Group != t.group || suite.KE.ID != t.group || len(got.Proposals[0].SPI) != 8 || be64(got.Proposals[0].SPI) == 0 {
		t.retry(s, now, diag.Cause{Code: diag.RekeyAnswer})
		return nil
	}
	shared, err := t.dh.Shared(ke.Data)
	if err != nil {
		t.retry(s, now, diag.Cause{Code: diag.KeyExchange, Err: err.Error()})
		return nil
	}
	next, err := s.successor(now, true, t.spi, be64(got.Proposals[0].SPI), suite, shared, t.ni, nonce.Data)
	if err != nil {
		t.retry(s, now, internal("derive keys", err))
		return nil
	}
	if s.state != sa.Established { // s was closed meanwhile; at the peer the new IKE SA has the Child SAs
		next.Close(now, s.endWhy.Cause())
		return nil
	}
	if s.rivalAlive() && bytes.Compare(lowest(t.ni, nonce.Data), s.rivalMin) < 0 {
		// "The new IKE SA containing the lowest nonce SHOULD be deleted by the node that
		// created it, and the other surviving new IKE SA MUST inherit all the Child SAs." The
		// peer deletes the old one.
		s.logger().Debug("rekey collision: our IKE SA goes", "new_ispi", sa.Hex64(next.spiI))
		s.handOver(now, s.rival)
		s.awaitDelete(now)
		next.discard(now, diag.Cause{Code: diag.Collision})
		return nil
	}
	s.handOver(now, next)
	if s.rival != nil {
		s.rival.awaitDelete(now)
	}
	s.discard(now, replaced)
	if t.back { // the keys of the Child SAs are from the first key exchange
		for _, c := range s.peer.Children {
			next.RekeyChildren(now, c, s.rekeyWhy.Cause())
		}
	}
	return nil
}

func (t *rekeyIKE) refused(s *SA, now time.Time, n *wire.Notify) {
	if t.back && n.Kind != wire.TemporaryFailure { // it was the peer who did not want our first choice
		s.rekeyInTime()
		return
	}
	if n.Kind == wire.InvalidKEPayload && len(n.Data) == 2 && t.tries < 2 && !s.rivalAlive() {
		group := uint16(n.Data[0])<<8 | uint16(n.Data[1])
		for _, p := range s.peer.Proposals {
			for _, ke := range p.Of(ipsec.KE) {
				if ke.ID == group && group != t.group {
					s.enqueue(&rekeyIKE{group: group, tries: t.tries + 1})
					return
				}
			}
		}
	}
	t.retry(s, now, diag.Cause{Code: diag.PeerAnswered, Notify: n.Kind.String()})
}

// retry sets the next attempt of a rekey that failed. If the peer's own rekey has
// succeeded meanwhile, "the first peer can forget its own rekey attempt".
func (t *rekeyIKE) retry(s *SA, now time.Time, why diag.Cause) {
	if s.state != sa.Established {
		return
	}
	if s.rivalAlive() {
		s.handOver(now, s.rival)
		s.awaitDelete(now)
		return
	}
	s.logger().Warn("the rekey of the IKE SA failed and is tried again", sa.Why(why))
	if s.rekeyAt = now.Add(s.env.Jitter(retryMin, retryMax)); !t.back {
		s.rekeyWhy = diag.Keep(why)
	}
}

// answerRekeyIKE answers the peer's request to rekey the IKE SA.
func (s *SA) answerRekeyIKE(now time.Time, ps []wire.Payload, offer *wire.SA) ([]wire.Payload, func(), error) {
	if s.state != sa.Established || s.fam.current != s {
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.BeingReplaced, Name: "the IKE SA"})
	}
	if s.rivalAlive() {
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.RekeyedAlready})
	}
	switch s.out.(type) { // "currently creating, rekeying, or closing a Child SA"
	case *createChild, *rekeyChild, *deleteChild:
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.ChildBusy})
	}
	ke, ok := wire.Find[*wire.KE](ps)
	nonce, _ := wire.Find[*wire.Nonce](ps)
	if !ok {
		return nil, nil, syntax("a rekey of the IKE SA without a KE payload")
	}
	_, from, suite := chooseIKE([]*sa.Peer{s.peer}, offer, ke.Group)
	if from == nil {
		return nil, nil, refuse(wire.NoProposalChosen, diag.Cause{Code: diag.IKEProposal, Theirs: sa.Difference(proposalsOf(offer), s.peer.Proposals, true)})
	}
	if suite.KE.ID != ke.Group {
		return nil, nil, &wire.NotifyError{Kind: wire.InvalidKEPayload, Data: u16(suite.KE.ID), Cause: groupGuess(ke.Group, suite.KE)}
	}
	spi := from.SPI
	if len(spi) != 8 || be64(spi) == 0 {
		return nil, nil, syntax("an IKE proposal with an SPI of %d bytes", len(spi))
	}
	shared, public, err := s.exchangeKE(ke)
	if err != nil {
		return nil, nil, err
	}
	nr, err := s.env.Nonce()
	if err != nil {
		return nil, nil, refuse(wire.TemporaryFailure, internal("make a nonce", err))
	}
	own := s.env.Owner.NewSPI()
	n, err := s.successor(now, false, be64(spi), own, suite, shared, nonce.Data, nr)
	if err != nil {
		return nil, nil, refuse(wire.TemporaryFailure, internal("derive keys", err))
	}
	collision := s.rekeyingIKE()
	if collision {
		s.rival, s.rivalMin = n, lowest(nonce.Data, nr) // the peer's response decides who wins
	}
	reply := []wire.Payload{
		answer(from, u64(own), suite),
		&wire.Nonce{Data: nr},
		&wire.KE{Group: ke.Group, Data: public},
	}
	return reply, func() {
		if !collision {
			s.handOver(now, n)
			s.awaitDelete(now)
		}
	}, nil
}

// awaitDelete waits for the peer to delete a replaced SA, for handoverTime.
func (s *SA) awaitDelete(now time.Time) {
	if s.state == sa.Established {
		s.setState(now, sa.Replaced, replaced)
		s.rekeyAt, s.keepaliveAt = time.Time{}, time.Time{}
		s.expireAt = now.Add(handoverTime)
	}
}

// concede lets the peer win an open rekey collision, because this SA ends before
// the collision is decided: the peer did not notice our rekey, so "the first peer can
// forget its own rekey attempt" (section 2.8.2).
func (s *SA) concede(now time.Time) {
	if s.fam.current == s && s.rivalAlive() {
		s.handOver(now, s.rival)
	}
}

func (s *SA) rivalAlive() bool { return s.rival != nil && s.rival.state == sa.Established }

// successor makes the IKE SA that replaces this one.
func (s *SA) successor(now time.Time, initiator bool, spiI, spiR uint64, suite ipsec.Suite, shared, ni, nr []byte) (*SA, error) {
	k, err := s.keys.nextKeys(suite, shared, ni, nr, spiI, spiR)
	if err != nil {
		return nil, err
	}
	n := newSA(s.env, now, initiator)
	n.fam = s.fam
	n.peer, n.suite, n.keys, n.spiI, n.spiR = s.peer, suite, k, spiI, spiR
	n.path, n.nat, n.fragment = s.path, s.nat, s.fragment
	n.name()
	n.established(now)
	n.LogKeys(n.env.KeyLog)
	s.env.Owner.Spawned(n)
	return n, nil
}

// handOver gives the Child SAs to n, with the tasks on them that wait.
func (s *SA) handOver(now time.Time, n *SA) {
	s.fam.current = n
	was := n.path.Remote
	n.path = s.path // s may have followed the peer since n was made
	if t, ok := s.out.(*deleteChild); ok {
		// Its answer may be lost with this SA. To delete twice does no harm (section 2.25.1).
		n.enqueue(&deleteChild{spiIn: t.spiIn, c: t.c})
	}
	var rest []task
	for _, t := range s.queue {
		switch t.(type) {
		case *createChild, *rekeyChild, *deleteChild:
			n.enqueue(t)
		default:
			rest = append(rest, t)
		}
	}
	s.queue = rest
	s.rekeyAt, s.keepaliveAt = time.Time{}, time.Time{}
	s.logger().Info("IKE SA rekeyed", "new_ispi", sa.Hex64(n.spiI), "new_rspi", sa.Hex64(n.spiR))
	s.env.Owner.Succeeded(now, s, n)
	if was != n.path.Remote {
		s.env.Owner.PeerMoved(now, n, was)
	}
	n.pump(now)
}
