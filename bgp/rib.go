package bgp

import (
	"cmp"
	"container/heap"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

// rib is what a peer tells, and what of it is accepted. A session's routes stay in it as stale ones when the session
// ends for a cause that they may outlive.
//
// Only so many prefixes are accepted. While the peer still tells what it has, those are the lowest ones, so that a
// restart chooses the same; then who is accepted stays, and a place that becomes free is for the lowest that waits.
//
// Its memory is bounded: of those that pass the filter, and of those that do not, it keeps four times the limit and
// 1000. What comes beyond is only counted, and is accepted when the peer tells it again.
type rib struct {
	entries map[netip.Prefix]*entry
	stale   int // accepted ones of a session that ended
	refused int // kept entries that the filter refuses
	beyond  int // prefixes that are not kept: at most so many, for one told twice counts twice

	complete bool      // the peer has told all that it has
	accepted int       // entries
	loose    queue     // accepted ones that a lower prefix may displace: the highest first
	waiting  queue     // those that the limit leaves out: the lowest first
	recent   []Refused // the newest last

	routes  []Learned // as last built; never changed
	changed map[netip.Prefix]struct{}
	rebuild bool
}

type class uint8

const (
	isRefused class = iota
	isWaiting
	isAccepted
)

type entry struct {
	told  Told
	since time.Time // accepted
	class class
	stale bool
	pos   int // in its queue; -1: it is in none
}

func (r *rib) init() {
	*r = rib{
		entries: map[netip.Prefix]*entry{}, changed: map[netip.Prefix]struct{}{}, rebuild: true,
		loose: queue{highest: true}, recent: r.recent[:0:0],
	}
}

// bounds returns how many prefixes are too many, how many are accepted, and how many are kept.
func (s *Session) bounds() (limit, accept, keep int) {
	limit = s.MaxPrefixes
	if limit <= 0 {
		limit = config.DefaultMaxPrefixes
	}
	keep = 4*limit + 1000
	if s.OverLimit == config.OverWarn {
		return limit, keep, keep
	}
	return limit, limit, keep
}

// live is the number of prefixes of the present session that the filter accepts.
func (r *rib) live() int { return r.accepted - r.stale + len(r.waiting.list) }

// tell takes a route as the peer tells it.
func (r *rib) tell(now time.Time, s *Session, t Told) {
	if t.Withdrawn {
		r.withdraw(now, s, t.Prefix)
		return
	}
	t.Communities = nil // nothing is decided by them
	if len(t.Path) > maxPath {
		t.Path = slices.Clone(t.Path[:maxPath+1])
	}
	why := refuses(s, &t)
	e := r.entries[t.Prefix]
	_, _, keep := s.bounds()
	passes, known := why.OK(), e != nil
	switch {
	case !passes && known && e.class == isRefused:
		e.told = t
		r.note(t.Prefix, why)
	case !passes:
		if known {
			r.remove(e)
			r.refill(now, s)
		}
		if r.refused >= keep {
			r.beyond++
			r.note(t.Prefix, why)
			return
		}
		r.refuse(t, why)
	case known && e.class == isAccepted:
		if e.stale {
			r.stale--
		}
		if e.told.MED != t.MED || !slices.Equal(e.told.Path, t.Path) {
			r.changed[t.Prefix] = struct{}{}
		}
		e.told, e.stale = t, false
	case known && e.class == isWaiting:
		e.told = t
	default:
		if known {
			r.remove(e)
		}
		if r.accepted+len(r.waiting.list) >= keep {
			r.beyond++
			r.note(t.Prefix, s.overLimit(t.Prefix))
			return
		}
		r.offer(now, s, &entry{told: t, pos: -1})
	}
}

func (r *rib) withdraw(now time.Time, s *Session, p netip.Prefix) {
	e := r.entries[p]
	if e == nil {
		r.beyond = max(0, r.beyond-1)
		r.forget(p)
		return
	}
	r.remove(e)
	r.refill(now, s)
}

// refuse keeps a route that the filter refuses, for another configuration may accept it.
func (r *rib) refuse(t Told, why diag.Cause) {
	r.entries[t.Prefix] = &entry{told: t, pos: -1}
	r.refused++
	r.note(t.Prefix, why)
}

// offer gives a route that the filter accepts a place, or has it wait.
func (r *rib) offer(now time.Time, s *Session, e *entry) {
	_, places, _ := s.bounds()
	p := e.told.Prefix
	r.entries[p] = e
	if r.accepted >= places && !r.complete && len(r.loose.list) > 0 && p.Compare(r.loose.list[0].told.Prefix) < 0 {
		high := r.loose.list[0]
		r.take(high)
		r.wait(s, high)
	}
	if r.accepted >= places {
		r.wait(s, e)
		return
	}
	r.accept(now, e)
}

func (r *rib) accept(now time.Time, e *entry) {
	e.class = isAccepted
	if e.since.IsZero() {
		e.since = now
	}
	r.accepted++
	if !r.complete {
		heap.Push(&r.loose, e)
	}
	r.changed[e.told.Prefix] = struct{}{}
	r.forget(e.told.Prefix)
}

func (r *rib) wait(s *Session, e *entry) {
	e.class, e.since = isWaiting, time.Time{}
	heap.Push(&r.waiting, e)
	r.note(e.told.Prefix, s.overLimit(e.told.Prefix))
}

// take takes an accepted entry out of its place.
func (r *rib) take(e *entry) {
	if e.pos >= 0 {
		heap.Remove(&r.loose, e.pos)
	}
	if e.stale {
		r.stale--
	}
	e.stale = false
	r.accepted--
	r.changed[e.told.Prefix] = struct{}{}
}

// remove forgets an entry.
func (r *rib) remove(e *entry) {
	switch e.class {
	case isAccepted:
		r.take(e)
	case isWaiting:
		heap.Remove(&r.waiting, e.pos)
	case isRefused:
		r.refused--
	}
	delete(r.entries, e.told.Prefix)
	r.forget(e.told.Prefix)
}

// refill gives places that became free to the lowest that wait.
func (r *rib) refill(now time.Time, s *Session) {
	_, places, _ := s.bounds()
	for r.accepted < places && len(r.waiting.list) > 0 {
		r.accept(now, heap.Pop(&r.waiting).(*entry))
	}
}

// settle says that the peer has told all: stale routes go, and no newcomer displaces an accepted one any more.
func (r *rib) settle(now time.Time, s *Session) {
	r.sweep(now, s)
	r.complete = true
	r.unloose()
}

func (r *rib) unloose() {
	for _, e := range r.loose.list {
		e.pos = -1
	}
	r.loose.list = nil
}

// sweep removes the stale routes.
func (r *rib) sweep(now time.Time, s *Session) {
	if r.stale == 0 {
		return
	}
	for _, e := range r.entries {
		if e.stale {
			r.remove(e)
		}
	}
	r.refill(now, s)
}

// end is the end of the session. The accepted routes stay as stale ones, or go.
func (r *rib) end(stay bool) {
	if !stay || r.accepted == 0 {
		r.init()
		return
	}
	r.unloose()
	for p, e := range r.entries {
		if e.class == isAccepted {
			e.stale = true
		} else {
			delete(r.entries, p)
		}
	}
	r.waiting.list, r.recent = nil, nil
	r.stale, r.refused, r.beyond, r.complete = r.accepted, 0, 0, false
}

// judge decides about all kept routes again, under another configuration. Accepted ones keep their places before others.
func (r *rib) judge(now time.Time, s *Session) {
	all := slices.SortedFunc(maps.Values(r.entries), func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.class, a.class), a.told.Prefix.Compare(b.told.Prefix))
	})
	complete, beyond := r.complete, r.beyond
	r.init()
	r.complete, r.beyond = complete, beyond
	_, places, keep := s.bounds()
	for _, e := range all {
		stale := e.stale
		e.pos, e.stale = -1, false
		why := refuses(s, &e.told)
		switch {
		case !why.OK() && !stale && r.refused < keep:
			r.refuse(e.told, why)
		case stale && (!why.OK() || r.accepted >= places):
		case !why.OK() || r.accepted+len(r.waiting.list) >= keep:
			r.beyond++
		default:
			r.offer(now, s, e)
			if stale {
				heap.Remove(&r.loose, e.pos)
				e.pos, e.stale = -1, true
				r.stale++
			}
		}
	}
}

