package bgp

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Times of the child's life.
const (
	startPatience = 15 * time.Second // how long a child may take to answer first
	askEvery      = 2 * time.Second
	silence       = askEvery + 250*time.Millisecond // since the first unanswered ask, so the second is unanswered too
	firstRest     = time.Second                     // between two children, doubling with each death
	maxRest       = time.Minute
	deathWindow   = time.Minute // three deaths in it are a pause
	deathPause    = 5 * time.Minute
	sturdy        = 5 * time.Minute // a child that lived so long ends a row of deaths
)

// phase is where the child's life is.
type phase uint8

const (
	absent   phase = iota // rests until startAt
	starting              // asked for; its answer is awaited until startBy
	running
	ending // killed; its death is awaited
)

// keeper decides everything about the BGP of one group, on handed-in time: the child's life, each session's, what is
// accepted and what is told. Facts and the time go in, actions come out. It does no I/O. Not safe for concurrent use.
type keeper struct {
	config  Config
	random  func() float64 // in [0, 1)
	now     time.Time      // of the last note or advance
	actions []action

	phase      phase
	ran        Config                      // that the child was started with
	keyed      map[netip.Addr]ipsec.Secret // GoBGP leaves a peer's MD5 key on its listener
	ready      bool                        // it has answered
	startAt    time.Time
	startBy    time.Time
	startedAt  time.Time
	askAt      time.Time
	asked      time.Time   // the first ask without an answer; zero: none is open
	killed     diag.Cause  // why we killed it
	deliberate bool        // by the configuration
	row        int         // deaths in a row
	deaths     []time.Time // in the last minute
	fails      int         // starts in a row that failed
	failed     diag.Cause  // why the last did

	sessions []*session
	reach    map[string]bool // by tunnel: also of one whose session a later Config brings
	tells    announcements
}

func newKeeper(now time.Time, c Config, random func() float64) *keeper {
	k := &keeper{random: random, reach: map[string]bool{}, now: now}
	k.change(now, c)
	return k
}

// note takes a fact. advance has to follow, and next.
func (k *keeper) note(now time.Time, f fact) {
	k.now = now
	switch f := f.(type) {
	case started:
		k.noteStarted()
	case died:
		k.noteDied(f.cause)
	case answered:
		k.asked = time.Time{}
	case reachable:
		if f.is {
			k.reach[f.tunnel] = true
		} else {
			delete(k.reach, f.tunnel)
		}
		if s := k.find(f.tunnel); s != nil {
			s.noteReachable(k, f.is)
		}
	case networks:
		k.tells.connected, k.tells.kernel, k.tells.dirty = f.connected, f.kernel, true
	}
	if k.phase != running { // the rest is of a child
		return
	}
	switch f := f.(type) {
	case peerIs:
		if s := k.find(f.tunnel); s != nil {
			s.notePeer(now, k, f)
		}
	case said:
		if s := k.find(f.tunnel); s != nil {
			s.noteSaid(now, k, f.cause)
		}
	case told:
		if s := k.find(f.tunnel); s != nil {
			s.noteTold(now, f.routes)
		}
	case endOfRIB:
		if s := k.find(f.tunnel); s != nil {
			s.noteEndOfRIB(now)
		}
	}
}

// advance decides what follows from the facts, and does what is due.
func (k *keeper) advance(now time.Time) {
	k.now = now
	k.life()
	for _, s := range k.sessions {
		s.routesDue(now, k)
		k.tells.dirty = k.tells.dirty || s.dirty && k.transits()
	}
	k.announce()
	if k.phase == running {
		for _, s := range k.sessions {
			s.leave(now, k)
			s.enter(now, k)
		}
	}
	for _, s := range k.sessions {
		if s.dirty {
			s.dirty = false
			k.emit(report{s.snapshot(now)})
		}
	}
}

// deadline returns when advance is due though nothing happens; zero: never.
func (k *keeper) deadline() time.Time {
	var d time.Time
	switch k.phase {
	case absent:
		if len(k.sessions) > 0 {
			d = k.startAt
		}
	case starting:
		d = k.startBy
	case running:
		d = k.askAt
		if !k.asked.IsZero() {
			d = sa.Earliest(d, k.asked.Add(silence))
		}
	}
	for _, s := range k.sessions {
		d = sa.Earliest(d, s.deadline())
	}
	return d
}

// next returns the next action; nil: there is none.
func (k *keeper) next() action {
	if len(k.actions) == 0 {
		k.actions = nil
		return nil
	}
	a := k.actions[0]
	k.actions = k.actions[1:]
	return a
}

// life does what is due about the child.
func (k *keeper) life() {
	switch k.phase {
	case absent:
		if len(k.sessions) > 0 && sa.Due(k.now, k.startAt) {
			k.phase, k.ready, k.ran, k.keyed = starting, false, k.config, map[netip.Addr]ipsec.Secret{}
			k.startBy, k.startAt = k.now.Add(startPatience), time.Time{}
			k.emit(start{k.config})
		}
	case starting:
		if sa.Due(k.now, k.startBy) {
			k.kill(diag.Cause{Code: diag.BGPChildDied, Name: k.config.Group, After: startPatience}, false)
		}
	case running:
		if !k.asked.IsZero() && sa.Due(k.now, k.asked.Add(silence)) {
			k.kill(diag.Cause{Code: diag.BGPChildDied, Name: k.config.Group, After: silence}, false)
			return
		}
		if sa.Due(k.now, k.askAt) {
			k.askAt = k.now.Add(askEvery)
			if k.asked.IsZero() {
				k.asked = k.now
			}
			k.emit(ask{})
		}
	}
}

