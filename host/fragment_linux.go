package host

import (
	"encoding/binary"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// A fragmenter sends packets of protocol 50 or UDP over IPv6 in fragments of 1280 bytes at most, which every link carries
// (RFC 8200 section 5). No router fragments IPv6, and the kernel would do so by the path MTU, of which it does not
// hear where ICMP is filtered, nor for a raw socket (IPV6_RECVERR apart, with which anybody's ICMP message makes a call on the socket fail).
//
//	+---------------+----------+-------------------------+-----+-+
//	| Next Header   | Reserved | Fragment Offset         | Res |M|   RFC 8200 section 4.5
//	+---------------+----------+-------------------------+-----+-+
//	| Identification                                             |
//	+------------------------------------------------------------+
type fragmenter struct{ fd *descriptor }

const (
	ipv6MinMTU     = 1280
	protoFragment  = 44
	fragmentHeader = 8
	fragmentMost   = (ipv6MinMTU - ipv6Header - fragmentHeader) &^ 7 // bytes of the packet in a fragment
)

func newFragmenter(s *Socket) (*fragmenter, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protoFragment)
	if err != nil {
		return nil, err
	}
	if err = receiveNothing(fd); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, Mark)
	}
	if err == nil {
		o := freebind(true)
		unix.SetsockoptInt(fd, o.level, o.name, o.value)
		err = unix.Bind(fd, &unix.SockaddrInet6{Addr: s.addr.Addr().As16()})
	}
	var f fragmenter
	if err == nil {
		f.fd, err = newDescriptor(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &f, nil
}

// receiveNothing keeps out of a raw socket, which only sends, a copy of each packet that comes in.
func receiveNothing(fd int) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
}

// takes reports whether d of s goes in fragments: it is too long for one, and the checksum of UDP can be computed.
func (f *fragmenter) takes(s *Socket, d *ipsec.Datagram) bool {
	n := len(d.Data)
	if !s.Raw() {
		n += udpHeader
		if a := d.Local.Addr(); !a.IsValid() || a.IsUnspecified() || !a.Is6() {
			return false
		}
	}
	return n > fragmentMost
}

// send sends d of s, which is longer than one fragment.
func (f *fragmenter) send(s *Socket, d *ipsec.Datagram) (err error) {
	var c control
	n := s.putControl(&c, d, 0)
	oob := unsafe.Slice((*byte)(unsafe.Pointer(&c)), n)
	to := unix.SockaddrInet6{Addr: d.Remote.Addr().As16()}
	id := rand.Uint32()
	protocol, data := byte(protoESP), d.Data
	if !s.Raw() {
		protocol, data = protoUDP, s.udp(d)
	}
	for at := 0; at < len(data) && err == nil; at += fragmentMost {
		part := data[at:min(at+fragmentMost, len(data))]
		offset := uint16(at)
		if at+len(part) < len(data) {
			offset |= 1 // M: more fragments
		}
		b := make([]byte, fragmentHeader, fragmentHeader+len(part))
		b[0] = protocol
		binary.BigEndian.PutUint16(b[2:], offset)
		binary.BigEndian.PutUint32(b[4:], id)
		b = append(b, part...)
		if e := f.fd.do(func(fd uintptr) { err = unix.Sendmsg(int(fd), b, oob, &to, 0) }); e != nil {
			return e
		}
	}
	return err
}

const (
	protoUDP  = 17
	udpHeader = 8
)

// udp puts the UDP header before the data of d.
func (s *Socket) udp(d *ipsec.Datagram) []byte {
	b := make([]byte, udpHeader, udpHeader+len(d.Data))
	binary.BigEndian.PutUint16(b, s.addr.Port())
	binary.BigEndian.PutUint16(b[2:], d.Remote.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+len(d.Data)))
	b = append(b, d.Data...)
	var sum uint32 // of the pseudo-header (RFC 8200 section 8.1), then of the datagram
	add := func(p []byte) {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
		if len(p) > 0 {
			sum += uint32(p[0]) << 8
		}
	}
	add(d.Local.Addr().AsSlice())
	add(d.Remote.Addr().AsSlice())
	sum += uint32(len(b)) + protoUDP
	add(b)
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if sum = ^sum & 0xffff; sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], uint16(sum))
	return b
}
