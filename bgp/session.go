package bgp

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
)

// Times of a session.
const (
	// GoBGP dials first 1 to 2 s after a peer is added, so patience, less its jitter, is longer: else it may never dial.
	firstPatience = 3 * time.Second
	maxPatience   = 30 * time.Second
	// openPatience is how long an exchange of OPENs may take: GoBGP waits for four minutes.
	openPatience = 5 * time.Second
	// GoBGP refuses everybody for 5 s after a failure. The jitter of the new beginning keeps two ends that both
	// connect from meeting again: GoBGP closes both of two connections that cross.
	firstRetry = 250 * time.Millisecond
	maxRetry   = 30 * time.Second
	// A session that stood so long begins again without back-off.
	steady = 30 * time.Second

	// toldAll is how long a peer may take to tell what it has, if it sends no End-of-RIB.
	toldAll = 30 * time.Second
	// childGrace is how long routes outlive the child, maxRestart how long they outlive the peer at most.
	childGrace = 30 * time.Second
	maxRestart = 5 * time.Minute
	// reasonWait is how long after a session's end the child's log may still say why.
	reasonWait = 500 * time.Millisecond
	reasonLife = 5 * time.Second

	// A session that brought too many prefixes is tried again after a pause that doubles.
	firstLimitPause = time.Minute
	maxLimitPause   = 30 * time.Minute
)

// session is one tunnel's session: whether the child has the peer, what is known of it, and its routes.
type session struct {
	Session
	reach bool

	added   bool
	as      Session // that the child has
	moved   bool    // its state has changed since it was added
	state   State
	hold    time.Duration
	restart time.Duration
	tries   int       // in a row that failed
	retryAt time.Time // when it is deleted and added again; zero: it goes well, or the peer has to begin

	shown      State // reported
	since      time.Time
	upAt       time.Time // zero: not established
	completeAt time.Time
	staleUntil time.Time
	pauseUntil time.Time // after too many prefixes
	pauses     int
	over       bool // it has brought too many

	flaps   int
	last    diag.Cause
	heard   diag.Cause // from the child's log
	heardAt time.Time
	endedAt time.Time
	downAt  time.Time // when the event of the end is due, for want of a reason
	warned  map[diag.Code]bool

	rib       rib
	early     []Told // before we know of the session
	announced []netip.Prefix
	except    []netip.Prefix // of what others are told, sorted
	has       []netip.Prefix // the exceptions that the child has
	dirty     bool
}

func newSession(now time.Time, c Session) *session {
	s := &session{Session: c, state: Idle, shown: Idle, since: now, dirty: true}
	s.calm()
	s.rib.init()
	return s
}

// calm forgets what slows the session down and what the operator was told: something changed.
func (s *session) calm() {
	s.tries, s.pauses, s.pauseUntil, s.warned = 0, 0, time.Time{}, map[diag.Code]bool{}
}

// wanted reports whether the child should have the peer. One that has to begin is waited for even while the tunnel
// is down: its first packet may be there before we know that the tunnel is up. To one that does not, GoBGP would dial into nothing.
func (s *session) wanted() bool {
	return s.pauseUntil.IsZero() && (s.reach || s.Passive || s.state == Established)
}

func (s *session) noteReachable(k *keeper, is bool) {
	if s.reach == is {
		return
	}
	s.reach, s.dirty = is, true
	if !is {
		s.drop(k.now) // an established session is left to its hold timer
		return
	}
	s.tries = 0
	if s.added && s.state != Established && (!s.Passive || s.state != Connecting) {
		s.remove(k)
	}
}

// drop removes routes that only graceful restart kept.
func (s *session) drop(now time.Time) {
	s.staleUntil, s.dirty = time.Time{}, true
	s.rib.sweep(now, &s.Session)
}

