package lab

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Stream sends UDP packets one way at a steady rate, whatever becomes of them, and notes when some arrive.
type Stream struct {
	Name string

	lab      *Lab
	from, to *net.UDPConn
	tries    atomic.Int64
	stop     chan struct{}
	ended    sync.WaitGroup
	mu       sync.Mutex
	arrivals []time.Time
}

// StartStream sends from n, from an address that the kernel chooses for each packet, to an address that the other host has.
func (n *Namespace) StartStream(to *Namespace, address string, perSecond int) *Stream {
	n.lab.Helper()
	unspecified := netip.IPv4Unspecified()
	if netip.MustParseAddr(address).Is6() {
		unspecified = netip.IPv6Unspecified()
	}
	s := &Stream{Name: n.role + " to " + address, lab: n.lab, from: n.udp(unspecified.String()), to: to.udp(address), stop: make(chan struct{})}
	s.ended.Go(func() { s.send(time.Second / time.Duration(perSecond)) })
	s.ended.Go(s.receive)
	n.lab.onClose(func() { s.from.Close(); s.to.Close() })
	return s
}

func (s *Stream) send(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	to := s.to.LocalAddr().(*net.UDPAddr).AddrPort()
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.from.WriteToUDPAddrPort([]byte("a packet of a stream"), to) // an error is a packet that did not leave
		s.tries.Add(1)
	}
}

func (s *Stream) receive() {
	var b [64]byte
	for {
		if _, err := s.to.Read(b[:]); err != nil {
			return
		}
		s.mu.Lock()
		s.arrivals = append(s.arrivals, time.Now())
		s.mu.Unlock()
	}
}

// Tries is the number of packets that were sent, or were refused by the sender's kernel.
func (s *Stream) Tries() int { return int(s.tries.Load()) }

// AwaitTries waits until Tries has reached a number.
func (s *Stream) AwaitTries(number int) {
	s.lab.Helper()
	s.lab.Await(Patience, s.Name+": packets are sent", func() (bool, string) { return s.Tries() >= number, "" })
}

// AwaitFlow waits until so many packets have arrived since a time, and returns the longest time without an arrival until then.
func (s *Stream) AwaitFlow(since time.Time, packets int) (gap time.Duration) {
	s.lab.Helper()
	s.lab.Await(Patience, s.Name+": packets arrive", func() (bool, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		n, last := 0, since
		gap = 0
		for _, t := range s.arrivals {
			if t.After(since) {
				n++
				gap = max(gap, t.Sub(last))
				last = t
			}
		}
		return n >= packets, ""
	})
	return gap
}

// Stop ends the stream.
func (s *Stream) Stop() {
	close(s.stop)
	s.from.Close()
	s.to.Close()
	s.ended.Wait()
}
