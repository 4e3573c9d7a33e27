package ikev2

import (
	"encoding/binary"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// CREATE_CHILD_SA for new and rekeyed Child SAs, RFC 7296 sections 1.3.1, 1.3.3, 2.8.1.
//
//	Initiator                         Responder
//	HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi],
//	    TSi, TSr}  -->
//	                             <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}

const (
	retryMin = 2 * time.Second // after TEMPORARY_FAILURE or another refusal of a rekey
	retryMax = 6 * time.Second
	// troubleTime is how long a peer may refuse rekeys in a row: "it SHOULD conclude that the
	// state information is out of sync and close the IKE SA" (section 2.25).
	troubleTime = 3 * time.Minute
	// maxChildren is how many Child SAs a peer may have on one IKE SA.
	maxChildren = 1024
	// maxPairs is how many pairs of a local and a remote selector one Child SA may have, and maxAllPairs those of
	// a peer together, unless the configuration itself has more.
	maxPairs    = 1024
	maxAllPairs = 4096
)

// createChild requests one more Child SA.
type createChild struct {
	cfg           *sa.Child
	local, remote []ipsec.Selector
	group         uint16 // 0: the first of the proposals
	retried       bool

	spiIn uint32
	dh    *sa.DH
	ni    []byte
	rival *child // the child that the peer has made for the same traffic meanwhile, or by which it has replaced the old one
	// deleted are SPIs of the peer that it has deleted and we do not know. One of them can be that of its answer, when that is late.
	deleted []uint32
}

// maxDeleted is how many of them are kept.
const maxDeleted = 64

func (t *createChild) child() *sa.Child { return t.cfg }

func (t *createChild) abandoned(s *SA) {
	if t.spiIn != 0 {
		s.env.FreeSPI(t.spiIn)
		t.spiIn = 0
	}
}

// Create implements sa.Machine.
func (s *SA) Create(now time.Time, c *sa.Child, local, remote []ipsec.Selector) {
	s.enqueue(&createChild{cfg: c, local: local, remote: remote})
	s.pump(now)
}

func (t *createChild) build(s *SA, now time.Time) (request, bool) {
	if s.state != sa.Established || s.fam.current != s || s.env.Owner.Held(t.cfg) || s.serves(t) {
		return request{}, false
	}
	ps, why := t.payloads(s)
	if !why.OK() {
		s.env.Owner.ChildRefused(now, s, t.cfg, t.local, t.remote, why)
	}
	return request{wire.ExchangeCreateChild, ps}, why.OK()
}

// payloads returns SA, Ni, [KEi,] TSi and TSr, or the Cause of a failure.
func (t *createChild) payloads(s *SA) ([]wire.Payload, diag.Cause) {
	var err error
	if t.spiIn, err = s.env.AllocSPI(); err != nil {
		return nil, diag.Cause{Code: diag.NoSPI, Err: err.Error()}
	}
	if t.ni, err = s.env.Nonce(); err != nil {
		return nil, internal("make a nonce", err)
	}
	if t.group == 0 {
		t.group = firstGroup(t.cfg.Proposals)
	}
	cp := childPayloads(t.spiIn, t.cfg.Proposals, t.local, t.remote)
	ps := []wire.Payload{cp[0], &wire.Nonce{Data: t.ni}}
	if t.group != 0 {
		if t.dh, err = sa.NewDH(t.group, s.env.Rand); err != nil {
			return nil, internal("make a key exchange value", err)
		}
		ps = append(ps, &wire.KE{Group: t.group, Data: t.dh.Public()})
	}
	return append(ps, cp[1:]...), diag.Cause{}
}

func (t *createChild) answered(s *SA, now time.Time, ps []wire.Payload) error {
	defer t.abandoned(s)
	if s.state != sa.Established {
		return nil // the IKE SA was closed meanwhile, with all its exchanges
	}
	n := errorNotify(ps)
	s.busy(now, n)
	if n != nil {
		if again := t.otherGroup(s, n); again != nil {
			s.enqueue(again)
			return nil
		}
		s.childRefused(now, t.cfg, t.local, t.remote, n)
		return nil
	}
	if t.takenBack(ps) {
		s.env.Owner.ChildRefused(now, s, t.cfg, t.local, t.remote, diag.Cause{Code: diag.PeerDeletedESP})
		return nil
	}
	c, why := t.accept(s, now, ps)
	if !why.OK() {
		s.env.Owner.ChildRefused(now, s, t.cfg, t.local, t.remote, why)
		s.deleteSPI(t.spiIn)
		return nil
	}
	if r := t.rival; r != nil && !s.env.Owner.Held(c.cfg) && sameTraffic(c, r) && (s.standing(r) != nil || c.loses(r)) {
		s.collide(now, c, r)
		return nil
	}
	s.useChild(now, c)
	return nil
}

// takenBack reports whether the peer has deleted the Child SA of its answer before the answer came.
func (t *createChild) takenBack(ps []wire.Payload) bool {
	got, _ := wire.Find[*wire.SA](ps)
	return got != nil && slices.ContainsFunc(got.Proposals, func(p wire.Proposal) bool {
		return len(p.SPI) == 4 && slices.Contains(t.deleted, binary.BigEndian.Uint32(p.SPI))
	})
}

// creating is our open request for a new or rekeyed Child SA, or nil.
func (s *SA) creating() *createChild {
	switch t := s.out.(type) {
	case *createChild:
		return t
	case *rekeyChild:
		return &t.createChild
	}
	return nil
}

// serves reports whether there is a Child SA already for a request that waits: the peer may have made it meanwhile.
func (s *SA) serves(t *createChild) bool {
	return slices.ContainsFunc(s.fam.children, func(c *child) bool {
		return c.cfg == t.cfg && !c.leaving() && ipsec.Covers(c.sa.Local, t.local) && ipsec.Covers(c.sa.Remote, t.remote)
	})
}

// collide chooses between two Child SAs that both ends asked for at once: ours, which is not installed yet, and the peer's. The one with the
// lowest of the four nonces goes, as when a rekey collides (section 2.8.1). An end that gets the other's request late does not know
// of the collision, so an end that does deletes the loser, whoever made it.
func (s *SA) collide(now time.Time, ours, theirs *child) {
	s.logger().Debug("both ends asked for the same Child SA", "child", ours.cfg.Name, "ours", sa.Hex32(ours.sa.SPIIn), "theirs", sa.Hex32(theirs.sa.SPIIn))
	s.installIn(ours)
	if up := s.standing(theirs); up != theirs || ours.loses(theirs) {
		ours.successor = up
		s.deleteChild(ours)
		return
	}
	theirs.successor = ours
	s.installOut(now, ours)
	s.deleteChild(theirs)
}

// otherGroup returns the same request in the group that the peer asks for. It is
// nil if our proposals lack that group, or we have changed the group before.
func (t *createChild) otherGroup(s *SA, n *wire.Notify) *createChild {
	if n.Kind != wire.InvalidKEPayload || len(n.Data) != 2 || t.retried {
		return nil
	}
	group := uint16(n.Data[0])<<8 | uint16(n.Data[1])
	for _, p := range t.cfg.Proposals {
		for _, ke := range p.Of(ipsec.KE) {
			if ke.ID == group && group != t.group {
				return &createChild{cfg: t.cfg, local: t.local, remote: t.remote, group: group, retried: true}
			}
		}
	}
	return nil
}

// accept makes the child of a response. From then on the child owns the SPI.
func (t *createChild) accept(s *SA, now time.Time, ps []wire.Payload) (*child, diag.Cause) {
	nonce, _ := wire.Find[*wire.Nonce](ps)
	if nonce == nil {
		return nil, incomplete("nonce")
	}
	o := childOffer{cfg: t.cfg, local: t.local, remote: t.remote, spiIn: t.spiIn, dh: t.dh}
	c, why := s.acceptOffer(now, o, ps, t.ni, nonce.Data)
	if why.OK() {
		t.spiIn = 0
	}
	return c, why
}

// rekeyChild replaces a Child SA.
type rekeyChild struct {
	createChild
	old   *child
	early bool // it is to show whether the peer agrees in PFS; its refusal has no other consequence
}

func (t *rekeyChild) child() *sa.Child { return nil }

// startRekey queues the rekey of a child, unless one is queued already.
func (s *SA) startRekey(now time.Time, c *child, why diag.Cause) {
	if c.rekey != nil || c.leaving() || c.successor != nil || s.env.Owner.Held(c.cfg) {
		return
	}
	if !c.out { // the peer may not know yet that it exists
		s.rekeyLater(now, c, why)
		return
	}
	s.logger().Debug("rekeying a Child SA", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn), sa.Why(why))
	c.rekey = &rekeyChild{old: c, early: why.Code == diag.EarlyRekey, createChild: createChild{cfg: c.cfg, local: c.sa.Local, remote: c.sa.Remote, group: c.sa.Suite.KE.ID}}
	s.enqueue(c.rekey)
}

