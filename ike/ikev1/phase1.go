package ikev1

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// phase1 is main or aggressive mode from either end. When it is done, it stays for a minute
// to repeat its last message when the peer repeats the message before it.
type phase1 struct {
	s           *SA
	x           *exchange
	candidates  []*sa.Peer // of a responder
	predecessor *SA        // the one that this end wants to replace, or nil

	own      []ipsec.Suite // what an initiator offered
	dh       *sa.DH
	gxi, gxr []byte
	ni, nr   []byte
	sai      []byte     // SAi_b
	idi      []byte     // IDii_b, at the responder of aggressive mode
	refused  diag.Cause // what an answer said that anybody may have sent; OK: nothing
}

// Initiate starts phase 1 with p; path is where the first message goes (see sa.FirstPath). Messages are repeated after at most the time that most says; 0:
// as usual.
func Initiate(env *sa.Env, now time.Time, p *sa.Peer, path ipsec.Path, most time.Duration) (*SA, error) {
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
		p1.own = slices.DeleteFunc(p1.own, func(s ipsec.Suite) bool { return s.KE != group }) // message 1 has the key exchange value already
		if p1.dh, err = sa.NewDH(group.ID, env.Rand); err != nil {
			return nil, err
		}
		p1.gxi = p1.dh.Public()
	}
	p1.x.retx.Rand, p1.x.retx.Max = env.Rand, most
	p1.x.then = failsPhase1
	env.Owner.Spawned(s)
	if p.Aggressive {
		p1.beginAggressive(now)
	} else {
		p1.beginMain(now)
	}
	return s, nil
}

// Respond answers d, message 1 of aggressive mode. An error leaves no state behind. The sender may
// be told of a *Refusal, and of no other error.
func Respond(env *sa.Env, now time.Time, d ipsec.Datagram) (*SA, error) {
	s, m, err := receive(env, now, d)
	if err != nil {
		return nil, err
	}
	if err := s.take(now, s.p1.x, m); err != nil {
		return nil, s.count(now, m.Header, err)
	}
	return s, nil
}

// Answer makes message 2 of main mode for message 1, d, and our cookie, spiR. It keeps no state. Its errors are those of Respond.
func Answer(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) ([][]byte, error) {
	s, _, err := opened(env, now, d, spiR)
	if err != nil {
		return nil, err
	}
	return s.p1.x.sent, nil
}

// Resume makes the SA when message 3 comes. d is message 1 again, and spiR the cookie that Answer was given.
func Resume(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) (*SA, error) {
	s, m, err := opened(env, now, d, spiR)
	if err != nil {
		return nil, err
	}
	s.p1.x.lastHash = m.hash()
	env.Owner.Spawned(s)
	return s, nil
}

// opened makes an SA that has answered message 1 of main mode.
func opened(env *sa.Env, now time.Time, d ipsec.Datagram, spiR uint64) (*SA, *message, error) {
	s, m, err := receive(env, now, d)
	if err != nil {
		return nil, nil, err
	}
	s.spiR = spiR
	return s, m, s.take(now, s.p1.x, m)
}

// receive makes an SA for a first message, which it parses.
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
	s.log = sa.Silent // in a flood of first messages a log with names costs too much
	s.p1 = &phase1{s: s, x: &exchange{kind: h.Exchange, step: firstSteps[h.Exchange]}}
	return s, &message{h, c, d}, nil
}

// answering finds the candidates for a first message: the peers at its source whose phase 1 has its mode.
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

// trouble refuses a first message, and tells the Owner which peers it may have come from.
func (p1 *phase1) trouble(ps []*sa.Peer, kind wire.NotifyType1, why diag.Cause) error {
	p1.troubled(p1.s.since, ps, why)
	return &Refusal{kind, why}
}

func (p1 *phase1) troubled(now time.Time, ps []*sa.Peer, why diag.Cause) {
	for _, p := range ps {
		p1.s.env.Owner.Troubled(now, p, why)
	}
}

