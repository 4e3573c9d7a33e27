package host

import (
	"encoding/binary"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// A fragmenter sends packets of protocol 50 over IPv6 in fragments of 1280 bytes at most, which every link carries
// (RFC 8200 section 5). No router fragments IPv6, and the kernel would do so by the path MTU, of which it does not
// hear for a raw socket (IPV6_RECVERR apart, with which anybody's ICMP message makes a call on the socket fail).
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
		err = unix.Bind(fd, s.sockaddr())
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

// send sends d of s, which is longer than one fragment.
func (f *fragmenter) send(s *Socket, d *ipsec.Datagram) (err error) {
	var c control
	n := s.putControl(&c, d, 0)
	oob := unsafe.Slice((*byte)(unsafe.Pointer(&c)), n)
	to := unix.SockaddrInet6{Addr: d.Remote.Addr().As16()}
	id := rand.Uint32()
	for at := 0; at < len(d.Data) && err == nil; at += fragmentMost {
		part := d.Data[at:min(at+fragmentMost, len(d.Data))]
		offset := uint16(at)
		if at+len(part) < len(d.Data) {
			offset |= 1 // M: more fragments
		}
		b := make([]byte, fragmentHeader, fragmentHeader+len(part))
		b[0] = protoESP
		binary.BigEndian.PutUint16(b[2:], offset)
		binary.BigEndian.PutUint32(b[4:], id)
		b = append(b, part...)
		if e := f.fd.do(func(fd uintptr) { err = unix.Sendmsg(int(fd), b, oob, &to, 0) }); e != nil {
			return e
		}
	}
	return err
}