// rekeyLater sets the next attempt to rekey a child.
func (s *SA) rekeyLater(now time.Time, c *child, why diag.Cause) {
	c.softAt, c.softWhy = now.Add(s.env.Jitter(retryMin, retryMax)), diag.Keep(why)
}

func (t *rekeyChild) build(s *SA, now time.Time) (request, bool) {
	old := t.old
	if s.state != sa.Established || s.fam.current != s || s.findIn(old.sa.SPIIn) != old || old.leaving() || old.successor != nil {
		old.rekey = nil
		return request{}, false
	}
	// "The SA that the initiator attempted to rekey is indicated by the SPI field in
	// the Notify payload": the SPI that the exchange initiator expects in inbound packets.
	ps, why := t.payloads(s)
	if !why.OK() {
		old.rekey = nil
		s.env.Owner.ChildChanged(now, s, t.cfg, why)
		s.rekeyLater(now, old, why)
	}
	n := &wire.Notify{Protocol: ipsec.ProtoESP, SPI: u32(old.sa.SPIIn), Kind: wire.RekeySA}
	return request{wire.ExchangeCreateChild, append([]wire.Payload{n}, ps...)}, why.OK()
}

func (t *rekeyChild) abandoned(s *SA) {
	if t.old.rekey == t {
		t.old.rekey = nil
	}
	t.createChild.abandoned(s)
}