// choose takes a transform of the offer for the first candidate that knows one. With a group
// other than 0 only transforms of that group count, because message 1 has its key exchange value.
func (p1 *phase1) choose(m *message, candidates []*sa.Peer, group uint16) (*choice, error) {
	offer, _ := wire.Find[*wire.SA1](m.Payloads)
	for i, p := range candidates {
		if i > 0 && slices.EqualFunc(p.Proposals, candidates[i-1].Proposals, ipsec.Proposal.Equal) { // of thousands that may come from anywhere
			continue
		}
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

// lifeOf returns the lifetime of an offer. An offer without a lifetime means 8
// hours, unless our configuration has none either.
func lifeOf(offered, own time.Duration) time.Duration {
	if offered == 0 && own != 0 {
		return defaultLife
	}
	return offered
}

// takeChoice notes what the responder chose, or says why it cannot choose so.
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

// distrust drops an answer to an initiator. Anybody may have sent it, so another may still
// come, but the operator hears what it says about the peer.
func (p1 *phase1) distrust(now time.Time, drop sa.Drop, why diag.Cause) error {
	p1.refused = why
	p1.s.env.Owner.Troubled(now, p1.s.peer, why)
	return dropTelling(drop, why)
}

// invalidKey says that a public value is not in its group.
func invalidKey(err error) diag.Cause { return diag.Cause{Code: diag.KeyExchange, Err: err.Error()} }

// noKeyPair says that this host could not begin a key exchange.
func noKeyPair(err error) diag.Cause {
	return diag.Cause{Code: diag.Internal, Name: "make a key pair", Err: err.Error()}
}

// welcomes reports whether a peer may have an identity. Our own is never the peer's: who sends us our own messages
// back authenticates itself by it, without the key.
func welcomes(p *sa.Peer, who ipsec.Identity) bool {
	return p.RemoteID.Welcomes(who) && !who.Same(p.LocalID)
}

// otherIdentity says that the peer has none of the expected identities.
func otherIdentity(who ipsec.Identity, expected ...*sa.Peer) diag.Cause {
	var names []string
	for _, p := range expected {
		if p.RemoteID.Welcomes(who) {
			return diag.Cause{Code: diag.SameIdentity, Theirs: sa.IDText(who)}
		}
		names = append(names, sa.IDText(p.RemoteID))
	}
	return diag.Cause{Code: diag.PeerIdentity, Theirs: sa.IDText(who), Ours: sa.Alternatives(names)}
}

// afford asks the Owner for n exponentiations in the group, on behalf of a sender that has proven nothing but, if
// reachable, that it receives at its address. The peer repeats a message that is dropped.
func (p1 *phase1) afford(now time.Time, m *message, n time.Duration, reachable bool) error {
	if !p1.s.env.Owner.Affords(now, m.d.Remote.Addr(), n*sa.Effort(p1.s.suite.KE.ID), reachable) {
		return drop(sa.DropTooMany, "more key exchanges are asked for than this host can afford")
	}
	return nil
}

// foreign refuses our own cookie as the responder's, and none.
func (s *SA) foreign(spiR uint64) error {
	switch spiR {
	case 0:
		return drop(sa.DropMalformed, "an answer without the responder's cookie")
	case s.spiI:
		return drop(sa.DropMalformed, "our own cookie came back")
	}
	return nil
}

// returned refuses our own key exchange value or nonce as the responder's: with both, HASH_R would be our HASH_I.
func (p1 *phase1) returned(m *message) error {
	ke, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	nonce, _ := wire.Find[*wire.Nonce1](m.Payloads)
	if bytes.Equal(ke.Data, p1.gxi) || bytes.Equal(nonce.Data, p1.ni) {
		return drop(sa.DropMalformed, "our own key exchange value or nonce came back")
	}
	return nil
}

// derive computes the keys from our private value and the peer's public value.
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
	if p1.x.step != ag2 { // which may be forged: then the genuine one comes later
		p1.dh.Clear()
	}
	p1.dh = nil
	p1.x.iv = s.keys.firstIV(p1.gxi, p1.gxr)
	s.lastIV = p1.x.iv
	return nil
}

// id is the ID payload of an identity. "The port in the ID payload in Main
// Mode/Aggressive Mode MUST be set to 0" with NAT traversal (RFC 3947 section 4).
func id(i ipsec.Identity) *wire.ID1 { return &wire.ID1{Kind: i.Type, Data: []byte(i.Data)} }

func (p1 *phase1) hashI(idBody []byte) []byte {
	return p1.s.keys.hashI(p1.gxi, p1.gxr, p1.s.spiI, p1.s.spiR, p1.sai, idBody)
}

func (p1 *phase1) hashR(idBody []byte) []byte {
	return p1.s.keys.hashR(p1.gxi, p1.gxr, p1.s.spiI, p1.s.spiR, p1.sai, idBody)
}

// proven reports whether the HASH payload of a message is the right one.
func proven(m *message, want []byte) bool {
	h, _ := wire.FindType[*wire.Raw](m.Payloads, wire.TypeHash1)
	return h != nil && hmac.Equal(h.Data, want)
}

// initialContact adds INITIAL-CONTACT when this end has no other SA with the peer.
func (p1 *phase1) initialContact(ps []wire.Payload) []wire.Payload {
	s := p1.s
	if !s.env.Owner.Sole(s, s.peer) {
		return ps
	}
	return append(ps, &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: append(u64(s.spiI), u64(s.spiR)...), Kind: wire.InitialContact1})
}

// refresh looks a responder's candidates up again, because the configuration may have changed since message 1.
func (p1 *phase1) refresh() error {
	if p1.candidates = p1.present(); len(p1.candidates) == 0 {
		return refuse(wire.AuthenticationFailed1, diag.Cause{Code: diag.ConfigChanged})
	}
	return nil
}

