package ikev1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Quick mode, RFC 2409 section 5.5, from the initiator's end.
//
//	Initiator                        Responder
//	HDR*, HASH(1), SA, Ni
//	  [, KE ] [, IDci, IDcr ] -->
//	                          <--    HDR*, HASH(2), SA, Nr
//	                                       [, KE ] [, IDci, IDcr ]
//	HDR*, HASH(3)             -->

// quickTime is how long a quick mode is repeated without an answer. It is shorter than the time
// of phase 1, because some peers refuse in silence while other quick modes wait.
const (
	quickTime = 20 * time.Second
	// silentTime is how old an ISAKMP SA is that a quick mode without an answer makes doubtful, where DPD cannot ask.
	silentTime = 5 * time.Minute
	quickWait  = 2 * time.Second // the longest between two sendings, since the time is short
)

// quick asks for one Child SA between two subnets.
type quick struct {
	cfg           *sa.Child
	local, remote ipsec.Selector
	old           *child // the one to be replaced; nil: none
	rival         *child // the one that the peer asked for meanwhile, for the same traffic; nil: none

	s       *SA
	x       *exchange
	began   time.Time
	own     []ipsec.Suite
	spiIn   uint32
	dh      *sa.DH
	ni      []byte
	idci    []byte // IDci_b
	idcr    []byte // IDcr_b
	offered lifetime
}

// Create implements sa.Machine.
func (s *SA) Create(now time.Time, c *sa.Child, local, remote []ipsec.Selector) {
	for _, l := range local {
		for _, r := range remote {
			if l.Start.BitLen() == r.Start.BitLen() {
				s.fam.queue = append(s.fam.queue, &quick{cfg: c, local: l, remote: r})
			}
		}
	}
	s.fam.startNext(now)
}

// startRekey queues a quick mode that replaces a Child SA, unless there is one.
func (s *SA) startRekey(now time.Time, c *child, why diag.Cause) {
	if c.leaving() || s.env.Owner.Held(c.cfg) || s.fam.asked(func(q *quick) bool { return q.old == c }) != nil {
		return
	}
	if !c.out || c.successor != nil || s.state != sa.Established {
		c.softAt = now.Add(s.env.Jitter(retryMin, retryMax))
		return
	}
	s.log.Debug("rekeying a Child SA", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn), sa.Why(why))
	s.fam.queue = append(s.fam.queue, &quick{cfg: c.cfg, local: c.sa.Local[0], remote: c.sa.Remote[0], old: c})
}

// begin sends message 1, unless the Child SA is no longer wanted or is there already.
func (q *quick) begin(s *SA, now time.Time) {
	if s.env.Owner.Held(q.cfg) {
		return
	}
	if q.old != nil && (s.fam.find(q.old.sa.SPIIn) != q.old || q.old.leaving() || q.old.successor != nil) {
		return
	}
	if q.old == nil && (s.fam.carries(q) || s.fam.asks(q)) { // the peer asked for it meanwhile, or two families had the same wish
		return
	}
	q.s, q.began = s, now
	if err := q.prepare(); err != nil {
		q.abandoned(s)
		q.fail(now, diag.Cause{Code: diag.Internal, Name: "ask for a Child SA", Err: err.Error()})
		return
	}
	s.asking = q
	q.ask(now)
}

// carries reports whether there is a Child SA already for the traffic of a quick mode.
func (f *family) carries(q *quick) bool {
	return slices.ContainsFunc(f.children, func(c *child) bool { return q.wants(c) && !c.leaving() })
}

// asks reports whether there is another quick mode of ours for the same.
func (f *family) asks(q *quick) bool {
	return f.asked(func(p *quick) bool {
		return p.old == nil && p.cfg == q.cfg && p.local == q.local && p.remote == q.remote
	}) != nil
}

// wants reports whether a Child SA carries the traffic of the quick mode.
func (q *quick) wants(c *child) bool {
	return q.cfg == c.cfg && c.sa.Local[0] == q.local && c.sa.Remote[0] == q.remote
}

// prepare draws and allocates what message 1 needs.
func (q *quick) prepare() error {
	s := q.s
	if q.own = espSuites(q.cfg.Proposals, false); len(q.own) == 0 {
		return fmt.Errorf("IKEv1 has no ESP proposal like %s", sa.ProposalText(q.cfg.Proposals))
	}
	var err error
	var okL, okR bool
	if q.idci, okL = selectorID(q.local); okL {
		q.idcr, okR = selectorID(q.remote)
	}
	if !okL || !okR {
		return fmt.Errorf("IKEv1 cannot say the traffic selectors %v and %v", q.local, q.remote)
	}
	mid, err := s.newID()
	if err != nil {
		return err
	}
	if q.ni, err = s.env.Nonce(); err != nil {
		return err
	}
	if g := q.own[0].KE.ID; g != 0 {
		if q.dh, err = sa.NewDH(g, s.env.Rand); err != nil {
			return err
		}
	}
	q.x = &exchange{kind: wire.ExchangeQuick, id: mid, iv: s.keys.nextIV(s.lastIV, mid), asks: q, then: failsQuick}
	q.x.retx = sa.Retransmitter{Max: quickWait, Total: quickTime, Rand: s.env.Rand}
	s.track(q.x)
	q.spiIn, err = s.env.AllocSPI()
	return err
}

