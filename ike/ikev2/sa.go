// Package ikev2 is one IKE SA of RFC 7296 with its exchanges, as a sa.Machine:
// no I/O, no goroutine, no clock. The table of IKE SAs and
// the decision which peers to connect are in package ike.
//
// An exchange that this end starts is a task (exchange.go); an exchange that the
// peer starts is answered by the function named for it. Child SAs belong to a
// family, which a rekeyed IKE SA hands to its successor. Freeze and Thaw turn
// machines into plain data and back, in the middle of any exchange.
package ikev2

import (
	"context"
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
	halfOpenTime = 30 * time.Second // how long a responder waits for IKE_AUTH
	deleteTime   = 5 * time.Second  // how long Close waits for the answer to our Delete
	// handoverTime is how long an end that answered a rekey of the IKE SA waits for the peer to delete the old one.
	// It is longer than a request is repeated: a Delete of ours while the peer still repeats its request would say
	// that we did not notice the rekey.
	handoverTime = 65 * time.Second
	// lingerTime is how long the inbound half of a replaced Child SA stays, for packets that are under way.
	lingerTime = 5 * time.Second
)

// replaced is the Cause of the end of an SA whose successor is in use.
var replaced = diag.Cause{Code: diag.Replaced}

// family is shared by an IKE SA and its successors: the Child SAs, and which of the
// IKE SAs maintains them.
type family struct {
	current  *SA
	children []*child
}

// SA is one IKE SA. Initiate, Respond and Thaw make one.
type SA struct {
	env      *sa.Env
	stranger *slog.Logger // the log while anybody may have begun it; nil: its peer is known
	state    sa.State

	initiator bool // we started this IKE SA
	pumping   bool
	reported  bool // the Owner knows that it ended
	lingering bool // it only repeats its last response

	since      time.Time
	spiI, spiR uint64
	peer       *sa.Peer // a responder learns it in IKE_AUTH
	suite      ipsec.Suite
	keys       *keys // nil before the IKE_SA_INIT response
	fam        *family

	*handshake // nil: IKE_SA_INIT and IKE_AUTH are done, or it is a successor, which has none
	authedAt   time.Time

	path ipsec.Path // of IKE messages
	nat  sa.NAT

	channel   // message ids, retransmission, fragmentation
	monitor   dpd.Monitor
	probed    time.Time
	rival     *SA // the peer's successor of this SA, when both ends rekeyed it at once
	rivalMin  []byte
	busySince time.Time // since when the peer has answered only TEMPORARY_FAILURE

	rekeyAt     time.Time
	rekeyWhy    diag.Kept // why it is rekeyed at rekeyAt
	expireAt    time.Time // hard end of the lifetime, of a half-open SA, or of the wait for a Delete
	keepaliveAt time.Time
	endWhy      diag.Kept // while it is Deleting
}

// handshake is what an SA needs only for IKE_SA_INIT and IKE_AUTH.
type handshake struct {
	dh       *sa.DH
	peerKE   []byte // a responder keeps it until IKE_AUTH comes, and derives the keys then
	ni, nr   []byte
	initReq  []byte // RealMessage1 (RFC 7296 section 2.15)
	initResp []byte // RealMessage2
}

var _ sa.Machine = (*SA)(nil)

func newSA(env *sa.Env, now time.Time, initiator bool) *SA {
	s := &SA{env: env, initiator: initiator, since: now}
	s.fam = &family{current: s}
	s.retx.Rand = env.Rand
	return s
}

// own is our SPI.
func (s *SA) own() uint64 {
	if s.initiator {
		return s.spiI
	}
	return s.spiR
}

// name has the log's lines name the peer and the SPIs.
func (s *SA) name() { s.stranger = nil }

// logger is made for each line: between lines it would take much room for an IKE SA.
func (s *SA) logger() *slog.Logger {
	if s.stranger != nil {
		return s.stranger
	}
	return s.env.Named(s.peer, s.path.Remote, s.spiI, s.spiR)
}

// info writes a line of logger. It is for what each handshake says: no Logger is made.
func (s *SA) info(now time.Time, msg string, attrs ...slog.Attr) {
	if s.stranger != nil {
		sa.Line(now, s.stranger, slog.LevelInfo, msg, attrs...)
		return
	}
	s.env.Line(now, s.peer, s.path.Remote, s.spiI, s.spiR, slog.LevelInfo, msg, attrs...)
}