func (s *session) notePeer(now time.Time, k *keeper, f peerIs) {
	if !s.added || f.state == Idle && !s.moved { // GoBGP begins in Idle, and a peer that was deleted ends in it
		return
	}
	was := s.state
	s.moved, s.state = true, f.state
	if was == f.state {
		return
	}
	s.dirty = true
	early := s.early
	s.early = nil
	if was == Established {
		s.end(now, k, s.reason(now))
	}
	switch f.state {
	case Idle:
		s.retryAt = now.Add(k.backoff(firstRetry, maxRetry, s.tries))
	case Connecting:
		s.retryAt = s.patience(now, k)
	case Opening:
		s.retryAt = now.Add(k.jitter(openPatience))
	case Established:
		s.retryAt, s.downAt, s.endedAt = time.Time{}, time.Time{}, time.Time{}
		s.upAt, s.completeAt, s.hold, s.restart = now, now.Add(toldAll), f.hold, f.restart
		s.last, s.heard = diag.Cause{}, diag.Cause{}
		s.over = false
		s.warned = map[diag.Code]bool{}
		k.emit(event{s.Tunnel, s.cause(diag.BGPUp, f.hold)})
		s.noteTold(now, early)
	}
}

// patience is when a peer that has not been reached is added again; zero: we wait for it.
func (s *session) patience(now time.Time, k *keeper) time.Time {
	if s.Passive && s.moved {
		return time.Time{}
	}
	return now.Add(k.backoff(firstPatience, maxPatience, s.tries))
}

// cause is a cause about the session as such.
func (s *session) cause(code diag.Code, after time.Duration) diag.Cause {
	return diag.Cause{Code: code, Name: s.Tunnel, Peer: netip.AddrPortFrom(s.Remote, 0), After: after}
}

// down is the cause of an established session that ends now.
func (s *session) down(now time.Time, why diag.Cause) diag.Cause {
	return s.cause(diag.BGPDown, now.Sub(s.upAt).Round(time.Second)).Since(why)
}

// reason is what the child's log said lately, if anything.
func (s *session) reason(now time.Time) diag.Cause {
	if now.Sub(s.heardAt) > reasonLife {
		return diag.Cause{}
	}
	return s.heard
}

// end is the end of an established session, for a reason that may not be known yet.
func (s *session) end(now time.Time, k *keeper, why diag.Cause) {
	s.last = s.down(now, why)
	if now.Sub(s.upAt) >= steady {
		s.tries = 0
	}
	s.upAt, s.completeAt, s.endedAt = time.Time{}, time.Time{}, now
	s.flaps++
	s.keep(now, min(s.restart, maxRestart), s.Graceful && !final(why))
	s.downAt = now.Add(reasonWait)
	if why.OK() {
		return
	}
	s.downAt = time.Time{}
	k.emit(event{s.Tunnel, s.last})
}

// final reports whether a session ended for a reason that its routes do not outlive: a silent peer forwards nothing, and
// a notification is no restart (RFC 4724 §4).
func final(why diag.Cause) bool {
	return why.Is(diag.BGPHold) || why.Is(diag.BGPNotification) || why.Is(diag.BGPLimit)
}

// keep has the routes of a session that ended stay for a while, or go. Routes that are stale already don't stay longer.
func (s *session) keep(now time.Time, long time.Duration, stay bool) {
	stay = stay && long > 0 && s.reach
	until := now.Add(long)
	if s.rib.stale > 0 && s.staleUntil.Before(until) {
		until = s.staleUntil
	}
	s.rib.end(stay)
	s.staleUntil = time.Time{}
	if s.rib.stale > 0 {
		s.staleUntil = until
	}
	s.dirty = true
}

// noteSaid takes a reason that the child's log gave. It may come before the session's end or shortly after it.
func (s *session) noteSaid(now time.Time, k *keeper, why diag.Cause) {
	late := !s.endedAt.IsZero() && now.Sub(s.endedAt) <= reasonLife
	if !s.added && !late {
		return
	}
	s.heard, s.heardAt = why, now
	switch {
	case s.state == Established:
		if why.Is(diag.BGPFamily) {
			s.warn(k, why)
		}
		return
	case late && final(why):
		s.drop(now)
	}
	s.dirty = true
	if !s.downAt.IsZero() {
		s.last, s.downAt = s.last.Since(why), time.Time{}
		k.emit(event{s.Tunnel, s.last})
		return
	}
	s.last = why
	s.warn(k, why)
}

