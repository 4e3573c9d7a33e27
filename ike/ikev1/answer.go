package ikev1

import (
	"encoding/binary"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Quick mode from the responder's end (see quick.go).

// answer is a quick mode that the peer began.
type answer struct {
	s      *SA
	x      *exchange
	ni, nr []byte
	spi    []byte // of the offer
	c      *child
}

// answering is a quick mode that waits for its message 1.
func (s *SA) answering(id uint32) *exchange {
	a := &answer{s: s, x: &exchange{kind: wire.ExchangeQuick, id: id, iv: s.keys.nextIV(s.lastIV, id), step: qm1}}
	a.x.answers = a
	return a.x
}

// refuse answers message 1, and answers it so again when it comes again.
func (a *answer) refuse(now time.Time, r *refusal) {
	a.s.log.Info("refusing the peer's Child SA", "notify", r.kind.String(), sa.Why(r.cause))
	a.x.sent = a.s.inform(&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, SPI: a.spi, Kind: r.kind})
	a.s.finish(now, a.x)
	if r.cause.Code == diag.NATModes { // no HASH covers NAT-D, so a stranger can make the ends differ: phase 1 finds out again
		a.s.RekeyIKE(now, r.cause)
	}
}

// unfinished counts the Child SAs whose quick mode waits for message 3.
func (f *family) unfinished() int {
	n := 0
	for _, c := range f.children {
		if !c.confirmBy.IsZero() {
			n++
		}
	}
	return n
}

// HDR*, HASH(1), SA, Ni [, KE ] [, IDci, IDcr ] <-- and then HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ] -->
func (a *answer) qm1(now time.Time, m *message) error {
	s := a.s
	if !proven(m, s.keys.hash1(m.ID, m.Raw[1:]...)) {
		return drop(sa.DropBadHash, "HASH(1) of a quick mode is wrong")
	}
	if !s.ids.has(m.ID) {
		s.use(m.ID)
		s.track(a.x)
		a.x.until, a.x.then = now.Add(confirmTime), forgetsQuick // the peer may repeat a message 1 for which there is no room yet
	}
	if len(s.fam.children) >= maxChildren || s.fam.unfinished() >= maxUnfinished {
		return drop(sa.DropTooMany, "the peer has %d Child SAs already", len(s.fam.children))
	}
	reply, err := a.negotiate(now, m)
	if err != nil {
		return err
	}
	if !s.peerSays.vpngw && s.justAsked(now, a.c) {
		s.askAgain(now, a.c)
	}
	s.add(a.c) // ready before message 2, which lets the peer use it
	for _, m := range s.fam.members {
		for q := range m.asked() {
			if q.wants(a.c) {
				q.rival = a.c
			}
		}
	}
	a.c.confirmBy = now.Add(confirmTime)
	a.x.step, a.x.until = qm3, time.Time{}
	a.x.retx = sa.Retransmitter{First: time.Second, Max: quickWait, Total: quickTime, Rand: s.env.Rand}
	s.say(now, a.x, true, hashed(reply, func(rest []byte) []byte { return s.keys.hash2(a.x.id, a.ni, rest) })...)
	if !s.replaces(a.c) {
		// Only message 3 proves that the peer is ready. But the peer's first packet can overtake message 3,
		// and no other SA could carry the answer to that packet.
		by := a.c.confirmBy
		s.fam.current.sendOn(now, a.c)
		a.c.confirmBy = by
	}
	return nil
}

// HDR*, HASH(3) <--
func (a *answer) qm3(now time.Time, m *message) error {
	s := a.s
	if !proven(m, s.keys.hash3(a.x.id, a.ni, a.nr)) {
		return drop(sa.DropBadHash, "HASH(3) of a quick mode is wrong")
	}
	s.finish(now, a.x)
	a.c.confirmBy = time.Time{}
	s.fam.current.sendOn(now, a.c)
	return nil
}

// negotiate makes the Child SA that the peer asks for, and the payloads SA, Nr, [KE,] [IDci, IDcr].
func (a *answer) negotiate(now time.Time, m *message) ([]wire.Payload, error) {
	s := a.s
	offer, _ := wire.Find[*wire.SA1](m.Payloads)
	nonce, _ := wire.Find[*wire.Nonce1](m.Payloads)
	ke, withKE := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	a.spi = offer.Proposals[0].SPI
	remote, local, ids, err := s.selectors(m)
	if err != nil {
		return nil, err
	}
	cfg := s.match(local, remote)
	if cfg == nil {
		why := diag.Cause{Code: diag.Selectors, Theirs: hereAndThere(local, remote), Ours: s.peer.Wishes()}
		s.reportToAll(now, why)
		return nil, refuse(wire.InvalidID1, why)
	}
	if s.env.Owner.Held(cfg) {
		return nil, refuse(wire.InvalidID1, diag.Cause{Code: diag.ChildHeld, Name: cfg.Name})
	}
	c, ok := chooseESP(offer, espSuites(cfg.Proposals, true), s.modes())
	if ok && (c.suite.KE.ID != 0) != withKE {
		ok = false
	}
	if !ok {
		why := s.whyNone(offer, cfg)
		s.env.Owner.ChildChanged(now, s, cfg, why)
		return nil, refuse(wire.NoProposalChosen1, why)
	}
	out := binary.BigEndian.Uint32(c.proposal.SPI)
	if out < 256 {
		return nil, refuse(wire.InvalidSPI1, diag.Cause{Code: diag.ReservedSPI})
	}
	a.ni = nonce.Data
	if a.nr, err = s.env.Nonce(); err != nil {
		return nil, drop(sa.DropTooMany, "no randomness: %v", err)
	}
	var shared []byte
	var public []wire.Payload
	if withKE {
		dh, err := sa.NewDH(c.suite.KE.ID, s.env.Rand)
		if err != nil {
			return nil, refuse(wire.NoProposalChosen1, noKeyPair(err))
		}
		if shared, err = dh.Shared(ke.Data); err != nil {
			return nil, refuse(wire.InvalidKey1, invalidKey(err))
		}
		dh.Clear()
		public = []wire.Payload{&wire.Raw{Kind: wire.TypeKE1, Data: dh.Public()}}
	}
	in, err := s.env.AllocSPI()
	if err != nil {
		return nil, refuse(wire.NoProposalChosen1, diag.Cause{Code: diag.NoSPI, Err: err.Error()})
	}
	life, notice := agree(c.life, cfg.Lifetime, in)
	a.c = s.newChild(now, negotiated{
		cfg: cfg, suite: c.suite, in: in, out: out, local: local, remote: remote, shared: shared,
		ni: a.ni, nr: a.nr, life: life, rekeyed: cfg.Lifetime.Time > 0,
	})
	ps := append([]wire.Payload{c.answer(u32(in)), &wire.Nonce1{Data: a.nr}}, public...)
	return append(append(ps, ids...), notice...), nil
}

