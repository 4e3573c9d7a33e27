package gateway

import (
	"sync/atomic"

	"vpngw/esp"
	"vpngw/ipsec"
)

// Bounds on what can wait for the control loop.
const (
	maxDatagrams = 256  // IKE messages
	maxEvents    = 1024 // events of the data plane, which tells again what was not taken
)

// inbox is what waits for the control loop from readers and engines, which must
// never wait for it. Its methods are safe for concurrent use.
type inbox struct {
	datagrams chan ipsec.Datagram
	events    chan esp.Event
	dropped   *atomic.Uint64 // IKE messages that found the queue full
}

func newInbox() inbox {
	return inbox{make(chan ipsec.Datagram, maxDatagrams), make(chan esp.Event, maxEvents), new(atomic.Uint64)}
}

// tell takes an event of the data plane; false: there is no room.
func (i inbox) tell(e esp.Event) bool {
	select {
	case i.events <- e:
		return true
	default:
		return false
	}
}

// deliver takes an IKE message, whose Data it keeps. When the queue is full the
// message is dropped and counted: IKE retransmits.
func (i inbox) deliver(d ipsec.Datagram) {
	select {
	case i.datagrams <- d:
	default:
		i.dropped.Add(1)
	}
}
