package ikev1

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// phase1 is main or aggressive mode under way, from either end; afterwards it
// repeats its last message where that is asked for again.
type phase1 struct {
	s           *SA
	x           *exchange
	candidates  []*sa.Peer // of a responder
	predecessor *SA        // whose place it is to take

	own      []ipsec.Suite // of an initiator: what it offered
	dh       *sa.DH
	gxi, gxr []byte
	ni, nr   []byte
	sai      []byte     // SAi_b
	idi      []byte     // IDii_b, of aggressive mode's responder
	refused  diag.Cause // what an answer that nobody can trust said
}

// Initiate starts phase 1 with p. local is the address that the route to the peer takes.
func Initiate(env *sa.Env, now time.Time, p *sa.Peer, local netip.Addr) (*SA, error) {
	return begin(env, now, p, ipsec.Path{Local: netip.AddrPortFrom(local, sa.PortIKE), Remote: netip.AddrPortFrom(p.Remote, sa.PortIKE), UDP: true})
}

func begin(env *sa.Env, now time.Time, p *sa.Peer, path ipsec.Path) (*SA, error) {
	s := newSA(env, now, true)
	s.peer, s.spiI, s.path = p, env.Owner.NewSPI(), path
	p1 := &phase1{s: s, own: ikeSuites(p.Proposals)}
	if len(p1.own) == 0 {
		return nil, fmt.Errorf("IKEv1 has no proposal like %s: it needs a cipher such as aes128, a hash and a MODP or ECP group", sa.ProposalText(p.Proposals))
	}
	s.p1 = p1
	s.name()
	var err error
	if p1.ni, err = env.Nonce(); err != nil {
		return nil, err
	}
	p1.x = &exchange{kind: wire.ExchangeMain}
	if p.Aggressive {
		p1.x.kind = wire.ExchangeAggressive
		group := p1.own[0].KE
		p1.own = slices.DeleteFunc(p1.own, func(s ipsec.Suite) bool { return s.KE != group }) // the key exchange value goes with the offer
		if p1.dh, err = sa.NewDH(group.ID, env.Rand); err != nil {
			return nil, err
		}
		p1.gxi = p1.dh.Public()
	}
	p1.x.retx.Rand = env.Rand
	p1.x.then = failsPhase1
	env.Owner.Spawned(s)
	if p.Aggressive {
		p1.beginAggressive(now)
	} else {
		p1.beginMain(now)
	}
	return s, nil
}

// Respond answers a first message of aggressive mode, which is d. An error says what to tell the
// sender, if it is a *Refusal; no state is kept then.
func Respond(env *sa.Env, now time.Time, d ipsec.Datagram) (*SA, error) {
	s, m, err := receive(env, now, d)
	if err != nil {
		return nil, err
	}
	if err := s.take(now, s.p1.x, m); err != nil {
		return nil, err
	}
	return s, nil
}

// Answer is message 2 of main mode, where d is message 1 and spiR our cookie. No state is kept. An error is as that of Respond.
func Answer(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) ([][]byte, error) {
	s, _, err := opened(env, now, d, spiR)
	if err != nil {
		return nil, err
	}
	return s.p1.x.sent, nil
}

// Resume makes the SA that Answer has answered for, when message 3 comes.
func Resume(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) (*SA, error) {
	s, m, err := opened(env, now, d, spiR)
	if err != nil {
		return nil, err
	}
	s.p1.x.heard = m.hash()
	env.Owner.Spawned(s)
	return s, nil
}

// opened is an SA that has answered message 1 of main mode.
func opened(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) (*SA, *message, error) {
	s, m, err := receive(env, now, d)
	if err != nil {
		return nil, nil, err
	}
	s.spiR = spiR
	return s, m, s.take(now, s.p1.x, m)
}

