package esp

import (
	"cmp"
	"math"
	"slices"
)

// An spd decides which outbound SA of a tunnel a packet takes. Of the SAs whose
// negotiated selectors cover the packet it takes the most specific, by remote addresses, then local
// addresses, then protocol and ports; among equally specific SAs the newest. An spd is an immutable
// snapshot; a change makes a new one.
//
// A few SAs are scanned, and so is an SA with very many selectors. Of any other SA every (local,
// remote) pair of prefixes is hashed, in one table for each combination of prefix
// lengths (a tuple space search), so that thousands of pairs cost a few probes.
type spd struct {
	scan   []*outbound
	tables []table // the table with the best rank first
}

// table has the policies of one address family and one combination of prefix lengths.
type table struct {
	v6     bool
	masks  prefixes
	best   rank
	policy map[prefixes][]policy // the best rank first
}

// prefixes is a pair of addresses or of masks.
type prefixes struct{ local, remote addr }

type policy struct {
	rank          rank
	local, remote *selector
	out           *outbound
}

// rank orders policies; the least wins.
type rank struct {
	specificity uint64
	age         uint64
}

func (a rank) less(b rank) bool {
	return a.specificity < b.specificity || a.specificity == b.specificity && a.age < b.age
}

func compareRank(a, b rank) int {
	return cmp.Or(cmp.Compare(a.specificity, b.specificity), cmp.Compare(a.age, b.age))
}

// rankOf weighs remote before local addresses, and both before protocol and ports.
func rankOf(local, remote *selector, out *outbound) rank {
	const narrow = 1<<6 - 1 // protocol and ports, see selector.rank
	r := uint64(remote.rank>>6)<<8 | uint64(local.rank>>6)
	return rank{r<<12 | uint64(remote.rank&narrow)<<6 | uint64(local.rank&narrow), math.MaxUint64 - out.order}
}

const (
	scanPairs = 8    // up to this number of pairs in all, scanning is faster
	hashPairs = 1024 // an SA with more pairs is scanned, so that a peer's proposal cannot cost much memory
)

// newSPD makes the snapshot of the SAs given.
func newSPD(outs []*outbound) *spd {
	s := new(spd)
	total := 0
	for _, o := range outs {
		total += len(o.local) * len(o.remote)
	}
	if total <= scanPairs {
		s.scan = slices.Clone(outs)
		return s
	}
	type shape struct {
		v6    bool
		masks prefixes
	}
	tables := make(map[shape]*table)
	for _, o := range outs {
		if len(o.local)*len(o.remote) > hashPairs || !allPrefixes(o.local) || !allPrefixes(o.remote) {
			s.scan = append(s.scan, o)
			continue
		}
		for i := range o.local {
			for j := range o.remote {
				l, r := &o.local[i], &o.remote[j]
				if l.v6 != r.v6 {
					continue
				}
				lm, _ := l.mask()
				rm, _ := r.mask()
				masks := prefixes{lm, rm}
				t := tables[shape{l.v6, masks}]
				if t == nil {
					t = &table{v6: l.v6, masks: masks, policy: make(map[prefixes][]policy)}
					tables[shape{l.v6, masks}] = t
				}
				key := prefixes{l.start, r.start}
				t.policy[key] = append(t.policy[key], policy{rankOf(l, r, o), l, r, o})
			}
		}
	}
	for _, t := range tables {
		t.best = rank{math.MaxUint64, math.MaxUint64}
		for _, ps := range t.policy {
			slices.SortFunc(ps, func(a, b policy) int { return compareRank(a.rank, b.rank) })
			if ps[0].rank.less(t.best) {
				t.best = ps[0].rank
			}
		}
		s.tables = append(s.tables, *t)
	}
	slices.SortFunc(s.tables, func(a, b table) int { return compareRank(a.best, b.best) })
	return s
}

func allPrefixes(ss []selector) bool {
	return !slices.ContainsFunc(ss, func(s selector) bool { _, ok := s.mask(); return !ok })
}

// empty reports whether the tunnel has no outbound SA.
func (s *spd) empty() bool { return len(s.scan) == 0 && len(s.tables) == 0 }

// lookup finds the SA that a packet takes, or nil.
func (s *spd) lookup(f *flow) *outbound {
	var found *outbound
	best := rank{math.MaxUint64, math.MaxUint64}
	for _, o := range s.scan {
		remote := destinationIn(o.remote, f)
		if remote == nil {
			continue
		}
		local := sourceIn(o.local, f)
		if local == nil {
			continue
		}
		if r := rankOf(local, remote, o); r.less(best) {
			found, best = o, r
		}
	}
	for i := range s.tables {
		t := &s.tables[i]
		if !t.best.less(best) {
			break
		}
		if t.v6 != f.v6 {
			continue
		}
		for _, p := range t.policy[prefixes{f.src.and(t.masks.local), f.dst.and(t.masks.remote)}] {
			if !p.rank.less(best) {
				break
			}
			if p.remote.destination(f) && p.local.source(f) {
				found, best = p.out, p.rank
				break
			}
		}
	}
	return found
}
