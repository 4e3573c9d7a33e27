package ikev1

import (
	"bytes"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Main mode with a pre-shared key, RFC 2409 section 5.4, with the payloads of RFC 3947.
//
//	Initiator                        Responder
//	HDR, SA, VID        -->
//	                    <--          HDR, SA, VID
//	HDR, KE, Ni, NAT-D  -->
//	                    <--          HDR, KE, Nr, NAT-D
//	HDR*, IDii, HASH_I  -->
//	                    <--          HDR*, IDir, HASH_R

// HDR, SA, VID -->
func (p1 *phase1) beginMain(now time.Time) {
	s := p1.s
	offer := offerIKE(p1.own, s.peer.Lifetime)
	p1.sai = body(offer)
	p1.x.step = mm2
	s.say(now, p1.x, true, append([]wire.Payload{offer}, allVendors(s.peer)...)...)
}

// body is a payload without its generic header.
func body(p wire.Payload) []byte { return wire.AppendChain(nil, []wire.Payload{p})[4:] }

// HDR, SA, VID <-- and then HDR, KE, Ni, NAT-D -->
func (p1 *phase1) mm2(now time.Time, m *message) error {
	s := p1.s
	if err := s.foreign(m.SPIr); err != nil {
		return err
	}
	if why := p1.takeChoice(m); !why.OK() {
		return p1.distrust(now, sa.DropMalformed, why)
	}
	dh, err := sa.NewDH(s.suite.KE.ID, s.env.Rand)
	if err != nil {
		s.Drop(now, noKeyPair(err))
		return nil
	}
	p1.dh, p1.gxi, s.spiR = dh, dh.Public(), m.SPIr
	p1.answered(m)
	s.name()
	p1.refused = diag.Cause{}
	p1.x.step = mm4
	ps := []wire.Payload{&wire.Raw{Kind: wire.TypeKE1, Data: p1.gxi}, &wire.Nonce1{Data: p1.ni}}
	s.say(now, p1.x, true, append(ps, s.natPayloads(s.peer)...)...)
	return nil
}

// HDR, KE, Nr, NAT-D <-- and then HDR*, IDii, HASH_I -->
func (p1 *phase1) mm4(now time.Time, m *message) error {
	s := p1.s
	if err := p1.returned(m); err != nil {
		return err
	}
	p1.take(m)
	if err := p1.derive(s.peer.PSK, p1.gxr); err != nil {
		return dropTelling(sa.DropMalformed, invalidKey(err))
	}
	s.detectNAT(m.Payloads)
	if why := s.nat.Problem(s.peer); !why.OK() {
		s.Drop(now, why)
		return nil
	}
	s.float()
	s.name()
	p1.x.step = mm6
	own := id(s.peer.LocalID)
	ps := []wire.Payload{own, &wire.Raw{Kind: wire.TypeHash1, Data: p1.hashI(own.Body())}}
	s.say(now, p1.x, true, p1.initialContact(ps)...)
	s.lastIV = p1.x.iv // the peer may answer with an informational exchange instead of message 6
	return nil
}

// take notes the peer's key exchange value and nonce.
func (p1 *phase1) take(m *message) {
	ke, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	nonce, _ := wire.Find[*wire.Nonce1](m.Payloads)
	if p1.s.initiator {
		p1.gxr, p1.nr = ke.Data, nonce.Data
	} else {
		p1.gxi, p1.ni = ke.Data, nonce.Data
	}
}

// HDR*, IDir, HASH_R <--
func (p1 *phase1) mm6(now time.Time, m *message) error {
	s := p1.s
	who, _ := wire.Find[*wire.ID1](m.Payloads)
	if !proven(m, p1.hashR(who.Body())) {
		return wrongHash("HASH_R", table[mm6].text+" of main mode")
	}
	if !welcomes(s.peer, who.Identity()) {
		return refuse(wire.InvalidID1, otherIdentity(who.Identity(), s.peer))
	}
	s.lastIV = p1.x.iv
	s.lifetimeNotice(m)
	s.established(now, wire.FindNotify1(m.Payloads, wire.InitialContact1) != nil)
	return nil
}

// HDR, SA, VID <-- and then HDR, SA, VID -->
func (p1 *phase1) mm1(_ time.Time, m *message) error {
	s := p1.s
	ps, err := p1.answering(m)
	if err != nil {
		return err
	}
	c, err := p1.choose(m, ps, 0)
	if err != nil {
		return err
	}
	p1.candidates = ps
	p1.keepNATT()
	p1.x.step = mm3
	p1.x.sent = s.fragments(s.seal(p1.x, append([]wire.Payload{c.answer(c.proposal.SPI)}, s.peerSays.answer()...)))
	return nil
}

// keepNATT forgets that the peer knows NAT traversal if no candidate wants it.
func (p1 *phase1) keepNATT() {
	if !slices.ContainsFunc(p1.candidates, func(p *sa.Peer) bool { return p.NATT }) {
		p1.s.peerSays.natt = nil
	}
}

// HDR, KE, Ni, NAT-D <-- and then HDR, KE, Nr, NAT-D -->
func (p1 *phase1) mm3(now time.Time, m *message) error {
	s := p1.s
	ke, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	err := sa.CheckPublic(s.suite.KE.ID, ke.Data)
	if err != nil {
		return dropTelling(sa.DropMalformed, invalidKey(err))
	}
	if err := p1.refresh(); err != nil {
		return err
	}
	if err := p1.afford(now, m, 2, true); err != nil {
		return err
	}
	if p1.nr, err = s.env.Nonce(); err != nil {
		return drop(sa.DropMalformed, "no randomness: %v", err)
	}
	if p1.dh, err = sa.NewDH(s.suite.KE.ID, s.env.Rand); err != nil {
		return drop(sa.DropMalformed, "%v", err)
	}
	p1.gxr = p1.dh.Public()
	p1.take(m)
	answer := []wire.Payload{&wire.Raw{Kind: wire.TypeKE1, Data: p1.gxr}, &wire.Nonce1{Data: p1.nr}}
	answer = append(answer, s.natPayloads(p1.candidates[0])...)
	s.detectNAT(m.Payloads) // bindPeer forgets it if the peer's settings do not allow it
	s.nameStranger(now)
	msg := s.fragments(s.seal(p1.x, answer)) // in the clear, so before derive
	// Only the address tells which key to use: the identity comes encrypted (RFC 2409 section 5.4).
	if err := p1.derive(p1.candidates[0].PSK, p1.gxi); err != nil {
		s.Drop(now, invalidKey(err)) // it has cost the exponentiations, so it is the only try
		return nil
	}
	p1.x.step = mm5
	p1.x.sent = msg
	s.send(s.path, msg)
	return nil
}

// HDR*, IDii, HASH_I <-- and then HDR*, IDir, HASH_R -->
func (p1 *phase1) mm5(now time.Time, m *message) error {
	s := p1.s
	who, _ := wire.Find[*wire.ID1](m.Payloads)
	if !proven(m, p1.hashI(who.Body())) {
		return wrongHash("HASH_I", table[mm5].text+" of main mode")
	}
	if err := p1.bindPeer(m, who.Identity()); err != nil {
		return err
	}
	own := id(s.peer.LocalID)
	ps := []wire.Payload{own, &wire.Raw{Kind: wire.TypeHash1, Data: p1.hashR(own.Body())}}
	s.say(now, p1.x, false, s.responderLifetime(ps)...)
	s.lastIV = p1.x.iv
	s.established(now, wire.FindNotify1(m.Payloads, wire.InitialContact1) != nil)
	return nil
}

// bindPeer makes a responder's SA one of the peer that has authenticated itself.
func (p1 *phase1) bindPeer(m *message, who ipsec.Identity) error {
	s := p1.s
	if err := p1.refresh(); err != nil {
		return err
	}
	p, err := p1.identify(who)
	if err != nil {
		return err
	}
	s.peer = p
	if !p.NATT {
		s.nat, s.peerSays.natt = sa.NAT{}, nil
	}
	s.path = s.nat.Path(p, s.path, m.d.Local, m.d.Remote)
	s.name()
	if why := s.nat.Problem(p); !why.OK() {
		return refuse(wire.AuthenticationFailed1, why)
	}
	return nil
}

// responderLifetime adds RESPONDER-LIFETIME to the last message, when our lifetime is the shorter one.
func (s *SA) responderLifetime(ps []wire.Payload) []wire.Payload {
	own := s.peer.Lifetime
	if own == 0 || s.life == 0 || own >= s.life {
		return ps
	}
	return append(ps, &wire.Notify1{
		DOI: 1, Protocol: ipsec.ProtoIKE, SPI: append(u64(s.spiI), u64(s.spiR)...), Kind: wire.ResponderLifetime,
		Data: wire.AppendAttributes(nil, lifeAttributes(lifetime{time: own}, ikeLifeType, ikeLife)),
	})
}

// lifetimeNotice takes a RESPONDER-LIFETIME of the peer's that shortens the ISAKMP SA.
func (s *SA) lifetimeNotice(m *message) {
	for _, p := range m.Payloads {
		n, ok := p.(*wire.Notify1)
		if !ok || n.Kind != wire.ResponderLifetime || n.Protocol != ipsec.ProtoIKE || !bytes.Equal(n.SPI, append(u64(s.spiI), u64(s.spiR)...)) {
			continue
		}
		as, _ := wire.ParseAttributes(n.Data)
		if l := readAttributes(as, ikeLifeType, ikeLife).life.time; l > 0 && (s.life == 0 || l < s.life) {
			s.life = l
		}
	}
}