// nameStranger makes the log of an IKE SA that anybody may have begun.
func (s *SA) nameStranger(now time.Time) {
	s.stranger = s.env.NamedStranger(now, s.path.Remote, s.spiI, s.spiR)
}

// setState is the only place that changes the state.
func (s *SA) setState(now time.Time, to sa.State, why diag.Cause) {
	if s.state == to {
		return
	}
	if s.env.Log.Enabled(context.Background(), slog.LevelDebug) { // else a logger would be made for nothing, in each handshake
		s.logger().Debug("IKE SA "+to.String(), "was", s.state.String(), sa.Why(why))
	}
	s.state, s.since = to, now
	s.env.Owner.Stirred(s)
}

// Deadline implements sa.Machine.
func (s *SA) Deadline() time.Time {
	if s.state == sa.Dead {
		return time.Time{}
	}
	d := sa.Earliest(s.retx.Deadline(), s.rekeyAt, s.expireAt, s.keepaliveAt, s.monitorDeadline())
	if s.fam.current == s {
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
	if t, ok := s.out.(*saInit); ok && sa.Due(now, s.retx.Deadline()) {
		t.knock(s, now)
	}
	msgs, gaveUp := s.retx.Due(now)
	if gaveUp {
		s.unanswered(now)
		return
	}
	s.send(s.requestPath(), msgs)
	if m, ok := s.out.(*measure); ok && msgs != nil {
		m.repeated(s)
	}
	if sa.Due(now, s.expireAt) {
		s.expired(now)
		return
	}
	if sa.Due(now, s.rekeyAt) {
		s.rekeyAt = time.Time{}
		s.RekeyIKE(now, s.rekeyWhy.Cause())
	}
	if sa.Due(now, s.keepaliveAt) {
		s.keepaliveAt = now.Add(sa.KeepaliveTime)
		s.env.Owner.Emit(sa.Keepalive{Path: s.path})
	}
	s.checkAlive(now)
	if s.fam.current == s {
		s.advanceChildren(now)
	}
	s.pump(now)
}

// expired ends the SA when expireAt has come. What did not happen in time depends on
// the state.
func (s *SA) expired(now time.Time) {
	s.expireAt = time.Time{}
	switch s.state {
	case sa.Connecting:
		why := diag.Cause{Code: diag.PeerStopped, Message: "IKE_AUTH", After: halfOpenTime}
		for _, p := range s.env.Owner.Candidates(2, s.path.Local.Addr(), s.path.Remote.Addr()) {
			s.env.Owner.Troubled(now, p, why)
		}
		s.Drop(now, why)
	case sa.Established:
		s.concede(now)
		s.Close(now, diag.Cause{Code: diag.IKELifetimeEnded})
	case sa.Replaced:
		// The peer has not deleted it. Either the peer has given up its Delete by now, or it
		// never had the successor, because our answer was lost when both rekeyed.
		s.Close(now, replaced)
	default:
		s.die(now, s.endWhy.Cause())
	}
}

// monitorDeadline is when the dead peer detection wants to look.
func (s *SA) monitorDeadline() time.Time {
	if s.state != sa.Established {
		return time.Time{}
	}
	return s.monitor.Deadline()
}

// checkAlive does the liveness checks of RFC 7296 section 2.4: "Receipt of a fresh
// cryptographically protected message on an IKE SA or any of its Child SAs
// ensures liveness of the IKE SA and all of its Child SAs."
func (s *SA) checkAlive(now time.Time) {
	if s.state != sa.Established || !sa.Due(now, s.monitor.Deadline()) {
		return
	}
	if s.fam.current == s {
		for _, c := range s.fam.children {
			s.monitor.Heard(s.env.LastInbound(c.sa.SPIIn))
		}
	}
	switch s.monitor.Due(now) {
	case dpd.Ask:
		if s.out == nil { // otherwise the open request checks the same
			s.enqueue(&liveness{})
		}
	case dpd.Dead:
		s.exchanged(&liveness{}, nil, false, 0)
		s.Drop(now, diag.Cause{Code: diag.LivenessDead, After: s.monitor.Timeout})
	}
}

// Probe implements sa.Machine. Anybody can forge the hints that lead to it, so it
// does nothing more often than every sa.ProbeInterval.
func (s *SA) Probe(now time.Time) {
	if s.state != sa.Established || s.out != nil || now.Sub(s.probed) < sa.ProbeInterval {
		return
	}
	s.probed = now
	s.enqueue(&liveness{})
	s.pump(now)
}

// Disown implements sa.Machine. The peer has answered when a Child SA was deleted, so it must have lost this IKE SA.
func (s *SA) Disown(now time.Time, _ uint32) { s.Probe(now) }

// Close implements sa.Machine.
func (s *SA) Close(now time.Time, why diag.Cause) {
	switch s.state {
	case sa.Dead:
		return
	case sa.Deleting:
		if s.expireAt.IsZero() { // it was discarded; now a caller waits for its end
			s.expireAt = now.Add(deleteTime)
			s.env.Owner.Stirred(s)
		}
		return
	case sa.Connecting:
		if !s.authenticating() {
			s.Drop(now, why)
			return
		}
		// The peer may have accepted us already. It can be told only after its answer.
		s.setState(now, sa.Deleting, why)
		s.expireAt, s.endWhy = now.Add(deleteTime), diag.Keep(why)
		s.ended(now, why)
		return
	}
	s.logger().Info("deleting the IKE SA", sa.Why(why))
	s.closing(now, why, nil)
}

// closing ends the SA by a Delete, with the notification n if that is not nil.
func (s *SA) closing(now time.Time, why diag.Cause, n *wire.Notify) {
	if s.fam.current == s && s.rivalAlive() { // the peer may use it already, with the Child SAs that go here
		s.rival.Close(now, why)
	}
	s.bequeath(now, why)
	s.releaseChildren(now, why)
	s.setState(now, sa.Deleting, why)
	s.rekeyAt, s.keepaliveAt = time.Time{}, time.Time{}
	s.expireAt, s.endWhy = now.Add(deleteTime), diag.Keep(why)
	for _, t := range s.queue {
		t.abandoned(s)
	}
	s.queue = []task{&deleteIKE{notify: n}}
	s.pump(now)
	s.ended(now, why)
}

// discard ends an SA that another SA has replaced. No caller waits for the answer to
// its Delete, so the Delete is repeated as long as any request: if the peer missed
// it, it would keep an empty IKE SA.
func (s *SA) discard(now time.Time, why diag.Cause) {
	s.setState(now, sa.Deleting, why)
	s.rekeyAt, s.keepaliveAt, s.expireAt, s.endWhy = time.Time{}, time.Time{}, time.Time{}, diag.Keep(why)
	s.enqueue(&deleteIKE{})
	s.pump(now)
}

// Drop implements sa.Machine.
func (s *SA) Drop(now time.Time, why diag.Cause) { s.die(now, why) }

// die ends the SA without a word to the peer.
func (s *SA) die(now time.Time, why diag.Cause) {
	if s.state == sa.Dead {
		return
	}
	s.concede(now)
	s.releaseChildren(now, why)
	s.abandon()
	s.setState(now, sa.Dead, why)
	if s.handshake != nil {
		s.dh.Clear()
	}
	if s.keys != nil {
		s.keys.clear()
	}
	s.ended(now, why)
	s.env.Owner.Gone(s)
}

// ended tells the Owner, once, that the SA is of no more use.
func (s *SA) ended(now time.Time, why diag.Cause) {
	if !s.reported {
		s.reported = true
		s.env.Owner.Closed(now, s, why)
	}
}

// releaseChildren removes the Child SAs, unless a successor maintains them by now.
func (s *SA) releaseChildren(now time.Time, why diag.Cause) {
	if s.fam.current != s {
		return
	}
	children := s.fam.children
	s.fam.children = nil
	for _, c := range children {
		s.env.Owner.Emit(sa.Remove{SPIIn: c.sa.SPIIn, Why: why})
	}
	for _, c := range children {
		s.env.Owner.ChildChanged(now, s, c.cfg, why)
	}
}

// Inherit implements sa.Machine. The Child SAs of IKEv2 end with their IKE SA or pass
// to its successor, so there is nothing to inherit.
func (s *SA) Inherit(now time.Time, other sa.Machine, restarted bool) {
	if restarted {
		// RFC 7296 section 2.4 allows us to forget the other SA. A Delete costs nothing, and
		// helps when both ends began at once and the peer still has it.
		other.Close(now, sa.PeerRestarted)
	}
}

// Adopt implements sa.Machine.
func (s *SA) Adopt(now time.Time, p *sa.Peer) {
	if s.peer == nil {
		return
	}
	was := s.peer
	s.peer = p
	s.name()
	if s.state != sa.Established {
		return
	}
	s.monitor.Config = p.DPD.Of(s.initiator)
	if p.Lifetime != was.Lifetime {
		s.expireAt = time.Time{}
		if p.Lifetime > 0 {
			s.expireAt = sa.Later(s.authedAt.Add(p.Lifetime), now.Add(sa.AdoptGrace))
		}
		s.rekeyInTime()
	}
}

// Info implements sa.Machine.
func (s *SA) Info() sa.Info {
	return sa.Info{
		Version: 2, Peer: s.peer, State: s.state, Since: s.since, Initiator: s.initiator, Lingering: s.lingering, Current: s.fam.current == s,
		SPIi: s.spiI, SPIr: s.spiR, Suite: s.suite, Path: s.path,
		NAT: s.nat, Encap: s.encap(), Established: s.authedAt,
	}
}

// Children implements sa.Machine.
func (s *SA) Children() []sa.ChildInfo {
	if s.fam.current != s {
		return nil
	}
	var out []sa.ChildInfo
	for _, c := range s.fam.children {
		out = append(out, sa.ChildInfo{Child: c.cfg, SA: c.sa, Out: c.out, Leaving: c.leaving()})
	}
	return out
}

// Creating implements sa.Machine.
func (s *SA) Creating(c *sa.Child, _, _ []ipsec.Selector) bool {
	return s.out != nil && s.out.child() == c || slices.ContainsFunc(s.queue, func(t task) bool { return t.child() == c })
}

// established enters the state Established, at either end.
func (s *SA) established(now time.Time) {
	s.setState(now, sa.Established, diag.Cause{})
	s.authedAt, s.retx.Max = now, 0
	s.expireAt, s.rekeyAt = time.Time{}, time.Time{}
	s.monitor = dpd.Monitor{Config: s.peer.DPD.Of(s.initiator)}
	s.monitor.Heard(now)
	if life := s.peer.Lifetime; life > 0 {
		s.expireAt = now.Add(life)
	}
	s.rekeyInTime()
	if s.nat.KeepsOpen(s.peer) {
		s.keepaliveAt = now.Add(sa.KeepaliveTime)
	}
}

// rekeyInTime sets the rekey before the lifetime ends.
func (s *SA) rekeyInTime() {
	s.rekeyAt = time.Time{}
	if life := s.peer.Lifetime; life > 0 {
		s.rekeyAt, s.rekeyWhy = s.authedAt.Add(s.env.SoftTime(life, s.initiator)), diag.Keep(diag.Cause{Code: diag.LifetimeReached})
	}
}

// busy notes the error notification n of a response, nil if there was none. "If a peer continues to receive TEMPORARY_FAILURE on the same IKE SA after
// several minutes, it SHOULD conclude that the state information is out of sync
// and close the IKE SA" (RFC 7296 section 2.25).
func (s *SA) busy(now time.Time, n *wire.Notify) {
	switch {
	case n == nil || n.Kind != wire.TemporaryFailure:
		s.busySince = time.Time{}
	case s.busySince.IsZero():
		s.busySince = now
	case now.Sub(s.busySince) > troubleTime && s.state == sa.Established:
		s.Close(now, diag.Cause{Code: diag.PeerTemporary, After: troubleTime})
	}
}

// LogKeys implements sa.Machine. Of a responder the peer is not known before IKE_AUTH: its keys are those of all peers
// that it can be.
func (s *SA) LogKeys(log sa.KeyLog) {
	if log == nil || s.keys == nil || s.state == sa.Dead {
		return
	}
	tunnels := s.peer.Tunnels()
	if s.peer == nil {
		for _, p := range s.env.Owner.Candidates(2, s.path.Local.Addr(), s.path.Remote.Addr()) {
			tunnels = append(tunnels, p.Tunnels()...)
		}
	}
	k := s.keys
	sa.LogIKE(log.To(sa.IKEv2Keys, tunnels...), s.spiI, s.spiR, s.suite, k.ei, k.er, k.ai, k.ar)
}

// header makes the header of a message from this end.
func (s *SA) header(x wire.Exchange, flags wire.Flags, id uint32) wire.Header {
	if s.initiator {
		flags |= wire.FlagInitiator
	}
	return wire.Header{SPIi: s.spiI, SPIr: s.spiR, Major: 2, Exchange: x, Flags: flags, ID: id}
}
