// Package ikev1 is one ISAKMP SA of RFC 2408 and 2409 with its quick modes, as a
// sa.Machine: no I/O, no goroutine, no clock. Main and aggressive mode with
// pre-shared keys, quick mode in the IPsec DOI (RFC 2407), dead peer detection (RFC
// 3706), NAT traversal (RFC 3947 and the drafts before it), fragmentation.
//
// An exchange is data. The step that it is at names the message that comes next, and
// a table gives the function that takes this message. The Child SAs belong to a family,
// which all ISAKMP SAs of a peer share: in IKEv1 a Child SA outlives the ISAKMP SA that
// negotiated it. Freeze lists all of it as plain data.
package ikev1

import (
	"log/slog"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	halfOpenTime = 30 * time.Second // how long a responder waits for the next message of phase 1
	// graceTime is how long the end that replaced an ISAKMP SA keeps it, for messages that are
	// under way. The other end waits for a Delete, which may be lost, and keeps it for handoverTime.
	graceTime    = 5 * time.Second
	handoverTime = 8 * time.Second
	openTime     = time.Second     // how long a replaced ISAKMP SA waits for the answer to its quick mode; then its successor asks
	crossTime    = 2 * time.Second // both ends began at once when their ISAKMP SAs are no further apart
	retryMin     = 2 * time.Second // after a failed rekey
	retryMax     = 6 * time.Second
	deadTime     = 60 * time.Second // the timeout of dead peer detection, unless the configuration gives one
)

// SA is one ISAKMP SA. Make it with Initiate or Respond.
type SA struct {
	env   *sa.Env
	log   *slog.Logger
	state sa.State
	since time.Time
	why   diag.Cause // of the state; OK while all is well

	initiator  bool
	spiI, spiR uint64   // the cookies
	peer       *sa.Peer // main mode's responder learns it in message 5
	suite      ipsec.Suite
	keys       *keys  // nil: the key exchange is not done
	lastIV     []byte // the last CBC output block of phase 1
	fam        *family
	authedAt   time.Time
	trip       time.Duration // of a message and its answer, lately; 0: not known

	p1          *phase1
	exchanges   []*exchange // quick modes, open and lately done, oldest first
	asking      *quick      // our last quick mode, while it is open; nil: none. Others can be open beside it.
	ids         messageIDs
	reassembler reassembler
	peerSays    vendors
	// unacked is message 3 of aggressive mode. No message answers it, so it goes out again with
	// every message that is repeated, until an authentic message proves that the peer has it.
	unacked     []byte
	unackedRetx sa.Retransmitter

	path     ipsec.Path // of IKE messages
	nat      sa.NAT
	life     time.Duration // of this SA, as agreed; 0: no end
	monitor  dpd.Monitor
	dpd      liveness
	probed   time.Time
	spoke    time.Time // when the last authentic message came
	measure  measure
	rekeying *SA // the one that this end has begun in its place, or nil

	rekeyAt     time.Time
	expireAt    time.Time // the hard end of the lifetime, or of a half-open or replaced SA
	keepaliveAt time.Time
	reported    bool // the Owner knows of its end, or need not: it was replaced
}

var _ sa.Machine = (*SA)(nil)

func newSA(env *sa.Env, now time.Time, initiator bool) *SA {
	s := &SA{env: env, initiator: initiator, since: now}
	s.fam = &family{members: []*SA{s}, current: s}
	s.dpd.retx.Rand = env.Rand
	return s
}

// nameStranger makes the log of an ISAKMP SA that anybody may have begun.
func (s *SA) nameStranger(now time.Time) {
	s.log = s.env.NamedStranger(now, s.path.Remote, s.spiI, s.spiR)
}

// name heads the log lines with who the peer is.
func (s *SA) name() {
	s.log = s.env.Named(s.peer, s.path.Remote, s.spiI, s.spiR)
}

// setState is the only place that changes the state.
func (s *SA) setState(now time.Time, to sa.State, why diag.Cause) {
	if s.state == to {
		return
	}
	s.log.Debug("ISAKMP SA "+to.String(), "was", s.state.String(), sa.Why(why))
	s.state, s.since, s.why = to, now, why
	s.fam.elect()
	s.env.Owner.Stirred(s)
}

