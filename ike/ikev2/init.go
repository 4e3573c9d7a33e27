package ikev2

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// IKE_SA_INIT, RFC 7296 section 1.2.
//
//	Initiator                         Responder
//	HDR, SAi1, KEi, Ni  -->
//	                             <--  HDR, SAr1, KEr, Nr

// maxRetries is how often the responder may ask for a cookie or another group.
const maxRetries = 3

// saInit is the IKE_SA_INIT exchange that an initiator starts.
type saInit struct {
	plain
	local, remote []ipsec.Selector // of the child that IKE_AUTH brings
	first         *sa.Child        // nil: none
	cookie        []byte
	retries       int
	refused       diag.Cause
}

func (t *saInit) child() *sa.Child { return t.first }

func (t *saInit) build(*SA, time.Time) (request, bool)          { return request{}, false }
func (t *saInit) answered(*SA, time.Time, []wire.Payload) error { return nil }

// Initiate starts an IKE SA to p that brings up first, which may be nil. path is where the first message goes (see
// sa.FirstPath). Until the IKE SA is established, messages are repeated after at most
// the time that most says; 0: as usual.
func Initiate(env *sa.Env, now time.Time, p *sa.Peer, path ipsec.Path, first *sa.Child, most time.Duration) (*SA, error) {
	s := newSA(env, now, true)
	s.handshake = &handshake{}
	s.retx.Max = most
	s.peer = p
	s.spiI = env.Owner.NewSPI()
	s.path = path
	s.name()
	var err error
	if s.ni, err = s.env.Nonce(); err != nil {
		return nil, err
	}
	if s.dh, err = sa.NewDH(firstGroup(p.Proposals), env.Rand); err != nil {
		return nil, err
	}
	env.Owner.Spawned(s)
	t := &saInit{first: first}
	if first != nil {
		t.local, t.remote = first.Local, first.Remote
	}
	t.send(s, now)
	return s, nil
}

func firstGroup(ps []ipsec.Proposal) uint16 {
	for _, p := range ps {
		if ke := p.Of(ipsec.KE); len(ke) > 0 {
			return ke[0].ID
		}
	}
	return 0
}

// send makes the request and sends it. After a cookie or a change of group it is
// called again, with message id 0 again.
func (t *saInit) send(s *SA, now time.Time) {
	t.compose(s)
	s.start(now, t, wire.ExchangeSAInit, [][]byte{s.initReq})
}

// knock sends the request to the other port of IKE, when it is time, and so does every repetition from then on.
func (t *saInit) knock(s *SA, now time.Time) {
	if to, ok := s.peer.Knocks(now, s.retx.Began(), s.path); ok && t.refused.OK() && t.cookie == nil {
		t.through(s, to)
	}
}

// through makes the request again for another port: NAT detection covers the ports. It is the same each time.
func (t *saInit) through(s *SA, path ipsec.Path) {
	s.path = path
	t.compose(s)
	s.retx.Replace(s.initReq)
}

// compose makes the request.
func (t *saInit) compose(s *SA) {
	var ps []wire.Payload
	if t.cookie != nil {
		ps = append(ps, &wire.Notify{Kind: wire.Cookie, Data: t.cookie})
	}
	ps = append(ps,
		&wire.SA{Proposals: offer(ipsec.ProtoIKE, nil, s.peer.Proposals)},
		&wire.KE{Group: s.dh.Group(), Data: s.dh.Public()},
		&wire.Nonce{Data: s.ni})
	ps = append(ps, s.natPayloads(s.peer, 0, s.path.Local, s.path.Remote)...)
	ps = append(ps, &wire.Notify{Kind: wire.FragmentationSupported})
	m := wire.Message{Header: s.header(wire.ExchangeSAInit, 0, 0), Payloads: ps}
	s.initReq = m.Marshal()
}

// offer numbers proposals from 1 for an SA payload.
func offer(proto ipsec.Protocol, spi []byte, ps []ipsec.Proposal) []wire.Proposal {
	out := make([]wire.Proposal, len(ps))
	for i, p := range ps {
		out[i] = wire.Proposal{Number: uint8(i + 1), Protocol: proto, SPI: spi, Proposal: p}
	}
	return out
}

// ErrBusy: the sender may not cost us an exponentiation now. It repeats its request.
var ErrBusy = errors.New("no time for a key exchange")

