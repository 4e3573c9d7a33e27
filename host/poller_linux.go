package host

import (
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Poller waits for descriptors. It blocks its caller's thread and does not use the
// runtime's poller: see descriptor.
//
// It waits for a few descriptors by poll(2): then a packet that arrives while nobody waits costs nothing
// extra. It waits for many by epoll(7), which records each such packet but keeps the list of descriptors between calls.
type Poller struct {
	fd     int // epoll's
	wake   int // an eventfd
	events [64]unix.EpollEvent
	asked  [few]unix.PollFd // what poll(2) waits for

	mu     sync.Mutex
	some   []watched // the members while poll(2) is used; nil: epoll has all of them
	waited bool      // once at least
}

// watched is a descriptor with the number that Wait gives.
type watched struct {
	fd int
	id uint32
}

const (
	wakeID = 0 // no member has this number
	few    = 3 // raw sockets of both families, and wake
)

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
	p.some = []watched{{p.wake, wakeID}}
	return p, nil
}

// Add watches a descriptor, under a number that Wait gives. 0 is taken.
func (p *Poller) Add(fd int, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.some == nil {
		return p.note(watched{fd, id})
	}
	p.some = append(p.some, watched{fd, id})
	if len(p.some) > few {
		for i, w := range p.some {
			if err := p.note(w); err != nil && i == few { // an older one may be closed
				p.some = p.some[:few]
				return err
			}
		}
		p.some = nil
	}
	p.changed()
	return nil
}

func (p *Poller) note(w watched) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.id)})
}

// Remove stops watching a descriptor.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.some == nil {
		unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
		return
	}
	p.some = slices.DeleteFunc(p.some, func(w watched) bool { return w.fd == fd })
	p.changed()
}

// changed makes a Wait in poll(2) start over with the present members.
func (p *Poller) changed() {
	if p.waited {
		p.Wake()
	}
}

// Wait waits until a member is readable or has an error, Wake is called, or the members change. It
// returns the numbers of the ready members. One goroutine at a time.
//
// At first the Go scheduler is not told of the system call: otherwise its monitor would check every 20 µs
// whether the thread is still in the call, and take away its processor (P), which costs more than
// most waits last. The thread keeps its P; the engines leave enough of them for other
// goroutines. After 10 ms, or to stop all threads, the runtime interrupts the call by a signal, and the wait goes on
// with the scheduler told.
func (p *Poller) Wait(ready []uint32) (int, error) {
	p.mu.Lock()
	p.waited = true
	var ids [few]uint32
	n := len(p.some)
	for i, w := range p.some {
		p.asked[i], ids[i] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}, w.id
	}
	many := p.some == nil
	p.mu.Unlock()

	k := 0
	take := func(id uint32) {
		if id == wakeID {
			var count [8]byte
			unix.Read(p.wake, count[:])
			return
		}
		if k < len(ready) {
			ready[k] = id
			k++
		}
	}
	if many {
		events := p.events[:min(len(ready), len(p.events))]
		n, err := p.epoll(events)
		for _, e := range events[:n] {
			take(uint32(e.Fd))
		}
		return k, err
	}
	err := poll(p.asked[:n])
	for i := range n {
		if err == nil && p.asked[i].Revents != 0 {
			take(ids[i])
		}
	}
	return k, err
}

func (p *Poller) epoll(events []unix.EpollEvent) (int, error) {
	k, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), ^uintptr(0), 0, 0)
	if e == 0 {
		return int(k), nil
	}
	n, err := 0, error(e)
	for err == unix.EINTR {
		n, err = unix.EpollWait(p.fd, events, -1)
	}
	return max(n, 0), err
}

func poll(fds []unix.PollFd) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), 0, 0, 0, 0)
	if e == 0 {
		return nil
	}
	err := error(e)
	for err == unix.EINTR {
		_, err = unix.Ppoll(fds, nil, nil)
	}
	return err
}

// Wake makes the present Wait return, or else the next.
func (p *Poller) Wake() { unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Close frees the descriptors, once. No Wait may be in progress.
func (p *Poller) Close() {
	unix.Close(p.wake)
	unix.Close(p.fd)
}
