package esp

import "encoding/binary"

// TCP flags, beside tcpSYN.
const (
	tcpFIN = 0x01
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpURG = 0x20
	tcpCWR = 0x80
)

// A segmenter takes a super-packet apart where it lies, without moving its
// payload: it writes each segment's headers just before the segment's payload, over the end of the
// segment before, which must have been sealed by then.
//
//	headers | payload 0       | payload 1       | payload 2
//	[segment 0               ]
//	                 [headers | payload 1      ]
//	                                   [headers | payload 2]
//
// Sealing overwrites the maxTrailer bytes behind a segment: next saves them and done puts them back.
type segmenter struct {
	b         []byte // the super-packet; its capacity leaves room for maxTrailer bytes
	at        int    // where the next segment's payload begins
	size      int    // of each segment's payload; the last may be shorter
	head      int    // length of the headers
	transport int    // where the TCP or UDP header begins
	v6, udp   bool
	index     uint16 // of the next segment
	id        uint16 // IPv4 identification of the first segment
	seq       uint32 // TCP sequence number of the first segment
	flags     uint8  // TCP flags of the super-packet
	pseudo    uint16 // sum of the pseudo-header without a length
	template  []byte // the headers; checksums are zero
	saved     [maxTrailer]byte
}

// begin starts on the super-packet b, which f describes. false: b is not a super-packet that h could mean.
func (c *segmenter) begin(h vnet, f *flow, b []byte) bool {
	b = b[:f.length]
	tcp := !f.v6 && h.gso&^gsoECN == gsoTCP4 || f.v6 && h.gso&^gsoECN == gsoTCP6
	udp := h.gso == gsoUDP
	switch {
	case tcp && f.protocol == protoTCP, udp && f.protocol == protoUDP:
	default:
		return false
	}
	if f.fragment || f.ports != twoPorts || h.segment == 0 || h.flags&needsChecksum == 0 || int(h.start) != f.transport {
		return false
	}
	head := f.transport + udpHeader
	if tcp {
		if len(b) < f.transport+tcpHeader {
			return false
		}
		n := int(b[f.transport+12]>>4) * 4
		if n < tcpHeader {
			return false
		}
		head = f.transport + n
	}
	if len(b) <= head {
		return false
	}
	c.b, c.at, c.size, c.head, c.transport = b, head, int(h.segment), head, f.transport
	c.v6, c.udp, c.index = f.v6, udp, 0
	c.template = append(c.template[:0], b[:head]...)
	if !f.v6 {
		c.id = binary.BigEndian.Uint16(b[4:])
		c.template[10], c.template[11] = 0, 0
	}
	field := udpChecksum
	if tcp {
		field = tcpChecksum
		c.seq, c.flags = binary.BigEndian.Uint32(b[f.transport+4:]), b[f.transport+13]
	}
	sum := c.template[f.transport+field:]
	c.pseudo = onesAdd(binary.BigEndian.Uint16(sum), ^uint16(len(b)-f.transport))
	sum[0], sum[1] = 0, 0
	return true
}

// largest is the size of the largest segment.
func (c *segmenter) largest() int { return min(c.head+c.size, len(c.b)) }

// syn reports whether the super-packet is a TCP SYN.
func (c *segmenter) syn() bool { return !c.udp && c.flags&tcpSYN != 0 }

// remaining is how many segments next has still to make.
func (c *segmenter) remaining() int { return (len(c.b) - c.at + c.size - 1) / c.size }

// next makes the next segment; there must be one. The caller calls done when it has sealed it.
func (c *segmenter) next() []byte {
	n := min(c.size, len(c.b)-c.at)
	end := c.at + n
	seg := c.b[c.at-c.head : end : end+maxTrailer]
	copy(seg, c.template)
	if c.v6 {
		binary.BigEndian.PutUint16(seg[4:], uint16(len(seg)-ipv6Header))
	} else {
		binary.BigEndian.PutUint16(seg[2:], uint16(len(seg)))
		binary.BigEndian.PutUint16(seg[4:], c.id+c.index)
		binary.BigEndian.PutUint16(seg[10:], checksum(0, seg[:int(seg[0]&15)*4]))
	}
	t := seg[c.transport:]
	from := onesAdd(c.pseudo, uint16(len(t)))
	if c.udp {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		binary.BigEndian.PutUint16(t[udpChecksum:], nonZero(checksum(from, t)))
	} else {
		binary.BigEndian.PutUint32(t[4:], c.seq+uint32(c.index)*uint32(c.size))
		t[13] = c.segmentFlags(end == len(c.b))
		binary.BigEndian.PutUint16(t[tcpChecksum:], checksum(from, t))
	}
	copy(c.saved[:], seg[len(seg):cap(seg)])
	c.at = end
	c.index++
	return seg
}

// segmentFlags are the TCP flags of the segment at index: FIN and PSH belong to the last segment, and
// CWR, which answers one ECE, to the first (RFC 3168 section 6.1.2).
func (c *segmenter) segmentFlags(last bool) uint8 {
	flags := c.flags
	if !last {
		flags &^= tcpFIN | tcpPSH
	}
	if c.index > 0 {
		flags &^= tcpCWR
	}
	return flags
}

// done puts back the bytes that the segment's trailer has overwritten.
func (c *segmenter) done() { copy(c.b[c.at:c.at+maxTrailer], c.saved[:]) }