// receive takes a first message.
func receive(env *sa.Env, now time.Time, d ipsec.Datagram) (*SA, *message, error) {
	h, c, err := wire.Parse1(d.Data)
	if err != nil {
		return nil, nil, err
	}
	if h.Flags&wire.FlagEncrypted != 0 || h.ID != 0 {
		return nil, nil, errors.New("a first message that is encrypted or has a message id")
	}
	s := newSA(env, now, false)
	s.spiI = h.SPIi
	s.path = ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}
	s.expireAt = now.Add(halfOpenTime)
	s.peerSays = readVendors(c.Payloads)
	s.log = env.Log // with names once it is worth them: there may be a flood
	s.p1 = &phase1{s: s, x: &exchange{kind: h.Exchange, step: firstSteps[h.Exchange]}}
	return s, &message{h, c, d}, nil
}

// answering finds the candidates for a first message: the peers at its source that are in its mode.
func (p1 *phase1) answering(m *message) ([]*sa.Peer, error) {
	aggressive := m.Exchange == wire.ExchangeAggressive
	var out []*sa.Peer
	var other *sa.Peer
	for _, p := range p1.s.env.Owner.Candidates(1, m.d.Local.Addr(), m.d.Remote.Addr()) {
		switch {
		case p.Aggressive == aggressive:
			out = append(out, p)
		default:
			other = p
		}
	}
	switch {
	case out != nil:
		return out, nil
	case other != nil:
		has := map[bool]string{false: "main", true: "aggressive"}
		return nil, p1.trouble([]*sa.Peer{other}, wire.InvalidExchange1, diag.Cause{Code: diag.IKEMode, Theirs: has[aggressive], Ours: has[!aggressive]})
	}
	return nil, &Refusal{wire.NoProposalChosen1, diag.Cause{Code: diag.UnknownPeer, Peer: m.d.Remote, Version: 1}}
}

// trouble notes why a first message is refused with those that it could be of.
func (p1 *phase1) trouble(ps []*sa.Peer, kind wire.NotifyType1, why diag.Cause) error {
	p1.troubled(p1.s.since, ps, why)
	return &Refusal{kind, why}
}

func (p1 *phase1) troubled(now time.Time, ps []*sa.Peer, why diag.Cause) {
	for _, p := range ps {
		p1.s.env.Owner.Troubled(now, p, why)
	}
}

// choose takes a proposal for the first candidate that has one in common with the
// offer. group, unless 0, is that of the key exchange value that came along.
func (p1 *phase1) choose(m *message, candidates []*sa.Peer, group uint16) (*choice, error) {
	offer, _ := wire.Find[*wire.SA1](m.Payloads)
	for _, p := range candidates {
		own := ikeSuites(p.Proposals)
		if group != 0 {
			own = slices.DeleteFunc(own, func(s ipsec.Suite) bool { return s.KE.ID != group })
		}
		if c, ok := chooseIKE(offer, own); ok {
			p1.sai = slices.Clone(m.Body(m.Index(wire.TypeSA1)))
			p1.s.suite, p1.s.life = c.suite, lifeOf(c.life.time, p.Lifetime)
			return c, nil
		}
	}
	return nil, p1.trouble(candidates, wire.NoProposalChosen1, diag.Cause{
		Code: diag.IKEProposal, Theirs: sa.Difference(offered(offer, ipsec.ProtoIKE), candidates[0].Proposals, true),
	})
}

// lifeOf is the lifetime that an offer means. One that has none means 8 hours,
// unless we too would have it without end.
func lifeOf(offered, own time.Duration) time.Duration {
	if offered == 0 && own != 0 {
		return defaultLife
	}
	return offered
}

// takeChoice is what an initiator learns of the responder's SA payload, or why it cannot be.
func (p1 *phase1) takeChoice(m *message) diag.Cause {
	answer, _ := wire.Find[*wire.SA1](m.Payloads)
	if n := answer.Transforms(); n != 1 {
		return diag.Cause{Code: diag.SeveralChosen, Count: n}
	}
	c, ok := chooseIKE(answer, p1.own)
	if !ok {
		return diag.Cause{Code: diag.IKENotOffered}
	}
	p1.s.suite, p1.s.life = c.suite, c.life.time
	p1.s.peerSays = readVendors(m.Payloads)
	if !p1.s.peer.NATT {
		p1.s.peerSays.natt = nil
	}
	return diag.Cause{}
}