// response handles a message that claims to be the response. Nothing in it is
// authentic yet, so an error counts only if no better response comes (RFC 7296
// section 2.21.1).
func (t *saInit) response(s *SA, now time.Time, h wire.Header, d ipsec.Datagram) {
	if d.Remote != s.path.Remote {
		other, ok := s.peer.OtherDoor(s.path)
		if !ok || d.Remote != other.Remote || d.Local.Port() != other.Local.Port() {
			return
		}
		t.through(s, other) // a late answer to what went there
	}
	m, err := wire.Parse(d.Data)
	if err != nil {
		t.unusable(s, now, err)
		return
	}
	if n := errorNotify(m.Payloads); n != nil {
		t.refusal(s, now, n)
		return
	}
	if n := wire.FindNotify(m.Payloads, wire.Cookie); n != nil {
		if t.retries++; t.retries <= maxRetries && len(n.Data) >= 1 && len(n.Data) <= 64 {
			t.cookie = n.Data
			t.send(s, now)
		}
		return
	}
	if err := checkShape(wire.ExchangeSAInit, true, m.Payloads); err != nil {
		t.unusable(s, now, err)
		return
	}
	if h.SPIr == 0 {
		t.unusable(s, now, errors.New("the responder's SPI is 0"))
		return
	}
	if why := t.accept(s, now, h, m.Payloads, d); !why.OK() {
		t.refused = why
		s.env.Owner.Troubled(now, s.peer, why)
	}
}

// unusable keeps that something came: it may be forged like a refusal, and a better response may follow.
func (t *saInit) unusable(s *SA, now time.Time, err error) {
	t.refused = diag.Cause{Code: diag.AnswerUnusable, Peer: s.path.Remote, Message: "the response to IKE_SA_INIT", Err: err.Error()}
	s.env.Owner.Troubled(now, s.peer, t.refused)
}

// refusal handles an error notification. It may be forged, and "the recipient should
// continue trying for some time before giving up", so it is only reported.
func (t *saInit) refusal(s *SA, now time.Time, n *wire.Notify) {
	if n.Kind == wire.InvalidKEPayload && len(n.Data) == 2 {
		group := binary.BigEndian.Uint16(n.Data)
		tr := ipsec.Transform{Type: ipsec.KE, ID: group}
		offered := slices.ContainsFunc(s.peer.Proposals, func(p ipsec.Proposal) bool { return slices.Contains(p.Transforms, tr) })
		if offered && group != s.dh.Group() {
			if t.retries++; t.retries > maxRetries {
				return
			}
			dh, err := sa.NewDH(group, s.env.Rand)
			if err == nil {
				s.dh = dh
				t.send(s, now)
			}
			return
		}
		t.refused = diag.Cause{Code: diag.IKEGroup, Ours: sa.GroupText(s.dh.Group()), Theirs: tr.String()}
	} else {
		t.refused = diag.Cause{Code: diag.IKERefused, Ours: sa.ProposalText(s.peer.Proposals), Notify: n.Kind.String()}
	}
	s.env.Owner.Troubled(now, s.peer, t.refused)
}

// accept derives the keys and sends IKE_AUTH. If the response does not allow that,
// the Cause says why.
func (t *saInit) accept(s *SA, now time.Time, h wire.Header, ps []wire.Payload, d ipsec.Datagram) diag.Cause {
	got, _ := wire.Find[*wire.SA](ps)
	ke, _ := wire.Find[*wire.KE](ps)
	nonce, _ := wire.Find[*wire.Nonce](ps)
	suite, ok := chosen(got, s.peer.Proposals, ipsec.ProtoIKE, true)
	if !ok {
		return diag.Cause{Code: diag.IKENotOffered}
	}
	if suite.KE.ID != s.dh.Group() || ke.Group != s.dh.Group() {
		return diag.Cause{Code: diag.KEGroupChanged}
	}
	if bytes.Equal(ke.Data, s.dh.Public()) {
		return diag.Cause{Code: diag.Reflected}
	}
	shared, err := s.dh.Shared(ke.Data)
	if err != nil {
		return diag.Cause{Code: diag.KeyExchange, Err: err.Error()}
	}
	k, err := firstKeys(suite, shared, s.ni, nonce.Data, s.spiI, h.SPIr)
	if err != nil {
		return internal("derive keys", err)
	}
	s.dh.Clear()
	s.keys, s.suite, s.spiR, s.nr, s.dh = k, suite, h.SPIr, nonce.Data, nil
	s.initResp = bytes.Clone(d.Data)
	s.path.Local = d.Local
	s.env.Owner.Answered(s, d.Remote.Port())
	s.fragment = wire.FindNotify(ps, wire.FragmentationSupported) != nil
	if s.peer.NATT {
		s.detectNAT(ps, h.SPIr, d.Local, d.Remote)
	}
	if why := s.nat.Problem(s.peer); !why.OK() {
		s.Drop(now, why)
		return diag.Cause{}
	}
	if s.encap() { // "MUST tunnel all future IKE and ESP packets [...] over UDP port 4500"
		if sa.Float(&s.path) {
			s.env.Owner.Floated(s)
		}
	}
	s.name()
	s.LogKeys(s.env.KeyLog)
	s.retx.Stop()
	s.out, s.nextID = nil, 1
	a := &auth{first: t.first, local: t.local, remote: t.remote}
	r, ok := a.build(s, now)
	if !ok {
		s.Drop(now, diag.Cause{Code: diag.NoSPI})
		return diag.Cause{}
	}
	msgs, err := s.seal(r.exchange, 0, s.nextID, r.payloads)
	if err != nil {
		a.abandoned(s)
		s.Drop(now, internal("encrypt a request", err))
		return diag.Cause{}
	}
	s.start(now, a, r.exchange, msgs)
	return diag.Cause{}
}