// superseded is why an SA ends that has a successor.
var superseded = diag.Cause{Code: diag.Replaced}

// live reports whether the SA can protect messages of phase 2.
func (s *SA) live() bool { return s.state == sa.Established || s.state == sa.Replaced }

// Deadline implements sa.Machine.
func (s *SA) Deadline() time.Time {
	if s.state == sa.Dead {
		return time.Time{}
	}
	d := sa.Earliest(s.rekeyAt, s.expireAt, s.keepaliveAt, s.monitorDeadline(), s.dpd.retx.Deadline(), s.measure.until, s.unackedRetx.Deadline(), s.reassembler.until)
	for _, x := range s.exchanges {
		d = sa.Earliest(d, x.deadline())
	}
	if s.p1 != nil {
		d = sa.Earliest(d, s.p1.x.deadline())
	}
	if s.fam.current == s {
		d = sa.Earliest(d, s.fam.nextAt())
		for _, c := range s.fam.children {
			d = sa.Earliest(d, c.deadline())
		}
	}
	return d
}

// Advance implements sa.Machine.
func (s *SA) Advance(now time.Time) {
	if s.state == sa.Dead {
		return
	}
	if s.p1 != nil {
		s.p1.x.advance(s, now)
	}
	for _, x := range slices.Clone(s.exchanges) {
		x.advance(s, now)
	}
	if s.state == sa.Dead {
		return
	}
	s.reassembler.advance(now)
	if msgs, _ := s.unackedRetx.Due(now); msgs != nil {
		s.send(s.path, msgs)
		s.askAlive(now)
	}
	if sa.Due(now, s.expireAt) {
		s.expired(now)
	}
	if sa.Due(now, s.rekeyAt) {
		s.rekeyAt = time.Time{}
		s.RekeyIKE(now, diag.Cause{Code: diag.LifetimeReached})
	}
	if sa.Due(now, s.keepaliveAt) {
		s.keepaliveAt = now.Add(sa.KeepaliveTime)
		s.env.Owner.Emit(sa.Keepalive{Path: s.path})
	}
	s.checkAlive(now)
	if sa.Due(now, s.measure.until) {
		s.measured(false)
	}
	if s.fam.current == s {
		s.advanceChildren(now)
		s.fam.startNext(now)
	}
}

// expired ends the SA at its hard end, whatever it was doing.
func (s *SA) expired(now time.Time) {
	s.expireAt = time.Time{}
	switch s.state {
	case sa.Connecting:
		why := s.p1.whyUnanswered()
		if s.peer != nil {
			s.env.Owner.Troubled(now, s.peer, why)
		}
		s.Drop(now, why)
	case sa.Established:
		why := diag.Cause{Code: diag.IKELifetimeEnded}
		if len(s.ids) >= maxIDs {
			why = diag.Cause{Code: diag.IDsUsed, Count: maxIDs}
		}
		s.tellEnd()
		s.leave(now, why)
	case sa.Replaced:
		if s.isOpen() {
			s.expireAt = now.Add(graceTime)
			return
		}
		s.Close(now, superseded)
	}
}

// Close implements sa.Machine.
func (s *SA) Close(now time.Time, why diag.Cause) {
	switch s.state {
	case sa.Dead:
		return
	case sa.Connecting:
		s.Drop(now, why)
		return
	case sa.Outlived:
		if s.fam.needs(s) {
			s.fam.endReplaced(now, s, why)
		}
		s.releaseChildren(now, why)
		s.die(now, why)
		return
	}
	s.log.Info("deleting the ISAKMP SA", sa.Why(why))
	if s.fam.needs(s) {
		for _, m := range s.fam.replaced(s) { // the peer may not have s yet
			m.tellEnd()
		}
		s.fam.endReplaced(now, s, why)
		var spis [][]byte
		for _, c := range s.fam.children {
			if !c.gone {
				spis = append(spis, u32(c.sa.SPIIn))
			}
		}
		if len(spis) > 0 {
			s.inform(&wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: spis})
		}
		s.releaseChildren(now, why)
	}
	s.tellEnd()
	s.die(now, why)
}

