package host

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// A frameSender sends packets of protocol 50 as Ethernet frames, past the kernel's IP output,
// which costs a quarter of such a packet's sending. It does so only where that affects nothing
// but the speed; Sockets.Run finds these paths.
//
// A sender asks for the frame path to a peer and does not wait for it. It uses the raw socket while
// the path is unknown, and for packets that the path does not take.
type frameSender struct {
	fd    *descriptor // AF_PACKET
	paths atomic.Pointer[map[ends]*framePath]
	asked chan ends // paths to be found
	sent  atomic.Uint64
}

// ends are the outer addresses of packets; the local one may be invalid.
type ends struct{ local, remote netip.Addr }

// framePath has the header and the device of frames that carry packets between two addresses. Only its
// flags change.
type framePath struct {
	index  int // of the device; 0: there is no path, use the socket
	header [maxFrameHeader]byte
	length int    // of header
	sum    uint32 // of the IPv4 header's words but length and TOS
	mtu    int

	used atomic.Bool // since the last search
	// primed: the socket has sent a batch, so no filter of the control group refuses it, and the kernel
	// keeps the neighbour's entry valid.
	primed atomic.Bool
}

const (
	etherHeader    = 14
	ipv6Header     = 40
	maxFrameHeader = etherHeader + ipv6Header
)

func newFrameSender() (*frameSender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, Mark)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferESPSend)
	e := &frameSender{asked: make(chan ends, 64)}
	if e.fd, err = newDescriptor(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	e.forget()
	return e, nil
}

// forget has packets go by the socket until the next search.
func (e *frameSender) forget() { e.paths.Store(&map[ends]*framePath{}) }

// path returns the frame path that takes the whole batch, or nil. prime is a path that takes the next
// batches if the socket sends this one.
func (e *frameSender) path(ds []ipsec.Datagram, v6 bool) (path, prime *framePath) {
	to := ends{ds[0].Local.Addr(), ds[0].Remote.Addr()}
	if !to.remote.IsValid() || to.remote.Unmap().Is6() != v6 {
		return nil, nil
	}
	longest := 0
	for i := range ds {
		if ds[i].Remote.Addr() != to.remote || ds[i].Local.Addr() != to.local || ds[i].Segment > 0 {
			return nil, nil
		}
		longest = max(longest, len(ds[i].Data))
	}
	p := (*e.paths.Load())[to]
	if p == nil {
		select {
		case e.asked <- to:
		default:
		}
		return nil, nil
	}
	if !p.used.Load() {
		p.used.Store(true)
	}
	if p.index == 0 || p.length-etherHeader+longest > p.mtu {
		return nil, nil
	}
	if !p.primed.Load() {
		return nil, p
	}
	return p, nil
}

// put writes the header of a packet with so many bytes of payload, and returns it.
func (p *framePath) put(to *[maxFrameHeader]byte, payload int, tos uint8) []byte {
	*to = p.header
	ip := to[etherHeader:p.length]
	if p.length == etherHeader+ipv4Header {
		total := uint16(ipv4Header + payload)
		ip[1] = tos
		binary.BigEndian.PutUint16(ip[2:], total)
		sum := p.sum + uint32(tos) + uint32(total)
		sum = sum&0xffff + sum>>16
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	} else {
		ip[0], ip[1] = 0x60|tos>>4, tos<<4
		binary.BigEndian.PutUint16(ip[4:], uint16(payload))
	}
	return to[:p.length]
}

// name writes the link-layer address of the next hop, and returns its length.
func (p *framePath) name(to *name) uint32 {
	n := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(to))
	*n = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(p.index), Halen: 6}
	copy((*[2]byte)(unsafe.Pointer(&n.Protocol))[:], p.header[12:14])
	copy(n.Addr[:], p.header[:6])
	return unix.SizeofSockaddrLinklayer
}

// frame is the header of the frames from one MAC address to another that hold packets from local to remote.
func (p *framePath) frame(from, to [6]byte, local, remote netip.Addr, hops uint8) {
	h := p.header[:]
	copy(h, to[:])
	copy(h[6:], from[:])
	ip := h[etherHeader:]
	if remote.Is6() {
		p.length = etherHeader + ipv6Header
		binary.BigEndian.PutUint16(h[12:], unix.ETH_P_IPV6)
		ip[0], ip[6], ip[7] = 0x60, protoESP, hops
		copy(ip[8:], local.AsSlice())
		copy(ip[24:], remote.AsSlice())
		return
	}
	p.length = etherHeader + ipv4Header
	binary.BigEndian.PutUint16(h[12:], unix.ETH_P_IP)
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, hops, protoESP // DF, as the socket has it
	copy(ip[12:], local.AsSlice())
	copy(ip[16:], remote.AsSlice())
	for i := 0; i < ipv4Header; i += 2 {
		p.sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
}