func (k *keeper) noteStarted() {
	if k.phase != starting {
		return
	}
	k.phase, k.startedAt, k.ready = running, k.now, true
	k.fails, k.failed = 0, diag.Cause{}
	k.askAt, k.asked = k.now.Add(askEvery), time.Time{}
	k.tells.told, k.tells.behind = nil, true // it knows nothing
}

// kill ends the child. The sessions end now: a child that is killed can say nothing more.
func (k *keeper) kill(why diag.Cause, deliberate bool) {
	k.lost(why)
	k.phase, k.killed, k.deliberate = ending, why, deliberate
	k.emit(kill{why})
}

// lost is the end of what the child had.
func (k *keeper) lost(why diag.Cause) {
	if k.phase != running {
		return
	}
	for _, s := range k.sessions {
		s.childGone(k.now, k, why)
	}
}

// noteDied decides when the next child starts.
func (k *keeper) noteDied(why diag.Cause) {
	was := k.phase
	if was == absent {
		return
	}
	if why.OK() {
		why = diag.Cause{Code: diag.BGPChildDied, Name: k.config.Group}
	}
	if was == ending {
		why = k.killed
	}
	k.lost(why)
	k.phase, k.startAt = absent, k.now
	switch {
	case was == ending && k.deliberate:
	case !k.ready:
		k.startAt = k.now.Add(k.backoff(firstRest, maxRest, k.fails))
		k.fails++
		if !k.failed.Equal(why) {
			k.failed = why
			k.emit(event{"", why})
		}
		k.tellWhy(why)
	default:
		k.died(why)
	}
}

// died is the death of a child that ran: the next starts at once, then after a rest that doubles. Three deaths in a
// minute are somebody's doing, and a pause.
func (k *keeper) died(why diag.Cause) {
	k.emit(event{"", why})
	if k.now.Sub(k.startedAt) >= sturdy {
		k.row = 0
	}
	k.deaths = slices.DeleteFunc(k.deaths, func(at time.Time) bool { return k.now.Sub(at) >= deathWindow })
	k.deaths = append(k.deaths, k.now)
	switch {
	case len(k.deaths) >= 3:
		pause := diag.Cause{Code: diag.BGPChildPaused, Name: k.config.Group, Count: len(k.deaths), After: deathPause}.Since(why)
		k.startAt, k.row = k.now.Add(deathPause), 0
		k.emit(event{"", pause})
		k.tellWhy(pause)
		return
	case k.row > 0:
		k.startAt = k.now.Add(k.backoff(firstRest, maxRest, k.row-1))
	}
	k.row++
}

// tellWhy makes the child's trouble that of all sessions.
func (k *keeper) tellWhy(why diag.Cause) {
	for _, s := range k.sessions {
		s.last, s.dirty = why, true
	}
}

// change takes another configuration; the same one is an operator's wish to try again at once.
func (k *keeper) change(now time.Time, c Config) {
	k.now = now
	k.config, k.tells.dirty = c, true
	k.deaths, k.row, k.fails = nil, 0, 0
	if k.phase == absent {
		k.startAt = now
	}
	if (k.phase == starting || k.phase == running) && k.restarts(c) {
		k.kill(diag.Cause{Code: diag.ConfigChanged}, true)
	}
	was := map[string]*session{}
	for _, s := range k.sessions {
		was[s.Tunnel] = s
	}
	k.sessions = nil
	for _, is := range c.Sessions {
		s := was[is.Tunnel]
		if s == nil {
			s = newSession(now, is)
			s.reach = k.reach[is.Tunnel]
		} else {
			delete(was, is.Tunnel)
			s.change(now, k, is)
		}
		k.sessions = append(k.sessions, s)
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		s := was[name]
		if s.added {
			s.remove(k)
		}
		s.rib.end(false)
		s.state, s.last = Idle, diag.Cause{}
		k.emit(report{s.snapshot(now)})
	}
}

// restarts reports whether the child cannot take a configuration while it runs. One without sessions needs no child.
func (k *keeper) restarts(c Config) bool {
	if c.ASN != k.ran.ASN || c.RouterID != k.ran.RouterID || !slices.Equal(listens(c), listens(k.ran)) {
		return true
	}
	return slices.ContainsFunc(c.Sessions, func(s Session) bool {
		key, ok := k.keyed[s.Remote]
		return ok && !key.Equal(s.AuthKey)
	})
}

// listens are the addresses on which the child listens.
func listens(c Config) []netip.Addr {
	var out []netip.Addr
	for _, s := range c.Sessions {
		out = append(out, s.Local)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// transits reports whether any peer is told what others told.
func (k *keeper) transits() bool {
	return slices.ContainsFunc(k.sessions, func(s *session) bool { return s.Transit })
}

func (k *keeper) emit(a action) { k.actions = append(k.actions, a) }

func (k *keeper) find(tunnel string) *session {
	i := slices.IndexFunc(k.sessions, func(s *session) bool { return s.Tunnel == tunnel })
	if i < 0 {
		return nil
	}
	return k.sessions[i]
}

// jitter is d, a quarter less to a quarter more.
func (k *keeper) jitter(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(k.random()*float64(d)/2)
}

// backoff is first, doubled n times, at most longest, with jitter.
func (k *keeper) backoff(first, longest time.Duration, n int) time.Duration {
	for ; n > 0 && first < longest; n-- {
		first *= 2
	}
	return k.jitter(min(first, longest))
}