// warn tells the operator once until the session is established again.
func (s *session) warn(k *keeper, why diag.Cause) {
	if !s.warned[why.Code] {
		s.warned[why.Code] = true
		k.emit(event{s.Tunnel, why})
	}
}

func (s *session) noteTold(now time.Time, routes []Told) {
	switch {
	case !s.added:
	case s.state == Opening: // the child's news of the session may come after those of its routes
		_, _, keep := s.bounds()
		s.early = append(s.early, routes[:min(len(routes), max(0, keep-len(s.early)))]...)
	case s.state == Established:
		for _, t := range routes {
			s.rib.tell(now, &s.Session, t)
		}
		s.dirty = true
	}
}

func (s *session) noteEndOfRIB(now time.Time) {
	if s.added && s.state == Established && !s.rib.complete {
		s.complete(now)
	}
}

func (s *session) complete(now time.Time) {
	s.rib.settle(now, &s.Session)
	s.completeAt, s.staleUntil, s.dirty = time.Time{}, time.Time{}, true
}

// childGone is the end of the child: its routes outlive it.
func (s *session) childGone(now time.Time, k *keeper, why diag.Cause) {
	s.gone(now, k, why, childGrace)
	s.added, s.retryAt = false, time.Time{}
	s.tries = 0
}

// gone is the end of a session by this end's doing.
func (s *session) gone(now time.Time, k *keeper, why diag.Cause, grace time.Duration) {
	if s.state == Established {
		s.last = s.down(now, why)
		s.upAt, s.completeAt = time.Time{}, time.Time{}
		if !why.Is(diag.ConfigChanged) {
			s.flaps++
		}
		k.emit(event{s.Tunnel, s.last})
		s.keep(now, grace, true)
	}
	s.state, s.dirty, s.early = Idle, true, nil
	s.endedAt, s.downAt = time.Time{}, time.Time{}
}

// routesDue does what is due about the session's routes.
func (s *session) routesDue(now time.Time, k *keeper) {
	if sa.Due(now, s.downAt) {
		s.downAt = time.Time{}
		k.emit(event{s.Tunnel, s.last})
	}
	if sa.Due(now, s.completeAt) {
		s.complete(now)
	}
	if sa.Due(now, s.staleUntil) {
		s.drop(now)
	}
	if sa.Due(now, s.pauseUntil) {
		s.pauseUntil = time.Time{}
	}
	s.limit(now, k)
}

// limit is what refused prefixes, and too many, mean for the session; the operator hears of either once.
func (s *session) limit(now time.Time, k *keeper) {
	if s.state != Established {
		return
	}
	if i := slices.IndexFunc(s.rib.recent, func(r Refused) bool { return r.Cause.Is(diag.BGPPrefixRefused) }); i >= 0 {
		s.warn(k, s.rib.recent[i].Cause)
	}
	limit, _, _ := s.bounds()
	if n := s.rib.live(); n <= limit {
		s.over = s.over && n > limit*3/4 // not again for each that comes and goes
		return
	}
	if !s.over {
		s.over = true
		k.emit(event{s.Tunnel, s.overLimit(netip.Prefix{})})
	}
	if s.OverLimit == config.OverEnd {
		s.gone(now, k, s.overLimit(netip.Prefix{}), 0)
		s.last = s.overLimit(netip.Prefix{})
		s.pauseUntil = now.Add(k.backoff(firstLimitPause, maxLimitPause, s.pauses))
		s.pauses++
	}
}

// leave deletes the peer where it should not be in the child, or where it begins again.
func (s *session) leave(now time.Time, k *keeper) {
	switch {
	case !s.added:
	case !s.wanted():
		s.remove(k)
	case sa.Due(now, s.retryAt):
		s.tries++
		s.remove(k)
	}
}