// Respond answers an IKE_SA_INIT request m, which was parsed from d; reachable: its sender has proven its address. With an error
// no state is kept; a *wire.NotifyError says what to tell the sender.
func Respond(env *sa.Env, now time.Time, d ipsec.Datagram, m *wire.Message, reachable bool) (*SA, error) {
	if err := checkShape(wire.ExchangeSAInit, false, m.Payloads); err != nil {
		return nil, err
	}
	candidates := env.Owner.Candidates(2, d.Local.Addr(), d.Remote.Addr())
	if len(candidates) == 0 {
		return nil, refuse(wire.NoProposalChosen, diag.Cause{Code: diag.UnknownPeer, Peer: d.Remote})
	}
	offered, _ := wire.Find[*wire.SA](m.Payloads)
	ke, _ := wire.Find[*wire.KE](m.Payloads)
	nonce, _ := wire.Find[*wire.Nonce](m.Payloads)

	peer, from, suite := chooseIKE(candidates, offered, ke.Group)
	if from == nil {
		why := diag.Cause{Code: diag.IKEProposal, Theirs: sa.Difference(proposalsOf(offered), candidates[0].Proposals, true)}
		for _, p := range candidates {
			env.Owner.Troubled(now, p, why)
		}
		return nil, refuse(wire.NoProposalChosen, why)
	}
	if suite.KE.ID != ke.Group {
		return nil, &wire.NotifyError{
			Kind: wire.InvalidKEPayload, Data: u16(suite.KE.ID),
			Cause: groupGuess(ke.Group, suite.KE),
		}
	}
	if err := sa.CheckPublic(ke.Group, ke.Data); err != nil {
		return nil, syntax("%v", err)
	}
	if !env.Owner.Affords(now, d.Remote.Addr(), sa.Effort(ke.Group), reachable) {
		return nil, ErrBusy
	}

	s := newSA(env, now, false)
	s.handshake = &handshake{}
	s.spiI, s.spiR = m.SPIi, env.Owner.NewSPI()
	s.path = ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}
	s.suite, s.ni, s.peerKE = suite, nonce.Data, ke.Data
	s.expireAt = now.Add(halfOpenTime)
	s.nameStranger(now)
	var err error
	if s.nr, err = s.env.Nonce(); err != nil {
		return nil, err
	}
	if s.dh, err = sa.NewDH(ke.Group, env.Rand); err != nil {
		return nil, err
	}
	s.detectNAT(m.Payloads, 0, d.Local, d.Remote) // believed in IKE_AUTH, if the peer's settings allow
	s.fragment = wire.FindNotify(m.Payloads, wire.FragmentationSupported) != nil

	ps := []wire.Payload{
		answer(from, nil, suite),
		&wire.KE{Group: ke.Group, Data: s.dh.Public()},
		&wire.Nonce{Data: s.nr},
	}
	if wire.FindNotify(m.Payloads, wire.NATDetectionSourceIP) != nil {
		ps = append(ps, s.natPayloads(peer, s.spiR, d.Local, d.Remote)...)
	}
	if s.fragment {
		ps = append(ps, &wire.Notify{Kind: wire.FragmentationSupported})
	}
	s.initReq = bytes.Clone(d.Data)
	s.initResp = (&wire.Message{Header: s.header(wire.ExchangeSAInit, wire.FlagResponse, 0), Payloads: ps}).Marshal()
	s.requestHash, s.peerNextID = sha256.Sum256(d.Data), 1
	s.response, s.hasResponse = [][]byte{s.initResp}, true
	env.Owner.Spawned(s)
	s.send(sa.ReplyPath(d), s.response)
	return s, nil
}

// groupGuess is the Cause of a key exchange value in group where we want another group.
func groupGuess(group uint16, want ipsec.Transform) diag.Cause {
	return diag.Cause{Code: diag.IKEGroupGuess, Theirs: sa.GroupText(group), Ours: want.String()}
}

