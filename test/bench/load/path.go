// Package load is the benchmark's traffic: a paced sender of numbered UDP
// datagrams, a receiver that counts them, and pings. All of it runs on the
// processors that the measured programs need too, so it is made to be cheap, and
// is the same for all of them: a system call for up to 16 datagrams that are
// each a packet of their own (no segmentation offload), and a receiver that
// looks into its socket every half millisecond and is not woken by packets.
//
// The functions lock the thread that they run on and call the kernel without
// telling Go's scheduler, which would start to watch, and wake up often, for
// calls as short as these. So there must be more Ps than such threads.
package load

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Path has sockets at its two ends: packets enter at one and should leave at
// the other. Not safe for concurrent use.
type Path struct {
	from [2]int // for one flow, which connects it, and for many
	to   int
	run  uint32
	cpus [2]int // one more than the processor of the sender and of the receiver; 0: any
}

// Place has the sender and the receiver run on one processor each.
func (p *Path) Place(from, to int) { p.cpus = [2]int{from + 1, to + 1} }

// stay has the calling thread stay on a processor.
func stay(cpu int) {
	if cpu > 0 {
		var set unix.CPUSet
		set.Set(cpu - 1)
		unix.SchedSetaffinity(0, &set)
	}
}

// receiveBuffer holds half a second of small packets, so that the receiver
// itself loses none.
const receiveBuffer = 64 << 20

// Open makes the sockets; inA and inB call a function where that end is. The
// receiver takes packets to any address at the port.
func Open(inA, inB func(func()), source netip.Addr, port uint16) (*Path, error) {
	p := &Path{from: [2]int{-1, -1}, to: -1}
	var err error
	inA(func() {
		for i := range p.from {
			if err == nil {
				p.from[i], err = socket(netip.AddrPortFrom(source, 0))
			}
		}
	})
	if err == nil {
		inB(func() { p.to, err = socket(netip.AddrPortFrom(netip.IPv4Unspecified(), port)) })
	}
	if err == nil {
		err = unix.SetsockoptInt(p.to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func socket(local netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %v: %w", local, err)
	}
	return fd, nil
}

// Close closes the sockets.
func (p *Path) Close() {
	for _, fd := range append(p.from[:], p.to) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Outcome is the result of a Stream.
type Outcome struct {
	Sent, Received int
	Elapsed        time.Duration // of the sending
	Aborted        bool          // the stream ended early, because more than MaxLost was lost
	Behind         int           // packets that had not arrived when the last was sent
}

// Lost is the part that did not arrive.
func (o Outcome) Lost() float64 {
	return float64(o.Sent-o.Received) / float64(max(o.Sent, 1))
}

// Rate is the number of packets sent a second, Carried the number that arrived.
func (o Outcome) Rate() float64    { return float64(o.Sent) / o.Elapsed.Seconds() }
func (o Outcome) Carried() float64 { return float64(o.Received) / o.Elapsed.Seconds() }

func (o Outcome) String() string {
	s := fmt.Sprintf("%.0f/s, %.3f %% lost", o.Rate(), 100*o.Lost())
	if o.Behind > o.Sent/100 {
		s += fmt.Sprintf(", %d behind", o.Behind)
	}
	if o.Aborted {
		s += fmt.Sprintf(" after %.1f s", o.Elapsed.Seconds())
	}
	return s
}

// quiet is the time without an arrival after which missing packets count as lost.
const quiet = 100 * time.Millisecond

// Run sends a stream and returns the outcome when all packets have arrived, or
// none for a while.
func (p *Path) Run(s Stream) (Outcome, error) {
	p.run++
	c := &counter{run: p.run}
	var stop atomic.Bool
	received := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		stay(p.cpus[1])
		received <- c.receive(p.to, &stop)
	}()
	type result struct {
		Outcome
		err error
	}
	sent := make(chan result)
	go func() {
		runtime.LockOSThread()
		stay(p.cpus[0])
		o, err := s.send(p.from[min(len(s.To)-1, 1)], p.run, c)
		sent <- result{o, err}
	}()
	r := <-sent
	r.Behind = r.Sent - int(c.unique.Load())
	for last, since := c.unique.Load(), time.Now(); time.Since(since) < quiet && int(last) < r.Sent; {
		time.Sleep(5 * time.Millisecond)
		if n := c.unique.Load(); n != last {
			last, since = n, time.Now()
		}
	}
	stop.Store(true)
	err := <-received
	if r.err != nil {
		err = r.err
	}
	r.Received = int(c.unique.Load())
	return r.Outcome, err
}