func (t *rekeyChild) answered(s *SA, now time.Time, ps []wire.Payload) error {
	defer t.abandoned(s)
	if s.state != sa.Established {
		return nil // the IKE SA was closed meanwhile, with all its exchanges
	}
	n := errorNotify(ps)
	s.busy(now, n)
	if n != nil {
		return t.refused(s, now, n)
	}
	if t.takenBack(ps) {
		t.retry(s, now, diag.Cause{Code: diag.SuccessorDeleted})
		return nil
	}
	c, why := t.accept(s, now, ps)
	if !why.OK() {
		s.env.Owner.ChildChanged(now, s, t.cfg, why)
		s.deleteSPI(t.spiIn)
		t.retry(s, now, why)
		return nil
	}
	rival := t.rival
	if s.env.Owner.Held(c.cfg) { // the old child is being deleted, so the new one goes too
		s.installIn(c)
		s.deleteChild(c)
		return nil
	}
	if rival != nil && c.loses(rival) {
		// "the SA created with the lowest of the four nonces used in the two exchanges
		// SHOULD be closed by the endpoint that created it" (section 2.8.1). The peer
		// deletes the old one. It expects so even if the winner is gone by now.
		s.logger().Debug("rekey collision: ours goes", "child", t.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn))
		s.installIn(c)
		c.successor = s.standing(rival)
		s.deleteChild(c)
		return nil
	}
	t.old.successor = c
	if s.standing(rival) != nil {
		rival.successor = c // the peer deletes it
	}
	s.installBoth(now, c)
	if s.findIn(t.old.sa.SPIIn) == t.old { // otherwise it ended meanwhile
		s.deleteChild(t.old)
	}
	return nil
}

// refused handles the peer's error notification.
func (t *rekeyChild) refused(s *SA, now time.Time, n *wire.Notify) error {
	if t.rival != nil || s.findIn(t.old.sa.SPIIn) != t.old || t.old.deleting {
		return nil // "it already knows there was simultaneous rekeying, so it can ignore the error message"
	}
	if again := t.otherGroup(s, n); again != nil {
		next := &rekeyChild{old: t.old, early: t.early, createChild: *again}
		s.enqueue(next)
		t.old.rekey = next
		return nil
	}
	if n.Kind == wire.ChildSANotFound {
		// "SHOULD silently delete the Child SA [...] and send a request to create a new
		// Child SA from scratch": the Endpoint sees it missing.
		s.remove(now, t.old, diag.Cause{Code: diag.ChildNotFound})
		return nil
	}
	if t.early {
		t.differs(s, now, n)
		return nil
	}
	s.childRefused(now, t.cfg, t.local, t.remote, n)
	t.retry(s, now, diag.Cause{Code: diag.PeerAnswered, Notify: n.Kind.String()})
	return nil
}

// differs handles the refusal of an early rekey. The old child works on until its time has come.
func (t *rekeyChild) differs(s *SA, now time.Time, n *wire.Notify) {
	if n.Kind == wire.TemporaryFailure || n.Kind == wire.NoAdditionalSAs {
		s.rekeyLater(now, t.old, diag.Cause{Code: diag.EarlyRekey})
		return
	}
	t.old.softAt, t.old.softWhy = time.Time{}, diag.Kept{}
	s.softLife(t.old)
	why := diag.Cause{Code: diag.PFSMismatch, Ours: sa.PFSText(t.cfg.Proposals), Notify: n.Kind.String()}
	s.logger().Warn("early rekey refused", "child", t.cfg.Name, sa.Why(why))
	s.env.Owner.ChildChanged(now, s, t.cfg, why)
}

