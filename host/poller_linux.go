package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Poller waits for descriptors, by epoll(7). Its caller's thread is blocked meanwhile, and not the
// runtime's poller is waiting: that one would be woken for every packet, also while the caller is busy
// and needs no waking, and would look for a goroutine to run, which costs more than a packet.
type Poller struct {
	fd     int
	wake   int // an eventfd
	events [64]unix.EpollEvent
}

// wakeID is no member's.
const wakeID = 0

// NewPoller makes a Poller without members.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &Poller{fd: fd}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := p.Add(p.wake, wakeID); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Add watches a descriptor, under a number that Wait gives. 0 is taken.
func (p *Poller) Add(fd int, id uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id)})
}

// Remove watches a descriptor no more.
func (p *Poller) Remove(fd int) { unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// Wait waits until something can be read, or has an error, or Wake was called,
// and returns which. One goroutine at a time.
func (p *Poller) Wait(ready []uint32) (int, error) {
	events := p.events[:min(len(ready), len(p.events))]
	n, err := p.await(events)
	if err != nil {
		return 0, err
	}
	k := 0
	for _, e := range events[:n] {
		if id := uint32(e.Fd); id != wakeID {
			ready[k] = id
			k++
		} else {
			var count [8]byte
			unix.Read(p.wake, count[:])
		}
	}
	return k, nil
}

// await is epoll_wait, at first without a word to the scheduler: told of a system call, its monitor
// would look every 20 µs whether the thread is still in it, and take its processor away, which costs
// more than most of the waits last. The thread keeps its processor, of which the engines leave enough
// for the others, until it has not returned for 10 ms: then the runtime interrupts it by a
// signal, as it does when it wants to stop all threads.
func (p *Poller) await(events []unix.EpollEvent) (int, error) {
	k, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), ^uintptr(0), 0, 0)
	if e == 0 {
		return int(k), nil
	}
	n, err := 0, error(e)
	for err == unix.EINTR {
		n, err = unix.EpollWait(p.fd, events, -1)
	}
	return n, err
}

// Wake makes Wait return, or the next one if there is none now.
func (p *Poller) Wake() { unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Close frees the descriptors, once. Nobody may be waiting.
func (p *Poller) Close() {
	unix.Close(p.wake)
	unix.Close(p.fd)
}
