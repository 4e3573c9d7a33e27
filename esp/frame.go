package esp

import "encoding/binary"

// vnetHeader is the size of the virtio_net_hdr before each packet of a Framer.
const vnetHeader = 10

// vnet is a virtio_net_hdr (virtio 1.2 section 5.1.6, linux/virtio_net.h). It says what is still to be
// done to a packet: by us in a frame that the kernel gave, by the kernel in a frame that we write. Its
// numbers are in the machine's byte order.
//
//	flags(1) | gso(1) | head(2) | segment(2) | start(2) | offset(2)
type vnet struct {
	flags   uint8
	gso     uint8  // how the packet is to be cut into segments
	head    uint16 // length of the headers; a hint that must not be trusted
	segment uint16 // payload of each segment
	start   uint16 // with needsChecksum: where the summed part begins
	offset  uint16 // with needsChecksum: where the checksum goes, counted from start
}

const needsChecksum = 1 // in vnet.flags: the field holds the pseudo-header's sum only

// Values of vnet.gso.
const (
	gsoNone = 0
	gsoTCP4 = 1
	gsoTCP6 = 4
	gsoUDP  = 5    // UDP_L4: datagrams of one size
	gsoECN  = 0x80 // together with gsoTCP4 or gsoTCP6: the first segment has CWR
)

func parseVnet(b []byte) vnet {
	return vnet{
		flags: b[0], gso: b[1],
		head:    binary.NativeEndian.Uint16(b[2:]),
		segment: binary.NativeEndian.Uint16(b[4:]),
		start:   binary.NativeEndian.Uint16(b[6:]),
		offset:  binary.NativeEndian.Uint16(b[8:]),
	}
}

func (h vnet) put(b []byte) {
	b[0], b[1] = h.flags, h.gso
	binary.NativeEndian.PutUint16(b[2:], h.head)
	binary.NativeEndian.PutUint16(b[4:], h.segment)
	binary.NativeEndian.PutUint16(b[6:], h.start)
	binary.NativeEndian.PutUint16(b[8:], h.offset)
}

// complete completes the checksum that the kernel left partial in the packet b.
// false: its field would lie outside b.
func (h vnet) complete(b []byte) bool {
	start, at := int(h.start), int(h.start)+int(h.offset)
	if h.flags&needsChecksum == 0 {
		return true
	}
	if at+2 > len(b) {
		return false
	}
	sum := checksum(0, b[start:])
	if h.offset == udpChecksum {
		sum = nonZero(sum)
	}
	binary.BigEndian.PutUint16(b[at:], sum)
	return true
}

// Offsets of the checksum in a transport header.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

// nonZero is sum as UDP sends it: all ones instead of zero, which means that there is no checksum (RFC 768).
func nonZero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}
