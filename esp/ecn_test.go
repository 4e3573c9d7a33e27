package esp

import (
	"encoding/binary"
	"testing"
)

// RFC 6040 figure 3, normal mode.
func TestECNIsCopiedOutwards(t *testing.T) {
	for tos := range 256 {
		if got := outerTOS(uint8(tos), true); got != uint8(tos) {
			t.Errorf("%02x: %02x", tos, got)
		}
		if got := outerTOS(uint8(tos), false); got != uint8(tos)&3 {
			t.Errorf("%02x without DSCP: %02x", tos, got)
		}
	}
}

// RFC 6040 figure 4, row by row.
func TestECNDecapsulation(t *testing.T) {
	const drop = 9
	outers := []uint8{notECT, ect0, ect1, ce}
	for _, row := range []struct {
		inner uint8
		want  [4]uint8
	}{
		{notECT, [4]uint8{notECT, notECT, notECT, drop}},
		{ect0, [4]uint8{ect0, ect0, ect1, ce}},
		{ect1, [4]uint8{ect1, ect1, ect1, ce}},
		{ce, [4]uint8{ce, ce, ce, ce}},
	} {
		for i, outer := range outers {
			for _, v6 := range []bool{false, true} {
				const dscp = 46 << 2
				b := udpPacket(v6, 1, 2, 100)
				setTOS(b, dscp|row.inner)
				before := append([]byte(nil), b...)
				ok := decapECN(b, 0x14|outer) // the outer DSCP stays outside
				if ok != (row.want[i] != drop) {
					t.Errorf("inner %d, outer %d: kept is %v", row.inner, outer, ok)
				}
				if !ok {
					continue
				}
				if got := trafficClass(b); got != dscp|row.want[i] {
					t.Errorf("inner %d, outer %d: traffic class %02x", row.inner, outer, got)
				}
				setTOS(b, dscp|row.inner)
				if string(b) != string(before) {
					t.Errorf("inner %d, outer %d: more than ECN and its checksum changed", row.inner, outer)
				}
			}
		}
	}
}

// setTOS sets the traffic class, with a checksum computed from the ground up.
func setTOS(b []byte, tos uint8) {
	if b[0]>>4 == 6 {
		b[0] = 0x60 | tos>>4
		b[1] = b[1]&15 | tos<<4
		return
	}
	b[1] = tos
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:20]))
}
