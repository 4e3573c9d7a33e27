package esp

import (
	"cmp"
	"math"
	"slices"
)

// An spd decides which outbound SA of a tunnel a packet takes. Of the SAs whose
// negotiated selectors cover the packet it takes the most specific, by remote addresses, then local
// addresses, then protocol and ports; among equally specific SAs the newest. An spd is an immutable
// snapshot; change makes a new one beside it.
//
// A few SAs are scanned. More are found by two tries: the remote addresses of a selector lead to a trie of
// local addresses, and these to the policies. A selector lies at the longest prefix that contains its addresses.
// The lists of an SA are not multiplied out: remote prefixes of which the same SAs speak share one trie of
// local addresses.
type spd struct {
	outs  []*outbound // the oldest first
	pairs int         // of selectors
	tries [2]*remotes // of IPv4 and IPv6; not used up to scanPairs
}

type (
	remotes = trie[locals]
	locals  = trie[policies]
	// policies are those of one prefix of remote addresses and one of local addresses, the best rank first.
	policies []policy
)

type policy struct {
	rank   rank      // without the addresses, which are equally specific
	local  *selector // must cover the packet
	remote *selector // likewise; nil: it does, as its addresses are the whole prefix and it limits nothing else
	out    *outbound
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
	const narrow = 1<<narrowBits - 1
	r := uint64(remote.rank>>narrowBits)<<8 | uint64(local.rank>>narrowBits)
	r = r<<(2*narrowBits) | uint64(remote.rank&narrow)<<narrowBits | uint64(local.rank&narrow)
	return rank{r, math.MaxUint64 - out.order}
}

// rest is r without the addresses.
func (r rank) rest() rank { return rank{r.specificity & (1<<(2*narrowBits) - 1), r.age} }

const (
	scanPairs = 8 // up to this number of pairs in all, scanning is faster
	// maxPairs is the most pairs of one tunnel, so that no peer's proposals cost much memory.
	maxPairs = 1 << 14
)

// change returns s with some SAs added and others removed. An SA in both lists is removed.
func (s *spd) change(added, removed []*outbound) *spd {
	gone := make(map[*outbound]bool, len(removed))
	for _, o := range removed {
		gone[o] = true
	}
	next := &spd{outs: slices.DeleteFunc(slices.Concat(s.outs, added), func(o *outbound) bool { return gone[o] })}
	for _, o := range next.outs {
		next.pairs += len(o.local) * len(o.remote)
	}
	if next.pairs <= scanPairs {
		return next
	}
	if s.pairs <= scanPairs {
		added, removed = next.outs, nil
	} else {
		next.tries = s.tries
	}
	for _, o := range added {
		next.edit(o, policies.with)
	}
	for _, o := range removed {
		next.edit(o, policies.without)
	}
	return next
}

// edit has f change the policies at each pair of o's selectors, given the policy of the pair.
func (s *spd) edit(o *outbound, f func(policies, policy) policies) {
	// The last answer of each family. A trie of local addresses that several remote prefixes share stays shared.
	var last [2]struct {
		known   bool
		was, is *locals
	}
	for i := range o.remote {
		r := &o.remote[i]
		family := familyOf(r.v6)
		last := &last[family]
		s.tries[family] = s.tries[family].edit(r.prefix(), func(was *locals) *locals {
			shared := r.unlimited()
			if shared && last.known && was == last.was {
				return last.is
			}
			is := was
			for j := range o.local {
				l := &o.local[j]
				if l.v6 != r.v6 {
					continue
				}
				p := policy{rankOf(l, r, o).rest(), l, r, o}
				if shared {
					p.remote = nil
				}
				is = is.edit(l.prefix(), func(ps *policies) *policies {
					if ps == nil {
						ps = new(policies)
					}
					if list := f(*ps, p); len(list) > 0 {
						return &list
					}
					return nil
				})
			}
			if shared {
				last.known, last.was, last.is = true, was, is
			}
			return is
		})
	}
}

func (ps policies) with(p policy) policies {
	i, _ := slices.BinarySearchFunc(ps, p, func(a, b policy) int { return compareRank(a.rank, b.rank) })
	return slices.Insert(slices.Clip(ps), i, p)
}

// without is ps without the policies of p's SA.
func (ps policies) without(p policy) policies {
	return slices.DeleteFunc(slices.Clone(ps), func(q policy) bool { return q.out == p.out })
}

// empty reports whether the tunnel has no outbound SA.
func (s *spd) empty() bool { return len(s.outs) == 0 }

// lookup finds the SA that a packet takes, or nil.
func (s *spd) lookup(f *flow) *outbound {
	if s.pairs <= scanPairs {
		return s.scan(f)
	}
	return byRemote(s.tries[familyOf(f.v6)], f, f.dst.key(f.v6), f.src.key(f.v6))
}

func (s *spd) scan(f *flow) *outbound {
	var found *outbound
	best := rank{math.MaxUint64, math.MaxUint64}
	for _, o := range s.outs {
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
	return found
}

// byRemote finds the best SA in t for a packet whose addresses have the keys given: the longest remote prefix goes
// before any local one.
func byRemote(t *remotes, f *flow, dst, src addr) *outbound {
	for ; t != nil && t.contains(dst); t = t.next(dst) {
		if t.value == nil {
			continue
		}
		if o := byRemote(t.next(dst), f, dst, src); o != nil {
			return o
		}
		return byLocal(t.value, f, src)
	}
	return nil
}

func byLocal(t *locals, f *flow, src addr) (found *outbound) {
	for ; t != nil && t.contains(src); t = t.next(src) {
		if t.value == nil {
			continue
		}
		for i := range *t.value {
			if p := &(*t.value)[i]; (p.remote == nil || p.remote.destination(f)) && p.local.source(f) {
				found = p.out
				break
			}
		}
	}
	return found
}