// tellEnd deletes the ISAKMP SA at the peer. Nothing answers it.
func (s *SA) tellEnd() {
	s.inform(&wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{append(u64(s.spiI), u64(s.spiR)...)}})
}

// Drop implements sa.Machine.
func (s *SA) Drop(now time.Time, why diag.Cause) {
	if s.state == sa.Dead {
		return
	}
	if s.fam.needs(s) {
		s.fam.endReplaced(now, s, why)
		s.releaseChildren(now, why)
	}
	s.die(now, why)
}

// leave ends the ISAKMP SA but none of its Child SAs. Another ISAKMP SA takes these
// over; until there is one, this one keeps them without keys of its own.
func (s *SA) leave(now time.Time, why diag.Cause) {
	if !s.fam.needs(s) || len(s.fam.children) == 0 {
		s.die(now, why)
		return
	}
	s.log.Info("the ISAKMP SA has ended; its Child SAs work on", sa.Why(why))
	s.end(now, sa.Outlived, why)
}

// die ends the ISAKMP SA for good: its Owner forgets it.
func (s *SA) die(now time.Time, why diag.Cause) {
	if s.state == sa.Dead {
		return
	}
	s.end(now, sa.Dead, why)
	s.fam.remove(s)
	s.env.Owner.Gone(s)
}

// end stops all exchanges and timers and overwrites the keys.
func (s *SA) end(now time.Time, to sa.State, why diag.Cause) {
	for _, q := range slices.Collect(s.asked()) {
		q.abandoned(s)
		s.fam.requeue(now, q)
	}
	if s.p1 != nil {
		s.p1.dh.Clear()
		s.p1.gaveUp(now)
	}
	s.exchanges, s.asking, s.p1 = nil, nil, nil
	s.rekeyAt, s.expireAt, s.keepaliveAt = time.Time{}, time.Time{}, time.Time{}
	s.dpd.retx.Stop()
	s.unackedRetx.Stop()
	s.reassembler = reassembler{}
	s.setState(now, to, why)
	if s.keys != nil {
		s.keys.clear()
	}
	s.ids = nil
	if !s.reported {
		s.reported = true
		s.env.Owner.Closed(now, s, why)
	}
}

// Inherit implements sa.Machine.
func (s *SA) Inherit(now time.Time, other sa.Machine, restarted bool) {
	o, ok := other.(*SA)
	switch {
	case restarted && ok && o.state == sa.Connecting && o.initiator && o.keys != nil:
		// The peer has answered this one, so it is not from before its start: both ends began at once. The peer may have it
		// established already, and could not be told of its end before message 6. The Endpoint chooses later.
		return
	case restarted && (!ok || o.state == sa.Connecting):
		other.Close(now, sa.PeerRestarted)
		return
	case !ok || o == s || o.state == sa.Dead || o.state == sa.Connecting:
		return
	}
	s.fam.merge(o.fam)
	switch {
	case o.state == sa.Outlived:
		o.die(now, superseded)
	case restarted:
		o.Close(now, sa.PeerRestarted)
	case o.state == sa.Established && (o.rekeying == s || now.Sub(o.authedAt) >= crossTime): // else both ends began at once, and the Endpoint chooses between them later
		o.replaced(now, s)
	}
	s.fam.elect()
	if restarted {
		s.markStale(now)
	}
	s.fam.startNext(now)
}

// replaced hands over to a successor. The end that made the successor deletes s first.
func (s *SA) replaced(now time.Time, by *SA) {
	s.rekeying, s.reported = nil, true
	s.rekeyAt, s.keepaliveAt = time.Time{}, time.Time{}
	s.dpd.retx.Stop()
	s.expireAt = now.Add(handoverTime)
	if by.initiator {
		s.expireAt = now.Add(graceTime)
	}
	for q := range s.asked() { // strongSwan ends an ISAKMP SA whose rekey crosses a quick mode, and answers nothing more on it
		q.x.until = now.Add(openTime)
	}
	s.log.Info("ISAKMP SA replaced", "new_ispi", sa.Hex64(by.spiI), "new_rspi", sa.Hex64(by.spiR))
	s.setState(now, sa.Replaced, superseded)
}