// abandoned frees what prepare took.
func (q *quick) abandoned(s *SA) {
	if q.spiIn != 0 {
		s.env.FreeSPI(q.spiIn)
		q.spiIn = 0
	}
	if q.x != nil {
		s.forget(q.x)
	}
	if s.asking == q {
		s.asking = nil
	}
}

// HDR*, HASH(1), SA, Ni [, KE ] , IDci, IDcr -->
func (q *quick) ask(now time.Time) {
	s, life := q.s, q.cfg.Lifetime
	q.offered = lifetime{life.Time, life.Bytes}
	ps := []wire.Payload{offerESP(q.spiIn, q.own, q.offered, s.modes()[0]), &wire.Nonce1{Data: q.ni}}
	if q.dh != nil {
		ps = append(ps, &wire.Raw{Kind: wire.TypeKE1, Data: q.dh.Public()})
	}
	ps = append(ps, idPayload(q.idci), idPayload(q.idcr))
	q.x.step = qm2
	s.say(now, q.x, true, hashed(ps, func(rest []byte) []byte { return s.keys.hash1(q.x.id, rest) })...)
}

// HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ] <-- and then HDR*, HASH(3) -->
func (q *quick) qm2(now time.Time, m *message) error {
	s := q.s
	if !proven(m, s.keys.hash2(q.x.id, q.ni, m.Raw[1:]...)) {
		return drop(sa.DropBadHash, "HASH(2) of a quick mode is wrong")
	}
	c, why := q.accept(now, m)
	if !why.OK() {
		s.inform(&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, SPI: u32(q.spiIn), Kind: wire.NoProposalChosen1})
		q.fail(now, why)
		return nil
	}
	nonce, _ := wire.Find[*wire.Nonce1](m.Payloads)
	q.spiIn = 0 // it is the Child SA's now
	if s.asking == q {
		s.asking = nil
	}
	if q.old != nil {
		c.asked = q.old.sa.SPIIn
		s.env.Owner.Exchanged(s, sa.Exchanged{What: sa.ChildRekey, Done: true, Took: now.Sub(q.began)})
	}
	s.add(c) // ready before message 3, which lets the peer use it
	if r := q.rival; r != nil && s.fam.find(r.sa.SPIIn) == r && !r.gone && !r.confirmBy.IsZero() {
		// The peer answered our message 1 before it had our message 2, so it knows that the two quick modes have
		// crossed. Had it finished its own first, it would take ours for a later one.
		s.crossed(now, c, r)
	}
	s.say(now, q.x, false, &wire.Raw{Kind: wire.TypeHash1, Data: s.keys.hash3(q.x.id, q.ni, nonce.Data)})
	s.finish(now, q.x)
	s.fam.quiet = now.Add(quickGap)
	switch {
	case s.env.Owner.Held(q.cfg):
		s.deleteChild(now, c, notWanted)
	case s.replaces(c):
		c.outAt = now.Add(switchTime)
	default:
		s.sendOn(now, c)
	}
	return nil
}

// replaces reports whether another Child SA carries the traffic of c until c does.
func (s *SA) replaces(c *child) bool {
	return slices.ContainsFunc(s.fam.children, func(old *child) bool { return old.carriesFor(c) })
}

// carriesFor reports whether old carries the traffic of c.
func (old *child) carriesFor(c *child) bool {
	return old != c && old.out && !old.gone && sameTraffic(old, c)
}

// accept makes a Child SA of the peer's answer, or says what is wrong with the answer.
func (q *quick) accept(now time.Time, m *message) (*child, diag.Cause) {
	s := q.s
	answer, _ := wire.Find[*wire.SA1](m.Payloads)
	nonce, _ := wire.Find[*wire.Nonce1](m.Payloads)
	if n := answer.Transforms(); n != 1 {
		return nil, diag.Cause{Code: diag.SeveralChosen, Count: n}
	}
	c, ok := chooseESP(answer, q.own, s.modes())
	if !ok {
		return nil, diag.Cause{Code: diag.ESPNotOffered, Theirs: sa.Difference(offered(answer, ipsec.ProtoESP), offeredBy(q.own), true)}
	}
	out := binary.BigEndian.Uint32(c.proposal.SPI)
	if out < 256 {
		return nil, diag.Cause{Code: diag.ReservedSPI}
	}
	if i := m.Index(wire.TypeID1); i >= 0 {
		if string(m.Body(i)) != string(q.idci) || m.Raw[i+1] == nil || string(m.Body(i+1)) != string(q.idcr) {
			return nil, diag.Cause{Code: diag.SelectorsWrong, Theirs: saidSelectors(m)}
		}
	} else if !s.implied(q.local, q.remote) {
		return nil, diag.Cause{Code: diag.SelectorsWrong, Theirs: "none"}
	}
	shared, why := q.secret(m)
	if !why.OK() {
		return nil, why
	}
	life := q.offered
	if l := c.life.time; l > 0 && (life.time == 0 || l < life.time) {
		life.time = l
	}
	if l := q.shorter(m); l > 0 && (life.time == 0 || l < life.time) {
		life.time = l
	}
	return s.newChild(now, negotiated{
		cfg: q.cfg, suite: c.suite, in: q.spiIn, out: out, local: q.local, remote: q.remote, made: true, shared: shared,
		ni: q.ni, nr: nonce.Data, life: life, rekeyed: q.offered.time > 0,
	}), diag.Cause{}
}

