package host

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// Limits of one message with UDP_SEGMENT: UDP_MAX_SEGMENTS of older kernels, and
// the payload of the largest IPv4 packet.
const (
	maxSegments = 64
	maxRun      = 65000
)

// maxWait is the number of milliseconds without progress after which WriteBatch gives up
// the rest of a batch. The sending goroutine also receives, and sends for other tunnels.
const maxWait = 100

// SendError reports the datagrams of a WriteBatch that were not sent. All others were sent.
type SendError struct {
	Remote netip.AddrPort // of the first that failed; one that was too big comes before any other
	Err    error          // why: a syscall.Errno
	Failed int            // how many datagrams
}

func (e *SendError) Error() string {
	return fmt.Sprintf("send to %s: %v (%d datagrams not sent)", e.Remote, e.Err, e.Failed)
}

func (e *SendError) Unwrap() error { return e.Err }

// TooBig reports whether a datagram was larger than the path MTU to remote.
func (e *SendError) TooBig() (remote netip.AddrPort, ok bool) {
	return e.Remote, e.Err == unix.EMSGSIZE
}

// writer is the memory of sendmmsg, set up once, and one batch on its way.
type writer struct {
	s        *Socket
	msgs     [batch]unix.Mmsghdr
	iovs     [batch][2]unix.Iovec // of a frame its header; the data
	names    [batch]name
	controls [batch]control
	headers  [][maxFrameHeader]byte // of frames
	path     *framePath             // of this batch; nil: it goes by the socket
	segment  [batch]int             // of a run, else 0
	index    [batch]int             // of the datagram in ds
	n, sent  int                    // messages that are ready, and how many of them are done
	full     bool                   // the socket's buffer is

	ds      []ipsec.Datagram
	fail    SendError
	failed  int          // index of the last datagram that failed
	one     unix.Mmsghdr // a segment alone
	oneIov  unix.Iovec
	onePart int // segments of the run at msgs[sent] that are sent already
	oneErr  unix.Errno
}

func newWriter(s *Socket) *writer {
	w := &writer{s: s}
	for i := range w.msgs {
		h := &w.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		h.Iov = &w.iovs[i][1]
		h.SetIovlen(1)
	}
	if s.Raw() {
		w.headers = make([][maxFrameHeader]byte, batch)
	}
	return w
}

// WriteBatch sends the datagrams in order and returns how many were sent. A run
// (Segment) goes out by UDP_SEGMENT where that works, and otherwise cut here. A
// datagram that the kernel refuses does not stop the others: WriteBatch counts it
// and returns a *SendError. If the socket buffer is full, WriteBatch waits as
// long as packets leave it. After Close: net.ErrClosed. Safe for concurrent use.
func (s *Socket) WriteBatch(ds []ipsec.Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	var path, prime *framePath
	if s.frames != nil {
		path, prime = s.frames.path(ds, s.v6)
	}
	n, err := s.writeBatch(ds, path)
	if prime != nil && err == nil {
		prime.primed.Store(true)
	}
	return n, err
}

func (s *Socket) writeBatch(ds []ipsec.Datagram, path *framePath) (int, error) {
	w := <-s.writers
	n, err := w.write(ds, path)
	s.writers <- w
	return n, err
}

// WriteFragmentable sends one datagram that routers, and this host, may fragment:
// IKE messages must arrive even if the path MTU is unknown. Meanwhile ESP packets
// of other goroutines may leave without DF, which is harmless.
func (s *Socket) WriteFragmentable(d ipsec.Datagram) error {
	if s.pieces != nil && s.pieces.takes(s, &d) {
		return s.pieces.send(s, &d)
	}
	return s.writeOne(d, true)
}

// writeOne sends one datagram with fragments allowed or not, whatever is usual for the socket: those of IKE allow them.
func (s *Socket) writeOne(d ipsec.Datagram, fragments bool) error {
	if fragments != s.ike {
		s.frag.Lock()
		defer s.frag.Unlock()
		s.setFragmentation(fragments)
		defer s.setFragmentation(s.ike)
	}
	_, err := s.writeBatch([]ipsec.Datagram{d}, nil)
	return err
}

func (s *Socket) setFragmentation(allowed bool) {
	s.fd.do(func(fd uintptr) {
		for _, o := range s.fragmentation(allowed) {
			unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
		}
	})
}

