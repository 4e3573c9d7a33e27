package host

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// An ethernet sends packets of protocol 50 as Ethernet frames, past the kernel's IP
// output, which costs a quarter of such a packet's sending. Only where that changes nothing
// but the speed: see ways.
//
// Whoever sends asks for the way to a peer, without waiting. While none is known, and for
// what a way does not take, packets go by the raw socket.
type ethernet struct {
	fd     *descriptor // AF_PACKET
	ways   atomic.Pointer[map[ends]*way]
	wanted chan ends // to be looked for
	sent   atomic.Uint64
}

// ends are the outer addresses of packets; the local one may be invalid.
type ends struct{ local, remote netip.Addr }

// way is how packets from one address to another are sent. It does not change but for its flags.
type way struct {
	index  int // of the device; 0: by the socket
	header [maxFrameHeader]byte
	length int    // of header
	sum    uint32 // of the IPv4 header's words but length and TOS
	mtu    int

	used   atomic.Bool // since the ways were looked for
	primed atomic.Bool // a batch went by the socket: so the kernel keeps looking after the neighbour
}

const (
	etherHeader    = 14
	ipv6Header     = 40
	maxFrameHeader = etherHeader + ipv6Header
)

func newEthernet() (*ethernet, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, Mark)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferESP)
	e := &ethernet{wanted: make(chan ends, 64)}
	if e.fd, err = newDescriptor(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	e.forget()
	return e, nil
}

// forget has packets go by the socket until ways are looked for again.
func (e *ethernet) forget() { e.ways.Store(&map[ends]*way{}) }

// way is the one that a batch goes as a whole, or nil.
func (e *ethernet) way(ds []ipsec.Datagram, v6 bool) *way {
	to := ends{ds[0].Local.Addr(), ds[0].Remote.Addr()}
	if !to.remote.IsValid() || to.remote.Unmap().Is6() != v6 {
		return nil
	}
	longest := 0
	for i := range ds {
		if ds[i].Remote.Addr() != to.remote || ds[i].Local.Addr() != to.local || ds[i].Segment > 0 {
			return nil
		}
		longest = max(longest, len(ds[i].Data))
	}
	w := (*e.ways.Load())[to]
	if w == nil {
		select {
		case e.wanted <- to:
		default:
		}
		return nil
	}
	if !w.used.Load() {
		w.used.Store(true)
	}
	if w.index == 0 || w.length-etherHeader+longest > w.mtu {
		return nil
	}
	if !w.primed.Load() {
		w.primed.Store(true)
		return nil
	}
	return w
}

// put writes the header of a packet with so many bytes of payload, and returns it.
func (w *way) put(to *[maxFrameHeader]byte, payload int, tos uint8) []byte {
	*to = w.header
	ip := to[etherHeader:w.length]
	if w.length == etherHeader+ipv4Header {
		total := uint16(ipv4Header + payload)
		ip[1] = tos
		binary.BigEndian.PutUint16(ip[2:], total)
		sum := w.sum + uint32(tos) + uint32(total)
		sum = sum&0xffff + sum>>16
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	} else {
		ip[0], ip[1] = 0x60|tos>>4, tos<<4
		binary.BigEndian.PutUint16(ip[4:], uint16(payload))
	}
	return to[:w.length]
}

// name writes the link-layer address that a frame goes to, and returns its length.
func (w *way) name(to *name) uint32 {
	n := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(to))
	*n = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(w.index), Halen: 6}
	copy((*[2]byte)(unsafe.Pointer(&n.Protocol))[:], w.header[12:14])
	copy(n.Addr[:], w.header[:6])
	return unix.SizeofSockaddrLinklayer
}

// frame is the header of the frames from one MAC address to another that hold packets from local to remote.
func (w *way) frame(from, to [6]byte, local, remote netip.Addr, hops uint8) {
	h := w.header[:]
	copy(h, to[:])
	copy(h[6:], from[:])
	ip := h[etherHeader:]
	if remote.Is6() {
		w.length = etherHeader + ipv6Header
		binary.BigEndian.PutUint16(h[12:], unix.ETH_P_IPV6)
		ip[0], ip[6], ip[7] = 0x60, protoESP, hops
		copy(ip[8:], local.AsSlice())
		copy(ip[24:], remote.AsSlice())
		return
	}
	w.length = etherHeader + ipv4Header
	binary.BigEndian.PutUint16(h[12:], unix.ETH_P_IP)
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, hops, protoESP // DF, as the socket has it
	copy(ip[12:], local.AsSlice())
	copy(ip[16:], remote.AsSlice())
	for i := 0; i < ipv4Header; i += 2 {
		w.sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
}
