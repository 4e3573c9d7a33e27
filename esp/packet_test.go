package esp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// Hosts of the tests: behind us 10.1.0.x and fd01::x, behind the peer 10.2.0.x and fd02::x.

func host(v6 bool, net, n byte) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: net, 15: n})
	}
	return netip.AddrFrom4([4]byte{10, net, 0, n})
}

// ipPacket is a packet of protocol with the payload given, from us to the peer.
func ipPacket(v6 bool, from, to byte, protocol uint8, payload []byte) []byte {
	return ipPacketOf(host(v6, 1, from), host(v6, 2, to), protocol, payload)
}

func ipPacketOf(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	if src.Is6() {
		b := make([]byte, 40, 40+len(payload)+maxTrailer)
		b[0] = 0x60
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
		b[6], b[7] = protocol, 64
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return append(b, payload...)
	}
	b := make([]byte, 20, 20+len(payload)+maxTrailer)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	b[8], b[9] = 64, protocol
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(0, b))
	return append(b, payload...)
}

// udpPacket is a UDP packet of n bytes in all from host from, port 1000, to host to, port 2000.
func udpPacket(v6 bool, from, to byte, n int) []byte {
	header := 20
	if v6 {
		header = 40
	}
	u := make([]byte, n-header)
	binary.BigEndian.PutUint16(u, 1000)
	binary.BigEndian.PutUint16(u[2:], 2000)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	return ipPacket(v6, from, to, protoUDP, u)
}

