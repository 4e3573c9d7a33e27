package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"

	"vpngw/esp"
	"vpngw/ipsec"
)

const (
	maxQueued   = 2 << 20 // bytes of the IKE messages that wait, with datagramCost for each
	maxEvents   = 1024    // events of the data plane, which repeats an event that found no room
	handledOnce = 32      // IKE messages in one turn of the loop

	datagramCost = 256
)

// An inbox queues messages and events for the control loop. Readers and engines
// fill it and never wait for the loop. Its methods are safe for concurrent use.
//
// The loop takes messages from each sender's line in turn, and a line may be only as long as there is room left. So a
// flood displaces what its own sender sends, and others' messages hardly wait for it.
type inbox struct {
	events  chan esp.Event
	arrived chan struct{} // holds something while there are messages
	dropped atomic.Uint64 // IKE messages that found no room

	mu     sync.Mutex
	peers  map[netip.Addr]bool // configured addresses
	met    map[netip.Addr]int  // addresses of IKE SAs with peers that may come from anywhere, with how many there are
	lines  map[sender]*line    // those with messages
	turns  []*line             // the same, in the order of their turns
	queued int                 // of maxQueued
}

// sender is who may have sent a message. Anybody can make up a first message in a peer's name, but only who sees the peer's
// messages knows the SPIs of a later one.
type sender struct {
	at    netip.Addr // zero: strangers, who share a line
	first bool       // it has no responder's SPI
}

// line is the messages of one sender.
type line struct {
	sender
	waiting []ipsec.Datagram
	queued  int
}

func newInbox() *inbox {
	return &inbox{
		events: make(chan esp.Event, maxEvents), arrived: make(chan struct{}, 1),
		lines: map[sender]*line{}, met: map[netip.Addr]int{},
	}
}

// tell queues an event of the data plane. It returns false when the queue is full.
func (i *inbox) tell(e esp.Event) bool {
	select {
	case i.events <- e:
		return true
	default:
		return false
	}
}

// know makes these the peers' addresses. Each has lines of its own.
func (i *inbox) know(peers map[netip.Addr]bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.peers = peers
}

// meet counts IKE SAs with an address that is not configured. It has lines of its own while there are some.
func (i *inbox) meet(a netip.Addr, more int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.met[a] += more; i.met[a] <= 0 {
		delete(i.met, a)
	}
}

// deliver queues a copy of an IKE message. When there is no room the
// message is dropped and counted: IKE retransmits.
func (i *inbox) deliver(d ipsec.Datagram) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := sender{first: len(d.Data) < 16 || binary.BigEndian.Uint64(d.Data[8:]) == 0}
	if a := d.Remote.Addr().Unmap(); i.peers[a] || i.met[a] > 0 {
		s.at = a
	}
	l, cost := i.lines[s], len(d.Data)+datagramCost
	if l == nil {
		l = &line{sender: s}
	}
	if l.queued+cost > maxQueued-i.queued {
		i.dropped.Add(1)
		return
	}
	d.Data = bytes.Clone(d.Data)
	if l.waiting = append(l.waiting, d); len(l.waiting) == 1 {
		i.lines[s] = l
		i.turns = append(i.turns, l)
	}
	l.queued += cost
	i.queued += cost
	i.wake()
}

// wake has the loop call next.
func (i *inbox) wake() { nudge(i.arrived) }

// nudge puts the one element that c has room for into it, unless it is there.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// next takes the message whose turn it is. ok is false when there is none.
func (i *inbox) next() (d ipsec.Datagram, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.turns) == 0 {
		return ipsec.Datagram{}, false
	}
	l := i.turns[0]
	i.turns = i.turns[1:]
	d, l.waiting[0] = l.waiting[0], ipsec.Datagram{}
	l.waiting = l.waiting[1:]
	cost := len(d.Data) + datagramCost
	l.queued -= cost
	i.queued -= cost
	if len(l.waiting) > 0 {
		i.turns = append(i.turns, l)
	} else {
		delete(i.lines, l.sender)
	}
	return d, true
}
