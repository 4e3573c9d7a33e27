package ikev1

import (
	"slices"
	"time"

	"vpngw/ike/sa"
)

// family is what the ISAKMP SAs of one peer have in common: the Child SAs, and
// what is still to be asked for.
type family struct {
	members  []*SA // that hold it, oldest first
	current  *SA   // the one that maintains it
	children []*child
	queue    []*quick
}

// elect makes the newest established member the one that maintains the Child
// SAs; without one, who has it keeps it while it lives, and leaves it to the newest of the others.
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

// needs reports whether the Child SAs end with s, unless it stays for them.
func (f *family) needs(s *SA) bool { return f.current == s && f.established(s) == nil }

func (f *family) remove(s *SA) {
	f.members = slices.DeleteFunc(f.members, func(m *SA) bool { return m == s })
	f.elect()
}

// merge takes in another family, which is older.
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
	o.members, o.children, o.queue = nil, nil, nil
}

// pump starts the next quick mode if none is open: one after the other.
func (f *family) pump(now time.Time) {
	for s := f.current; s.state == sa.Established && s.asking == nil && len(f.queue) > 0; {
		q := f.queue[0]
		f.queue = f.queue[1:]
		q.begin(s, now)
	}
}

// requeue comes back to a quick mode whose ISAKMP SA ended under it. A rekey has a moment's time: what follows on the
// heels of phase 1's last message can overtake it in a peer that has several threads, as strongSwan has.
func (f *family) requeue(now time.Time, q *quick) {
	if q.old == nil {
		f.queue = append(f.queue, &quick{cfg: q.cfg, local: q.local, remote: q.remote})
	} else if !q.old.gone && q.old.successor == nil {
		q.old.softAt = now.Add(q.s.env.Jitter(soonMin, soonMax))
	}
}

// asked reports whether a quick mode for something is open or waits.
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

// unqueue drops what was not sent yet.
func (f *family) unqueue(match func(*quick) bool) {
	f.queue = slices.DeleteFunc(f.queue, match)
}
