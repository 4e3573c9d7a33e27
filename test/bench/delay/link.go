package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// properties are those of a link.
type properties struct {
	delay, queue time.Duration
	loss, rate   float64
	seed         uint64
}

// link is one direction.
type link struct {
	properties
	from, to int // sockets

	queue   queue
	random  *rand.Rand
	keeping uint64 // packets until one is lost; with loss
	free    int64  // when the link has sent everything so far

	msg     unix.Msghdr
	iov     unix.Iovec
	control [64]byte
	scratch []byte // of a super-packet that loses some of its packets
	out     [batch]struct {
		hdr unix.Msghdr
		n   uint32
		_   [4]byte
	}
	iovs [batch]unix.Iovec

	stats
	late [20_000]uint32 // frames by how late they were sent, in µs
}

const (
	batch    = 64
	maxFrame = 10 + 14 + 64<<10 // with its virtio_net_hdr
)

// stats are those of a series.
type stats struct {
	Packets uint64 // that came in
	Frames  uint64 // that were sent: a super-packet is one
	Lost    uint64 // packets, by -loss
	Dropped uint64 // packets, as the queue of a link with a rate was full
	Overrun uint64 // frames that this program could not keep: the result is void
	Refused uint64 // frames that the kernel did not send: likewise
	// How late frames were sent, in µs.
	LateMean, LateP99, LateMax float64
}

func newLink(p properties, from, to int) (*link, error) {
	l := &link{properties: p, from: from, to: to, scratch: make([]byte, maxFrame)}
	l.msg.Iov = &l.iov
	l.msg.SetIovlen(1)
	for i := range l.out {
		l.out[i].hdr.Iov = &l.iovs[i]
		l.out[i].hdr.SetIovlen(1)
	}
	l.keeping = math.MaxUint64
	var err error
	l.queue, err = newQueue()
	return l, err
}

// turn ends a series and begins the next one.
func (l *link) turn(series uint64) stats {
	s := l.stats
	var kernel unix.TpacketStats
	size := uint32(unsafe.Sizeof(kernel))
	unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.from), unix.SOL_PACKET, unix.PACKET_STATISTICS, uintptr(unsafe.Pointer(&kernel)), uintptr(unsafe.Pointer(&size)), 0)
	s.Overrun += uint64(kernel.Drops)
	seen, sum := uint64(0), 0.0
	for us, n := range l.late {
		if n == 0 {
			continue
		}
		seen, sum = seen+uint64(n), sum+float64(us)*float64(n)
		s.LateMax = float64(us)
	}
	part := uint64(0)
	for us, n := range l.late {
		if part += uint64(n); part >= (seen*99+99)/100 {
			s.LateP99 = float64(us)
			break
		}
	}
	s.LateMean = sum / float64(max(seen, 1))
	l.stats, l.late = stats{}, [len(l.late)]uint32{}
	l.random = rand.New(rand.NewPCG(l.seed, series))
	l.keeping = l.keep()
	return s
}

// keep draws how many packets are kept before one is lost.
func (l *link) keep() uint64 {
	if l.loss <= 0 {
		return math.MaxUint64
	}
	return uint64(math.Log(1-l.random.Float64()) / math.Log1p(-l.loss))
}

// receive takes in frames; more: there may be further ones.
func (l *link) receive() (more bool, err error) {
	for range batch {
		room := l.queue.room(2 * maxFrame)
		buf := room
		if buf == nil {
			buf = l.scratch
		}
		l.iov.Base = &buf[0]
		l.iov.SetLen(maxFrame)
		l.msg.Control = &l.control[0]
		l.msg.SetControllen(len(l.control))
		n, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(l.from), uintptr(unsafe.Pointer(&l.msg)), 0)
		switch {
		case e == unix.EAGAIN:
			return false, nil
		case e == unix.EINTR, e == unix.ENETDOWN:
			continue
		case e != 0:
			return false, fmt.Errorf("recvmsg: %w", e)
		case room == nil:
			l.Overrun++
			continue
		}
		l.frame(room[:n], room, l.came())
	}
	return true, nil
}

// came is when the kernel got the frame.
func (l *link) came() int64 {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&l.control[0]))
	if l.msg.Controllen >= uint64(unix.CmsgLen(16)) && h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS {
		at := unix.CmsgLen(0)
		return int64(binary.NativeEndian.Uint64(l.control[at:]))*1e9 + int64(binary.NativeEndian.Uint64(l.control[at+8:]))
	}
	return time.Now().UnixNano()
}

// frame queues what is kept of a frame, which lies at the beginning of room.
func (l *link) frame(b, room []byte, came int64) {
	s, ok := parse(b)
	if !ok { // no IP: it resolves an address
		l.queue.add(len(b), came+int64(l.delay))
		return
	}
	if s.count == 1 {
		if l.keeps(len(b)-vnetHeader, came) {
			l.queue.add(len(b), l.sent(came))
		}
		return
	}
	var kept [maxSegments]bool
	all := true
	for i := range s.count {
		kept[i] = l.keeps(s.length(i), came)
		all = all && kept[i]
	}
	if all {
		l.queue.add(len(b), l.sent(came))
		return
	}
	whole := l.scratch[:copy(l.scratch, b)]
	for i := 0; i < s.count; {
		if !kept[i] {
			i++
			continue
		}
		j := i
		for j < s.count && kept[j] {
			j++
		}
		if room == nil {
			l.Overrun++
			return
		}
		l.queue.add(s.part(room, whole, i, j), l.sent(came))
		room = l.queue.room(maxFrame)
		i = j
	}
}

// onWire is what Ethernet adds to a frame: preamble, checksum, gap.
const onWire = 24

// keeps has the link send a packet, and reports whether it arrives.
func (l *link) keeps(size int, came int64) bool {
	l.Packets++
	lost := l.keeping == 0
	if lost {
		l.Lost++
		l.keeping = l.keep()
	} else {
		l.keeping--
	}
	if l.rate > 0 {
		if l.free-came > int64(l.properties.queue) {
			l.Dropped++
			return false
		}
		l.free = max(l.free, came) + int64(float64((size+onWire)*8)*1e3/l.rate)
	}
	return !lost
}

// sent is when a packet is due that the link has just been given.
func (l *link) sent(came int64) int64 { return max(came, l.free) + int64(l.delay) }

// send sends what is due, and returns when the next frame is; 0: there is none.
func (l *link) send(now int64) (int64, error) {
	for {
		n := 0
		for n < batch {
			b, due := l.queue.at(n)
			if b == nil || due > now {
				break
			}
			l.iovs[n].Base = &b[0]
			l.iovs[n].SetLen(len(b))
			l.late[min(int64(len(l.late)-1), (now-due)/1000)]++
			n++
		}
		for i := 0; i < n; {
			sent, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(l.to), uintptr(unsafe.Pointer(&l.out[i])), uintptr(n-i), 0, 0, 0)
			switch e {
			case 0:
				i += int(sent)
				l.Frames += uint64(sent)
			case unix.EINTR:
			default:
				l.Refused++
				i++
			}
		}
		l.queue.remove(n)
		if n < batch {
			_, due := l.queue.at(0)
			return due, nil
		}
	}
}
