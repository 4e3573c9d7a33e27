package esp

import "vpngw/lanes"

// onesSum is the ones' complement sum (RFC 1071) of from and the 16-bit words of b, as lanes.Sum has it.
func onesSum(from uint16, b []byte) uint16 { return onesAdd(lanes.Sum(b), from) }

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