// snapshot returns the accepted routes, sorted. It costs a copy where something changed since the last one, and else nothing.
func (r *rib) snapshot() []Learned {
	if len(r.changed) == 0 && !r.rebuild {
		return r.routes
	}
	old := r.routes
	if r.rebuild {
		old = nil
		for p := range r.entries {
			r.changed[p] = struct{}{}
		}
	}
	out := make([]Learned, 0, r.accepted)
	for _, p := range slices.SortedFunc(maps.Keys(r.changed), netip.Prefix.Compare) {
		i, found := slices.BinarySearchFunc(old, p, func(l Learned, p netip.Prefix) int { return l.Prefix.Compare(p) })
		out = append(out, old[:i]...)
		if found {
			i++
		}
		old = old[i:]
		if e := r.entries[p]; e != nil && e.class == isAccepted {
			out = append(out, Learned{p, e.told.Path, e.told.MED, e.since})
		}
	}
	r.routes, r.rebuild = append(out, old...), false
	clear(r.changed)
	return r.routes
}

// note keeps why a prefix is refused, among the newest.
func (r *rib) note(p netip.Prefix, why diag.Cause) {
	r.forget(p)
	if len(r.recent) == MaxRefused {
		copy(r.recent, r.recent[1:])
		r.recent = r.recent[:MaxRefused-1]
	}
	r.recent = append(r.recent, Refused{p, why})
}

