package esp

import (
	"bytes"
	"encoding/binary"
)

const (
	maxFrame   = 0xffff // the largest IP packet
	maxMerged  = 64     // datagrams in one UDP super-packet
	maxHeaders = ipv6Header + 60
)

// A coalescer opens consecutive packets of a flow so that their payloads lie side by
// side, and writes them to the TUN as one super-packet: the inverse of a segmenter. It
// opens each packet where its payload belongs if the packet continues the frame; the headers then cover the
// end of the payload before, which is saved and restored. A packet that turns out to be no
// continuation is moved.
//
// The kernel cuts a super-packet again into the very packets that came: with the same headers, the IPv4
// identification too unless DF is set, which makes it meaningless (RFC 6864 section 4.1). The kernel then makes new
// checksums, so a packet is merged only after its own checksum was verified. Any other packet is
// written as it came. Not safe for concurrent use.
type coalescer struct {
	tunnel *Tunnel
	buf    []byte // headroom | frame | room to open one more
	other  []byte // a second buffer, for a packet that is moved
	at     int    // where the last room begins, in the frame
	saved  [maxHeaders]byte

	packets   int // in the frame
	end       int // of the frame
	grows     bool
	v6, udp   bool
	head      int              // length of the headers
	transport int              // where the TCP or UDP header begins
	size      int              // of the first payload
	first     [maxHeaders]byte // the first packet's headers, which a later packet may overwrite in buf
	next      uint32           // TCP sequence number of a packet that continues the frame
	push      bool             // the last packet had PSH
}

// coalesceBuffer holds the largest frame and, behind it, the largest ESP packet.
const coalesceBuffer = headroom + maxFrame + socketBuffer

// room is where to open the next packet, which belongs to t and takes up to n bytes once it is
// open. It may write the frame first. add or restore must follow.
func (g *coalescer) room(t *Tunnel, n int) []byte {
	if g.buf == nil {
		g.buf, g.other = make([]byte, coalesceBuffer), make([]byte, coalesceBuffer)
	}
	if t != g.tunnel || !g.grows {
		g.flush()
	}
	g.tunnel, g.at = t, 0
	frame := g.buf[headroom:]
	if g.packets > 0 {
		g.at = g.end - g.head
		copy(g.saved[:g.head], frame[g.at:])
	}
	return frame[g.at : g.at+n : g.at+n]
}

// restore puts back the bytes of the frame that opening at the last room has overwritten.
func (g *coalescer) restore() {
	if g.packets > 0 {
		copy(g.buf[headroom+g.at:], g.saved[:g.head])
	}
}

// add takes the packet b, which f describes and which was opened at the last room.
func (g *coalescer) add(f *flow, b []byte) {
	if g.packets > 0 {
		if g.continues(f, b) {
			g.restore()
			g.end += len(b) - g.head
			g.packets++
			return
		}
		moved := g.other[headroom:][:copy(g.other[headroom:], b)]
		t := g.tunnel
		g.restore()
		g.flush()
		g.buf, g.other, g.tunnel = g.other, g.buf, t
		b = moved
	}
	g.begin(f, b)
}

// begin makes b the first packet of a frame.
func (g *coalescer) begin(f *flow, b []byte) {
	g.packets, g.end = 1, len(b)
	g.v6, g.udp, g.transport, g.push = f.v6, f.protocol == protoUDP, f.transport, false
	g.grows = false
	plain := f.ports == twoPorts && !f.fragment && (!f.v6 && f.transport == ipv4Header || f.v6 && f.transport == ipv6Header)
	if !plain {
		return
	}
	t := b[f.transport:]
	switch f.protocol {
	case protoUDP:
		if !g.tunnel.Frames.SegmentsUDP() || len(t) <= udpHeader || int(binary.BigEndian.Uint16(t[4:])) != len(t) || t[udpChecksum]|t[udpChecksum+1] == 0 {
			return
		}
		g.head = f.transport + udpHeader
	case protoTCP:
		if len(t) <= tcpHeader || t[13]&^tcpECE != tcpACK { // no PSH and no other flag
			return
		}
		n := int(t[12]>>4) * 4
		if n < tcpHeader || len(t) <= n {
			return
		}
		g.head = f.transport + n
		g.next = binary.BigEndian.Uint32(t[4:]) + uint32(len(t)-n)
	default:
		return
	}
	g.size = len(b) - g.head
	if g.grows = verified(f, b); g.grows {
		copy(g.first[:g.head], b)
	}
}

