package host

import (
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A descriptor is a file descriptor that is hidden from the Go runtime's poller.
// The poller would wake for every packet, also while our loops are busy and need no waking, and
// would then look for a goroutine to run, which costs more than handling the packet. A goroutine that waits
// for a descriptor blocks its thread in poll(2) instead.
//
// The file is closed once Close was called and the last user has left.
type descriptor struct {
	fd     int
	wake   int // an eventfd, readable from Close on; -1: nobody waits
	users  atomic.Int64
	closed atomic.Bool
	gone   sync.WaitGroup
}

// newDescriptor takes over fd, which must be non-blocking.
func newDescriptor(fd int) (*descriptor, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	d := &descriptor{fd: fd, wake: wake}
	d.users.Store(1)
	d.gone.Add(1)
	return d, nil
}

// unwaited takes over fd, for which nobody calls wait: that saves a descriptor.
func unwaited(fd int) *descriptor {
	d := &descriptor{fd: fd, wake: -1}
	d.users.Store(1)
	d.gone.Add(1)
	return d
}

// enter keeps fd open until leave. false: it is closed, and there is nothing to leave.
func (d *descriptor) enter() bool {
	for {
		n := d.users.Load()
		if n == 0 || d.closed.Load() {
			return false
		}
		if d.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *descriptor) leave() {
	if d.users.Add(-1) == 0 {
		unix.Close(d.fd)
		if d.wake >= 0 {
			unix.Close(d.wake)
		}
		d.gone.Done()
	}
}

// wait returns on one of the events, on an error, on Close, or after ms milliseconds; -1 sets no
// limit. Call it between enter and leave.
func (d *descriptor) wait(events int16, ms int) {
	fds := [2]unix.PollFd{{Fd: int32(d.fd), Events: events}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds[:], ms); err != unix.EINTR {
			return
		}
	}
}

// do calls f with the descriptor open.
func (d *descriptor) do(f func(fd uintptr)) error {
	if !d.enter() {
		return net.ErrClosed
	}
	defer d.leave()
	f(uintptr(d.fd))
	return nil
}

// Close wakes the waiting goroutines, and returns when the file is closed.
func (d *descriptor) Close() error {
	if !d.closed.Swap(true) {
		if d.wake >= 0 {
			unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		d.leave()
	}
	d.gone.Wait()
	return nil
}
