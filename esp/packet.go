package esp

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoDCCP     = 33
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoESP      = 50
	protoICMPv6   = 58
	protoNone     = 59
	protoDestOpts = 60
	protoSCTP     = 132
	protoMobility = 135
	protoUDPLite  = 136
)

// familyOf is the index of an address family: 0 for IPv4, 1 for IPv6.
func familyOf(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// addr is an address as numbers; an IPv4 address is the low 32 bits of lo.
type addr struct{ hi, lo uint64 }

func addrOf(a netip.Addr) addr {
	if a.Is4() {
		b := a.As4()
		return addr{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return addr6(b[:])
}

func addr6(b []byte) addr {
	return addr{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a addr) less(b addr) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// ports tells what a flow's port fields mean.
type ports uint8

const (
	noPorts  ports = iota // nothing: a later fragment, or a protocol without ports
	twoPorts              // the ports of TCP, UDP, SCTP, DCCP or UDP-Lite
	onePort               // sport is the ICMP type and code or the Mobility Header type (RFC 4301 section 4.4.1.3)
)

// flow has the fields of a packet that selectors match (RFC 4301 section 4.4.1.1), and where
// its headers are.
type flow struct {
	v6        bool
	protocol  uint8 // the next layer's, behind IPv6 extension headers
	ports     ports
	fragment  bool // the packet is a fragment, perhaps the first
	src, dst  addr
	sport     uint16
	dport     uint16
	length    int // of the packet, as its header says
	transport int // where the next layer's header begins; 0: not in this packet
}

// maxExtensions bounds the walk along IPv6 extension headers. Real packets
// have two or three.
const maxExtensions = 12

// parse reads the headers of an IP packet. b may be longer than the packet.
func (f *flow) parse(b []byte) bool {
	*f = flow{}
	if len(b) < ipv4Header {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return f.parse4(b)
	case 6:
		return len(b) >= ipv6Header && f.parse6(b)
	}
	return false
}

func (f *flow) parse4(b []byte) bool {
	header := int(b[0]&15) * 4
	f.length = int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Header || f.length < header || f.length > len(b) {
		return false
	}
	f.protocol = b[9]
	f.src.lo = uint64(binary.BigEndian.Uint32(b[12:]))
	f.dst.lo = uint64(binary.BigEndian.Uint32(b[16:]))
	frag := binary.BigEndian.Uint16(b[6:])
	f.fragment = frag&(moreFragments|fragmentOffset) != 0
	switch offset := frag & fragmentOffset; {
	case offset == 0:
		f.readPorts(b[:f.length], header)
	case offset == 1 && f.protocol == protoTCP:
		return false // would overwrite the TCP flags of the first fragment (RFC 3128)
	}
	return true
}

func (f *flow) parse6(b []byte) bool {
	f.v6 = true
	f.length = ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	if f.length > len(b) {
		return false
	}
	b = b[:f.length]
	f.src, f.dst = addr6(b[8:]), addr6(b[24:])
	f.protocol = b[6]
	at := ipv6Header
	for range maxExtensions {
		switch f.protocol {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(b) < at+8 {
				return false
			}
			f.protocol = b[at]
			at += 8 + int(b[at+1])*8
			if len(b) < at {
				return false
			}
		case protoFragment:
			if len(b) < at+8 {
				return false
			}
			f.protocol = b[at]
			frag := binary.BigEndian.Uint16(b[at+2:])
			f.fragment = f.fragment || frag&^6 != 0
			if frag&^7 != 0 {
				return true // a later fragment: no header follows
			}
			at += 8
		default:
			f.readPorts(b, at)
			return true
		}
	}
	return false
}

// readPorts reads the ports from the next layer's header at b[at:]. A first
// fragment may be too short to have them.
func (f *flow) readPorts(b []byte, at int) {
	f.transport = at
	if len(b) < at+4 {
		return
	}
	switch f.protocol {
	case protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		f.ports = twoPorts
		f.sport = binary.BigEndian.Uint16(b[at:])
		f.dport = binary.BigEndian.Uint16(b[at+2:])
	case protoICMP, protoICMPv6:
		f.ports = onePort
		f.sport = binary.BigEndian.Uint16(b[at:])
	case protoMobility:
		f.ports = onePort
		f.sport = uint16(b[at+2]) << 8
	}
}

// IPv4 flags and fragment offset, in the 16 bits at 6.
const (
	dontFragment   = 0x4000
	moreFragments  = 0x2000
	fragmentOffset = 0x1fff
)

// trafficClass is the IPv4 TOS or IPv6 traffic class of the packet b, which has been parsed.
func trafficClass(b []byte) uint8 {
	if b[0]>>4 == 6 {
		return b[0]<<4 | b[1]>>4
	}
	return b[1]
}
