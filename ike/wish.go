package ike

import (
	"maps"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// wish is what a child can be asked for: one of its pairs of selectors, or all of it.
type wish selectorPair

// all is the wish for one Child SA for everything.
var all wish

// attempt is how asking for something went. What fails backs off alone.
type attempt struct {
	failures int
	next     time.Time
}

// wishOf is the wish that selectors in a request were for.
func wishOf(c *sa.Child, local, remote []ipsec.Selector) wish {
	if len(local) != 1 || len(remote) != 1 || len(selectorPairs(c)) == 1 {
		return all
	}
	return wish{local[0], remote[0]}
}

// of are the selectors of a wish.
func (w wish) of(c *sa.Child) (local, remote []ipsec.Selector) {
	if w == all {
		return c.Local, c.Remote
	}
	return []ipsec.Selector{w.local}, []ipsec.Selector{w.remote}
}

// anew forgets all failures.
func (c *child) anew() { c.failures, c.nextTry, c.tried = 0, time.Time{}, nil }

// refused notes that w was asked for in vain.
func (c *child) refused(now time.Time, w wish, why diag.Cause) {
	c.fail(now, why)
	c.tookAll = c.tookAll && why.Code != diag.SelectorsRefuse
	a := c.tried[w]
	a.next = now.Add(c.peer.e.backoff(a.failures))
	a.failures++
	c.try(w, a)
}

func (c *child) try(w wish, a attempt) {
	if c.tried == nil {
		c.tried = map[wish]attempt{}
	}
	c.tried[w] = a
}

// settled forgets the failures of what is there by now.
func (c *child) settled() {
	if len(c.tried) == 0 {
		return
	}
	missing := c.missing()
	maps.DeleteFunc(c.tried, func(w wish, _ attempt) bool {
		return w == all && len(missing) == 0 || w != all && !slices.Contains(missing, selectorPair(w))
	})
}

// wishes are what c lacks and m can be asked for: all in one Child SA while there is none, and each missing pair. A peer that
// has taken everything in one is not asked for pairs. IKEv1 has one pair to a Child SA.
func (c *child) wishes(m sa.Machine) []wish {
	missing := c.missing()
	var out []wish
	if len(missing) == len(selectorPairs(c.cfg)) && (m.Info().Version != 1 || len(missing) == 1) {
		if out = append(out, all); c.tookAll || len(missing) == 1 {
			return out
		}
	}
	for _, p := range missing {
		out = append(out, wish(p))
	}
	return out
}

// ready reports whether c lacks something, and m is not being asked for all that can be asked for at a time.
func (c *child) ready(m sa.Machine) bool {
	return !c.held && c.initiate && c.lacking() && (m.Info().Version == 1 || !m.Creating(c.cfg, c.cfg.Local, c.cfg.Remote))
}

// nextAsk is when something can be asked for; zero: at once. false: there is nothing.
func (c *child) nextAsk(m sa.Machine) (at time.Time, ok bool) {
	if !c.ready(m) {
		return at, false
	}
	for _, w := range c.wishes(m) {
		if l, r := w.of(c.cfg); m.Creating(c.cfg, l, r) {
			continue
		}
		if t := sa.Later(c.nextTry, c.tried[w].next); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// ask requests what is missing and due: in IKEv1 all of it, in IKEv2 what has failed the least.
func (c *child) ask(now time.Time, m sa.Machine) {
	if now.Before(c.nextTry) || !c.ready(m) {
		return
	}
	due := slices.DeleteFunc(c.wishes(m), func(w wish) bool {
		l, r := w.of(c.cfg)
		return now.Before(c.tried[w].next) || m.Creating(c.cfg, l, r)
	})
	slices.SortStableFunc(due, func(a, b wish) int { return c.tried[a].failures - c.tried[b].failures })
	if m.Info().Version != 1 {
		due = due[:min(len(due), 1)]
	}
	for _, w := range due {
		l, r := w.of(c.cfg)
		m.Create(now, c.cfg, l, r)
	}
}

func (c *child) freezeTried() []FrozenAttempt {
	var out []FrozenAttempt
	for _, p := range append([]selectorPair{selectorPair(all)}, selectorPairs(c.cfg)...) {
		if a, ok := c.tried[wish(p)]; ok {
			out = append(out, FrozenAttempt{p.local, p.remote, a.failures, a.next})
		}
	}
	return out
}

func (c *child) thawTried(as []FrozenAttempt) {
	for _, a := range as {
		c.try(wish{a.Local, a.Remote}, attempt{a.Failures, a.Next})
	}
}