func (w *writer) write(ds []ipsec.Datagram, path *framePath) (int, error) {
	w.ds, w.path, w.fail, w.failed = ds, path, SendError{}, -1
	var err error
	for i := 0; i < len(ds) && err == nil; i++ {
		err = w.add(i)
	}
	if err == nil {
		err = w.flush()
	}
	w.ds, w.path, w.n, w.sent, w.full = nil, nil, 0, 0, false
	if err != nil {
		return 0, w.s.failed(err)
	}
	if w.fail.Failed > 0 {
		fail := w.fail
		return len(ds) - fail.Failed, &fail
	}
	return len(ds), nil
}

// add makes the messages of datagram i.
func (w *writer) add(i int) error {
	d := &w.ds[i]
	if d.Remote.Addr().Unmap().Is6() != w.s.v6 || !d.Remote.IsValid() {
		w.refuse(i, unix.EAFNOSUPPORT)
		return nil
	}
	size := len(d.Data)
	if d.Segment > 0 {
		size = d.Segment
		if w.s.gso.Load() && size <= maxRun {
			size *= min(maxSegments, maxRun/size)
		}
	}
	for rest := d.Data; ; {
		n := min(size, len(rest))
		if err := w.message(i, d, rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			return nil
		}
	}
}

// message adds one message. If there is no room, it first sends the messages that are ready.
func (w *writer) message(i int, d *ipsec.Datagram, data []byte) error {
	if w.n == batch {
		if err := w.flush(); err != nil {
			return err
		}
	}
	k := w.n
	w.n++
	w.index[k], w.segment[k] = i, 0
	if d.Segment > 0 && len(data) > d.Segment {
		w.segment[k] = d.Segment
	}
	iov := &w.iovs[k]
	iov[1].Base = unsafe.SliceData(data)
	iov[1].SetLen(len(data))
	h := &w.msgs[k].Hdr
	if w.headers != nil {
		h.Iov = &iov[1]
		h.SetIovlen(1)
	}
	if w.path != nil {
		header := w.path.put(&w.headers[k], len(data), d.TOS)
		iov[0].Base = unsafe.SliceData(header)
		iov[0].SetLen(len(header))
		h.Iov, h.Namelen, h.Control = &iov[0], w.path.name(&w.names[k]), nil
		h.SetIovlen(2)
		h.SetControllen(0)
		return nil
	}
	h.Namelen = w.s.putName(&w.names[k], d.Remote)
	n := w.s.putControl(&w.controls[k], d, w.segment[k])
	h.Control = nil
	if n > 0 {
		h.Control = (*byte)(unsafe.Pointer(&w.controls[k]))
	}
	h.SetControllen(n)
	return nil
}

// flush sends the messages. An error is one of the descriptor.
func (w *writer) flush() error {
	if w.n == 0 {
		return nil
	}
	w.sent, w.onePart = 0, 0
	fd := w.s.fd
	if w.path != nil {
		fd = w.s.frames.fd
	}
	if !fd.enter() {
		return net.ErrClosed
	}
	defer fd.leave()
	for w.push(uintptr(fd.fd)); w.full; {
		sent, part := w.sent, w.onePart
		fd.wait(unix.POLLOUT, maxWait)
		if fd.closed.Load() {
			return net.ErrClosed
		}
		if w.push(uintptr(fd.fd)); w.full && w.sent == sent && w.onePart == part {
			for ; w.sent < w.n; w.sent++ {
				w.refuse(w.index[w.sent], unix.EAGAIN)
			}
			break
		}
	}
	w.n, w.sent = 0, 0
	return nil
}

// push sends until every message is sent or refused, or the socket would block.
func (w *writer) push(fd uintptr) {
	w.full = false
	for w.sent < w.n {
		if w.onePart > 0 && !w.pushSegments(fd) {
			return
		}
		if w.sent == w.n {
			return
		}
		n, e := sendmmsg(fd, &w.msgs[w.sent], w.n-w.sent)
		switch {
		case e == 0:
			w.sent += n
			if w.path != nil {
				w.s.frames.sent.Add(uint64(n))
			}
		case e == unix.EAGAIN:
			w.full = true
			return
		case w.segment[w.sent] > 0 && (e == unix.EIO || e == unix.EINVAL):
			// No checksum offload on the way out, or a kernel that says so of a segment
			// over the path MTU: the segments by themselves tell which.
			w.onePart, w.oneErr = 1, e
		default:
			w.refuse(w.index[w.sent], e)
			w.sent++
		}
	}
}

