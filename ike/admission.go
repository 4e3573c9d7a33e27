package ike

import (
	"net/netip"
	"time"

	"vpngw/ike/sa"
)

// Where many peers are to be connected at once, as at the start, only some first messages are under way at a time: those of thousands
// would be answered so late that they are repeated, and the answers come for attempts that are given up. The others wait in a
// line for each address, and the addresses take turns.
const (
	underWayAt = 24  // attempts under way to one address; a gateway asks for cookies from 32 on
	underWay   = 256 // in all
	// An attempt counts for a while only: who does not answer must not hold up the others. The while is a multiple of what
	// handshakes took of late, within bounds.
	holdsTimes = 4
	holdsLeast = time.Second
	holdsMost  = 5 * time.Second
)

// admission says which peers may begin an IKE SA now.
type admission struct {
	e      *Endpoint
	begun  map[*peer]time.Time // attempts that count, and since when
	oldest []*peer             // the same, the oldest first, with some that do not count any more
	at     map[netip.Addr]int  // how many go to an address
	lines  map[netip.Addr][]*peer
	turns  []netip.Addr // of lines
	took   time.Duration
}

func newAdmission(e *Endpoint) *admission {
	return &admission{e: e, begun: map[*peer]time.Time{}, at: map[netip.Addr]int{}, lines: map[netip.Addr][]*peer{}}
}

// admits reports whether p may begin. If not, it gets its turn: then its Deadline is at once.
func (a *admission) admits(now time.Time, p *peer) bool {
	if p.turn {
		p.turn = false
		return true
	}
	if p.waits {
		return false
	}
	to := p.cfg.Remote
	if len(a.lines[to]) == 0 && a.hasRoom(to) {
		a.count(now, p)
		return true
	}
	p.waits = true
	if a.lines[to] = append(a.lines[to], p); len(a.lines[to]) == 1 {
		a.turns = append(a.turns, to)
	}
	a.e.reschedule(a)
	return false
}

func (a *admission) hasRoom(to netip.Addr) bool {
	return a.at[to] < underWayAt && len(a.begun) < underWay
}

func (a *admission) count(now time.Time, p *peer) {
	a.forget(p)
	a.begun[p] = now
	a.oldest = append(a.oldest, p)
	p.counted = p.cfg.Remote
	a.at[p.counted]++
}

// forget has an attempt of p not count any more.
func (a *admission) forget(p *peer) {
	if _, ok := a.begun[p]; !ok {
		return
	}
	delete(a.begun, p)
	if a.at[p.counted]--; a.at[p.counted] == 0 {
		delete(a.at, p.counted)
	}
}

// ended says that an attempt of p has come to its end, a good one or not, and gives the next their turns.
func (a *admission) ended(now time.Time, p *peer, well bool) {
	since, ok := a.begun[p]
	if !ok {
		return
	}
	if well {
		a.took += (now.Sub(since) - a.took) / 8
	}
	a.forget(p)
	a.next(now)
}

// next gives turns while there is room.
func (a *admission) next(now time.Time) {
	for skipped := 0; skipped < len(a.turns) && len(a.begun) < underWay; {
		to := a.turns[0]
		a.turns = a.turns[1:]
		line := a.lines[to]
		for len(line) > 0 && (!line[0].waits || line[0].main() != nil) { // it is no more, or is connected
			line[0].waits = false
			line = line[1:]
		}
		if len(line) > 0 && a.hasRoom(to) {
			p := line[0]
			line = line[1:]
			p.waits, p.turn = false, true
			a.count(now, p)
			p.wake()
			skipped = 0
		} else {
			skipped++
		}
		if len(line) == 0 {
			delete(a.lines, to)
			skipped = 0
			continue
		}
		a.lines[to] = line
		a.turns = append(a.turns, to)
	}
	a.e.reschedule(a)
}

// remove takes out a peer that is no more.
func (a *admission) remove(p *peer) {
	p.waits, p.turn = false, false
	a.forget(p)
}

func (a *admission) holds() time.Duration {
	return min(max(holdsTimes*a.took, holdsLeast), holdsMost)
}

// Deadline is when an attempt no longer counts, while others wait.
func (a *admission) Deadline() time.Time {
	if len(a.turns) == 0 {
		return time.Time{}
	}
	for len(a.oldest) > 0 {
		if since, ok := a.begun[a.oldest[0]]; ok {
			return since.Add(a.holds())
		}
		a.oldest = a.oldest[1:]
	}
	return time.Unix(0, 1)
}

// Advance has old attempts not count.
func (a *admission) Advance(now time.Time) {
	for len(a.oldest) > 0 {
		since, ok := a.begun[a.oldest[0]]
		if ok && !sa.Due(now, since.Add(a.holds())) {
			break
		}
		a.forget(a.oldest[0])
		a.oldest = a.oldest[1:]
	}
	a.next(now)
}