func (s *session) remove(k *keeper) {
	k.emit(deletePeer{s.as})
	s.added, s.state, s.dirty, s.retryAt, s.early = false, Idle, true, time.Time{}, nil
}

// enter adds the peer where it should be in the child.
func (s *session) enter(now time.Time, k *keeper) {
	if s.added || !s.wanted() {
		return
	}
	s.added, s.as, s.moved, s.state = true, s.Session, false, Idle
	s.retryAt = s.patience(now, k)
	if len(s.AuthKey) > 0 {
		k.keyed[s.Remote] = s.AuthKey
	}
	s.has = s.except
	k.emit(addPeer{s.Session, s.except})
}

func (s *session) deadline() time.Time {
	return sa.Earliest(s.retryAt, s.completeAt, s.staleUntil, s.pauseUntil, s.downAt)
}

// snapshot is the session's Report.
func (s *session) snapshot(now time.Time) Report {
	shown := s.state
	if !s.reach && shown != Established || !s.added {
		shown = Idle
	} else if shown == Idle && !s.moved {
		shown = Connecting
	}
	if shown != s.shown {
		s.shown, s.since = shown, now
	}
	r := Report{
		Tunnel: s.Tunnel, State: shown, Since: s.since, Routes: s.rib.snapshot(),
		Complete: s.rib.complete, Stale: s.rib.stale > 0, Refused: s.rib.newest(&s.Session),
		In: s.rib.accepted, RefusedN: s.rib.refusals(), Flaps: s.flaps, Last: s.last,
	}
	if shown == Established {
		r.Hold, r.Announced, r.Out = s.hold, s.announced, len(s.announced)
	} else if r.Last.OK() {
		r.Last = s.cause(diag.BGPWaits, 0)
	}
	return r
}

// change takes another configuration of the session.
func (s *session) change(now time.Time, k *keeper, is Session) {
	was := s.Session
	s.Session = is
	s.calm()
	s.dirty = true
	switch {
	case !s.added:
	case !samePeer(&s.as, &is):
		s.gone(now, k, diag.Cause{Code: diag.ConfigChanged}, childGrace)
		s.remove(k)
	case !samePolicy(&s.as, &is):
		s.as = is
		k.emit(export{is, s.has})
	}
	if !sameFilter(&was, &is) {
		if s.rib.judge(now, &s.Session); s.rib.beyond > 0 && s.added { // what is not kept can only be told again
			s.gone(now, k, diag.Cause{Code: diag.ConfigChanged}, childGrace)
			s.remove(k)
		}
	}
}

// samePeer reports whether the child's peer can stay as it is.
func samePeer(a, b *Session) bool {
	return a.Local == b.Local && a.Remote == b.Remote && a.LocalASN == b.LocalASN && a.RemoteASN == b.RemoteASN &&
		a.AuthKey.Equal(b.AuthKey) && a.Passive == b.Passive && a.Hold == b.Hold && a.Keepalive == b.Keepalive &&
		a.TTLSecurity == b.TTLSecurity && a.Graceful == b.Graceful
}

// samePolicy reports whether what is announced has the same attributes.
func samePolicy(a, b *Session) bool {
	return a.MED == b.MED && a.Prepend == b.Prepend && slices.Equal(a.Communities, b.Communities)
}

// sameFilter reports whether the same routes are accepted.
func sameFilter(a, b *Session) bool {
	return a.Local == b.Local && a.Remote == b.Remote && a.Inside == b.Inside &&
		a.LocalASN == b.LocalASN && a.RemoteASN == b.RemoteASN && slices.Equal(a.Own, b.Own) &&
		slices.Equal(a.Outer, b.Outer) && slices.Equal(a.Never, b.Never) && slices.Equal(a.Accept, b.Accept) &&
		a.MaxPrefixes == b.MaxPrefixes && a.OverLimit == b.OverLimit
}
