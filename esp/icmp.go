package esp

import (
	"encoding/binary"
)

const (
	icmpHeader    = 8
	icmpv4Quote   = 576 - ipv4Header - icmpHeader  // RFC 1812 section 4.3.2.3
	icmpv6Quote   = 1280 - ipv6Header - icmpHeader // RFC 4443 section 2.4
	maxICMP       = 1280
	ipv4LeastMTU  = 552 // packets of this size pass whatever the path; see reader.send
	ipv6MinMTU    = 1280
	hopLimit      = 64
	icmpPerSecond = 100
	icmpBurst     = 32
	unreachable   = 3 // ICMPv4 type
	fragNeeded    = 4 // its code
	packetTooBig  = 2 // ICMPv6 type
)

// tooBig writes the answer to packet b, which f describes and which is larger
// than mtu, into buf: "fragmentation needed" (RFC 1191) or "packet too big" (RFC
// 4443 section 3.2). The answer comes from b's destination, the one address that passes
// any reverse path filter on the TUN. nil: b must not be answered.
func (f *flow) tooBig(buf, b []byte, mtu int) []byte {
	if !f.answerable(b) {
		return nil
	}
	if f.v6 {
		return f.tooBig6(buf, b, mtu)
	}
	quote := b[:min(f.length, icmpv4Quote)]
	out := buf[:ipv4Header+icmpHeader+len(quote)]
	clear(out[:ipv4Header+icmpHeader])
	out[0] = 0x45
	out[1] = 0xc0 // internetwork control, as the kernel's own answers
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	out[8] = hopLimit
	out[9] = protoICMP
	copy(out[12:16], b[16:20])
	copy(out[16:20], b[12:16])
	binary.BigEndian.PutUint16(out[10:], checksum(0, out[:ipv4Header]))
	icmp := out[ipv4Header:]
	icmp[0], icmp[1] = unreachable, fragNeeded
	binary.BigEndian.PutUint16(icmp[6:], uint16(min(mtu, 0xffff)))
	copy(icmp[icmpHeader:], quote)
	binary.BigEndian.PutUint16(icmp[2:], checksum(0, icmp))
	return out
}

func (f *flow) tooBig6(buf, b []byte, mtu int) []byte {
	quote := b[:min(f.length, icmpv6Quote)]
	out := buf[:ipv6Header+icmpHeader+len(quote)]
	clear(out[:ipv6Header+icmpHeader])
	icmp := out[ipv6Header:]
	out[0] = 0x60
	binary.BigEndian.PutUint16(out[4:], uint16(len(icmp)))
	out[6] = protoICMPv6
	out[7] = hopLimit
	copy(out[8:24], b[24:40])
	copy(out[24:40], b[8:24])
	icmp[0] = packetTooBig
	binary.BigEndian.PutUint32(icmp[4:], uint32(mtu))
	copy(icmp[icmpHeader:], quote)
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudoSum(out, protoICMPv6, len(icmp)), icmp))
	return out
}

// answerable reports whether an ICMP error may answer the packet (RFC 1812
// section 4.3.2.7, RFC 4443 section 2.4e): not if the packet is an ICMP error itself or a later
// fragment, or if its source or destination is not a single host.
func (f *flow) answerable(b []byte) bool {
	if f.transport == 0 || !f.src.unicast(f.v6) || !f.dst.unicast(f.v6) {
		return false
	}
	if f.length <= f.transport {
		return true
	}
	kind := b[f.transport]
	switch {
	case f.v6 && f.protocol == protoICMPv6:
		return kind >= 128
	case !f.v6 && f.protocol == protoICMP:
		return kind != 3 && kind != 4 && kind != 5 && kind != 11 && kind != 12
	}
	return true
}

// unicast reports whether a may be the address of a single host.
func (a addr) unicast(v6 bool) bool {
	if v6 {
		return a != addr{} && a != addr{lo: 1} && a.hi>>56 != 0xff
	}
	first := a.lo >> 24
	return first != 0 && first != 127 && first < 224
}
