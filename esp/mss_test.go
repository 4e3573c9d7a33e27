package esp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// syn is a TCP packet with options and a right checksum.
func syn(v6 bool, flags byte, options []byte) []byte {
	tcp := make([]byte, 20, 60)
	binary.BigEndian.PutUint16(tcp, 1000)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	tcp = append(tcp, options...)
	for len(tcp)%4 != 0 {
		tcp = append(tcp, 0)
	}
	tcp[12], tcp[13] = byte(len(tcp)/4)<<4, flags
	b := ipPacket(v6, 1, 2, protoTCP, tcp)
	binary.BigEndian.PutUint16(b[len(b)-len(tcp)+16:], tcpSum(b, len(tcp)))
	return b
}

// tcpChecksum is over the pseudo-header and the TCP part of n bytes; 0 if what is there is right.
func tcpSum(b []byte, n int) uint16 {
	addresses := b[12:20]
	if b[0]>>4 == 6 {
		addresses = b[8:40]
	}
	pseudo := append(bytes.Clone(addresses), 0, protoTCP, byte(n>>8), byte(n))
	return checksum(^checksum(0, pseudo), b[len(b)-n:])
}

func TestMSSIsClamped(t *testing.T) {
	for _, tt := range []struct {
		name    string
		v6      bool
		flags   byte
		options []byte
		at      int // of the MSS value among the options; -1: none
		want    uint16
	}{
		{"SYN", false, tcpSYN, []byte{2, 4, 0x05, 0xb4}, 2, 1360},
		{"SYN ACK", false, tcpSYN | 0x10, []byte{2, 4, 0x05, 0xb4}, 2, 1360},
		{"IPv6", true, tcpSYN, []byte{2, 4, 0x05, 0xb4}, 2, 1340},
		{"small enough", false, tcpSYN, []byte{2, 4, 0x02, 0x18}, 2, 536},
		{"exactly", false, tcpSYN, []byte{2, 4, 0x05, 0x50}, 2, 1360},
		{"behind others", false, tcpSYN, []byte{4, 2, 3, 3, 7, 2, 4, 0x05, 0xb4, 0}, 7, 1360},
		{"at an odd place", false, tcpSYN, []byte{1, 2, 4, 0x05, 0xb4, 0}, 3, 1360},
		{"at an odd place in IPv6", true, tcpSYN, []byte{1, 2, 4, 0xff, 0xff, 0}, 3, 1340},
		{"not a SYN", false, 0x10, []byte{2, 4, 0x05, 0xb4}, 2, 1460},
		{"behind the end of options", false, tcpSYN, []byte{0, 2, 4, 0x05, 0xb4}, 3, 1460},
		{"behind a broken option", false, tcpSYN, []byte{8, 1, 2, 4, 0x05, 0xb4}, 4, 1460},
		{"an option beyond the header", false, tcpSYN, []byte{8, 40, 2, 4, 0x05, 0xb4}, 4, 1460},
		{"of a wrong length", false, tcpSYN, []byte{2, 5, 0x05, 0xb4, 0}, 2, 1460},
		{"no options", false, tcpSYN, nil, -1, 0},
	} {
		b := syn(tt.v6, tt.flags, tt.options)
		before := bytes.Clone(b)
		var f flow
		if !f.parse(b) {
			t.Fatal(tt.name)
		}
		f.clampMSS(b, 1400)
		n := len(b) - f.transport
		if tcpSum(b, n) != 0 {
			t.Errorf("%s: the checksum is wrong", tt.name)
		}
		if tt.at >= 0 {
			if got := binary.BigEndian.Uint16(b[f.transport+20+tt.at:]); got != tt.want {
				t.Errorf("%s: MSS %d, want %d", tt.name, got, tt.want)
			}
			copy(before[f.transport+16:], b[f.transport+16:f.transport+18])
			copy(before[f.transport+20+tt.at:], b[f.transport+20+tt.at:][:2])
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%s: more changed than MSS and checksum", tt.name)
		}
	}
}

func TestMSSOfAMTUWithoutRoomIsLeft(t *testing.T) {
	b := syn(true, tcpSYN, []byte{2, 4, 0x05, 0xb4})
	before := bytes.Clone(b)
	var f flow
	f.parse(b)
	f.clampMSS(b, 60)
	if !bytes.Equal(b, before) {
		t.Error("changed")
	}
}
