package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Flow sends numbered UDP packets between two hosts, in both directions at once.
type Flow struct {
	lab    *Lab
	stop   chan struct{}
	send   sync.WaitGroup
	halves [2]*halfFlow
	queues int // the drops of full queues before the Flow
}

// Direction counts the packets of one direction.
type Direction struct {
	Sent, Lost, Duplicated, Reordered int
	// Gap is the longest time between two arrivals, and First how long the first took after the start.
	Gap, First time.Duration
	// Queues counts the packets that full queues of the kernel dropped in the whole Lab during the
	// Flow.
	Queues int
	// SendErrors counts packets that the sender's own kernel refused; they are among Lost.
	SendErrors int
	SendError  error // the last
}

func (d Direction) String() string {
	s := fmt.Sprintf("%d of %d lost, %d duplicated, %d reordered, longest gap %v", d.Lost, d.Sent, d.Duplicated, d.Reordered, d.Gap.Round(time.Millisecond))
	if d.Queues > 0 {
		s += fmt.Sprintf(", %d dropped by full queues of the kernel", d.Queues)
	}
	if d.SendError != nil {
		s += fmt.Sprintf(", %d not sent (%v)", d.SendErrors, d.SendError)
	}
	return s
}

// largestRun is how many packets a packet of several segments can hold.
const largestRun = 64

// Excused reports whether full queues of the kernel can explain every loss. A queue overflows when a
// busy machine does not run the program that reads it; that is no fault of the program.
func (d Direction) Excused() bool { return d.Lost <= largestRun*d.Queues }

// halfFlow is one direction of a Flow. Its sender and its receiver share only received.
type halfFlow struct {
	from, to *net.UDPConn
	start    time.Time
	received atomic.Int64
	done     chan struct{}
	d        Direction
	seen     []uint64 // a bit for each number
	unique   int
}

// flowSize is the UDP payload of a numbered packet.
const flowSize = 64

// StartFlow sends perSecond packets a second from a to b and as many back, until
// Stop. The addresses must be addresses of the two hosts.
func (l *Lab) StartFlow(a *Namespace, addrA string, b *Namespace, addrB string, perSecond int) *Flow {
	l.Helper()
	f := &Flow{lab: l, stop: make(chan struct{}), queues: l.queueDrops()}
	ca, cb := a.udp(addrA), b.udp(addrB)
	f.halves[0] = &halfFlow{from: ca, to: cb, done: make(chan struct{})}
	f.halves[1] = &halfFlow{from: cb, to: ca, done: make(chan struct{})}
	for _, w := range f.halves {
		w.start = time.Now()
		f.send.Add(1)
		go func() { defer f.send.Done(); w.sender(f.stop, perSecond) }()
		go func() { defer close(w.done); w.receiver() }()
	}
	l.onClose(func() { ca.Close(); cb.Close() })
	return f
}

func (n *Namespace) udp(address string) *net.UDPConn {
	n.lab.Helper()
	var c *net.UDPConn
	var err error
	n.Do(func() {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
	})
	if err != nil {
		n.lab.Fatalf("%s: %v", n.role, err)
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 8<<20)
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, 1<<20)
		})
	}
	return c
}

// Received returns the numbers of packets that have arrived so far, from a to b and from b to a.
func (f *Flow) Received() (ab, ba int) {
	return int(f.halves[0].received.Load()), int(f.halves[1].received.Load())
}

// Stop ends the sending, waits for packets in flight (until five seconds pass
// without an arrival) and returns the counts, from a to b and from b to a.
func (f *Flow) Stop() (ab, ba Direction) {
	close(f.stop)
	f.send.Wait()
	var flight sync.WaitGroup
	for _, w := range f.halves {
		flight.Go(w.awaitFlight)
	}
	flight.Wait()
	queues := max(0, f.lab.queueDrops()-f.queues) // a removed device no longer counts
	for _, w := range f.halves {
		w.to.Close()
	}
	for _, w := range f.halves {
		<-w.done
		w.d.Lost, w.d.Queues = w.d.Sent-w.unique, queues
	}
	return f.halves[0].d, f.halves[1].d
}

// awaitFlight waits until all packets have arrived, or none arrives any more.
func (w *halfFlow) awaitFlight() {
	last, since := w.received.Load(), time.Now()
	for int(last) < w.d.Sent && time.Since(since) < 5*time.Second {
		time.Sleep(10 * time.Millisecond)
		if n := w.received.Load(); n != last {
			last, since = n, time.Now()
		}
	}
}

func (w *halfFlow) sender(stop <-chan struct{}, perSecond int) {
	to := w.to.LocalAddr().(*net.UDPAddr).AddrPort()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var b [flowSize]byte
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		// Catch up after a late tick, but never by more than 20 ms in one burst.
		due := int(time.Since(w.start).Seconds() * float64(perSecond))
		for burst := max(1, perSecond/50); w.d.Sent < due && burst > 0; burst-- {
			binary.BigEndian.PutUint64(b[:], uint64(w.d.Sent))
			if _, err := w.from.WriteToUDPAddrPort(b[:], to); err != nil {
				w.d.SendErrors, w.d.SendError = w.d.SendErrors+1, err
			}
			w.d.Sent++
		}
	}
}

func (w *halfFlow) receiver() {
	var b [flowSize + 1]byte
	var next uint64
	var last time.Time
	for {
		n, err := w.to.Read(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != flowSize {
			continue // an ICMP error about what this socket sent
		}
		now := time.Now()
		if last.IsZero() {
			w.d.First = now.Sub(w.start)
		} else {
			w.d.Gap = max(w.d.Gap, now.Sub(last))
		}
		last = now
		w.count(binary.BigEndian.Uint64(b[:]), &next)
	}
}

// count notes the arrival of number seq; next is the one after the highest so far.
func (w *halfFlow) count(seq uint64, next *uint64) {
	if seq >= 1<<32 {
		return
	}
	for uint64(len(w.seen))*64 <= seq {
		w.seen = append(w.seen, 0)
	}
	switch {
	case w.seen[seq/64]>>(seq%64)&1 == 1:
		w.d.Duplicated++
		return
	case seq < *next:
		w.d.Reordered++
	default:
		*next = seq + 1
	}
	w.seen[seq/64] |= 1 << (seq % 64)
	w.unique++
	w.received.Add(1)
}
