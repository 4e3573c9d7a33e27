package ikev1

import (
	"fmt"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// Aggressive mode with a pre-shared key, RFC 2409 section 5.4, with the payloads
// of RFC 3947, by which the third message is encrypted too.
//
//	Initiator                          Responder
//	HDR, SA, KE, Ni, IDii, VID  -->
//	                            <--    HDR, SA, KE, Nr, IDir, HASH_R, VID, NAT-D
//	HDR*, HASH_I, NAT-D         -->
//
// The identities are in the clear, and the sender of message 1 can try pre-shared keys
// against HASH_R offline. So vpngw answers only for connections that are in aggressive mode.

// maxAmplification limits the length of message 2, as a multiple of the length of message 1.
const maxAmplification = 2

// HDR, SA, KE, Ni, IDii, VID -->
func (p1 *phase1) beginAggressive(now time.Time) {
	s := p1.s
	offer := offerIKE(p1.own, s.peer.Lifetime)
	p1.sai = body(offer)
	p1.x.step = ag2
	ps := []wire.Payload{offer, &wire.Raw{Kind: wire.TypeKE1, Data: p1.gxi}, &wire.Nonce1{Data: p1.ni}, id(s.peer.LocalID)}
	s.say(now, p1.x, true, append(ps, allVendors(s.peer)...)...)
}

// HDR, SA, KE, Nr, IDir, HASH_R, VID, NAT-D <-- and then HDR*, HASH_I, NAT-D -->
func (p1 *phase1) ag2(now time.Time, m *message) error {
	s := p1.s
	if err := s.foreign(m.SPIr); err != nil {
		return err
	}
	if err := p1.returned(m); err != nil {
		return err
	}
	if why := p1.takeChoice(m); !why.OK() {
		return p1.distrust(now, sa.DropMalformed, why)
	}
	if err := p1.afford(now, m, 1, true); err != nil {
		return err
	}
	// A forged answer must not spoil the genuine one that may follow.
	dh, spiR := p1.dh, s.spiR
	s.spiR = m.SPIr
	p1.take(m)
	err := p1.derive(s.peer.PSK, p1.gxr)
	again := func() { p1.dh, s.spiR, s.keys, p1.x.iv = dh, spiR, nil, nil }
	if err != nil {
		again()
		return p1.distrust(now, sa.DropMalformed, invalidKey(err))
	}
	who, _ := wire.Find[*wire.ID1](m.Payloads)
	if !proven(m, p1.hashR(who.Body())) {
		again()
		return p1.distrust(now, sa.DropBadHash, diag.Cause{Code: diag.HashWrong, Theirs: "HASH_R", Message: p1.x.step.text()})
	}
	if !welcomes(s.peer, who.Identity()) {
		again()
		return p1.distrust(now, sa.DropMalformed, otherIdentity(who.Identity(), s.peer))
	}
	dh.Clear()
	p1.answered(m)
	s.detectNAT(m.Payloads)
	if why := s.nat.Problem(s.peer); !why.OK() {
		s.Drop(now, why)
		return nil
	}
	s.float()
	s.name()
	p1.refused = diag.Cause{}
	ps := []wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: p1.hashI(id(s.peer.LocalID).Body())}}
	ps = append(ps, s.natPayloads(s.peer)...)
	msg := s.seal(p1.x, p1.initialContact(ps))
	p1.x.retx.Stop()
	p1.x.sent = s.fragments(msg)
	s.send(s.path, p1.x.sent)
	s.lastIV, s.unacked = p1.x.iv, msg
	s.unackedRetx = sa.Retransmitter{First: time.Second, Total: 20 * time.Second, Rand: s.env.Rand}
	s.unackedRetx.Start(now, p1.x.sent...)
	s.established(now, false)
	return nil
}

// HDR, SA, KE, Ni, IDii, VID <-- and then HDR, SA, KE, Nr, IDir, HASH_R, VID, NAT-D -->
func (p1 *phase1) ag1(now time.Time, m *message) error {
	s := p1.s
	ps, err := p1.answering(m)
	if err != nil {
		return err
	}
	who, _ := wire.Find[*wire.ID1](m.Payloads)
	p1.candidates = ps
	var p *sa.Peer
	for _, c := range ps {
		if welcomes(c, who.Identity()) && p == nil {
			p = c
		}
	}
	if p == nil {
		return p1.trouble(ps, wire.InvalidID1, otherIdentity(who.Identity(), ps...))
	}
	ke, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	c, err := p1.choose(m, []*sa.Peer{p}, 0)
	if err == nil && len(ke.Data) != sa.PublicSize(c.suite.KE.ID) { // the length of the value says which group the peer means
		for _, own := range ikeSuites(p.Proposals) {
			if len(ke.Data) == sa.PublicSize(own.KE.ID) {
				c, err = p1.choose(m, []*sa.Peer{p}, own.KE.ID)
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if err := sa.CheckPublic(c.suite.KE.ID, ke.Data); err != nil {
		return p1.trouble([]*sa.Peer{p}, wire.InvalidKey1, invalidKey(err))
	}
	if err := p1.afford(now, m, 2, false); err != nil {
		return err
	}
	s.peer, p1.candidates = p, []*sa.Peer{p}
	p1.keepNATT()
	if p1.nr, err = s.env.Nonce(); err != nil {
		return err
	}
	if p1.dh, err = sa.NewDH(s.suite.KE.ID, s.env.Rand); err != nil {
		return err
	}
	p1.gxr, p1.idi = p1.dh.Public(), who.Body()
	p1.take(m)
	s.spiR = s.env.Owner.NewSPI()
	if err := p1.derive(p.PSK, p1.gxi); err != nil {
		return p1.trouble([]*sa.Peer{p}, wire.InvalidKey1, invalidKey(err))
	}
	own := id(p.LocalID)
	answer := []wire.Payload{
		c.answer(c.proposal.SPI), &wire.Raw{Kind: wire.TypeKE1, Data: p1.gxr}, &wire.Nonce1{Data: p1.nr},
		own, &wire.Raw{Kind: wire.TypeHash1, Data: p1.hashR(own.Body())},
	}
	answer = append(answer, s.peerSays.answer()...)
	answer = append(answer, s.natPayloads(p)...)
	msg := (&wire.Message{Header: s.header(p1.x.kind, 0), Payloads: answer}).Marshal()
	if len(msg) > maxAmplification*len(m.d.Data) {
		return p1.trouble([]*sa.Peer{p}, wire.PayloadMalformed1, diag.Cause{
			Code: diag.AnswerTooLong, Theirs: fmt.Sprintf("%d bytes", len(m.d.Data)), Ours: fmt.Sprintf("%d bytes", len(msg)),
		})
	}
	s.nameStranger(now)
	p1.x.lastHash = m.hash()
	p1.x.sent = [][]byte{msg} // never fragmented: one datagram is answered with one
	p1.x.step = ag3
	s.env.Owner.Spawned(s)
	s.send(s.path, p1.x.sent)
	return nil
}

// HDR*, HASH_I, NAT-D <--
func (p1 *phase1) ag3(now time.Time, m *message) error {
	s := p1.s
	if !proven(m, p1.hashI(p1.idi)) {
		return wrongHash("HASH_I", p1.x.step.text())
	}
	s.detectNAT(m.Payloads)
	if err := p1.bindPeer(m, s.peer.RemoteID); err != nil {
		return err
	}
	s.lastIV = p1.x.iv
	s.established(now, wire.FindNotify1(m.Payloads, wire.InitialContact1) != nil)
	return nil
}
