package load

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// counter counts the packets of one run. The receiver's thread writes it.
type counter struct {
	run     uint32
	seen    []uint64     // a bit for each number
	next    uint64       // the one after the highest so far
	unique  atomic.Int64 // that have arrived
	missing atomic.Int64 // below next, that have not
}

const (
	look  = 500 * time.Microsecond // time between two looks into the socket
	batch = 64                     // packets in one system call
)

// receive reads the socket until stop. It does not block in the socket, because
// a wake-up for each packet would cost more than the packet.
func (c *counter) receive(fd int, stop *atomic.Bool) error {
	var msgs [batch]mmsghdr
	var iovs [batch]unix.Iovec
	var bufs [batch][headerLen]byte // the rest of a packet is cut off
	for i := range msgs {
		iovs[i].Base = &bufs[i][0]
		iovs[i].SetLen(headerLen)
		msgs[i].hdr.Iov, msgs[i].hdr.Iovlen = &iovs[i], 1
	}
	clock, err := newClock()
	if err != nil {
		return err
	}
	for !stop.Load() {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			n = 0
		default:
			return fmt.Errorf("recvmmsg: %w", errno)
		}
		for i := range n {
			if msgs[i].n == headerLen && binary.BigEndian.Uint32(bufs[i][:]) == c.run {
				c.count(binary.BigEndian.Uint64(bufs[i][4:]))
			}
		}
		c.missing.Store(int64(c.next) - c.unique.Load())
		if n < batch {
			if err := clock.sleepUntil(clock.now() + look); err != nil {
				return err
			}
		}
	}
	return nil
}

// count notes the arrival of packet number seq.
func (c *counter) count(seq uint64) {
	if seq >= 1<<32 {
		return // not one of ours
	}
	for uint64(len(c.seen))*64 <= seq {
		c.seen = append(c.seen, make([]uint64, 1<<14)...)
	}
	if c.seen[seq/64]>>(seq%64)&1 == 1 {
		return // a duplicate
	}
	c.seen[seq/64] |= 1 << (seq % 64)
	c.next = max(c.next, seq+1)
	c.unique.Add(1)
}