// chooseIKE finds the first candidate whose first choice from an offer has the group of the peer's key exchange value,
// else the first with a proposal in common. It never lets the value decide between groups: who forged an
// INVALID_KE_PAYLOAD would decide then.
func chooseIKE(candidates []*sa.Peer, offered *wire.SA, group uint16) (peer *sa.Peer, from *wire.Proposal, suite ipsec.Suite) {
	for i, p := range candidates {
		if i > 0 && slices.EqualFunc(p.Proposals, candidates[i-1].Proposals, ipsec.Proposal.Equal) { // of thousands that may come from anywhere
			continue
		}
		n, own := choose(p.Proposals, offered, ipsec.ProtoIKE, true, 0, false)
		if n != nil && own.KE.ID == group {
			return p, n, own
		}
		if n != nil && from == nil {
			peer, from, suite = p, n, own
		}
	}
	return peer, from, suite
}

// choose picks a proposal from an offer, with only: one that has the given group. nil: there is none. The numbers of an
// offer do not count: some peers begin at 0, or leave gaps.
func choose(own []ipsec.Proposal, offered *wire.SA, proto ipsec.Protocol, withKE bool, group uint16, only bool) (*wire.Proposal, ipsec.Suite) {
	for _, o := range own {
		for i := range offered.Proposals {
			p := &offered.Proposals[i]
			if p.Protocol != proto || p.Unknown {
				continue
			}
			theirs := p.Proposal
			if withKE && only {
				theirs = ipsec.Proposal{Transforms: slices.DeleteFunc(slices.Clone(theirs.Transforms), func(t ipsec.Transform) bool {
					return t.Type == ipsec.KE && t.ID != group
				})}
			}
			if suite, ok := o.Choose(theirs, withKE); ok {
				return p, suite
			}
		}
	}
	return nil, ipsec.Suite{}
}

// answer is the SA payload that takes a suite of a proposal: with its number, and with transforms of the types that it has.
func answer(from *wire.Proposal, spi []byte, suite ipsec.Suite) *wire.SA {
	p := suite.Proposal()
	if len(from.Of(ipsec.ESN)) == 0 {
		p.Transforms = slices.DeleteFunc(p.Transforms, func(t ipsec.Transform) bool { return t.Type == ipsec.ESN })
	}
	return &wire.SA{Proposals: []wire.Proposal{{Number: from.Number, Protocol: from.Protocol, SPI: spi, Proposal: p}}}
}

// chosen checks the SA payload of a response: it must have one proposal, with one
// algorithm of each type, from our offer.
func chosen(got *wire.SA, own []ipsec.Proposal, proto ipsec.Protocol, withKE bool) (ipsec.Suite, bool) {
	if len(got.Proposals) != 1 || got.Proposals[0].Protocol != proto || got.Proposals[0].Unknown {
		return ipsec.Suite{}, false
	}
	p := got.Proposals[0]
	for _, typ := range [...]ipsec.TransformType{ipsec.Encr, ipsec.PRF, ipsec.Integ, ipsec.KE, ipsec.ESN} {
		if len(p.Of(typ)) > 1 {
			return ipsec.Suite{}, false
		}
	}
	if n := int(p.Number); 1 <= n && n <= len(own) {
		if suite, ok := own[n-1].Choose(p.Proposal, withKE); ok {
			return suite, true
		}
	}
	if p.Protocol == ipsec.ProtoIKE {
		return ipsec.Suite{}, false // the response may be forged, and a better one follow
	}
	for _, o := range own { // the number is wrong, and what it takes is clear
		if suite, ok := o.Choose(p.Proposal, withKE); ok {
			return suite, true
		}
	}
	return ipsec.Suite{}, false
}

// haveKeys derives a responder's keys when the first encrypted request comes. Until
// a peer has answered from the address that it claims, we spend only one
// exponentiation on it.
func (s *SA) haveKeys(now time.Time) bool {
	if s.lingering {
		return false
	}
	if s.keys != nil {
		return true
	}
	if s.handshake == nil || s.dh == nil || s.peerKE == nil || !s.env.Owner.Affords(now, s.path.Remote.Addr(), sa.Effort(s.dh.Group()), true) {
		return false // the peer repeats its request
	}
	shared, err := s.dh.Shared(s.peerKE)
	s.dh.Clear()
	s.dh, s.peerKE = nil, nil // one attempt: a bad value stays bad
	if err != nil {
		s.logger().Warn("the peer's key exchange value is invalid", "err", err)
		return false
	}
	if s.keys, err = firstKeys(s.suite, shared, s.ni, s.nr, s.spiI, s.spiR); err != nil {
		s.logger().Error("cannot derive keys", "err", err)
		return false
	}
	if s.env.Exposes() { // the peer may be any of thousands
		s.LogKeys(s.env.KeyLog)
	}
	return true
}

// proposalsOf returns the proposals of an SA payload.
func proposalsOf(p *wire.SA) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, o := range p.Proposals {
		out = append(out, o.Proposal)
	}
	return out
}