// pushSegments sends the run at msgs[sent] one segment at a time. If that works,
// the socket uses UDP_SEGMENT no more. False: the socket would block.
func (w *writer) pushSegments(fd uintptr) bool {
	k := w.sent
	run := unsafe.Slice(w.iovs[k][1].Base, int(w.iovs[k][1].Len))
	size := w.segment[k]
	w.one.Hdr = w.msgs[k].Hdr
	w.one.Hdr.Iov = &w.oneIov
	d := &w.ds[w.index[k]]
	w.one.Hdr.SetControllen(w.s.putControl(&w.controls[k], d, 0))
	if w.one.Hdr.Controllen == 0 {
		w.one.Hdr.Control = nil
	}
	for off := (w.onePart - 1) * size; off < len(run); off += size {
		part := run[off:min(off+size, len(run))]
		w.oneIov.Base = &part[0]
		w.oneIov.SetLen(len(part))
		switch _, e := sendmmsg(fd, &w.one, 1); e {
		case 0:
		case unix.EAGAIN:
			w.full = true
			return false
		default:
			w.refuse(w.index[k], e)
			w.oneErr = 0
		}
		w.onePart++
	}
	if w.oneErr != 0 {
		w.s.gso.Store(false)
	}
	w.onePart = 0
	w.sent++
	return true
}

// sendmmsg does not block, as the socket does not, so the scheduler need not hear of it.
func sendmmsg(fd uintptr, m *unix.Mmsghdr, n int) (int, unix.Errno) {
	for {
		sent, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(m)), uintptr(n), 0, 0, 0)
		if e != unix.EINTR {
			return int(sent), e
		}
	}
}

// refuse notes that datagram i, or a part of it, was not sent.
func (w *writer) refuse(i int, e unix.Errno) {
	if w.fail.Err == nil || (e == unix.EMSGSIZE && w.fail.Err != unix.EMSGSIZE) {
		w.fail.Remote, w.fail.Err = w.ds[i].Remote, e
	}
	if w.path != nil && e != unix.EAGAIN {
		w.s.frames.forget() // the frame path may be wrong
	}
	if i == w.failed {
		return
	}
	w.failed = i
	w.fail.Failed++
	w.s.sendErrors.Add(1)
	if e == unix.EMSGSIZE {
		w.s.tooBig.Add(1)
	}
}

// putName writes where a message goes and returns its length.
func (s *Socket) putName(to *name, remote netip.AddrPort) uint32 {
	port := remote.Port()
	if s.Raw() {
		port = 0 // raw(7): the port must be 0 or the protocol
	}
	if s.v6 {
		*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: remote.Addr().As16()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], port)
		return unix.SizeofSockaddrInet6
	}
	n := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
	*n = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: remote.Addr().Unmap().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&n.Port))[:], port)
	return unix.SizeofSockaddrInet4
}

// putControl writes the control messages of a datagram and returns their length:
// the source address where one is given, the traffic class, the segment size.
func (s *Socket) putControl(to *control, d *ipsec.Datagram, segment int) int {
	c := controlWriter{b: unsafe.Slice((*byte)(unsafe.Pointer(to)), int(unsafe.Sizeof(*to)))}
	if local := d.Local.Addr().Unmap(); local.IsValid() && !local.IsUnspecified() && local.Is6() == s.v6 {
		if s.v6 {
			p := (*unix.Inet6Pktinfo)(c.next(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo))
			*p = unix.Inet6Pktinfo{Addr: local.As16()}
		} else {
			p := (*unix.Inet4Pktinfo)(c.next(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo))
			*p = unix.Inet4Pktinfo{Spec_dst: local.As4()}
		}
	}
	if d.TOS != 0 {
		level, typ := unix.IPPROTO_IP, unix.IP_TOS
		if s.v6 {
			level, typ = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		*(*int32)(c.next(level, typ, 4)) = int32(d.TOS)
	}
	if segment > 0 {
		*(*uint16)(c.next(unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)) = uint16(segment)
	}
	return c.n
}

// controlWriter lays control messages one behind the other.
type controlWriter struct {
	b []byte
	n int
}

func (c *controlWriter) next(level, typ, size int) unsafe.Pointer {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[c.n]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(size))
	v := unsafe.Pointer(&c.b[c.n+unix.CmsgLen(0)])
	c.n += unix.CmsgSpace(size)
	return v
}
