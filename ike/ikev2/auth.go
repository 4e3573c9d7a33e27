package ikev2

import (
	"bytes"
	"crypto/hmac"
	"log/slog"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// IKE_AUTH, RFC 7296 section 1.2, with pre-shared keys.
//
//	Initiator                         Responder
//	HDR, SK {IDi, [N(INITIAL_CONTACT),] IDr, AUTH,
//	    SAi2, TSi, TSr}  -->
//	                             <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}

// auth is the IKE_AUTH exchange that an initiator starts.
type auth struct {
	first         *sa.Child
	local, remote []ipsec.Selector
	spiIn         uint32
}

// authenticating reports whether our IKE_AUTH request is open.
func (s *SA) authenticating() bool {
	_, ok := s.out.(*auth)
	return ok
}

func (t *auth) child() *sa.Child { return t.first }

func (t *auth) abandoned(s *SA) {
	if t.spiIn != 0 {
		s.env.FreeSPI(t.spiIn)
		t.spiIn = 0
	}
}

func (t *auth) build(s *SA, _ time.Time) (request, bool) {
	p := s.peer
	id := &wire.ID{Identity: p.LocalID}
	ps := []wire.Payload{id}
	if s.env.Owner.Sole(s, p) {
		ps = append(ps, &wire.Notify{Kind: wire.InitialContact})
	}
	if p.RemoteID != ipsec.AnyIdentity {
		ps = append(ps, &wire.ID{Responder: true, Identity: p.RemoteID})
	}
	ps = append(ps,
		&wire.Auth{Method: wire.AuthSharedKey, Data: s.keys.pskAuth(p.PSK, s.initReq, s.nr, s.keys.pi, id)})
	if t.first != nil {
		var err error
		if t.spiIn, err = s.env.AllocSPI(); err != nil {
			s.logger().Error("cannot allocate an SPI", "err", err)
			return request{}, false
		}
		ps = append(ps, childPayloads(t.spiIn, sa.WithoutKE(t.first.Proposals), t.local, t.remote)...)
	}
	return request{wire.ExchangeAuth, ps}, true
}

func (t *auth) answered(s *SA, now time.Time, ps []wire.Payload) error {
	id, hasID := wire.FindType[*wire.ID](ps, wire.TypeIDr)
	mac, hasAuth := wire.Find[*wire.Auth](ps)
	if s.state == sa.Deleting { // closed meanwhile
		t.abandoned(s)
		if !hasAuth {
			s.die(now, s.endWhy.Cause())
			return nil
		}
		s.enqueue(&deleteIKE{})
		return nil
	}
	if !hasID || !hasAuth {
		t.abandoned(s)
		n := errorNotify(ps)
		kind := wire.AuthenticationFailed
		if n != nil {
			kind = n.Kind
		}
		s.Drop(now, diag.Cause{Code: diag.AuthRefused, Ours: sa.IDText(s.peer.LocalID), Theirs: sa.IDText(s.peer.RemoteID), Notify: kind.String()})
		return nil
	}
	if why := s.checkAuth(s.peer, id, mac); !why.OK() {
		t.abandoned(s)
		// The peer has accepted us already: "the notification MAY be returned in a
		// separate INFORMATIONAL exchange" (section 2.21.2). A Delete goes with it, because
		// some peers look only for a Delete.
		s.closing(now, why, &wire.Notify{Kind: wire.AuthenticationFailed})
		return nil
	}
	ni, nr := s.authenticated(now, ps)
	defer s.regroup(now)
	if t.first == nil {
		return nil
	}
	if n := errorNotify(ps); n != nil {
		t.abandoned(s)
		s.childRefused(now, t.first, t.local, t.remote, n)
		return nil
	}
	c, why := s.acceptOffer(now, childOffer{cfg: t.first, local: t.local, remote: t.remote, spiIn: t.spiIn}, ps, ni, nr)
	if !why.OK() {
		s.deleteSPI(t.spiIn) // the peer has it
		t.abandoned(s)
		s.env.Owner.ChildRefused(now, s, t.first, t.local, t.remote, why)
		return nil
	}
	t.spiIn = 0
	s.useChild(now, c)
	return nil
}

// authenticated ends the handshake, of which the first Child SA still needs the nonces. ps is the peer's IKE_AUTH message.
func (s *SA) authenticated(now time.Time, ps []wire.Payload) (ni, nr []byte) {
	s.established(now)
	s.info(now, "IKE SA established", slog.String("proposal", s.suite.String()), slog.String("nat", s.nat.String()), slog.Bool("encap", s.encap()))
	s.env.Owner.Authenticated(now, s, wire.FindNotify(ps, wire.InitialContact) != nil)
	ni, nr = s.ni, s.nr
	s.handshake = nil
	return ni, nr
}

// checkAuth verifies the peer's identity and AUTH payload. The Cause says what is
// wrong; it is OK when both are right.
func (s *SA) checkAuth(p *sa.Peer, id *wire.ID, mac *wire.Auth) diag.Cause {
	if !p.RemoteID.Welcomes(id.Identity) {
		return diag.Cause{Code: diag.PeerIdentity, Theirs: sa.IDText(id.Identity), Ours: sa.IDText(p.RemoteID)}
	}
	if id.Identity.Same(p.LocalID) {
		return diag.Cause{Code: diag.SameIdentity, Theirs: sa.IDText(id.Identity)}
	}
	if mac.Method != wire.AuthSharedKey {
		return diag.Cause{Code: diag.AuthMethod, Count: int(mac.Method)}
	}
	message, nonce, skp := s.initReq, s.nr, s.keys.pi
	if s.initiator {
		message, nonce, skp = s.initResp, s.ni, s.keys.pr
	}
	if !hmac.Equal(mac.Data, s.keys.pskAuth(p.PSK, message, nonce, skp, id)) {
		return diag.Cause{Code: diag.PSKMismatch}
	}
	return diag.Cause{}
}

// answerAuth answers the peer's IKE_AUTH request.
func (s *SA) answerAuth(now time.Time, ps []wire.Payload, d ipsec.Datagram) ([]wire.Payload, func(), error) {
	idi, _ := wire.FindType[*wire.ID](ps, wire.TypeIDi)
	idr, hasIDr := wire.FindType[*wire.ID](ps, wire.TypeIDr)
	mac, _ := wire.Find[*wire.Auth](ps)
	p, err := s.identify(now, idi, idr, hasIDr, mac)
	if err != nil {
		return nil, nil, err
	}
	s.peer = p
	if !p.NATT {
		s.nat = sa.NAT{}
	}
	s.path = s.nat.Path(p, s.path, d.Local, d.Remote)
	s.name()
	if why := s.nat.Problem(p); !why.OK() {
		s.env.Owner.Troubled(now, p, why)
		return nil, nil, refuse(wire.AuthenticationFailed, why)
	}
	id := &wire.ID{Responder: true, Identity: p.LocalID}
	reply := []wire.Payload{id, &wire.Auth{Method: wire.AuthSharedKey, Data: s.keys.pskAuth(p.PSK, s.initResp, s.ni, s.keys.pr, id)}}
	ni, nr := s.authenticated(now, ps)

	o, hasChild, err := readChildRequest(ps)
	if !hasChild || err != nil {
		return reply, nil, err
	}
	c, more, err := s.answerChild(now, o, ni, nr)
	if err != nil { // the IKE SA stays (section 1.2)
		n := asNotify(err)
		if n == nil || n.Kind == wire.InvalidSyntax {
			return nil, nil, err
		}
		s.logger().Info("refusing the peer's Child SA", "notify", n.Kind.String(), sa.Why(n.Cause))
		return append(reply, &wire.Notify{Kind: n.Kind, Data: n.Data}), nil, nil
	}
	s.installIn(c)
	return append(reply, more...), func() { s.installOut(now, c) }, nil
}

// identify finds the candidate whose identities and pre-shared key the initiator's
// IKE_AUTH request proves. Identities distinguish candidates that share an address;
// the negotiated algorithms distinguish candidates that share identities too.
func (s *SA) identify(now time.Time, id, idr *wire.ID, hasIDr bool, mac *wire.Auth) (*sa.Peer, error) {
	fail := func(ps []*sa.Peer, why diag.Cause) (*sa.Peer, error) {
		for _, p := range ps {
			s.env.Owner.Troubled(now, p, why)
		}
		return nil, refuse(wire.AuthenticationFailed, why)
	}
	named := s.env.Owner.Welcoming(2, s.path.Local.Addr(), s.path.Remote.Addr(), id.Identity)
	if len(named) == 0 {
		candidates := s.env.Owner.Candidates(2, s.path.Local.Addr(), s.path.Remote.Addr())
		var expected []string
		for _, p := range candidates {
			expected = append(expected, sa.IDText(p.RemoteID))
		}
		return fail(candidates, diag.Cause{Code: diag.PeerIdentity, Theirs: sa.IDText(id.Identity), Ours: sa.Alternatives(expected)})
	}
	if hasIDr {
		mine := slices.DeleteFunc(slices.Clone(named), func(p *sa.Peer) bool { return !p.LocalID.Same(idr.Identity) })
		if len(mine) == 0 {
			return fail(named, diag.Cause{Code: diag.OurIdentity, Theirs: sa.IDText(idr.Identity), Ours: sa.IDText(named[0].LocalID)})
		}
		named = mine
	}
	var why diag.Cause
	for _, p := range named {
		if why = s.checkAuth(p, id, mac); !why.OK() {
			continue
		}
		if !allows(p, s.suite) {
			return fail(named, diag.Cause{Code: diag.SuiteOfOther, Theirs: s.suite.String(), Name: p.Name, Ours: sa.ProposalText(p.Proposals)})
		}
		return p, nil
	}
	return fail(named, why)
}

// allows reports whether the suite could have been chosen from p's proposals.
func allows(p *sa.Peer, suite ipsec.Suite) bool {
	return slices.ContainsFunc(p.Proposals, func(o ipsec.Proposal) bool {
		got, ok := o.Choose(suite.Proposal(), true)
		return ok && got == suite
	})
}

// lowest compares two nonces octet by octet and returns the lower one (RFC 7296 section 2.8.1).
func lowest(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}
