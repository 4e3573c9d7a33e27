package ike

import (
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// gapGrace is how long the end that answered leaves missing Child SAs to the
// end that began, so that not both create the same.
const gapGrace = 3 * time.Second

// child is one configured child: its Child SAs, and what they lack.
type child struct {
	peer     *peer
	given    *sa.Child // as it was handed over last; Facts name it so
	cfg      *sa.Child // as it was handed over first: the machines know it so
	initiate bool      // as given says
	held     bool      // down by the operator's command
	why      diag.Kept
	since    time.Time
	failures int       // to stay up
	nextTry  time.Time // nothing is asked for before
	tried    map[wish]attempt
	early    early
	tookAll  bool // the peer has taken all of it in one Child SA, and has not refused its selectors since
}

func (p *peer) newChild(now time.Time, c *sa.Child) *child {
	return &child{peer: p, given: c, cfg: c, initiate: c.Initiate, since: now}
}

// note is success or failure of a Child SA.
func (c *child) note(now time.Time, why diag.Cause) {
	c.fail(now, why)
	if why.OK() {
		c.failures, c.nextTry = 0, time.Time{}
		c.settled()
		c.early.up(c, now)
		c.tookAll = c.tookAll || c.whole(c.sas())
		return
	}
	c.tookAll = c.tookAll && why.Code != diag.SelectorsRefuse
	next := now.Add(c.peer.e.backoff(c.failures))
	if now.Before(c.nextTry) && c.nextTry.Before(next) {
		return // what else fails during a wait makes it no longer: a peer could ask for what we refuse again and again
	}
	c.nextTry = next
	c.failures++
}

// selectorPair is one local and one remote selector.
type selectorPair struct{ local, remote ipsec.Selector }

// selectorPairs are all that a child is to carry.
func selectorPairs(c *sa.Child) []selectorPair {
	var out []selectorPair
	for _, l := range c.Local {
		for _, r := range c.Remote {
			if l.Start.BitLen() == r.Start.BitLen() {
				out = append(out, selectorPair{l, r})
			}
		}
	}
	return out
}

// sas are the Child SAs that serve c, whole and half installed ones.
func (c *child) sas() []sa.ChildInfo {
	var out []sa.ChildInfo
	for _, m := range c.peer.machines { // IKEv1's Child SAs outlive their IKE SA
		for _, in := range m.Children() {
			if in.Child == c.cfg && !in.Leaving {
				out = append(out, in)
			}
		}
	}
	return out
}

// missing are the pairs that no Child SA serves, not even in part: a pair that the peer
// has narrowed it would only narrow again.
func (c *child) missing() []selectorPair {
	have := c.sas()
	if c.whole(have) {
		return nil
	}
	return slices.DeleteFunc(selectorPairs(c.cfg), func(p selectorPair) bool {
		return slices.ContainsFunc(have, func(in sa.ChildInfo) bool {
			return overlap(p.local, in.SA.Local) && overlap(p.remote, in.SA.Remote)
		})
	})
}

// whole reports whether one Child SA serves all of c, as nearly always.
func (c *child) whole(have []sa.ChildInfo) bool {
	return slices.ContainsFunc(have, func(in sa.ChildInfo) bool {
		return ipsec.Covers(in.SA.Local, c.cfg.Local) && ipsec.Covers(in.SA.Remote, c.cfg.Remote)
	})
}

// lacking reports whether there is a missing pair, at less cost.
func (c *child) lacking() bool {
	have := c.sas()
	if len(have) > 0 {
		return !c.whole(have) && len(c.missing()) > 0
	}
	return slices.ContainsFunc(c.cfg.Local, func(l ipsec.Selector) bool {
		return slices.ContainsFunc(c.cfg.Remote, func(r ipsec.Selector) bool { return l.Start.BitLen() == r.Start.BitLen() })
	})
}

// overlap reports whether s has something in common with one of ts.
func overlap(s ipsec.Selector, ts []ipsec.Selector) bool {
	return slices.ContainsFunc(ts, func(t ipsec.Selector) bool { _, ok := s.Intersect(t); return ok })
}
