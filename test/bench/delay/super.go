package main

import "encoding/binary"

const (
	vnetHeader  = 10
	ethernet    = 14
	maxSegments = 256
	ipv6Header  = 40
	protoTCP    = 6

	needsChecksum = 1
	gsoNone       = 0
	gsoUDP        = 5
)

// super is where things are in a frame, which is a packet or a super-packet.
type super struct {
	count     int // of packets
	v6, tcp   bool
	transport int // where the TCP or UDP header begins, in the frame
	head      int // length of everything before the payload
	size      int // of the payload of each packet but the last
	total     int
}

// parse reads a frame; false: it is no IP.
func parse(b []byte) (s super, ok bool) {
	if len(b) < vnetHeader+ethernet+20 {
		return s, false
	}
	s.total, s.count = len(b), 1
	switch binary.BigEndian.Uint16(b[vnetHeader+12:]) {
	case 0x0800:
	case 0x86dd:
		s.v6 = true
	default:
		return s, false
	}
	if b[1] == gsoNone {
		return s, true
	}
	s.size = int(binary.NativeEndian.Uint16(b[4:]))
	s.transport = vnetHeader + int(binary.NativeEndian.Uint16(b[6:]))
	s.tcp = b[1] != gsoUDP
	s.head = s.transport + 8
	if s.tcp && len(b) > s.transport+20 {
		s.head = s.transport + int(b[s.transport+12]>>4)*4
	}
	if s.size > 0 && len(b) > s.head {
		s.count = min(maxSegments, (len(b)-s.head+s.size-1)/s.size)
	}
	return s, true
}

// length is that of packet i as an Ethernet frame.
func (s *super) length(i int) int {
	return s.head - vnetHeader + min(s.size, s.total-s.head-i*s.size)
}

// part writes packets i to j of the super-packet b to to, and returns the length.
func (s *super) part(to, b []byte, i, j int) int {
	from, end := s.head+i*s.size, min(s.total, s.head+j*s.size)
	n := copy(to, b[:s.head])
	n += copy(to[n:], b[from:end])
	to = to[:n]
	if j == i+1 {
		to[1] = gsoNone
		clear(to[2:6])
	}
	ip := to[vnetHeader+ethernet:]
	if s.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Header))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
		ip[10], ip[11] = 0, 0
		sum := uint32(0)
		for k := 0; k < int(ip[0]&15)*4; k += 2 {
			sum += uint32(binary.BigEndian.Uint16(ip[k:]))
		}
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum))
	}
	// The field has the sum of the pseudo-header, which contains the length.
	t := to[s.transport:]
	field := t[6:]
	if s.tcp {
		field = t[16:]
		binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(i*s.size))
		const fin, psh, cwr = 0x01, 0x08, 0x80
		if j < s.count {
			t[13] &^= fin | psh
		}
		if i > 0 {
			t[13] &^= cwr
		}
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	sum := uint32(binary.BigEndian.Uint16(field)) + uint32(^uint16(s.total-s.transport)) + uint32(len(t))
	binary.BigEndian.PutUint16(field, fold(sum))
	return n
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
