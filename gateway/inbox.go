package gateway

import (
	"sync/atomic"

	"vpngw/esp"
	"vpngw/ipsec"
)

// Capacities of the control loop's queues.
const (
	maxDatagrams = 256  // IKE messages
	maxEvents    = 1024 // events of the data plane, which repeats an event that found no room
)

// inbox queues messages and events for the control loop. Readers and engines
// fill it and never wait for the loop. Its methods are safe for concurrent use.
type inbox struct {
	datagrams chan ipsec.Datagram
	events    chan esp.Event
	dropped   *atomic.Uint64 // IKE messages that found the queue full
}

func newInbox() inbox {
	return inbox{make(chan ipsec.Datagram, maxDatagrams), make(chan esp.Event, maxEvents), new(atomic.Uint64)}
}

// tell queues an event of the data plane. It returns false when the queue is full.
func (i inbox) tell(e esp.Event) bool {
	select {
	case i.events <- e:
		return true
	default:
		return false
	}
}

// deliver queues an IKE message and keeps its Data. When the queue is full the
// message is dropped and counted: IKE retransmits.
func (i inbox) deliver(d ipsec.Datagram) {
	select {
	case i.datagrams <- d:
	default:
		i.dropped.Add(1)
	}
}
