package ikev1

import (
	"slices"
	"time"

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

// startNext begins the next quick mode unless one is open: they go one after the other.
func (f *family) startNext(now time.Time) {
	for s := f.current; s.state == sa.Established && s.asking == nil && len(f.queue) > 0 && !now.Before(f.quiet); {
		q := f.queue[0]
		f.queue = f.queue[1:]
		q.begin(s, now)
	}
}

// nextAt is when a quick mode that waits can begin; zero: none waits for a time.
func (f *family) nextAt() time.Time {
	if s := f.current; len(f.queue) > 0 && s.state == sa.Established && s.asking == nil {
		return f.quiet
	}
	return time.Time{}
}

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
		if m.asking != nil && match(m.asking) {
			return m.asking
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
