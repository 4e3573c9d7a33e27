package lab

import (
	"encoding/binary"
	"net/netip"
)

// The types of BGP messages (RFC 4271, 2918).
const (
	BGPOpen = iota + 1
	BGPUpdate
	BGPNotification
	BGPKeepalive
	BGPRefresh
)

// BGPMessage is a message with its header.
func BGPMessage(kind byte, body ...byte) []byte {
	b := make([]byte, 19, 19+len(body))
	for i := range 16 {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint16(b[16:], uint16(19+len(body)))
	b[18] = kind
	return append(b, body...)
}

// OpenBody is an OPEN with the capabilities for IPv4 unicast, route refresh and AS numbers of 4 octets.
func OpenBody(asn uint32, hold uint16, id string) []byte {
	short := uint16(23456)
	if asn < 1<<16 {
		short = uint16(asn)
	}
	b := binary.BigEndian.AppendUint16([]byte{4}, short)
	b = binary.BigEndian.AppendUint16(b, hold)
	b = append(b, netip.MustParseAddr(id).AsSlice()...)
	capabilities := binary.BigEndian.AppendUint32([]byte{1, 4, 0, 1, 0, 1, 2, 0, 65, 4}, asn)
	b = append(b, byte(len(capabilities)+2), 2, byte(len(capabilities)))
	return append(b, capabilities...)
}

// Attr is a path attribute; the extended length is used where it must.
func Attr(flags, kind byte, value ...byte) []byte {
	if len(value) > 255 {
		return append([]byte{flags | 0x10, kind, byte(len(value) >> 8), byte(len(value))}, value...)
	}
	return append([]byte{flags, kind, byte(len(value))}, value...)
}

// Path is a path attribute AS_PATH of one sequence of 4-octet numbers.
func Path(asns ...uint32) []byte {
	value := []byte{2, byte(len(asns))}
	for _, n := range asns {
		value = binary.BigEndian.AppendUint32(value, n)
	}
	return Attr(0x40, 2, value...)
}

// Origin, NextHop are the other attributes that every route has.
func Origin() []byte { return Attr(0x40, 1, 0) }

// NextHop is the path attribute of that name.
func NextHop(addr string) []byte { return Attr(0x40, 3, netip.MustParseAddr(addr).AsSlice()...) }

// NLRI are prefixes as they are in an UPDATE.
func NLRI(prefixes ...string) []byte {
	var b []byte
	for _, s := range prefixes {
		p := netip.MustParsePrefix(s)
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

// UpdateBody is an UPDATE of withdrawn prefixes, attributes and prefixes, each as bytes.
func UpdateBody(withdrawn, attrs, nlri []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	return append(append(b, attrs...), nlri...)
}

// Join joins attributes.
func Join(attrs ...[]byte) []byte {
	var b []byte
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}
