package ike

import (
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// What a sender that has proven nothing may cost. Each budget is a bucket that fills with time; there is one for each
// peer's address, and one for all strangers together, so that no flood from elsewhere empties a peer's.

const (
	replyEvery, replyBurst       = 100 * time.Millisecond, time.Second // answers in clear to one peer's address
	strangerEvery, strangerBurst = 50 * time.Millisecond, time.Second  // and to all strangers

	// Exponentiations may take half of a core; a quarter of one for an address that has proven itself, and a quarter for all
	// senders that may have forged theirs, of which one address has a quarter. After a quiet time as much as in four seconds.
	effortAll, effortProven, effortUnproven, effortForged = 2, 4, 4, 16

	effortBurst = 4 * time.Second

	lineEvery, lineBurst         = 30 * time.Second, 90 * time.Second      // lines with one cause from one source
	allLinesEvery, allLinesBurst = 500 * time.Millisecond, 5 * time.Second // all such lines
)

// bucket is a budget, as the time when it will be full. Each take brings that time forward by its cost, to at most
// size from now.
type bucket struct{ full time.Time }

func (b *bucket) has(now time.Time, cost, size time.Duration) bool {
	return b.full.Sub(now) <= size-cost
}

func (b *bucket) take(now time.Time, cost, size time.Duration) bool {
	if !b.has(now, cost, size) {
		return false
	}
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(cost)
	return true
}

// heard is what is heard from one source about one thing.
type heard struct {
	from netip.Addr
	code diag.Code
}

// lines are the log lines of one kind.
type lines struct {
	bucket
	leftOut int // since the last that was written
}

// budgets are all of an Endpoint.
type budgets struct {
	replies  map[netip.Addr]*bucket // by a peer's address; the zero address is for strangers
	efforts  map[sender]*bucket     // by a peer's address
	effort   bucket                 // of all
	unproven bucket                 // of those that may have forged their address
	heard    map[heard]*lines
	lines    [2]bucket // of all strangers, of all peers' addresses
	leftOut  int       // lines of kinds that are not in heard
	tidyAt   int       // how many budgets there are when tidy looks
}

// sender is who wants exponentiations.
type sender struct {
	from   netip.Addr
	proven bool // it receives at from
}

func newBudgets() budgets {
	return budgets{replies: map[netip.Addr]*bucket{}, efforts: map[sender]*bucket{}, heard: map[heard]*lines{}, tidyAt: maxBudgets}
}

// forget drops what is kept of an address at which there is no peer any more.
func (b *budgets) forget(at netip.Addr) {
	delete(b.replies, at)
	delete(b.efforts, sender{at, false})
	delete(b.efforts, sender{at, true})
}

// maxBudgets is how many budgets of single addresses are kept until those that are full, and so say nothing, are dropped.
const maxBudgets = 4096

// tidy drops what is kept of addresses at which no peer is configured, and of which there may be any number.
func (b *budgets) tidy(now time.Time) {
	if len(b.efforts)+len(b.replies) < b.tidyAt {
		return
	}
	full := func(x *bucket) bool { return !x.full.After(now) }
	maps.DeleteFunc(b.efforts, func(_ sender, x *bucket) bool { return full(x) })
	maps.DeleteFunc(b.replies, func(_ netip.Addr, x *bucket) bool { return full(x) })
	b.tidyAt = 2*(len(b.efforts)+len(b.replies)) + maxBudgets
}

func of[K comparable, V any](m map[K]*V, k K) *V {
	if m[k] == nil {
		m[k] = new(V)
	}
	return m[k]
}

// mayReply reports whether one more message from an address may be answered in the clear.
func (e *Endpoint) mayReply(now time.Time, from netip.Addr) bool {
	if from = from.Unmap(); e.strange(from) {
		return of(e.budgets.replies, netip.Addr{}).take(now, strangerEvery, strangerBurst)
	}
	return of(e.budgets.replies, from).take(now, replyEvery, replyBurst)
}

// Affords implements sa.Owner.
func (o *owner) Affords(now time.Time, from netip.Addr, effort time.Duration, reachable bool) bool {
	from = from.Unmap()
	strange := o.e().strange(from)
	if strange && !reachable {
		from = netip.Addr{}
	}
	type payer struct {
		*bucket
		cost time.Duration
	}
	b := &o.budgets
	b.tidy(now)
	own := of(b.efforts, sender{from, reachable})
	payers := []payer{{&b.effort, effortAll * effort}, {own, effortProven * effort}}
	switch {
	case !reachable:
		payers = []payer{{&b.effort, effortAll * effort}, {&b.unproven, effortUnproven * effort}, {own, effortForged * effort}}
	case strange: // all have what one peer has, and one a quarter of that
		payers = []payer{{&b.effort, effortAll * effort}, {of(b.efforts, sender{netip.Addr{}, true}), effortProven * effort}, {own, effortForged * effort}}
	}
	for _, p := range payers {
		if !p.has(now, p.cost, effortBurst) {
			o.counters.EffortRefused++
			return false
		}
	}
	for _, p := range payers {
		p.take(now, p.cost, effortBurst)
	}
	return true
}

// Hearsay implements sa.Owner.
func (o *owner) Hearsay(now time.Time, from netip.Addr, code diag.Code) (*slog.Logger, bool) {
	b, k := &o.budgets, heard{from.Unmap(), code}
	l, all := b.heard[k], &b.lines[1]
	if o.e().strange(k.from) {
		all = &b.lines[0]
	}
	if !all.has(now, allLinesEvery, allLinesBurst) || l != nil && !l.has(now, lineEvery, lineBurst) {
		if o.counters.LinesLeftOut++; l != nil {
			l.leftOut++
		} else {
			b.leftOut++
		}
		return sa.Silent, false
	}
	if l == nil {
		l = b.listen(now, k)
	}
	all.take(now, allLinesEvery, allLinesBurst)
	l.take(now, lineEvery, lineBurst)
	log := o.log
	if l.leftOut > 0 {
		log = log.With("left_out", l.leftOut)
	}
	if b.leftOut > 0 {
		log = log.With("others_left_out", b.leftOut)
	}
	l.leftOut, b.leftOut = 0, 0
	return log, true
}

// listen makes room for the lines of one kind. Since few lines are written, few kinds are remembered.
func (b *budgets) listen(now time.Time, k heard) *lines {
	for k, l := range b.heard {
		if !l.full.After(now) {
			b.leftOut += l.leftOut
			delete(b.heard, k)
		}
	}
	b.heard[k] = &lines{}
	return b.heard[k]
}