// present are the candidates by the present configuration: in aggressive mode the peer, which is known; in main mode those
// with the pre-shared key that made the keys. The address is that of the first exchange: a later message may be a copy
// that was sent from elsewhere.
func (p1 *phase1) present() []*sa.Peer {
	s := p1.s
	switch {
	case len(p1.candidates) == 0:
		return nil
	case p1.x.kind != wire.ExchangeMain:
		return []*sa.Peer{s.peer}
	}
	key := p1.candidates[0].PSK
	return slices.DeleteFunc(slices.Clone(s.env.Owner.Candidates(1, s.path.Local.Addr(), s.path.Remote.Addr())), func(p *sa.Peer) bool {
		return p.Aggressive || !p.PSK.Equal(key)
	})
}

// identify finds the candidate that has the peer's identity. The HASH has proven that the peer knows its key.
func (p1 *phase1) identify(who ipsec.Identity) (*sa.Peer, error) {
	for _, p := range p1.candidates {
		if !welcomes(p, who) {
			continue
		}
		if !slices.Contains(ikeSuites(p.Proposals), p1.s.suite) {
			return nil, refuse(wire.NoProposalChosen1, diag.Cause{
				Code: diag.SuiteOfOther, Theirs: p1.s.suite.String(), Name: p.Name, Ours: sa.ProposalText(p.Proposals),
			})
		}
		return p, nil
	}
	return nil, refuse(wire.InvalidID1, otherIdentity(who, p1.candidates...))
}

// failed handles the error of a message of phase 1. A refusal ends the SA. A dropped message
// may be anybody's: it only leaves a cause for the operator.
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
		p1.explain(now, err)
	}
}

// explain tells the operator what a dropped message most likely means.
func (p1 *phase1) explain(now time.Time, err error) {
	s, e := p1.s, (*dropped)(nil)
	if !errors.As(err, &e) || e.why == sa.DropCleartext || e.why == sa.DropRepeated {
		return
	}
	why := diag.Cause{Code: diag.NotDecrypted, Message: p1.x.step.text()}
	switch {
	case !e.cause.OK():
		why = e.cause
	case s.keys == nil || e.why == sa.DropMalformed:
		why = diag.Cause{Code: diag.AnswerUnusable, Peer: s.path.Remote, Message: p1.x.step.text(), Err: e.text}
	}
	ps := p1.candidates
	if s.peer != nil {
		ps = []*sa.Peer{s.peer}
	}
	p1.troubled(now, ps, why)
	p1.refused = why
}

// whyUnanswered is why phase 1 does not go on.
func (p1 *phase1) whyUnanswered() diag.Cause {
	if !p1.refused.OK() {
		return p1.refused
	}
	why := diag.Cause{Peer: p1.s.path.Remote, Message: p1.x.step.text()}
	switch {
	case !p1.s.initiator:
		why.Code, why.After = diag.PeerStopped, halfOpenTime
	case p1.s.keys != nil:
		why.Code, why.Ours, why.Theirs = diag.NoAnswerKeys, sa.IDText(p1.s.peer.LocalID), sa.IDText(p1.s.peer.RemoteID)
	case p1.s.spiR != 0:
		why.Code = diag.NoAnswerSize
	default:
		why = p1.s.peer.Unanswered(p1.s.path, "phase 1 of IKEv1 in "+p1.x.kind.String())
	}
	return why
}

// patience tells the operator why phase 1 takes long, before it is given up.
func (p1 *phase1) patience(now time.Time) {
	if p1.s.initiator && p1.s.state == sa.Connecting && p1.x.repeats == 3 && (p1.s.keys != nil || !p1.refused.OK()) {
		p1.s.env.Owner.Troubled(now, p1.s.peer, p1.whyUnanswered())
	}
}

// knock changes to the other port of IKE, when it is time: no message before the first answer names a port.
func (p1 *phase1) knock(now time.Time) {
	if s := p1.s; s.initiator && s.spiR == 0 && p1.predecessor == nil && p1.refused.OK() {
		if to, ok := s.peer.Knocks(now, p1.x.retx.Began(), s.path); ok {
			s.path = to
		}
	}
}

// answered notes the port that the first answer came from, which may be the one that was tried before.
func (p1 *phase1) answered(m *message) {
	s := p1.s
	if p1.predecessor != nil {
		return
	}
	if to, ok := s.peer.OtherDoor(s.path); ok && m.d.Remote == to.Remote && m.d.Local.Port() == to.Local.Port() {
		s.path = to
	}
	s.env.Owner.Answered(s, m.d.Remote.Port())
}

// done drops what only the messages of phase 1 needed.
func (p1 *phase1) done(now time.Time) {
	p1.x.step, p1.dh = none, nil
	p1.x.retx.Stop()
	p1.ni, p1.nr, p1.gxi, p1.gxr, p1.sai, p1.idi, p1.candidates, p1.own = nil, nil, nil, nil, nil, nil, nil, nil
	p1.predecessor = nil
	p1.x.until, p1.x.then = now.Add(time.Minute), forgetsPhase1
}

// gaveUp lets the predecessor try its rekey again.
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
