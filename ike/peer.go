package ike

import (
	"encoding/binary"
	"io"
	"log/slog"
	"slices"
	"time"

	"vpngw/ike/ikev1"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

const (
	retryFirst = time.Second      // after the first failure; doubles
	retryCap   = 30 * time.Second // the longest wait
	// gapGrace is how long the end that answered leaves missing Child SAs to the
	// one that began, so that not both create the same.
	gapGrace = 3 * time.Second
	// dedupeAfter is when one of two IKE SAs goes that both ends began at once.
	dedupeAfter = time.Second
	// With IKEv1 it has time: strongSwan hands its Child SAs to the one that it answered, and deletes
	// the other after 10 s. The other end waits longer, for nothing answers a Delete.
	dedupeAfter1 = 15 * time.Second
	dedupeOther1 = 20 * time.Second
	// steadyTime is how long a connection must have lived for its end not to
	// count as one more failure: a peer that accepts and deletes at once is backed off from.
	steadyTime = 20 * time.Second
	// maxIKESAs is how many IKE SAs a peer may have beside one for each child.
	maxIKESAs = 8
)

// peer is one configured peer: what is wanted of it and what there is.
type peer struct {
	e        *Endpoint
	log      *slog.Logger
	cfg      *sa.Peer
	wants    []*want
	machines []sa.Machine // those that are not dead, in the order they began

	why      string // the last failure; empty since the last success
	since    time.Time
	upSince  time.Time // there is an IKE SA, or one after the other; zero: none
	failures int
	nextTry  time.Time // no new IKE SA before
	dedupeAt time.Time
}

// want is one configured child and how it fares.
type want struct {
	peer     *peer
	cfg      *sa.Child
	initiate bool // as cfg says, or a later one that says nothing else anew
	held     bool // down by the operator's command
	why      string
	since    time.Time
	failures int
	nextTry  time.Time
}

func (e *Endpoint) newPeer(now time.Time, cfg *sa.Peer) *peer {
	p := &peer{e: e, cfg: cfg, log: e.log.With("conn", cfg.Name), since: now}
	for _, c := range cfg.Children {
		p.wants = append(p.wants, p.newWant(now, c))
	}
	return p
}

func (p *peer) newWant(now time.Time, c *sa.Child) *want {
	return &want{peer: p, cfg: c, initiate: c.Initiate, since: now}
}

// changed wakes the peer, and whoever shows its status.
func (p *peer) changed() {
	last := ""
	for _, w := range p.wants {
		if w.cfg.Tunnel != last {
			last = w.cfg.Tunnel
			p.e.emit(sa.Changed{Tunnel: last})
		}
	}
	p.e.timers.touch(p)
}

// note is success or failure of one child.
func (w *want) note(now time.Time, why string) {
	if why == "" {
		w.failures, w.nextTry = 0, time.Time{}
		if w.why != "" {
			w.why, w.since = "", now
		}
		return
	}
	if w.why != why {
		w.why, w.since = why, now
	}
	w.nextTry = now.Add(w.peer.e.backoff(w.failures))
	w.failures++
}

// backoff is the wait after a number of failures, with a quarter of jitter.
func (e *Endpoint) backoff(failures int) time.Duration {
	d := retryFirst << min(failures, 10)
	d = min(d, retryCap)
	var b [2]byte
	io.ReadFull(e.cfg.Rand, b[:])
	return d - d/4*time.Duration(binary.BigEndian.Uint16(b[:]))/65536
}

func (p *peer) others(m sa.Machine) []sa.Machine {
	return slices.DeleteFunc(slices.Clone(p.machines), func(o sa.Machine) bool {
		st := o.Info().State
		return o == m || st == sa.Dead || st == sa.Deleting
	})
}

func (p *peer) forget(m sa.Machine) {
	p.machines = slices.DeleteFunc(p.machines, func(o sa.Machine) bool { return o == m })
}

// established notes a new authenticated IKE SA.
func (p *peer) established(now time.Time, m sa.Machine) {
	if !slices.Contains(p.machines, m) { // a responder's is known from here on
		p.machines = append(p.machines, m)
	}
	p.nextTry = time.Time{}
	p.why, p.since = "", now
	if p.upSince.IsZero() {
		p.upSince = now
	}
	for _, w := range p.wants {
		w.failures = 0
		w.nextTry = time.Time{}
		if !m.Info().Initiator {
			w.nextTry = now.Add(gapGrace)
		}
	}
	if len(p.usable()) > 1 {
		p.dedupeAt = now.Add(dedupeAfter)
		if m.Info().Version == 1 {
			p.dedupeAt = now.Add(dedupeAfter1)
		}
	}
}

// lost notes that an IKE SA is of no more use.
func (p *peer) lost(now time.Time, m sa.Machine, why string) {
	in := m.Info()
	answered := in.Established.IsZero() && !in.Initiator // and refused: no affair of what we begin
	if p.main() != nil || !in.Current || answered {
		p.changed()
		return
	}
	p.why, p.since = why, now
	steady := !p.upSince.IsZero() && now.Sub(p.upSince) >= steadyTime
	if p.upSince = (time.Time{}); steady {
		p.failures = 0
	}
	wait := p.e.backoff(p.failures)
	if steady {
		wait /= 4 // it worked a moment ago
	}
	p.failures++
	p.nextTry = now.Add(wait)
	if p.wanted() != nil && !p.e.stopping {
		p.log.Warn("no IKE SA", "why", why, "retry_in", wait.Round(100*time.Millisecond).String())
	}
	p.changed()
}

// usable reports whether new exchanges can go over m.
func usable(m sa.Machine) bool {
	in := m.Info()
	return in.State == sa.Established && in.Current
}

// usable are the IKE SAs for new exchanges, the one to use last.
func (p *peer) usable() []sa.Machine {
	return slices.DeleteFunc(slices.Clone(p.machines), func(m sa.Machine) bool { return !usable(m) })
}

// main is the IKE SA for new exchanges, or nil.
func (p *peer) main() sa.Machine {
	for _, m := range slices.Backward(p.machines) {
		if usable(m) {
			return m
		}
	}
	return nil
}

// wanted reports whether anything is to be brought up from here.
func (p *peer) wanted() *want {
	for _, w := range p.wants {
		if w.initiate && !w.held {
			return w
		}
	}
	return nil
}

// connecting reports whether an IKE SA of ours is under way.
func (p *peer) connecting() bool {
	return slices.ContainsFunc(p.machines, func(m sa.Machine) bool { return m.Info().State == sa.Connecting })
}

// Deadline is when Advance has something to do.
func (p *peer) Deadline() time.Time {
	if p.e.stopping {
		return time.Time{}
	}
	d := p.dedupeAt
	first := func(t time.Time) {
		if d.IsZero() || t.Before(d) {
			d = t
		}
	}
	m := p.main()
	if m == nil {
		if p.wanted() != nil && !p.connecting() {
			first(p.nextTry)
			if p.nextTry.IsZero() {
				return time.Unix(0, 1) // at once
			}
		}
		return d
	}
	for _, w := range p.wants {
		if w.unserved(m) {
			if w.nextTry.IsZero() {
				return time.Unix(0, 1)
			}
			first(w.nextTry)
		}
	}
	return d
}

// unserved reports whether w lacks a Child SA that could be asked for.
func (w *want) unserved(m sa.Machine) bool {
	return !w.held && w.initiate && !m.Creating(w.cfg) && w.lacking()
}

// Advance brings the peer nearer to what is wanted.
func (p *peer) Advance(now time.Time) {
	if p.e.stopping {
		return
	}
	if !p.dedupeAt.IsZero() && !now.Before(p.dedupeAt) {
		p.dedupeAt = time.Time{}
		p.dedupe(now)
	}
	m := p.main()
	if m == nil {
		if !now.Before(p.nextTry) && !p.connecting() {
			p.initiate(now)
		}
		return
	}
	for _, w := range p.wants {
		if w.unserved(m) && !now.Before(w.nextTry) {
			w.ask(now, m)
		}
	}
	p.e.touch(m)
}

// initiate starts an IKE SA.
func (p *peer) initiate(now time.Time) {
	w := p.wanted()
	if w == nil {
		return
	}
	fail := func(why string) {
		p.why, p.since = why, now
		p.nextTry = now.Add(p.e.backoff(p.failures))
		p.failures++
		p.changed()
	}
	local := p.cfg.Local
	if !local.IsValid() {
		var err error
		if local, err = p.e.cfg.Source(p.cfg.Remote); err != nil {
			fail("no route to " + p.cfg.Remote.String() + ": " + err.Error())
			return
		}
	}
	var m sa.Machine
	var err error
	if p.cfg.Version == 1 {
		m, err = ikev1.Initiate(&p.e.env, now, p.cfg, local)
	} else {
		m, err = ikev2.Initiate(&p.e.env, now, p.cfg, local, w.cfg)
	}
	if err != nil {
		fail("cannot start an IKE SA: " + err.Error())
		return
	}
	p.e.touch(m)
	p.changed()
}

// pair is one local and one remote selector.
type pair struct{ local, remote ipsec.Selector }

// pairs are all that a child wants.
func pairs(c *sa.Child) []pair {
	var out []pair
	for _, l := range c.Local {
		for _, r := range c.Remote {
			if l.Start.BitLen() == r.Start.BitLen() {
				out = append(out, pair{l, r})
			}
		}
	}
	return out
}

// installed are the Child SAs that serve w, both halves of them.
func (w *want) installed() []sa.ChildInfo {
	var out []sa.ChildInfo
	for _, m := range w.peer.machines { // IKEv1's Child SAs outlive their IKE SA
		for _, c := range m.Children() {
			if c.Child == w.cfg {
				out = append(out, c)
			}
		}
	}
	return out
}

// missing are the pairs that no Child SA serves, not even in part: what a peer
// has narrowed it would only narrow again.
func (w *want) missing() []pair {
	have := w.installed()
	if w.whole(have) {
		return nil
	}
	return slices.DeleteFunc(pairs(w.cfg), func(p pair) bool {
		return slices.ContainsFunc(have, func(c sa.ChildInfo) bool {
			return overlap(p.local, c.SA.Local) && overlap(p.remote, c.SA.Remote)
		})
	})
}

// whole reports whether one Child SA serves all of w, as nearly always.
func (w *want) whole(have []sa.ChildInfo) bool {
	return slices.ContainsFunc(have, func(c sa.ChildInfo) bool {
		return ipsec.Covers(c.SA.Local, w.cfg.Local) && ipsec.Covers(c.SA.Remote, w.cfg.Remote)
	})
}

// lacking reports whether there is a missing pair, at less cost.
func (w *want) lacking() bool {
	have := w.installed()
	if len(have) > 0 {
		return !w.whole(have) && len(w.missing()) > 0
	}
	return slices.ContainsFunc(w.cfg.Local, func(l ipsec.Selector) bool {
		return slices.ContainsFunc(w.cfg.Remote, func(r ipsec.Selector) bool { return l.Start.BitLen() == r.Start.BitLen() })
	})
}

// overlap reports whether s has something in common with one of ts.
func overlap(s ipsec.Selector, ts []ipsec.Selector) bool {
	return slices.ContainsFunc(ts, func(t ipsec.Selector) bool { _, ok := s.Intersect(t); return ok })
}

// uncovered are the pairs that are not wholly served in both directions.
func (w *want) uncovered() []pair {
	have := w.installed()
	return slices.DeleteFunc(pairs(w.cfg), func(p pair) bool {
		return slices.ContainsFunc(have, func(c sa.ChildInfo) bool {
			return c.Out && ipsec.Covers(c.SA.Local, []ipsec.Selector{p.local}) && ipsec.Covers(c.SA.Remote, []ipsec.Selector{p.remote})
		})
	})
}

// ask requests what w lacks: all at once while there is nothing, else the first
// missing pair. IKEv1 has one pair to a Child SA.
func (w *want) ask(now time.Time, m sa.Machine) {
	missing := w.missing()
	if m.Info().Version != 1 && len(missing) == len(pairs(w.cfg)) && w.failures%2 == 0 {
		m.Create(now, w.cfg, w.cfg.Local, w.cfg.Remote)
		return
	}
	p := missing[w.failures/2%len(missing)]
	m.Create(now, w.cfg, []ipsec.Selector{p.local}, []ipsec.Selector{p.remote})
}

// dedupe ends one of two IKE SAs that both ends began at once: the one with the
// higher initiator's SPI, by the end that began it. Both ends come to the same. Of
// IKEv1 the other end does it too, later: nothing answers a Delete.
func (p *peer) dedupe(now time.Time) {
	ms := p.usable()
	var keep sa.Machine
	for _, m := range ms {
		if keep == nil || m.Info().SPIi < keep.Info().SPIi {
			keep = m
		}
	}
	for _, m := range ms {
		in := m.Info()
		switch {
		case m == keep || in.Initiator == keep.Info().Initiator:
		case in.Version == 1 && (in.Initiator || now.Sub(in.Established) >= dedupeOther1):
			p.supersede(now, m, keep)
		case in.Version == 1:
			p.dedupeAt = in.Established.Add(dedupeOther1)
		case in.Initiator:
			m.Close(now, "both ends began at once; the other IKE SA stays")
			p.e.touch(m)
		}
	}
}

// supersede puts one IKE SA of IKEv1 in another's place. To the peer the Child SAs may belong
// to the one that goes, and go with it without a word, so they are made anew on the one that stays.
func (p *peer) supersede(now time.Time, m, keep sa.Machine) {
	keep.Inherit(now, m, false)
	for _, w := range p.wants {
		keep.RekeyChildren(now, w.cfg, "both ends began at once; the other ISAKMP SA goes")
	}
	p.e.touch(m)
	p.e.touch(keep)
}
