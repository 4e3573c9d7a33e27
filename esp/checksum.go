package esp

import (
	"encoding/binary"
	"math/bits"
)

// onesSum is the ones' complement sum (RFC 1071) of from and the 16-bit words of
// b; an odd last byte is the high byte of a word. The sums of adjoining parts add up if all
// parts but the last have an even length.
//
// It adds eight bytes at a time, in little-endian order: ones' complement arithmetic does not
// depend on the byte order (RFC 1071 section 2B).
func onesSum(from uint16, b []byte) uint16 {
	var s, c uint64
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
	var last [8]byte
	copy(last[:], b)
	s, c = bits.Add64(s, binary.LittleEndian.Uint64(last[:]), 0)
	s += c
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return onesAdd(bits.ReverseBytes16(uint16(s)), from)
}

// onesAdd is the ones' complement sum of two words.
func onesAdd(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s) + uint16(s>>16)
}

// pseudoSum is the sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section
// 8.1) of n bytes of the protocol in the IP packet b. In both headers the two addresses lie side by side.
func pseudoSum(b []byte, protocol uint8, n int) uint16 {
	addresses := b[12:20]
	if b[0]>>4 == 6 {
		addresses = b[8:40]
	}
	return onesAdd(onesSum(uint16(protocol), addresses), uint16(n))
}

// checksum is the Internet checksum of b, starting from a partial sum.
func checksum(from uint16, b []byte) uint16 { return ^onesSum(from, b) }

// checksumAdjust is the checksum sum after a 16-bit word that it covers
// has changed from old to new (RFC 1624).
func checksumAdjust(sum, old, new uint16) uint16 {
	return ^onesAdd(onesAdd(^sum, ^old), new)
}
