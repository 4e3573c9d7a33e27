package host

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is one socket of the underlay: UDP port 500 or 4500, or protocol 50.
// One goroutine at a time reads; any number write and close. Peers with a
// link-local address are not served: a Datagram's addresses have no zone.
type Socket struct {
	fd     *descriptor
	addr   netip.AddrPort // bound to; port 0: raw
	v6     bool
	ike    bool         // for IKE alone
	frames *frameSender // of a raw socket; nil: it sends no frames
	pieces *fragmenter  // of an IPv6 socket
	cutter *Socket      // sends for WriteCut; nil: this one does
	gso    atomic.Bool  // UDP_SEGMENT works

	read    *reader
	writers chan *writer // free ones; their number bounds the writers at work
	frag    sync.Mutex   // held while DF is off

	sendErrors, tooBig, cut atomic.Uint64
}

// SocketStats are counters since the socket was opened.
type SocketStats struct {
	SendErrors  uint64 // datagrams that the kernel refused, too big ones included
	TooBig      uint64 // part of SendErrors: larger than the path MTU
	Truncated   uint64 // received datagrams longer than the buffer; dropped
	KernelDrops uint64 // received packets that the kernel dropped, mostly as our buffer was full
	Segments    bool   // UDP_SEGMENT is in use
	Frames      uint64 // packets that went as Ethernet frames, from all sockets
}

// ESP sockets take what a stream of 2 Gbit/s has under way over 100 ms (the kernel grants twice the size), while the thread that reads waits
// for a processor. The more they take, the longer is the queue in a flood. Sockets of IKE alone take what a flood of 50 000
// messages a second brings in a tenth of a second.
const (
	bufferESP     = 16 << 20
	bufferESPSend = 8 << 20
	bufferIKE     = 4 << 20
)

// openSocket opens and binds a UDP socket, or with port 0 a raw ESP socket.
func openSocket(addr netip.AddrPort) (*Socket, error) {
	return (&Socket{addr: addr, ike: addr.Port() == PortIKE}).open(nil)
}

// open opens and binds s, with options more.
func (s *Socket) open(more []option) (*Socket, error) {
	addr := s.addr
	v6 := addr.Addr().Is6()
	family, typ, proto := unix.AF_INET, unix.SOCK_DGRAM, 0
	if v6 {
		family = unix.AF_INET6
	}
	if addr.Port() == 0 {
		typ, proto = unix.SOCK_RAW, protoESP
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, err
	}
	s.v6, s.writers = v6, make(chan *writer, 2*runtime.GOMAXPROCS(0))
	if err := s.setup(fd, more); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if s.fd, err = newDescriptor(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if v6 {
		if s.pieces, err = newFragmenter(s); err != nil {
			s.fd.Close()
			return nil, fmt.Errorf("fragments: %w", err)
		}
	}
	s.read = newReader(s)
	for range cap(s.writers) {
		s.writers <- newWriter(s)
	}
	return s, nil
}

// option is one setsockopt. Only the failure of a required option is an error; the others serve
// speed.
type option struct {
	what               string
	level, name, value int
	must               bool
}

func (s *Socket) setup(fd int, more []option) error {
	receive, send := bufferESP, bufferESPSend
	if s.ike {
		receive, send = bufferIKE, bufferIKE
	}
	opts := []option{
		{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, Mark, true},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, receive, false}, // capped by rmem_max,
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, send, false},    // which CAP_NET_ADMIN passes over:
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receive, false},
		{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, send, false},
	}
	if s.v6 {
		opts = append(opts,
			option{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, true},
			option{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, true},
			// Raw sockets do not know the option, and are never of both families.
			// NAT64 may make such datagrams (RFC 6936); ESP and IKE have checks of their own.
			option{"UDP_NO_CHECK6_RX", unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1, false},
			option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, !s.Raw()})
	} else if !s.Raw() { // a raw socket delivers the header itself
		opts = append(opts,
			option{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1, true},
			option{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1, true})
	}
	if !s.addr.Addr().IsUnspecified() {
		// The address may come later, from VRRP or DHCP, go and come back.
		opts = append(opts, freebind(s.v6))
	}
	opts = append(append(opts, s.fragmentation(s.ike)...), more...)
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil && o.must {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	if !s.Raw() {
		if s.addr.Port() != PortIKE {
			unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
		s.gso.Store(unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	}
	return unix.Bind(fd, s.sockaddr())
}

// fragmentation is the options that let packets be fragmented, or else that set DF and make a send fail with
// EMSGSIZE if the packet exceeds the MTU of the device. The kernel's path MTU does not count: for it the
// kernel believes whoever sends an ICMP message that quotes our addresses. ICMPSocket and package esp are more careful.
//
// IPv6 is cut by a fragmenter: the kernel goes by its path MTU, of which it may not hear, and no router fragments IPv6.
func (s *Socket) fragmentation(allowed bool) []option {
	if s.v6 {
		discover, dont := unix.IPV6_PMTUDISC_PROBE, 1
		if allowed {
			discover, dont = unix.IPV6_PMTUDISC_WANT, 0
		}
		return []option{
			{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, discover, true},
			{"IPV6_DONTFRAG", unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, dont, true},
		}
	}
	discover := unix.IP_PMTUDISC_PROBE
	if allowed {
		discover = unix.IP_PMTUDISC_DONT
	}
	return []option{{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover, true}}
}

// freebind lets a socket be bound to an address that no interface has yet.
func freebind(v6 bool) option {
	if v6 {
		return option{"IPV6_FREEBIND", unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1, false}
	}
	return option{"IP_FREEBIND", unix.IPPROTO_IP, unix.IP_FREEBIND, 1, false}
}

func (s *Socket) sockaddr() unix.Sockaddr {
	if s.v6 {
		return &unix.SockaddrInet6{Port: int(s.addr.Port()), Addr: s.addr.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(s.addr.Port()), Addr: s.addr.Addr().As4()}
}

// Raw reports whether the socket carries protocol 50 rather than UDP.
func (s *Socket) Raw() bool { return s.addr.Port() == 0 }

// Local returns the address that the socket is bound to. Port 0: raw.
func (s *Socket) Local() netip.AddrPort { return s.addr }

// Close closes the socket. Reads and writes return net.ErrClosed.
func (s *Socket) Close() error {
	if s.pieces != nil {
		s.pieces.fd.Close()
	}
	if s.cutter != nil && s.Raw() { // of other sockets it is one of Sockets
		s.cutter.Close()
	}
	return s.fd.Close()
}

// failed wraps an error of the descriptor itself.
func (s *Socket) failed(err error) error {
	if s.fd.closed.Load() {
		return fmt.Errorf("socket %s: %w", s.addr, net.ErrClosed)
	}
	return fmt.Errorf("socket %s: %w", s.addr, err)
}

// Stats reads the counters.
func (s *Socket) Stats() SocketStats {
	st := SocketStats{
		SendErrors: s.sendErrors.Load(), TooBig: s.tooBig.Load(),
		Truncated: s.cut.Load(), Segments: s.gso.Load(),
	}
	if s.frames != nil {
		st.Frames = s.frames.sent.Load()
	}
	s.fd.do(func(fd uintptr) {
		const drops = 8            // SK_MEMINFO_DROPS, linux/sock_diag.h
		var info [drops + 1]uint32 // the kernel fills what there is room for
		size := uint32(unsafe.Sizeof(info))
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if e == 0 {
			st.KernelDrops = uint64(info[drops])
		}
	})
	return st
}
