package ike

import (
	"net/netip"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	// maxPending is how many main modes may be pending (they take 16 MB), and maxPendingBytes how long their
	// messages may be together. Beyond that the oldest is forgotten: in a flood of 20 000 false first messages a
	// second, a true sender has 0.8 s to send message 3.
	maxPending      = 16384
	maxPendingBytes = 8 << 20
	pendingTime     = 30 * time.Second
)

// pendingMain is a main mode that was answered with message 2 and waits for message 3. It is no ISAKMP SA yet, only
// what one is made from. Anybody can send a first message in anybody's name, and IKEv1 has no cookie that comes back
// with it; but a sender that repeats our cookie in message 3 has received message 2.
type pendingMain struct {
	key    firstKey
	cookie uint64         // ours
	first  ipsec.Datagram // message 1
	answer [][]byte       // message 2
	at     time.Time
}

func (p *pendingMain) size() int {
	n := len(p.first.Data)
	for _, m := range p.answer {
		n += len(m)
	}
	return n
}

// pendingMains are all pending main modes.
type pendingMains struct {
	byKey    map[firstKey]*pendingMain
	byCookie map[uint64]*pendingMain
	queue    []*pendingMain // oldest first; some may have become ISAKMP SAs meanwhile
	from     map[netip.Addr]int
	bytes    int
}

func newPendingMains() pendingMains {
	return pendingMains{byKey: map[firstKey]*pendingMain{}, byCookie: map[uint64]*pendingMain{}, from: map[netip.Addr]int{}}
}

// add keeps p, and returns how many others had to go for it.
func (ps *pendingMains) add(p *pendingMain) (displaced uint64) {
	ps.byKey[p.key], ps.byCookie[p.cookie] = p, p
	ps.queue = append(ps.queue, p)
	ps.from[p.key.remote.Addr().Unmap()]++
	ps.bytes += p.size()
	for len(ps.byKey) > maxPending || ps.bytes > maxPendingBytes {
		ps.remove(ps.queue[0])
		displaced++
	}
	return displaced
}

func (ps *pendingMains) remove(p *pendingMain) {
	delete(ps.byKey, p.key)
	delete(ps.byCookie, p.cookie)
	ps.bytes -= p.size()
	a := p.key.remote.Addr().Unmap()
	if ps.from[a]--; ps.from[a] == 0 {
		delete(ps.from, a)
	}
	p.first, p.answer = ipsec.Datagram{}, nil
	for len(ps.queue) > 0 && ps.byCookie[ps.queue[0].cookie] != ps.queue[0] {
		ps.queue[0] = nil
		ps.queue = ps.queue[1:]
	}
}

// find is the pending main mode that a message goes on with, or nil.
func (ps *pendingMains) find(h wire.Header, d ipsec.Datagram) *pendingMain {
	if p := ps.byCookie[h.SPIr]; p != nil && h.SPIi == p.key.spiI && d.Remote == p.key.remote {
		return p
	}
	return nil
}

// Deadline implements timed.
func (ps *pendingMains) Deadline() time.Time {
	if len(ps.queue) == 0 {
		return time.Time{}
	}
	return ps.queue[0].at.Add(pendingTime)
}

// Advance implements timed.
func (ps *pendingMains) Advance(now time.Time) {
	for len(ps.queue) > 0 && !now.Before(ps.Deadline()) {
		ps.remove(ps.queue[0])
	}
}
