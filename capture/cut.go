package capture

import "encoding/binary"

// Super is what a virtio_net_hdr says of the packet behind it: perhaps it stands for several, and its checksum is perhaps
// still to be completed.
type Super struct {
	flags, kind   uint8
	segment       int // bytes of payload in each packet
	start, offset int // where what the checksum covers begins, and where in that it goes
}

// SuperSize is the size of a virtio_net_hdr.
const SuperSize = 10

const (
	needsChecksum = 1 // in flags

	kindTCP4 = 1
	kindTCP6 = 4
	kindUDP  = 5    // several datagrams of a flow
	kindECN  = 0x80 // in addition, of TCP

	protoTCP = 6
	protoUDP = 17

	flagFIN = 0x01
	flagPSH = 0x08
	flagCWR = 0x80
)

// ParseSuper reads a virtio_net_hdr, which is in the machine's own byte order. network is where the IP header begins
// behind it.
func ParseSuper(b [SuperSize]byte, network int) Super {
	n := binary.NativeEndian
	return Super{
		flags: b[0], kind: b[1], segment: int(n.Uint16(b[4:])),
		start: int(n.Uint16(b[6:])) - network, offset: int(n.Uint16(b[8:])),
	}
}

// Cut calls take for each packet that b, which begins with an IP header, stands for, as it is on the wire. What
// cannot be cut is taken as it is. take must not keep the slice; b is written to.
func (s Super) Cut(b []byte, take func([]byte)) {
	t, proto, ok := transport(b)
	tcp := s.kind&^kindECN == kindTCP4 || s.kind&^kindECN == kindTCP6
	head := t + 8
	if ok && tcp && len(b) >= t+20 {
		head = t + int(b[t+12]>>4)*4
	}
	switch {
	case ok && s.segment > 0 && tcp && proto == protoTCP && head >= t+20 && len(b) > head:
	case ok && s.segment > 0 && s.kind == kindUDP && proto == protoUDP && len(b) > head:
	default:
		if at := s.start + s.offset; s.flags&needsChecksum != 0 && s.start > 0 && at+2 <= len(b) {
			put(b[at:], onesSum(0, b[s.start:]), proto)
		}
		take(b[:ipLength(b)])
		return
	}
	packet := make([]byte, 0, head+s.segment)
	for i, at := 0, head; at < len(b); i, at = i+1, at+s.segment {
		end := min(at+s.segment, len(b))
		packet = append(append(packet[:0], b[:head]...), b[at:end]...)
		finish(packet, t, proto, i, i*s.segment, end == len(b))
		take(packet)
	}
}

// finish writes the headers of the packet at index of a super-packet, whose headers it has. offset is where its payload
// begins in that of all.
func finish(p []byte, t int, proto byte, index, offset int, last bool) {
	sum := uint32(len(p)-t) + uint32(proto) // of the pseudo-header
	if p[0]>>4 == 4 {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(index))
		clear(p[10:12])
		put(p[10:], onesSum(0, p[:t]), 0)
		sum = onesSum(sum, p[12:20])
	} else {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipv6Header))
		sum = onesSum(sum, p[8:40])
	}
	h := p[t:]
	field := 6
	if proto == protoTCP {
		field = 16
		binary.BigEndian.PutUint32(h[4:], binary.BigEndian.Uint32(h[4:])+uint32(offset))
		if !last {
			h[13] &^= flagFIN | flagPSH
		}
		if index > 0 {
			h[13] &^= flagCWR // it answers one ECE (RFC 3168 section 6.1.2)
		}
	} else {
		binary.BigEndian.PutUint16(h[4:], uint16(len(h)))
	}
	clear(h[field : field+2])
	put(h[field:], onesSum(sum, h), proto)
}

// ipLength is the length of a packet without what Ethernet pads it with.
func ipLength(b []byte) int {
	n := len(b)
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		n = ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	}
	if n < ipv4Header || n > len(b) {
		return len(b)
	}
	return n
}

const (
	ipv4Header = 20
	ipv6Header = 40
)

// transport finds the transport header of a packet that is no fragment.
func transport(b []byte) (at int, proto byte, ok bool) {
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		at, proto = int(b[0]&15)*4, b[9]
		ok = at >= ipv4Header && binary.BigEndian.Uint16(b[6:])&0x3fff == 0
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		const hopByHop, routing, options = 0, 43, 60
		at, proto, ok = ipv6Header, b[6], true
		for (proto == hopByHop || proto == routing || proto == options) && at+8 <= len(b) {
			proto, at = b[at], at+8+int(b[at+1])*8
		}
	}
	return at, proto, ok && at+8 <= len(b)
}

// onesSum adds b to a sum of 16-bit words.
func onesSum(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
		sum = sum&0xffff + sum>>16
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

// put writes a checksum. UDP has no checksum of zero.
func put(b []byte, sum uint32, proto byte) {
	c := ^uint16(sum)
	if c == 0 && proto == protoUDP {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b, c)
}
