package host

import (
	"encoding/binary"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// batch is the most messages that one system call moves.
const batch = 128

// controlSize holds the control messages of one datagram, either way: packet
// info, traffic class, segment size. In 64-bit words, for their alignment.
const controlSize = 12

type control [controlSize]uint64

// name is a socket address of either family.
type name = unix.RawSockaddrInet6

// reader is the memory of recvmmsg, set up once. Not safe for concurrent use.
type reader struct {
	s        *Socket
	msgs     [batch]unix.Mmsghdr
	iovs     [batch]unix.Iovec
	names    [batch]name
	controls [batch]control
	fresh    int // messages from this index on are ready for the next call
	want     int
}

// ipv4Header is the length of an IPv4 header without options.
const ipv4Header = 20

func newReader(s *Socket) *reader {
	r := &reader{s: s}
	for i := range r.msgs {
		h := &r.msgs[i].Hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		if !s.wholePackets() {
			h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
			h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
		}
	}
	r.fresh = batch
	return r
}

// wholePackets reports whether the socket delivers the outer header too. Addresses and TOS are
// taken from it; other sockets deliver them as name and control messages.
func (s *Socket) wholePackets() bool { return s.Raw() && !s.v6 }

// FD returns the descriptor for a Poller.
func (s *Socket) FD() int { return s.fd.fd }

// ReadBatch waits for a datagram and then works as ReadReady.
func (s *Socket) ReadBatch(ds []ipsec.Datagram) (int, error) {
	for {
		n, err := s.ReadReady(ds)
		if n > 0 || err != nil || len(ds) == 0 {
			return n, err
		}
		s.fd.do(func(uintptr) { s.fd.wait(unix.POLLIN, -1) })
	}
}

// ReadReady takes the datagrams that are there, at most len(ds). The
// caller sets each Data to a buffer, of 64 KB where UDP_GRO may deliver runs; it
// comes back cut to the payload, empty when the datagram did not fit. All other
// fields are set. Port 500 gives no runs. After Close it returns net.ErrClosed.
func (s *Socket) ReadReady(ds []ipsec.Datagram) (int, error) {
	r := s.read
	r.want = min(len(ds), batch)
	if r.want == 0 {
		return 0, nil
	}
	for i := range ds[:r.want] {
		iov := &r.iovs[i]
		iov.Base = unsafe.SliceData(ds[i].Data)
		iov.SetLen(len(ds[i].Data))
	}
	if !s.fd.enter() {
		return 0, s.failed(net.ErrClosed)
	}
	defer s.fd.leave()
	for {
		n, e := r.try(s.fd.fd)
		switch {
		case e == 0:
			for i := range ds[:n] {
				r.deliver(i, &ds[i])
			}
			return n, nil
		case s.fd.closed.Load():
			return 0, s.failed(net.ErrClosed)
		case e == unix.EAGAIN:
			return 0, nil
		default:
			return 0, s.failed(e)
		}
	}
}

// try is one recvmmsg. The socket does not block, so the scheduler need not hear of the call.
func (r *reader) try(fd int) (int, unix.Errno) {
	for i := range r.msgs[:r.fresh] {
		h := &r.msgs[i].Hdr
		if h.Name != nil {
			h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
			h.SetControllen(int(unsafe.Sizeof(r.controls[i])))
		}
		h.Flags = 0
	}
	r.fresh = 0
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(r.want), 0, 0, 0)
		if e == 0 {
			r.fresh = int(n)
		}
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// deliver turns message i into d.
func (r *reader) deliver(i int, d *ipsec.Datagram) {
	m := &r.msgs[i]
	d.Segment, d.TOS, d.Local = 0, 0, r.s.addr
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 {
		r.s.cut.Add(1)
		d.Data = d.Data[:0]
		return
	}
	n := int(m.Len)
	if r.s.wholePackets() { // which the kernel checked
		if d.Data = d.Data[:n]; n < ipv4Header || n < headerLen(d.Data) {
			d.Data = d.Data[:0]
			return
		}
		h := d.Data[:ipv4Header]
		d.TOS = h[1]
		d.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[12:])), 0)
		d.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[16:])), 0)
		d.Data = d.Data[headerLen(h):]
		return
	}
	d.Remote = r.remote(i)
	d.Data = d.Data[:n]
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r.controls[i])), int(m.Hdr.Controllen))
	readControl(b, d)
}

// headerLen is the length of an IPv4 header, its options included.
func headerLen(b []byte) int { return int(b[0]&0x0f) * 4 }

func (r *reader) remote(i int) netip.AddrPort {
	if r.s.v6 {
		n := &r.names[i]
		return netip.AddrPortFrom(netip.AddrFrom16(n.Addr), r.port(&n.Port))
	}
	n := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.names[i]))
	return netip.AddrPortFrom(netip.AddrFrom4(n.Addr), r.port(&n.Port))
}

// port reads a port in network order; a raw socket has none.
func (r *reader) port(p *uint16) uint16 {
	if r.s.Raw() {
		return 0
	}
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// readControl takes from control messages the local address, the traffic class
// and the segment size of a run.
func readControl(b []byte, d *ipsec.Datagram) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(b) {
			return
		}
		v := b[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(v) >= unix.SizeofInet4Pktinfo:
			// Spec_dst: of a unicast packet its destination, else ours on that device.
			p := (*unix.Inet4Pktinfo)(unsafe.Pointer(&v[0]))
			d.Local = netip.AddrPortFrom(netip.AddrFrom4(p.Spec_dst), d.Local.Port())
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(v) >= unix.SizeofInet6Pktinfo:
			p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&v[0]))
			d.Local = netip.AddrPortFrom(netip.AddrFrom16(p.Addr), d.Local.Port())
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(v) >= 1:
			d.TOS = v[0]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(v) >= 4:
			d.TOS = uint8(*(*int32)(unsafe.Pointer(&v[0])))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(v) >= 4:
			if size := int(*(*int32)(unsafe.Pointer(&v[0]))); size > 0 && size < len(d.Data) {
				d.Segment = size
			}
		}
		b = b[min(len(b), unix.CmsgSpace(len(v))):]
	}
}
