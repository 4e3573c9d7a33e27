package bgp

import (
	"maps"
	"net/netip"
	"slices"

	"vpngw/diag"
)

// defaultTell is how many prefixes are told to a peer whose limit we don't know: the host may have the routes of the
// whole Internet.
const defaultTell = 20000

// announcements are what the peers are told. The child tells one set to all of them, the union, and each peer's
// export policy leaves out what is not for it.
type announcements struct {
	connected, kernel []netip.Prefix
	dirty             bool // wanted is out of date
	behind            bool // the child may lack something of it
	wanted            map[netip.Prefix]Tell
	told              map[netip.Prefix]Tell // that the child has
}

// untold reports whether a prefix is never told to the session's peer, and which networks keep it from that.
func (k *keeper) untold(s *session, p netip.Prefix) (netip.Prefix, bool) {
	if !wellFormed(p) {
		return p, true
	}
	if q, ok := within(p, martians); ok {
		return q, true
	}
	for _, o := range k.sessions {
		if o.Inside.IsValid() && contains(o.Inside.Masked(), p) {
			return o.Inside.Masked(), true
		}
	}
	return touched(p, s.NeverTell)
}

// export returns what the session's peer is told, the most wanted first: what Announce lists, then networks of the
// host, then what other peers told.
func (k *keeper) export(s *session) (out []Tell, left int) {
	limit := s.MaxTell
	if limit <= 0 {
		limit = defaultTell
	}
	seen := map[netip.Prefix]bool{}
	add := func(t Tell) (by netip.Prefix, never bool) {
		if seen[t.Prefix] {
			return by, false
		}
		if by, never = k.untold(s, t.Prefix); never {
			return by, true
		}
		seen[t.Prefix] = true
		if len(out) >= limit {
			left++
		} else {
			out = append(out, t)
		}
		return by, false
	}
	for _, p := range s.Announce {
		if by, never := add(Tell{Prefix: p}); never {
			s.warn(k, diag.Cause{Code: diag.BGPNotTold, Name: s.Tunnel, Prefix: p, Theirs: by.String()})
		}
	}
	for _, p := range k.host(s) {
		add(Tell{Prefix: p})
	}
	if s.Transit {
		for _, t := range k.transit(s) {
			add(t)
		}
	}
	return out, left
}

// host returns the host's networks that the session announces, sorted.
func (k *keeper) host(s *session) []netip.Prefix {
	var all []netip.Prefix
	if s.Connected {
		all = append(all, k.tells.connected...)
	}
	if s.Kernel {
		all = append(all, k.tells.kernel...)
	}
	all = slices.DeleteFunc(all, func(p netip.Prefix) bool {
		if isDefault(p) {
			return !slices.Contains(s.Export, p)
		}
		_, ok := within(p, s.Export)
		return !ok && len(s.Export) > 0
	})
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

// transit returns what the session's peer is told of the others' routes, sorted. What an iBGP peer told is not for another (RFC 4271 §9.2.1).
func (k *keeper) transit(s *session) []Tell {
	best := map[netip.Prefix]Tell{}
	for _, o := range k.sessions {
		if o == s || !o.reach || o.internal() && s.internal() {
			continue
		}
		for _, l := range o.rib.snapshot() {
			if b, ok := best[l.Prefix]; !ok || len(l.Path) < len(b.Path) {
				best[l.Prefix] = Tell{l.Prefix, l.Path}
			}
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b Tell) int { return a.Prefix.Compare(b.Prefix) })
}

// announce works out what each peer is told, and tells the child what changed. A peer's exceptions grow before the set
// does and shrink after it, so that no peer hears for a moment what is not for it.
func (k *keeper) announce() {
	if k.tells.dirty {
		k.tells.dirty = false
		k.union()
		k.tells.behind = true
	}
	if k.phase != running || !k.tells.behind {
		return
	}
	k.tells.behind = false
	for _, s := range k.sessions {
		both := append(slices.Clone(s.has), s.except...)
		slices.SortFunc(both, netip.Prefix.Compare)
		if both = slices.Compact(both); len(both) > len(s.has) {
			s.exempt(k, both)
		}
	}
	if t := k.tells.change(); len(t.add)+len(t.withdraw) > 0 {
		k.emit(t)
	}
	for _, s := range k.sessions {
		if len(s.has) > len(s.except) {
			s.exempt(k, s.except)
		}
	}
}

// exempt sets the exceptions that the child has for the session's peer.
func (s *session) exempt(k *keeper, except []netip.Prefix) {
	s.has = except
	if s.added {
		k.emit(export{s.Session, except})
	}
}

// change returns what the child lacks and what it has too much, and takes it as done.
func (a *announcements) change() (t tell) {
	for p, w := range a.wanted {
		if was, ok := a.told[p]; !ok || !slices.Equal(was.Path, w.Path) {
			t.add = append(t.add, w)
		}
	}
	for p, was := range a.told {
		if _, ok := a.wanted[p]; !ok {
			t.withdraw = append(t.withdraw, was)
		}
	}
	order := func(a, b Tell) int { return a.Prefix.Compare(b.Prefix) }
	slices.SortFunc(t.add, order)
	slices.SortFunc(t.withdraw, order)
	a.told = a.wanted // a map that is replaced, never changed
	return t
}

// union sets what is wanted of the child, and each session's exceptions.
func (k *keeper) union() {
	wanted := map[netip.Prefix]Tell{}
	each := make([]map[netip.Prefix]bool, len(k.sessions))
	for i, s := range k.sessions {
		list, left := k.export(s)
		if left > 0 {
			s.warn(k, diag.Cause{Code: diag.BGPTellLimit, Name: s.Tunnel, Count: len(list)})
		}
		each[i] = map[netip.Prefix]bool{}
		announced := make([]netip.Prefix, 0, len(list))
		for _, t := range list {
			each[i][t.Prefix] = true
			announced = append(announced, t.Prefix)
			if was, ok := wanted[t.Prefix]; !ok || len(t.Path) < len(was.Path) { // our own has no path
				wanted[t.Prefix] = t
			}
		}
		slices.SortFunc(announced, netip.Prefix.Compare)
		if !slices.Equal(announced, s.announced) {
			s.announced, s.dirty = announced, true
		}
	}
	for i, s := range k.sessions {
		var except []netip.Prefix
		for p := range wanted {
			if !each[i][p] {
				except = append(except, p)
			}
		}
		slices.SortFunc(except, netip.Prefix.Compare)
		s.except = except
	}
	k.tells.wanted = wanted
}
