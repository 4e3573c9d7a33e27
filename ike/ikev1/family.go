package ikev1

import (
	"iter"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// family holds the common property of the ISAKMP SAs of one peer: the Child SAs, and the
// quick modes that wait for their turn.
type family struct {
	members  []*SA // oldest first
	current  *SA   // the member that maintains the Child SAs
	children []*child
	queue    []*quick
	quiet    time.Time // no quick mode begins before
}

// quickGap is between the end of a quick mode of ours and the beginning of the next one. A peer with several
// threads can take our next message 1 before our message 3. strongSwan keeps the state of two quick modes
// only: when the next one is refused besides, it forgets the first, and has no Child SA where we have one.
const quickGap = 30 * time.Millisecond

// elect makes the newest established member maintain the Child SAs. Without one, the current
// maintainer stays while it lives, and the newest of the other members follows it.
func (f *family) elect() {
	if m := f.established(nil); m != nil {
		f.current = m
	} else if len(f.members) > 0 && !slices.Contains(f.members, f.current) {
		f.current = f.members[len(f.members)-1]
	}
}

// established is the newest established member other than s, or nil.
func (f *family) established(s *SA) *SA {
	for _, m := range slices.Backward(f.members) {
		if m != s && m.state == sa.Established {
			return m
		}
	}
	return nil
}

// needs reports whether the Child SAs have no ISAKMP SA but s.
func (f *family) needs(s *SA) bool { return f.current == s && f.established(s) == nil }

// replaced are the members beside s, which only wait for messages under way.
func (f *family) replaced(s *SA) []*SA {
	return slices.DeleteFunc(slices.Clone(f.members), func(m *SA) bool { return m == s || m.state != sa.Replaced })
}

// endReplaced ends the members that s has replaced, because all Child SAs go with s: a quick mode that is open on one of them
// would make a Child SA that no ISAKMP SA maintains, and whose traffic tells the peer that all is well.
func (f *family) endReplaced(now time.Time, s *SA, why diag.Cause) {
	for _, m := range f.replaced(s) {
		m.die(now, why)
	}
}

func (f *family) remove(s *SA) {
	f.members = slices.DeleteFunc(f.members, func(m *SA) bool { return m == s })
	f.elect()
}

// merge takes in an older family.
func (f *family) merge(o *family) {
	if o == f {
		return
	}
	for _, m := range o.members {
		m.fam = f
	}
	f.members = append(o.members, f.members...)
	f.children = append(o.children, f.children...)
	f.queue = append(o.queue, f.queue...)
	if o.quiet.After(f.quiet) {
		f.quiet = o.quiet
	}
	o.members, o.children, o.queue = nil, nil, nil
}

// Quick modes go one after the other while the peer answers: strongSwan keeps the state of three exchanges at a time, and other
// peers may keep less. One that has no answer after two round trips steps aside: it is repeated, and the next one begins beside it,
// since some peers refuse in silence.
const (
	asideMin, asideMax = 100 * time.Millisecond, time.Second
	asideUnknown       = 300 * time.Millisecond // where each answer so far was to a repeated message
	// maxAside is how many without an answer let another begin. Each is repeated every 2 s, for 20 s, but the oldest ends after
	// giveTime if others wait. One that replaces a Child SA begins in any case.
	maxAside = 32
	giveTime = 4 * time.Second
)

// aside is how long the answer to a quick mode is waited for before the next one begins.
func (s *SA) aside() time.Duration {
	if s.trip == 0 {
		return asideUnknown
	}
	return min(max(2*s.trip, asideMin), asideMax)
}

// timed notes how long the peer took for an answer, with its computations. A longer time is forgotten slowly.
func (s *SA) timed(trip time.Duration) { s.trip = max(trip, s.trip*7/8, 1) }

// next is the place in the queue of the quick mode that begins next: what works is kept before more is asked for. -1: none.
func (f *family) next() int {
	if n := slices.IndexFunc(f.queue, func(q *quick) bool { return q.old != nil }); n >= 0 {
		return n
	}
	if len(f.queue) == 0 || f.current.silent() >= maxAside {
		return -1
	}
	return 0
}

// startNext begins the next quick mode, unless the answer to one is due.
func (f *family) startNext(now time.Time) {
	s := f.current
	for s.state == sa.Established && !now.Before(f.nextBegin()) {
		n := f.next()
		if n < 0 {
			break
		}
		q := f.queue[n]
		f.queue = slices.Delete(f.queue, n, n+1)
		s.asking = nil
		q.begin(s, now)
	}
	f.makeRoom(now)
}

// makeRoom lets the oldest quick mode without an answer end early, when others wait for its place.
func (f *family) makeRoom(now time.Time) {
	if len(f.queue) == 0 || f.current.silent() < maxAside {
		return
	}
	for q := range f.current.asked() {
		if q.old == nil {
			if q.x.until.IsZero() {
				q.x.until = sa.Later(q.began.Add(giveTime), now)
			}
			return
		}
	}
}

// nextBegin is before when no quick mode begins.
func (f *family) nextBegin() time.Time {
	if q := f.current.asking; q != nil {
		return sa.Later(f.quiet, q.began.Add(f.current.aside()))
	}
	return f.quiet
}

// nextAt is when a quick mode that waits can begin; zero: none waits for a time.
func (f *family) nextAt() time.Time {
	if f.current.state != sa.Established || f.next() < 0 {
		return time.Time{}
	}
	return sa.Later(f.nextBegin(), atOnce)
}

// atOnce is a time that has passed.
var atOnce = time.Unix(0, 1)

// asked are the quick modes of ours that have no answer yet.
func (s *SA) asked() iter.Seq[*quick] {
	return func(yield func(*quick) bool) {
		for _, x := range s.exchanges {
			if x.asks != nil && !yield(x.asks) {
				return
			}
		}
	}
}

// silent is how many quick modes are open.
func (s *SA) silent() int {
	n := 0
	for range s.asked() {
		n++
	}
	return n
}

// isOpen reports whether one of our quick modes is open.
func (s *SA) isOpen() bool { return s.silent() > 0 }

// requeue repeats a quick mode whose ISAKMP SA ended under it. A rekey waits for a moment first, because a quick mode
// close behind the last message of phase 1 can overtake it in a peer with several threads, such as strongSwan.
func (f *family) requeue(now time.Time, q *quick) {
	if q.old == nil {
		f.queue = append(f.queue, &quick{cfg: q.cfg, local: q.local, remote: q.remote})
	} else if !q.old.gone && q.old.successor == nil {
		q.old.softAt = now.Add(q.s.env.Jitter(soonMin, soonMax))
	}
}

// asked is the quick mode that matches, open or waiting; nil: there is none.
func (f *family) asked(match func(*quick) bool) *quick {
	for _, m := range f.members {
		for q := range m.asked() {
			if match(q) {
				return q
			}
		}
	}
	for _, q := range f.queue {
		if match(q) {
			return q
		}
	}
	return nil
}

// unqueue drops the waiting quick modes that match.
func (f *family) unqueue(match func(*quick) bool) {
	f.queue = slices.DeleteFunc(f.queue, match)
}
