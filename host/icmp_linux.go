package host

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// An ICMPSocket gets the ICMP messages of one family that say that a packet was too big for its path, as the routers
// sent them: nobody has compared them with what this host sends. The kernel's own path MTU, which any of
// them can lower, does not hold for our sockets (see Socket.fragmentation).
type ICMPSocket struct {
	fd *descriptor
	v6 bool
}

const (
	icmpFilter   = 1 // ICMP_FILTER, linux/icmp.h
	icmp6Filter  = 1 // ICMPV6_FILTER, linux/icmpv6.h
	unreachable  = 3 // ICMPv4 type
	packetTooBig = 2 // ICMPv6 type
)

func openICMP(v6 bool) (*ICMPSocket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("ICMP: %w", err)
	}
	if v6 { // a set bit keeps a type out
		f := unix.ICMPv6Filter{}
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		f.Data[0] &^= 1 << packetTooBig
		err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, icmp6Filter, &f)
	} else {
		keepOut := ^uint32(1 << unreachable)
		err = unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(keepOut)))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ICMP filter: %w", err)
	}
	s := &ICMPSocket{v6: v6}
	if s.fd, err = newDescriptor(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// V6 reports whether the messages are of ICMPv6. They begin with their type then; those of IPv4 begin with
// the outer header.
func (s *ICMPSocket) V6() bool { return s.v6 }

// Read waits for a message. After Close it returns net.ErrClosed.
func (s *ICMPSocket) Read(b []byte) (int, error) {
	if !s.fd.enter() {
		return 0, net.ErrClosed
	}
	defer s.fd.leave()
	for {
		n, err := unix.Read(s.fd.fd, b)
		switch {
		case err == nil:
			return n, nil
		case s.fd.closed.Load():
			return 0, net.ErrClosed
		case err == unix.EAGAIN:
			s.fd.wait(unix.POLLIN, -1)
		case err != unix.EINTR:
			return 0, fmt.Errorf("ICMP: %w", err)
		}
	}
}

// Close ends Read.
func (s *ICMPSocket) Close() error { return s.fd.Close() }