// secret is g(qm)^xy, or nil without PFS.
func (q *quick) secret(m *message) ([]byte, diag.Cause) {
	ke, ok := wire.FindType[*wire.Raw](m.Payloads, wire.TypeKE1)
	switch {
	case q.dh == nil:
		return nil, diag.Cause{}
	case !ok:
		return nil, invalidKey(errors.New("there is none, though the peer took a proposal with PFS"))
	}
	shared, err := q.dh.Shared(ke.Data)
	if err != nil {
		return nil, invalidKey(err)
	}
	q.dh.Clear()
	return shared, diag.Cause{}
}

// shorter is the lifetime in the peer's RESPONDER-LIFETIME, or 0.
func (q *quick) shorter(m *message) time.Duration {
	n := wire.FindNotify1(m.Payloads, wire.ResponderLifetime)
	if n == nil || n.Protocol != ipsec.ProtoESP {
		return 0
	}
	as, _ := wire.ParseAttributes(n.Data)
	return readAttributes(as, espLifeType, espLife).life.time
}

// refused ends a quick mode that the peer refuses in an informational exchange.
func (q *quick) refused(now time.Time, n *wire.Notify1) {
	why := diag.Cause{Code: diag.ESPRefused, Ours: sa.ProposalText(q.cfg.Proposals), Notify: n.Kind.String()}
	if n.Kind == wire.InvalidID1 {
		why.Code, why.Ours = diag.SelectorsRefuse, hereAndThere(q.local, q.remote)
	}
	q.s.log.Warn("Child SA refused", "child", q.cfg.Name, "notify", n.Kind.String())
	q.s.fam.quiet = now.Add(quickGap)
	q.fail(now, why)
}

// unanswered ends a quick mode that the peer does not answer.
func (q *quick) unanswered(now time.Time) {
	s := q.s
	switch {
	case s.state != sa.Replaced:
	case s.fam.current != s:
		q.abandoned(s)
		s.fam.requeue(now, q)
		s.fam.startNext(now)
		return
	case q.x.retx.Active(): // its successor has died, so it goes on
		return
	}
	heard := s.lastHeard()
	q.fail(now, diag.Cause{Code: diag.NoAnswerQuick, Ours: hereAndThere(q.local, q.remote)})
	switch {
	case !s.spoke.Before(q.began):
	case q.old == nil && len(s.fam.queue) > 0: // the next one tells
	case s.peerSays.dpd:
		s.askAlive(now)
		s.dpd.strict = true
	case q.old == nil && s.serves():
		if now.Sub(s.authedAt) >= silentTime { // before, a refusal in silence is more likely
			s.RekeyIKE(now, diag.Cause{Code: diag.NoAnswerQuick})
		}
	case !heard.Before(q.began):
		s.RekeyIKE(now, diag.Cause{Code: diag.NoAnswerQuick})
	default:
		s.Drop(now, diag.Cause{Code: diag.PeerDead, Peer: s.path.Remote})
	}
}

// serves reports whether there is a Child SA that carries traffic.
func (s *SA) serves() bool {
	return slices.ContainsFunc(s.fam.children, func(c *child) bool { return c.out && !c.leaving() })
}

// fail ends the quick mode without a Child SA.
func (q *quick) fail(now time.Time, why diag.Cause) {
	s := q.s
	if q.old != nil {
		s.env.Owner.Exchanged(s, sa.Exchanged{What: sa.ChildRekey})
	}
	q.abandoned(s)
	if old := q.old; old != nil && s.fam.find(old.sa.SPIIn) == old && !old.gone && old.successor == nil {
		old.softAt, old.failed = now.Add(s.env.Jitter(retryMin, retryMax)), why
	}
	if q.old != nil {
		s.env.Owner.ChildChanged(now, s, q.cfg, why)
		return
	}
	s.env.Owner.ChildRefused(now, s, q.cfg, []ipsec.Selector{q.local}, []ipsec.Selector{q.remote}, why)
}
