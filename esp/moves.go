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
// twice within a round trip. A packet proves one if it is the newest of its SA: "otherwise, an
// attacker can revert the addresses with old replayed packets". The control plane decides which SAs follow
// (ipsec.ChildSA.Follow). It hears of moves by Plane.Moves, at most once in moveInterval, and of the last one always.
//
// The control plane moves SAs too (Plane.Move), for what it learns from IKE messages. A Move does not undo
// a move by an Engine of which the control plane has not heard yet: it will hear of it next. Otherwise Move wins.

// moveInterval is between two answers of Moves: neither a flapping NAT nor somebody on the path
// who sends packets on from many addresses keeps the control plane busy.
const moveInterval = 100 * time.Millisecond

// moves are the SAs whose peers have moved, until Moves tells of them.
type moves struct {
	mu      sync.Mutex // owns what follows, pair.move, and changes of pair.route
	count   uint64     // of all moves, ever
	waiting []*pair    // moved since Moves told of them
	told    time.Time  // when Moves last told something
}

// move is an SA's last move by the Engine. The zero value is none, or one that was told.
type move struct {
	number uint64 // of all moves of the plane, in their order; 0: nothing is to be told
	at     time.Time
	listed bool // in moves.waiting
}

// Moved says where an SA sends to since its newest authenticated packet came from there.
type Moved struct {
	SPIIn  uint32
	Remote netip.AddrPort
	At     time.Time // when the packet came
}

// peerMoved makes pr send to remote, where its newest packet came from at the time given.
func (p *Plane) peerMoved(pr *pair, remote netip.AddrPort, at time.Time) {
	if !sameFamily(pr.route.Load().Remote, remote) {
		return // our own address would have to change with it, and IKE alone knows another
	}
	m := &p.moves
	m.mu.Lock()
	to := *pr.route.Load()
	if !to.follows {
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

// note has Moves tell of pr, and reports whether it had nothing to tell before.
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

// Moves returns the SAs that an Engine has moved since the last call, each with its last
// address, in the order of these moves. It does so ten times a second at most; next is when to ask again if
// something waits until then, else zero. A PeersMoved event comes with the first move that waits. An
// event may be refused (Config.Notify), so a caller whose queue was full asks after each event that it
// takes out.
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
// accepting the transport and family that it was installed with. A Move does not undo one by
// an Engine that Moves has still to tell: then it changes anything but the remote address.
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

// Follow changes what ipsec.ChildSA.Follow said.
func (p *Plane) Follow(spiIn uint32, follow bool) {
	p.reroute(spiIn, func(pr *pair, now *route) *route {
		pr.follow = follow
		return p.routeTo(now.Path, follow)
	})
}

// reroute gives an SA, if there is one, the route that f makes of the present one.
func (p *Plane) reroute(spiIn uint32, f func(pr *pair, now *route) *route) {
	pr := p.pair(spiIn)
	if pr == nil {
		return
	}
	p.moves.mu.Lock()
	defer p.moves.mu.Unlock()
	now := pr.route.Load()
	if to := f(pr, now); *to != *now { // a run of packets ends where the route changes
		pr.route.Store(to)
	}
}
