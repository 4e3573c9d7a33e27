package lanes

import (
	"encoding/binary"
	"math/bits"
)

// Sum is the ones' complement sum of the 16-bit words of b (RFC 1071); an odd last byte is the high byte of a word. The sums of
// adjoining parts add up if all parts but the last have an even length.
//
// It is computed in little-endian order: ones' complement arithmetic does not depend on the byte order (RFC 1071 section 2B).
func Sum(b []byte) uint16 {
	var s, c uint64
	if len(b) >= sumPays {
		s, b = sumPrefix(b)
	}
	for len(b) >= 64 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[32:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[40:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[48:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[56:]), c)
		s += c
		b = b[64:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	var last uint64 // of fewer than 8 bytes
	if len(b) >= 4 {
		last, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
	}
	if len(b) >= 2 {
		last, b = last+uint64(binary.LittleEndian.Uint16(b)), b[2:]
	}
	if len(b) == 1 {
		last += uint64(b[0])
	}
	s, c = bits.Add64(s, last, 0)
	s += c
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return bits.ReverseBytes16(uint16(s))
}
