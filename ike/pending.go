package ike

import (
	"container/list"
	"iter"
	"net/netip"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	// maxPending is how many main modes may be pending (they take 16 MB), and maxPendingBytes how long their
	// messages may be together. Beyond that the oldest is forgotten of an address that has more than its share: in
	// a flood of 20 000 false first messages a second in its name, a true sender has 0.8 s to send message 3.
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

	inAll, inOwn *list.Element // of all, and of those from its address
}

func (p *pendingMain) addr() netip.Addr { return p.key.remote.Addr().Unmap() }

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
	queue    list.List // oldest first
	from     map[netip.Addr]*pendingFrom
	bytes    int
}

// pendingFrom are the pending main modes from one address.
type pendingFrom struct {
	queue list.List // oldest first
	bytes int
}

func newPendingMains() pendingMains {
	return pendingMains{byKey: map[firstKey]*pendingMain{}, byCookie: map[uint64]*pendingMain{}, from: map[netip.Addr]*pendingFrom{}}
}

// add keeps p, and returns how many others had to go for it.
func (ps *pendingMains) add(p *pendingMain) (displaced uint64) {
	ps.byKey[p.key], ps.byCookie[p.cookie] = p, p
	own := ps.from[p.addr()]
	if own == nil {
		own = &pendingFrom{}
		ps.from[p.addr()] = own
	}
	p.inAll, p.inOwn = ps.queue.PushBack(p), own.queue.PushBack(p)
	ps.bytes += p.size()
	own.bytes += p.size()
	for len(ps.byKey) > maxPending || ps.bytes > maxPendingBytes {
		ps.remove(ps.displaceable(own))
		displaced++
	}
	return displaced
}

// displaceable is the oldest one of own, which is the newest's address, if it has more than its share; else one of
// the oldest whose address has more than its share, or the oldest.
func (ps *pendingMains) displaceable(own *pendingFrom) *pendingMain {
	const looks = 64
	if ps.hasMuch(own) {
		return own.queue.Front().Value.(*pendingMain)
	}
	n := 0
	for p := range ps.all() {
		if ps.hasMuch(ps.from[p.addr()]) {
			return p
		}
		if n++; n == looks {
			break
		}
	}
	return ps.queue.Front().Value.(*pendingMain)
}

// hasMuch reports whether an address has more than the average.
func (ps *pendingMains) hasMuch(own *pendingFrom) bool {
	n := len(ps.from)
	return own.queue.Len()*n > len(ps.byKey) || own.bytes*n > ps.bytes
}

// all are the pending main modes, oldest first.
func (ps *pendingMains) all() iter.Seq[*pendingMain] {
	return func(yield func(*pendingMain) bool) {
		for e := ps.queue.Front(); e != nil && yield(e.Value.(*pendingMain)); e = e.Next() {
		}
	}
}

// count is how many are from an address.
func (ps *pendingMains) count(a netip.Addr) int {
	if own := ps.from[a]; own != nil {
		return own.queue.Len()
	}
	return 0
}

func (ps *pendingMains) remove(p *pendingMain) {
	delete(ps.byKey, p.key)
	delete(ps.byCookie, p.cookie)
	own := ps.from[p.addr()]
	ps.queue.Remove(p.inAll)
	own.queue.Remove(p.inOwn)
	ps.bytes -= p.size()
	own.bytes -= p.size()
	if own.queue.Len() == 0 {
		delete(ps.from, p.addr())
	}
	p.first, p.answer = ipsec.Datagram{}, nil
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
	e := ps.queue.Front()
	if e == nil {
		return time.Time{}
	}
	return e.Value.(*pendingMain).at.Add(pendingTime)
}

// Advance implements timed.
func (ps *pendingMains) Advance(now time.Time) {
	for e := ps.queue.Front(); e != nil && !now.Before(ps.Deadline()); e = ps.queue.Front() {
		ps.remove(e.Value.(*pendingMain))
	}
}