const tcpECE = 0x40

// verified reports whether the checksums of b are right: of the IPv4 header and of the transport.
func verified(f *flow, b []byte) bool {
	if !f.v6 && onesSum(0, b[:ipv4Header]) != 0xffff {
		return false
	}
	t := b[f.transport:]
	return onesSum(pseudoSum(b, f.protocol, len(t)), t) == 0xffff
}

// continues reports whether b is one more segment of the frame, and updates the frame if so.
// b lies in the frame, its headers over the end of the last payload.
func (g *coalescer) continues(f *flow, b []byte) bool {
	first := g.first[:g.head]
	n := len(b) - g.head
	if f.v6 != g.v6 || f.transport != g.transport || f.fragment || b[g.ipProtocolAt()] != first[g.ipProtocolAt()] ||
		n <= 0 || n > g.size || g.end+n > maxFrame {
		return false
	}
	if g.v6 {
		if !bytes.Equal(b[:4], first[:4]) || !bytes.Equal(b[6:ipv6Header], first[6:ipv6Header]) {
			return false
		}
	} else if !bytes.Equal(b[:2], first[:2]) || !bytes.Equal(b[6:10], first[6:10]) || !bytes.Equal(b[12:20], first[12:20]) {
		return false
	} else if id := binary.BigEndian.Uint16(first[4:]) + uint16(g.packets); b[6]&0x40 == 0 && id != binary.BigEndian.Uint16(b[4:]) {
		return false
	}
	t, t0 := b[g.transport:], first[g.transport:]
	if binary.BigEndian.Uint32(t) != binary.BigEndian.Uint32(t0) { // the ports
		return false
	}
	push := false
	if g.udp {
		if g.packets == maxMerged || int(binary.BigEndian.Uint16(t[4:])) != len(t) || t[udpChecksum]|t[udpChecksum+1] == 0 {
			return false
		}
	} else {
		push = t[13]&tcpPSH != 0
		if binary.BigEndian.Uint32(t[4:]) != g.next || !bytes.Equal(t[8:13], t0[8:13]) || t[13]&^tcpPSH != t0[13] ||
			!bytes.Equal(t[14:16], t0[14:16]) || !bytes.Equal(t[18:g.head-g.transport], t0[18:g.head-g.transport]) {
			return false
		}
	}
	if !verified(f, b) {
		return false
	}
	g.next += uint32(n)
	g.push = push
	g.grows = n == g.size && !push
	return true
}

func (g *coalescer) ipProtocolAt() int {
	if g.v6 {
		return 6
	}
	return 9
}

// flush writes the frame.
func (g *coalescer) flush() {
	if g.packets == 0 {
		return
	}
	frame := g.buf[headroom-vnetHeader : headroom+g.end]
	h := vnet{}
	if g.packets > 1 {
		h = g.superHeaders(frame[vnetHeader:])
	}
	h.put(frame)
	if err := g.tunnel.Frames.WriteFrame(frame); err != nil {
		g.tunnel.drop(dropWrite, g.packets)
	}
	g.packets, g.grows, g.tunnel = 0, false, nil
}

// superHeaders turns the headers of b into a super-packet's; the kernel completes the transport checksum.
func (g *coalescer) superHeaders(b []byte) vnet {
	h := vnet{
		flags: needsChecksum, gso: gsoUDP, head: uint16(g.head), segment: uint16(g.size),
		start: uint16(g.transport), offset: udpChecksum,
	}
	t := b[g.transport:]
	protocol := uint8(protoUDP)
	if g.udp {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		protocol, h.gso, h.offset = protoTCP, gsoTCP4, tcpChecksum
		if g.v6 {
			h.gso = gsoTCP6
		}
		if g.push {
			t[13] |= tcpPSH
		}
	}
	if g.v6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Header))
	} else {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipv4Header]))
	}
	binary.BigEndian.PutUint16(t[h.offset:], pseudoSum(b, protocol, len(t)))
	return h
}