func (r *rib) forget(p netip.Prefix) {
	if i := slices.IndexFunc(r.recent, func(x Refused) bool { return x.Prefix == p }); i >= 0 {
		r.recent = slices.Delete(r.recent, i, i+1)
	}
}

// newest returns the newest refusals. Where the newest were withdrawn, older ones take their places.
func (r *rib) newest(s *Session) []Refused {
	if len(r.recent) < MaxRefused && len(r.recent) < r.refused+len(r.waiting.list) {
		have := map[netip.Prefix]bool{}
		for _, x := range r.recent {
			have[x.Prefix] = true
		}
		var more []netip.Prefix
		for p, e := range r.entries {
			if e.class != isAccepted && !have[p] {
				more = append(more, p)
			}
		}
		slices.SortFunc(more, netip.Prefix.Compare)
		older := make([]Refused, 0, MaxRefused)
		for _, p := range more[:min(len(more), MaxRefused-len(r.recent))] {
			e := r.entries[p]
			why := s.overLimit(p)
			if e.class == isRefused {
				why = refuses(s, &e.told)
			}
			older = append(older, Refused{p, why})
		}
		r.recent = append(older, r.recent...)
	}
	return slices.Clone(r.recent)
}

// refusals is how many prefixes are refused.
func (r *rib) refusals() int { return r.refused + len(r.waiting.list) + r.beyond }

// overLimit is why a prefix is left out, or, of an invalid prefix, why a session has too many.
func (s *Session) overLimit(p netip.Prefix) diag.Cause {
	limit, _, keep := s.bounds()
	becomes := "the rest is left out"
	switch s.OverLimit {
	case config.OverWarn:
		becomes = "they are accepted"
		if p.IsValid() { // even so, memory has an end
			becomes = "no more than " + strconv.Itoa(keep) + " are accepted"
		}
	case config.OverEnd:
		becomes = "the session ends"
	}
	return diag.Cause{Code: diag.BGPLimit, Name: s.Tunnel, Prefix: p, Count: limit, Ours: becomes}
}

// queue is a heap of entries by prefix, the lowest or the highest first.
type queue struct {
	list    []*entry
	highest bool
}

func (q *queue) Len() int { return len(q.list) }
func (q *queue) Less(i, j int) bool {
	return (q.list[i].told.Prefix.Compare(q.list[j].told.Prefix) < 0) != q.highest
}

func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].pos, q.list[j].pos = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.pos = len(q.list)
	q.list = append(q.list, e)
}

func (q *queue) Pop() any {
	e := q.list[len(q.list)-1]
	q.list = q.list[:len(q.list)-1]
	e.pos = -1
	return e
}