// retry sets the next attempt of a rekey that failed, or closes the IKE SA when the
// rekeys have failed for troubleTime.
func (t *rekeyChild) retry(s *SA, now time.Time, why diag.Cause) {
	if t.old.failingSince.IsZero() {
		t.old.failingSince = now
	}
	if now.Sub(t.old.failingSince) > troubleTime {
		s.Close(now, diag.Cause{Code: diag.RekeyRefused, After: troubleTime})
		return
	}
	s.rekeyLater(now, t.old, why)
}

// rekeyingIKE reports whether our request to rekey the IKE SA is open.
func (s *SA) rekeyingIKE() bool {
	_, ok := s.out.(*rekeyIKE)
	return ok
}

// beingReplaced reports whether new Child SAs have to wait for the IKE SA's successor.
func (s *SA) beingReplaced() bool {
	return s.state != sa.Established || s.fam.current != s || s.rekeyingIKE()
}

func (s *SA) answerCreateChild(now time.Time, ps []wire.Payload) ([]wire.Payload, func(), error) {
	if s.beingReplaced() {
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.BeingReplaced, Name: "the IKE SA"})
	}
	reply, c, err := s.answerNew(now, ps, nil)
	if err != nil {
		return nil, nil, err
	}
	if t, ok := s.out.(*createChild); ok && t.cfg == c.cfg {
		t.rival = c // the peer's response decides who wins
	}
	s.installIn(c)
	return reply, func() { s.installOut(now, c) }, nil
}

// answerNew answers a request for a Child SA; rekeyed is the child that it
// replaces, or nil.
func (s *SA) answerNew(now time.Time, ps []wire.Payload, rekeyed *child) ([]wire.Payload, *child, error) {
	o, ok, err := readChildRequest(ps)
	if err != nil {
		return nil, nil, err
	}
	nonce, _ := wire.Find[*wire.Nonce](ps)
	if !ok || nonce == nil {
		return nil, nil, syntax("CREATE_CHILD_SA without SA, nonce or selectors")
	}
	nr, err := s.env.Nonce()
	if err != nil {
		return nil, nil, refuse(wire.TemporaryFailure, internal("make a nonce", err))
	}
	if len(s.fam.children) >= maxChildren {
		return nil, nil, refuse(wire.NoAdditionalSAs, diag.Cause{Code: diag.TooManyChildren, Count: len(s.fam.children)})
	}
	o.withKE, o.rekeyed = true, rekeyed
	c, more, err := s.answerChild(now, o, nonce.Data, nr)
	if err != nil {
		return nil, nil, err
	}
	return append([]wire.Payload{more[0], &wire.Nonce{Data: nr}}, more[1:]...), c, nil
}

func (s *SA) answerRekeyChild(now time.Time, ps []wire.Payload, n *wire.Notify) ([]wire.Payload, func(), error) {
	if s.beingReplaced() {
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.BeingReplaced, Name: "the IKE SA"})
	}
	old := s.findOut(n.SPI)
	switch {
	case old == nil && s.creating() != nil: // perhaps it is the one of the answer that we wait for
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.ChildBusy})
	case old == nil || old.gone || n.Protocol != ipsec.ProtoESP:
		return nil, nil, &wire.NotifyError{Kind: wire.ChildSANotFound, Data: n.SPI, Cause: diag.Cause{Code: diag.UnknownChild}}
	case old.deleting || old.successor != nil:
		return nil, nil, refuse(wire.TemporaryFailure, diag.Cause{Code: diag.BeingReplaced, Name: "the Child SA"})
	}
	reply, c, err := s.answerNew(now, ps, old)
	if err != nil {
		return nil, nil, err
	}
	if t := old.rekey; t != nil {
		if s.out == task(t) {
			t.rival = c // the peer's response decides who wins (section 2.8.1)
		} else {
			s.unqueue(t)
		}
	}
	old.successor = c
	old.softAt = time.Time{}
	s.installIn(c)
	// Outbound traffic stays on the old SA until the peer proves that it can receive on
	// the new one, by a packet on it (SeenInbound) or by deleting the old one (section 2.8).
	return reply, nil, nil
}

// unqueue drops a task whose request was not sent yet.
func (s *SA) unqueue(t task) {
	for i, q := range s.queue {
		if q == t {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			t.abandoned(s)
			return
		}
	}
}
