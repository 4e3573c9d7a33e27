package esp

import "encoding/binary"

// ECN codepoints, the low two bits of TOS and traffic class (RFC 3168).
const (
	notECT   = 0
	ect1     = 1
	ect0     = 2
	ce       = 3
	ecnMask  = 3
	ecnLost  = 4 // the packet must be dropped
	dscpMask = 0xfc
)

// outerTOS is the outer header's TOS for an inner packet's TOS: ECN is copied
// (RFC 6040 section 4.1, normal mode), and DSCP with copyDSCP.
func outerTOS(inner uint8, copyDSCP bool) uint8 {
	if copyDSCP {
		return inner
	}
	return inner & ecnMask
}

// decapsulated is the inner packet's ECN codepoint after the tunnel (RFC 6040 section
// 4.2, figure 4), by the inner and then the outer codepoint.
var decapsulated = [4][4]uint8{
	notECT: {notECT: notECT, ect0: notECT, ect1: notECT, ce: ecnLost},
	ect0:   {notECT: ect0, ect0: ect0, ect1: ect1, ce: ce},
	ect1:   {notECT: ect1, ect0: ect1, ect1: ect1, ce: ce},
	ce:     {notECT: ce, ect0: ce, ect1: ce, ce: ce},
}

// decapECN carries the outer header's congestion mark into the inner packet b,
// which has been parsed. false: the packet must be dropped.
func decapECN(b []byte, outer uint8) bool {
	inner := trafficClass(b)
	ecn := decapsulated[inner&ecnMask][outer&ecnMask]
	switch {
	case ecn == ecnLost:
		return false
	case ecn == inner&ecnMask:
	case b[0]>>4 == 6:
		b[1] = b[1]&^(ecnMask<<4) | ecn<<4
	default:
		old := binary.BigEndian.Uint16(b)
		b[1] = b[1]&dscpMask | ecn
		sum := checksumAdjust(binary.BigEndian.Uint16(b[10:]), old, binary.BigEndian.Uint16(b))
		binary.BigEndian.PutUint16(b[10:], sum)
	}
	return true
}