// distrust is for an answer to an initiator that anybody may have sent: what it says
// about the peer is told, and another answer may still come.
func (p1 *phase1) distrust(now time.Time, drop sa.Drop, why diag.Cause) error {
	p1.refused = why
	p1.s.env.Owner.Troubled(now, p1.s.peer, why)
	return doubt(drop, why)
}

// invalidKey is for a public value that is none of its group.
func invalidKey(err error) diag.Cause { return diag.Cause{Code: diag.KeyExchange, Err: err.Error()} }

// noKeyPair is for a key exchange that cannot begin on this host.
func noKeyPair(err error) diag.Cause {
	return diag.Cause{Code: diag.Internal, Name: "make a key pair", Err: err.Error()}
}

// otherIdentity is for a peer that is none of those that are expected.
func otherIdentity(who ipsec.Identity, expected ...ipsec.Identity) diag.Cause {
	var names []string
	for _, id := range expected {
		names = append(names, sa.IDText(id))
	}
	return diag.Cause{Code: diag.PeerIdentity, Theirs: sa.IDText(who), Ours: sa.Alternatives(names)}
}

// derive makes the keys of both public values.
func (p1 *phase1) derive(psk ipsec.Secret, peerKE []byte) error {
	s := p1.s
	shared, err := p1.dh.Shared(peerKE)
	if err != nil {
		return err
	}
	defer clear(shared)
	s.keys, err = deriveKeys(s.suite, psk, shared, p1.ni, p1.nr, s.spiI, s.spiR)
	if err != nil {
		return err
	}
	p1.dh = nil
	p1.x.iv = s.keys.firstIV(p1.gxi, p1.gxr)
	s.lastIV = p1.x.iv
	return nil
}

// id is who we say that we are. "The port in the ID payload in Main
// Mode/Aggressive Mode MUST be set to 0" with NAT traversal (RFC 3947 section 4).
func id(i ipsec.Identity) *wire.ID1 { return &wire.ID1{Kind: i.Type, Data: []byte(i.Data)} }

func (p1 *phase1) hashI(idBody []byte) []byte {
	return p1.s.keys.hashI(p1.gxi, p1.gxr, p1.s.spiI, p1.s.spiR, p1.sai, idBody)
}

func (p1 *phase1) hashR(idBody []byte) []byte {
	return p1.s.keys.hashR(p1.gxi, p1.gxr, p1.s.spiI, p1.s.spiR, p1.sai, idBody)
}

// proven checks the HASH payload of a message against what it should be.
func proven(m *message, want []byte) bool {
	h, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeHash1)
	return h != nil && hmac.Equal(h.Data, want)
}

// initialContact is INITIAL-CONTACT for a peer that we have nothing else of.
func (p1 *phase1) initialContact(ps []wire.Payload) []wire.Payload {
	s := p1.s
	if !s.env.Owner.Sole(s, s.peer) {
		return ps
	}
	return append(ps, &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: append(u64(s.spiI), u64(s.spiR)...), Kind: wire.InitialContact1})
}

// refresh makes of a responder's candidates those of today: the configuration may have changed since message 1. In main
// mode the keys are made with the pre-shared key of the first; in aggressive mode there is but the one.
func (p1 *phase1) refresh(m *message) error {
	if m.Exchange != wire.ExchangeMain {
		p1.candidates = []*sa.Peer{p1.s.peer}
		return nil
	}
	key := p1.candidates[0].PSK
	p1.candidates = slices.DeleteFunc(p1.s.env.Owner.Candidates(1, m.d.Local.Addr(), m.d.Remote.Addr()), func(p *sa.Peer) bool {
		return p.Aggressive || !p.PSK.Equal(key)
	})
	if len(p1.candidates) == 0 {
		return refuse(wire.AuthenticationFailed1, diag.Cause{Code: diag.ConfigChanged})
	}
	return nil
}

