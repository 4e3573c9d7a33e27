package esp

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpngw/ipsec"
)

// An Engine follows a peer whose NAT gives it another address or port: an end that is not behind a NAT
// "SHOULD send all packets (including retransmission packets) to the IP address and port in the
// validated packet" (RFC 7296 section 2.23). It does so with each packet that proves a move, so a NAT may move
// twice within a round trip. A packet proves a move if it is the newest of its SA: "otherwise, an
// attacker can revert the addresses with old replayed packets". The control plane decides which SAs follow
// (ipsec.ChildSA.Follow). Plane.Moves tells it of the moves, at most once in moveInterval, and always of the last
// move.
//
// The control plane itself moves SAs by Plane.Move, for example after an IKE message from another address. Its
// Move wins, but for one case: it does not undo a move by an Engine that Moves has not told yet. The
// control plane hears of that move next.

// moveInterval is between two answers of Moves: neither a flapping NAT nor somebody on the path
// who sends packets on from many addresses keeps the control plane busy.
const moveInterval = 100 * time.Millisecond

// moves are the SAs whose peers have moved, until Moves tells of them.
type moves struct {
	mu      sync.Mutex // owns the fields below, pair.follow, pair.move and the changes of pair.route
	count   uint64     // of all moves so far
	waiting []*pair    // moved since the last answer of Moves
	told    time.Time  // when Moves gave its last answer
}

// move is a move by an Engine that Moves has still to tell. The zero value: there is none.
type move struct {
	number uint64    // its place among all moves of the plane; 0: there is none
	at     time.Time // when the packet that proved it came in
	listed bool      // the pair is in moves.waiting
}

// Moved says that an SA now sends to Remote, because its newest authenticated packet came from there.
type Moved struct {
	SPIIn  uint32
	Remote netip.AddrPort
	At     time.Time // when the packet came in
}

// peerMoved makes pr send to remote, where its newest packet came from at the time given.
func (p *Plane) peerMoved(pr *pair, remote netip.AddrPort, at time.Time) {
	if !sameFamily(pr.route.Load().Remote, remote) {
		return // our address would have to change too, and only IKE knows another
	}
	m := &p.moves
	m.mu.Lock()
	to := *pr.route.Load()
	if !to.follows || !sameFamily(to.Remote, remote) { // Move or Follow was faster
		m.mu.Unlock()
		return
	}
	to.Remote = remote
	pr.route.Store(&to)
	first := m.note(pr, at)
	m.mu.Unlock()
	if first {
		p.cfg.Notify(PeersMoved{})
	}
}

// note makes a move of pr for Moves to tell, and reports whether Moves had nothing to tell before.
func (m *moves) note(pr *pair, at time.Time) (first bool) {
	m.count++
	pr.move.number, pr.move.at = m.count, at
	if pr.move.listed {
		return false
	}
	pr.move.listed = true
	m.waiting = append(m.waiting, pr)
	return len(m.waiting) == 1
}

func sameFamily(a, b netip.AddrPort) bool { return a.Addr().Is4() == b.Addr().Is4() }

// Moves returns the SAs that an Engine has moved since the last answer, each with its present
// address, in the order of their last moves. It answers ten times a second at most: if moves wait for the next
// answer, next is when to call again, else it is zero. A PeersMoved event says that a first move waits. Config.Notify
// may refuse the event because a queue is full: so the caller also calls Moves after each event that it takes
// from the queue.
func (p *Plane) Moves(now time.Time) (moved []Moved, next time.Time) {
	m := &p.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		return nil, time.Time{}
	}
	if next = m.told.Add(moveInterval); now.Before(next) {
		return nil, next
	}
	slices.SortFunc(m.waiting, func(a, b *pair) int { return cmp.Compare(a.move.number, b.move.number) })
	for _, pr := range m.waiting {
		if pr.move.number > 0 {
			moved = append(moved, Moved{pr.spi, pr.route.Load().Remote, pr.move.at})
		}
		pr.move = move{}
	}
	m.waiting = nil
	if len(moved) > 0 {
		m.told = now
	}
	return moved, time.Time{}
}

// Move changes where the outbound half sends to. The inbound half goes on
// accepting the transport and family that it was installed with. If Moves has still to tell a move of
// the SA by an Engine, Move keeps that remote address.
func (p *Plane) Move(spiIn uint32, path ipsec.Path) {
	p.reroute(spiIn, func(pr *pair, now *route) *route {
		to := p.routeTo(path, pr.follow)
		if pr.move.number > 0 && to.follows && sameFamily(to.Remote, now.Remote) && to.Remote != now.Remote {
			to.Remote = now.Remote
		} else {
			pr.move.number = 0 // the control plane knows
		}
		return to
	})
}

// Follow changes ipsec.ChildSA.Follow of an SA that is installed.
func (p *Plane) Follow(spiIn uint32, follow bool) {
	p.reroute(spiIn, func(pr *pair, now *route) *route {
		pr.follow = follow
		return p.routeTo(now.Path, follow)
	})
}

// reroute replaces the route of an SA by the one that f makes of it. It ignores an unknown SPI.
func (p *Plane) reroute(spiIn uint32, f func(pr *pair, now *route) *route) {
	pr := p.pair(spiIn)
	if pr == nil {
		return
	}
	p.moves.mu.Lock()
	defer p.moves.mu.Unlock()
	now := pr.route.Load()
	if to := f(pr, now); *to != *now { // a new pointer would end the run of packets under way
		pr.route.Store(to)
	}
}