// selectors are the traffic that message 1 asks for, and the ID payloads for message 2.
func (s *SA) selectors(m *message) (remote, local ipsec.Selector, ids []wire.Payload, err error) {
	i := m.Index(wire.TypeID1)
	if i < 0 {
		local, remote = s.hosts()
		return remote, local, nil, nil
	}
	var ps []*wire.ID1
	for _, p := range m.Payloads {
		if p, ok := p.(*wire.ID1); ok {
			ps = append(ps, p)
			ids = append(ids, p)
		}
	}
	var okI, okR bool
	remote, okI = idSelector(ps[0])
	local, okR = idSelector(ps[1])
	if !okI || !okR {
		return remote, local, nil, refuse(wire.InvalidID1, diag.Cause{Code: diag.Selectors, Theirs: "no address, subnet or range", Ours: s.peer.Wishes()})
	}
	return remote, local, ids, nil
}

// match finds the configured child that covers what the peer asks for, because IKEv1 cannot
// answer with less. A child with exactly these selectors comes first.
func (s *SA) match(local, remote ipsec.Selector) *sa.Child {
	var found *sa.Child
	for _, c := range s.peer.Children {
		if slices.Contains(c.Local, local) && slices.Contains(c.Remote, remote) {
			return c
		}
		if found == nil && ipsec.Covers(c.Local, []ipsec.Selector{local}) && ipsec.Covers(c.Remote, []ipsec.Selector{remote}) {
			found = c
		}
	}
	return found
}

// reportToAll tells the Owner of a refusal that is about no child in particular: each child that is not up has it.
func (s *SA) reportToAll(now time.Time, why diag.Cause) {
	for _, c := range s.peer.Children {
		if !slices.ContainsFunc(s.fam.children, func(up *child) bool { return up.cfg == c }) {
			s.env.Owner.ChildChanged(now, s, c, why)
		}
	}
}

// whyNone says why no transform of the offer is taken.
func (s *SA) whyNone(offer *wire.SA1, cfg *sa.Child) diag.Cause {
	if _, ok := chooseESP(offer, espSuites(cfg.Proposals, true), []uint16{1, 2, 3, 4, modeUDPDraft, 61444}); ok {
		if s.encap() {
			return diag.Cause{Code: diag.NATModes, Name: "a NAT", Ours: "tunnel mode in UDP"}
		}
		return diag.Cause{Code: diag.NATModes, Name: "no NAT", Ours: "plain tunnel mode"}
	}
	return diag.Cause{Code: diag.ESPProposal, Theirs: sa.Difference(offered(offer, ipsec.ProtoESP), offeredBy(espSuites(cfg.Proposals, true)), true)}
}

// offeredBy are suites as proposals, for a sentence.
func offeredBy(own []ipsec.Suite) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, o := range own {
		out = append(out, o.Proposal())
	}
	return out
}

// agree takes the shorter lifetime of both ends. When it is ours, RESPONDER-LIFETIME tells the
// peer (RFC 2407 section 4.5.4). An offer without a lifetime means 8 hours.
func agree(offered lifetime, own ipsec.Lifetime, spiIn uint32) (lifetime, []wire.Payload) {
	life := lifetime{lifeOf(offered.time, own.Time), offered.bytes}
	ours := lifetime{}
	if own.Time > 0 && own.Time < life.time {
		life.time, ours.time = own.Time, own.Time
	}
	if own.Bytes > 0 && (life.bytes == 0 || own.Bytes < life.bytes) {
		life.bytes, ours.bytes = own.Bytes, own.Bytes
	}
	if ours.time == 0 { // each end counts its own bytes, so the peer need not know
		return life, nil
	}
	return life, []wire.Payload{&wire.Notify1{
		DOI: 1, Protocol: ipsec.ProtoESP, SPI: u32(spiIn), Kind: wire.ResponderLifetime,
		Data: wire.AppendAttributes(nil, lifeAttributes(ours, espLifeType, espLife)),
	}}
}