func TestParse(t *testing.T) {
	ports := []byte{0x10, 0x01, 0x20, 0x02, 0, 0, 0, 0}
	v6ext := func(chain ...[]byte) []byte { return bytes.Join(chain, nil) }
	fragmentOf := func(b []byte, word uint16) []byte {
		binary.BigEndian.PutUint16(b[6:], word)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want flow // addresses and length are checked for all
	}{
		{"TCP", ipPacket(false, 1, 2, protoTCP, ports), flow{protocol: protoTCP, ports: twoPorts, sport: 0x1001, dport: 0x2002, transport: 20}},
		{"UDP 6", ipPacket(true, 1, 2, protoUDP, ports), flow{protocol: protoUDP, ports: twoPorts, sport: 0x1001, dport: 0x2002, transport: 40}},
		{"ICMP type and code", ipPacket(false, 1, 2, protoICMP, []byte{8, 3, 0, 0}), flow{protocol: protoICMP, ports: onePort, sport: 0x0803, transport: 20}},
		{"Mobility Header", ipPacket(true, 1, 2, protoMobility, []byte{59, 0, 5, 0, 0, 0, 0, 0}), flow{protocol: protoMobility, ports: onePort, sport: 0x0500, transport: 40}},
		{"GRE", ipPacket(false, 1, 2, 47, ports), flow{protocol: 47, transport: 20}},
		{"AH is a next layer protocol", ipPacket(true, 1, 2, 51, ports), flow{protocol: 51, transport: 40}},
		{"too short for ports", ipPacket(false, 1, 2, protoUDP, ports[:3]), flow{protocol: protoUDP, transport: 20}},
		{"no payload", ipPacket(true, 1, 2, protoNone, nil), flow{protocol: protoNone, transport: 40}},
		{"first fragment", fragmentOf(ipPacket(false, 1, 2, protoUDP, ports), 0x2000), flow{protocol: protoUDP, ports: twoPorts, fragment: true, sport: 0x1001, dport: 0x2002, transport: 20}},
		{"later fragment", fragmentOf(ipPacket(false, 1, 2, protoUDP, ports), 0x0001), flow{protocol: protoUDP, fragment: true}},
		{
			"extension headers", ipPacket(true, 1, 2, protoHopByHop, v6ext([]byte{protoRouting, 0, 1, 4, 0, 0, 0, 0}, []byte{protoDestOpts, 1}, make([]byte, 14), []byte{protoTCP, 0, 1, 4, 0, 0, 0, 0}, ports)),
			flow{protocol: protoTCP, ports: twoPorts, sport: 0x1001, dport: 0x2002, transport: 72},
		},
		{
			"first fragment 6", ipPacket(true, 1, 2, protoFragment, v6ext([]byte{protoUDP, 0, 0, 1, 0, 0, 0, 0}, ports)),
			flow{protocol: protoUDP, ports: twoPorts, fragment: true, sport: 0x1001, dport: 0x2002, transport: 48},
		},
		{
			"later fragment 6", ipPacket(true, 1, 2, protoFragment, v6ext([]byte{protoUDP, 0, 0, 8, 0, 0, 0, 0}, ports)),
			flow{protocol: protoUDP, fragment: true},
		},
		{
			"atomic fragment", ipPacket(true, 1, 2, protoFragment, v6ext([]byte{protoUDP, 0, 0, 0, 0, 0, 0, 0}, ports)),
			flow{protocol: protoUDP, ports: twoPorts, sport: 0x1001, dport: 0x2002, transport: 48},
		},
	} {
		v6 := tt.b[0]>>4 == 6
		tt.want.v6, tt.want.length = v6, len(tt.b)
		tt.want.src, tt.want.dst = addrOf(host(v6, 1, 1)), addrOf(host(v6, 2, 2))
		var f flow
		if !f.parse(append(tt.b, 1, 2, 3)) || f != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, f, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	tcp := make([]byte, 20)
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"19 bytes", ipPacket(false, 1, 2, protoTCP, nil)[:19]},
		{"39 bytes of IPv6", ipPacket(true, 1, 2, protoTCP, nil)[:39]},
		{"version 5", change(ipPacket(false, 1, 2, protoTCP, tcp), 0, 0x55)},
		{"header of 16 bytes", change(ipPacket(false, 1, 2, protoTCP, tcp), 0, 0x44)},
		{"header longer than the packet", change(ipPacket(false, 1, 2, protoTCP, nil), 0, 0x46)},
		{"length beyond the buffer", change(ipPacket(false, 1, 2, protoTCP, tcp), 3, 41)},
		{"length within the header", change(ipPacket(false, 1, 2, protoTCP, tcp), 3, 19)},
		{"IPv6 length beyond the buffer", change(ipPacket(true, 1, 2, protoTCP, tcp), 5, 21)},
		{"extension header cut", ipPacket(true, 1, 2, protoHopByHop, []byte{protoTCP, 0, 0, 0})},
		{"extension header beyond the end", ipPacket(true, 1, 2, protoHopByHop, []byte{protoTCP, 9, 0, 0, 0, 0, 0, 0})},
		{"fragment header cut", ipPacket(true, 1, 2, protoFragment, []byte{protoTCP, 0, 0, 0})},
		{"extension headers without end", ipPacket(true, 1, 2, protoHopByHop, make([]byte, 8*200))},
		{"a fragment over the TCP flags", change(ipPacket(false, 1, 2, protoTCP, tcp), 7, 1)},
	} {
		var f flow
		if f.parse(tt.b) {
			t.Errorf("%s: taken as %+v", tt.name, f)
		}
	}
}

func TestChecksumAdjustAgreesWithChecksum(t *testing.T) {
	r := rng(t)
	for range 10000 {
		b := make([]byte, 20)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[10], b[11] = 0, 0
		sum := checksum(0, b)
		at := r.IntN(10) * 2
		if at == 10 {
			continue
		}
		old, v := binary.BigEndian.Uint16(b[at:]), uint16(r.Uint32())
		binary.BigEndian.PutUint16(b[at:], v)
		got := checksumAdjust(sum, old, v)
		// 0 and 0xffff are the same number; a checksum that verifies is right.
		binary.BigEndian.PutUint16(b[10:], got)
		if checksum(0, b) != 0 {
			t.Fatalf("%04x: %04x to %04x gives %04x", sum, old, v, got)
		}
	}
}