// RekeyIKE implements sa.Machine. The new phase 1 goes where the peer is now: "using UDP(4500,Y)" (RFC 3947 section 4).
func (s *SA) RekeyIKE(now time.Time, why diag.Cause) {
	if s.state != sa.Established || s.rekeying != nil {
		return
	}
	s.log.Debug("rekeying the ISAKMP SA", sa.Why(why))
	n, err := Initiate(s.env, now, s.peer, s.path, 0)
	if err != nil {
		s.log.Warn("cannot rekey the ISAKMP SA", "err", err)
		s.rekeyAt = now.Add(s.env.Jitter(retryMin, retryMax))
		return
	}
	s.rekeying = n
	n.p1.predecessor = s
}

// established begins the lifetime of an SA that has authenticated its peer.
func (s *SA) established(now time.Time, initialContact bool) {
	s.authedAt = now
	s.expireAt, s.rekeyAt = time.Time{}, time.Time{}
	s.monitor = dpd.Monitor{}
	if s.peerSays.dpd {
		s.monitor.Config = s.peer.DPD.Of(s.initiator)
	}
	s.monitor.Heard(now)
	if own := s.peer.Lifetime; own > 0 {
		if s.life == 0 || own < s.life {
			s.life = own
		}
		s.rekeyAt = now.Add(s.env.SoftTime(s.life, s.initiator))
	}
	if s.life > 0 {
		s.expireAt = now.Add(s.life)
	}
	if s.nat.KeepsOpen(s.peer) {
		s.keepaliveAt = now.Add(sa.KeepaliveTime)
	}
	s.setState(now, sa.Established, diag.Cause{})
	s.log.Info("ISAKMP SA established", "mode", s.p1.x.kind.String(), "proposal", s.suite.String(), "nat", s.nat.String(), "natt", s.peerSays.text(), "encap", s.encap())
	s.LogKeys(s.env.KeyLog)
	s.env.Owner.Authenticated(now, s, initialContact)
	s.p1.done(now)
}

// LogKeys implements sa.Machine.
func (s *SA) LogKeys(log sa.KeyLog) {
	if log != nil && s.state == sa.Established {
		sa.LogIKEv1(log.To(sa.IKEv1Keys, s.peer.Tunnels()...), s.spiI, s.keys.key, s.keys.a)
	}
}

// encap reports whether ESP travels in UDP.
func (s *SA) encap() bool { return s.nat.Encap(s.peer) }

// Adopt implements sa.Machine.
func (s *SA) Adopt(now time.Time, p *sa.Peer) {
	if s.peer == nil {
		return
	}
	s.peer = p
	s.name()
	if s.state != sa.Established {
		return
	}
	if s.peerSays.dpd {
		s.monitor.Config = p.DPD.Of(s.initiator)
	}
	// The lifetime was agreed on with the peer, so it can become shorter only; the next ISAKMP SA has a longer one.
	if own := p.Lifetime; own > 0 && (s.life == 0 || own < s.life) {
		s.life = own
		s.rekeyAt = s.authedAt.Add(s.env.SoftTime(own, s.initiator))
		s.expireAt = sa.Later(s.authedAt.Add(own), now.Add(sa.AdoptGrace))
	}
}

// Info implements sa.Machine.
func (s *SA) Info() sa.Info {
	return sa.Info{
		Version: 1, Peer: s.peer, State: s.state, Since: s.since, Initiator: s.initiator,
		Current:  s.state == sa.Established || s.fam.current == s,
		Unproven: s.state == sa.Connecting && !s.initiator && s.p1.x.kind == wire.ExchangeAggressive,
		Vpngw:    s.peerSays.vpngw,
		SPIi:     s.spiI, SPIr: s.spiR, Suite: s.suite, Path: s.path, NAT: s.nat, Encap: s.encap(), Established: s.authedAt,
	}
}