// identify finds the candidate that a responder's peer is, once its HASH has proven that it knows the key.
func (p1 *phase1) identify(who ipsec.Identity) (*sa.Peer, error) {
	var expected []ipsec.Identity
	for _, p := range p1.candidates {
		if !p.RemoteID.Welcomes(who) {
			expected = append(expected, p.RemoteID)
			continue
		}
		if !slices.Contains(ikeSuites(p.Proposals), p1.s.suite) {
			return nil, refuse(wire.NoProposalChosen1, diag.Cause{
				Code: diag.SuiteOfOther, Theirs: p1.s.suite.String(), Name: p.Name, Ours: sa.ProposalText(p.Proposals),
			})
		}
		return p, nil
	}
	return nil, refuse(wire.InvalidID1, otherIdentity(who, expected...))
}

// failed is for a message of phase 1 that went wrong. What was dropped may be
// anybody's, and leaves no more than a sentence.
func (p1 *phase1) failed(now time.Time, err error) {
	s := p1.s
	r := (*refusal)(nil)
	switch {
	case s.state != sa.Connecting:
	case errors.As(err, &r):
		if s.peer != nil {
			p1.candidates = []*sa.Peer{s.peer}
		}
		p1.troubled(now, p1.candidates, r.cause)
		s.lastIV = p1.x.iv
		s.tell(r)
		s.Drop(now, r.cause)
	default:
		p1.suspect(now, err)
	}
}

// suspect says what a message that cannot be read most likely means.
func (p1 *phase1) suspect(now time.Time, err error) {
	s, e := p1.s, (*dropped)(nil)
	if !errors.As(err, &e) || s.keys == nil || e.why == sa.DropCleartext || e.why == sa.DropRepeated {
		return
	}
	why := diag.Cause{Code: diag.NotDecrypted, Message: p1.x.step.text()}
	if !e.cause.OK() {
		why = e.cause
	}
	ps := p1.candidates
	if s.peer != nil {
		ps = []*sa.Peer{s.peer}
	}
	p1.troubled(now, ps, why)
	p1.refused = why
}

// waitedFor is the sentence for a phase 1 that does not go on.
func (p1 *phase1) waitedFor() diag.Cause {
	if !p1.refused.OK() {
		return p1.refused
	}
	why := diag.Cause{Peer: p1.s.path.Remote, Message: p1.x.step.text()}
	switch {
	case !p1.s.initiator:
		why.Code, why.After = diag.PeerStopped, halfOpenTime
	case p1.s.keys != nil:
		why.Code = diag.NoAnswerKeys
	case p1.s.spiR != 0:
		why.Code = diag.NoAnswerSize
	default:
		why.Code, why.Message = diag.NoAnswer, "phase 1 of IKEv1 in "+p1.x.kind.String()
	}
	return why
}

// patience tells the operator before it is over why it may take so long.
func (p1 *phase1) patience(now time.Time) {
	if p1.s.initiator && p1.s.state == sa.Connecting && p1.x.repeats == 3 && (p1.s.keys != nil || !p1.refused.OK()) {
		p1.s.env.Owner.Troubled(now, p1.s.peer, p1.waitedFor())
	}
}

// done drops what only the first messages needed.
func (p1 *phase1) done(now time.Time) {
	p1.x.step, p1.dh = none, nil
	p1.x.retx.Stop()
	p1.ni, p1.nr, p1.gxi, p1.gxr, p1.sai, p1.idi, p1.candidates, p1.own = nil, nil, nil, nil, nil, nil, nil, nil
	p1.predecessor = nil
	p1.x.until, p1.x.then = now.Add(time.Minute), forgetsPhase1
}

// gaveUp lets the SA that this one was to replace try again.
func (p1 *phase1) gaveUp(now time.Time) {
	old := p1.predecessor
	if old == nil || old.rekeying != p1.s {
		return
	}
	old.rekeying = nil
	if old.state == sa.Established {
		old.rekeyAt = now.Add(old.env.Jitter(retryMin, retryMax))
		old.env.Owner.Stirred(old)
	}
}
