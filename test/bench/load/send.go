package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stream says what to send.
type Stream struct {
	To    []netip.AddrPort // one flow each
	Sizes []int            // of UDP payloads, at least 16 bytes
	Rate  float64          // packets a second; 0 is as many as can be sent
	For   time.Duration
	// MaxLost ends the stream early when more than that part of all its packets
	// is already lost. 0 never ends it early.
	MaxLost float64
}

const (
	burst = 16                     // packets in one system call
	tick  = 100 * time.Microsecond // time between two, unless a full one is due more often
	late  = 500 * time.Microsecond // how far behind its time the sender catches up
	mix   = 4096                   // length of the pattern of flows and sizes

	headerLen = 12 // run, number
)

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// sender has the buffers of one system call.
type sender struct {
	fd    int
	msgs  [burst]mmsghdr
	iovs  [burst]unix.Iovec
	bufs  [burst][2048]byte
	names []unix.RawSockaddrInet4
	flows [mix]uint16 // the flow of packet number n is flows[n%mix]
	sizes [mix]uint16
	next  uint64 // number of the next packet
}

func newSender(fd int, run uint32, s Stream) (*sender, error) {
	w := &sender{fd: fd}
	for _, to := range s.To {
		name := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
		w.names = append(w.names, name)
	}
	if len(s.To) == 1 {
		// A connected socket spares the kernel a route for each packet.
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: s.To[0].Addr().As4(), Port: int(s.To[0].Port())}); err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
	}
	r := rand.New(rand.NewPCG(1, 2)) // the same for everybody, every time
	for i := range mix {
		w.flows[i], w.sizes[i] = uint16(r.IntN(len(s.To))), uint16(s.Sizes[r.IntN(len(s.Sizes))])
	}
	for i := range w.msgs {
		binary.BigEndian.PutUint32(w.bufs[i][:], run)
		w.iovs[i].Base = &w.bufs[i][0]
		w.msgs[i].hdr.Iov, w.msgs[i].hdr.Iovlen = &w.iovs[i], 1
	}
	return w, nil
}

// send sends n packets, at most burst, and returns how many the kernel took.
func (w *sender) send(n int) (int, error) {
	for i := range n {
		number := w.next + uint64(i)
		binary.BigEndian.PutUint64(w.bufs[i][4:], number)
		w.iovs[i].SetLen(int(w.sizes[number%mix]))
		if len(w.names) > 1 {
			w.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&w.names[w.flows[number%mix]]))
			w.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
		}
	}
	took, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(w.fd), uintptr(unsafe.Pointer(&w.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		w.next += uint64(took)
		return int(took), nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, nil // the socket's own buffer is full: not sent, so not lost
	default:
		return 0, fmt.Errorf("sendmmsg: %w", errno)
	}
}

// send sends the stream on the calling thread, with the priority of the measured
// programs: on full processors it sends less, which its rate shows. (At real-time
// priority it keeps the pace, but even at far lower rates it takes the processor
// from the others for longer than their queues can bridge.)
func (s Stream) send(fd int, run uint32, c *counter) (Outcome, error) {
	w, err := newSender(fd, run, s)
	if err != nil {
		return Outcome{Elapsed: 1}, err
	}
	n, interval := burst, time.Duration(0)
	if s.Rate > 0 {
		n = max(1, min(burst, int(s.Rate*tick.Seconds())))
		interval = time.Duration(float64(n) / s.Rate * float64(time.Second))
	}
	allowed := int64(s.MaxLost * s.Rate * s.For.Seconds())
	clock, err := newClock()
	if err != nil {
		return Outcome{Elapsed: 1}, err
	}
	aborted := false
	var due time.Duration
	for due < s.For && !aborted {
		now := clock.now()
		if s.Rate == 0 {
			due = now
		} else if now < due {
			if err := clock.sleepUntil(due); err != nil {
				return Outcome{Elapsed: 1}, err
			}
		} else if now > due+late {
			due = now // too late to catch up: the rate drops
		}
		if _, err := w.send(n); err != nil {
			return Outcome{Elapsed: 1}, err
		}
		due += interval
		aborted = s.MaxLost > 0 && c.missing.Load() > allowed
	}
	// The last packets have their share of time too.
	return Outcome{Sent: int(w.next), Elapsed: max(clock.now(), min(due, s.For)), Aborted: aborted}, nil
}

// clock tells the time since its start, and sleeps by the kernel's clock.
type clock struct {
	start time.Time
	base  time.Duration // CLOCK_MONOTONIC at the start
}

func newClock() (clock, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return clock{}, err
	}
	return clock{time.Now(), time.Duration(ts.Nano())}, nil
}

func (c clock) now() time.Duration { return time.Since(c.start) }

func (c clock) sleepUntil(t time.Duration) error {
	ts := unix.NsecToTimespec(int64(c.base + t))
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if errno == 0 {
			return nil
		}
		if !errors.Is(errno, unix.EINTR) {
			return fmt.Errorf("clock_nanosleep: %w", errno)
		}
	}
}
