package esp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Echo is an ICMP echo request (RFC 792, RFC 4443 section 4.1) from an address on our side of a
// tunnel to one behind the peer.
type Echo struct {
	Source, Target netip.Addr
	ID, Seq        uint16
}

const (
	// echoData is the size of a probe's data, as ping(8) sends it. It begins with a cookie: a host
	// must return it, and so an answer to somebody else's ping is never taken for ours.
	echoData = 56
	// maxEcho is the largest request that the data plane answers. A larger one goes to the kernel.
	maxEcho = 1280
)

// echoKind is the type of an ICMP message that probes are made of.
type echoKind uint8

const (
	noEcho echoKind = iota
	echoRequest
	echoReply
)

// echo tells an echo request or reply that is whole, has the plainest headers, and has arrived undamaged. Anything
// else is a packet like any other. f describes b.
func (f *flow) echo(b []byte) echoKind {
	kind := noEcho
	switch {
	case f.v6 && f.protocol == protoICMPv6 && f.transport == ipv6Header:
		switch f.sport {
		case 128 << 8:
			kind = echoRequest
		case 129 << 8:
			kind = echoReply
		}
	case !f.v6 && f.protocol == protoICMP && f.transport == ipv4Header:
		switch f.sport {
		case 8 << 8:
			kind = echoRequest
		case 0:
			kind = echoReply
		}
	}
	if kind == noEcho || f.fragment || f.length < f.transport+icmpHeader {
		return noEcho
	}
	icmp := b[f.transport:f.length]
	from := uint16(0)
	if f.v6 {
		from = pseudoSum(b, protoICMPv6, len(icmp))
	} else if checksum(0, b[:ipv4Header]) != 0 {
		return noEcho
	}
	if checksum(from, icmp) != 0 {
		return noEcho
	}
	return kind
}

// echoOf is the identifier and the sequence number of the echo message in b.
func (f *flow) echoOf(b []byte) (id, seq uint16) {
	return binary.BigEndian.Uint16(b[f.transport+4:]), binary.BigEndian.Uint16(b[f.transport+6:])
}

var errEcho = errors.New("esp: a probe needs two addresses of single hosts, of one family")

// A cookie is data of a probe: 8 bytes of the plane, and 8 bytes of the tunnel.
type cookie [16]byte

func (c *cookie) ofPlane() []byte { return c[:8] }

// valid reports whether e goes from a single host to a single host.
func (e Echo) valid() bool {
	src, dst := e.Source, e.Target
	return src.IsValid() && dst.IsValid() && src.Is4() == dst.Is4() &&
		addrOf(src).unicast(src.Is6()) && addrOf(dst).unicast(dst.Is6())
}

// request makes the packet of e, which is valid.
func (e Echo) request(c *cookie) []byte {
	protocol := uint8(protoICMP)
	if e.Source.Is6() {
		protocol = protoICMPv6
	}
	b, icmp := ownPacket(e.Source, e.Target, protocol, icmpHeader+echoData)
	binary.BigEndian.PutUint16(icmp[4:], e.ID)
	binary.BigEndian.PutUint16(icmp[6:], e.Seq)
	copy(icmp[icmpHeader:], c[:])
	if e.Source.Is4() {
		binary.BigEndian.PutUint16(b[4:], e.Seq)
	}
	finishEcho(b, len(b)-len(icmp), echoRequest)
	return b
}

// ownPacket makes an IP packet with n bytes of a protocol, the payload, and with room for maxTrailer behind it. The hop limit and the
// checksums are left to the caller.
func ownPacket(src, dst netip.Addr, protocol uint8, n int) (b, payload []byte) {
	header := ipv4Header
	if src.Is6() {
		header = ipv6Header
	}
	b = make([]byte, header+n, header+n+maxTrailer)
	if src.Is6() {
		b[0] = 0x60
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		b[6] = protocol
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	} else {
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[9] = protocol
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
	}
	return b, b[header:]
}

// reply makes the answer to the echo request b, which f describes, with room for maxTrailer behind it. "The data received
// in the echo message must be returned in the echo reply message" (RFC 792).
func (f *flow) reply(b []byte) []byte {
	out := append(make([]byte, 0, f.length+maxTrailer), b[:f.length]...)
	if f.v6 {
		copy(out[8:24], b[24:40])
		copy(out[24:40], b[8:24])
		out[1] &= 0xc0 // neither ECN nor a flow label
		out[2], out[3] = 0, 0
	} else {
		copy(out[12:16], b[16:20])
		copy(out[16:20], b[12:16])
		out[1] &^= 3 // ECN
	}
	finishEcho(out, f.transport, echoReply)
	return out
}

// finishEcho writes the hop limit, the type and the checksums of an echo message.
func finishEcho(b []byte, header int, kind echoKind) {
	icmp := b[header:]
	icmp[2], icmp[3] = 0, 0
	from := uint16(0)
	if header == ipv6Header {
		b[7] = hopLimit
		icmp[0] = 128
		if kind == echoReply {
			icmp[0] = 129
		}
		from = pseudoSum(b, protoICMPv6, len(icmp))
	} else {
		b[8] = hopLimit
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipv4Header]))
		icmp[0] = 8
		if kind == echoReply {
			icmp[0] = 0
		}
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(from, icmp))
}
