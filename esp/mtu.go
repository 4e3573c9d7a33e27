package esp

import "vpngw/ipsec"

// Outer header sizes.
const (
	ipv4Header = 20
	ipv6Header = 40
	udpHeader  = 8
	espHeader  = 8 // SPI and sequence number
	espTrailer = 2 // pad length and next header
)

// shape is the geometry of a suite's packets, in bytes.
//
//	SPI(4) | Seq(4) | IV(iv) | inner packet | padding | pad length(1) | next header(1) | ICV(icv)
//	                         |<------- encrypted, a multiple of align -------------->|
type shape struct{ ivLen, align, icvLen int }

// shapeOf is the shape of a suite; false if we do not have its algorithms or
// they do not go together.
func shapeOf(s ipsec.Suite, trunc96 bool) (shape, bool) {
	encr := ipsec.Lookup(s.Encr)
	if encr == nil || encr.Type != ipsec.Encr {
		return shape{}, false
	}
	f := shape{ivLen: encr.IV, align: max(4, encr.Block), icvLen: encr.ICV}
	if encr.AEAD {
		return f, s.Integ.ID == ipsec.IntegNone
	}
	integ := ipsec.Lookup(s.Integ)
	if integ == nil || integ.Type != ipsec.Integ {
		return shape{}, false
	}
	f.icvLen = integ.ICV
	if trunc96 && s.Integ.ID == ipsec.IntegSHA256_128 {
		f.icvLen = 12
	}
	return f, true
}

// padding is the number of bytes between an inner packet of n bytes and the trailer
// (RFC 4303 section 2.4). align is a power of two.
func (f shape) padding(n int) int { return -(n + espTrailer) & (f.align - 1) }

// sealed is the size of the ESP packet that carries an inner packet of n bytes.
func (f shape) sealed(n int) int {
	return espHeader + f.ivLen + n + f.padding(n) + espTrailer + f.icvLen
}

// MTU is the size of the largest inner packet whose ESP packet fits into outerMTU, and so the
// right MTU for the TUN. udp means RFC 3948 encapsulation, v6 an outer header of IPv6. 0
// means that nothing fits, or that the suite is unknown.
func MTU(outerMTU int, s ipsec.Suite, trunc96, udp, v6 bool) int {
	f, ok := shapeOf(s, trunc96)
	if !ok {
		return 0
	}
	room := outerMTU - outerHeaders(udp, v6) - espHeader - f.ivLen - f.icvLen
	return max(0, room-room%f.align-espTrailer)
}

// outerHeaders is the size of the headers in front of an ESP packet.
func outerHeaders(udp, v6 bool) int {
	n := ipv4Header
	if v6 {
		n = ipv6Header
	}
	if udp {
		n += udpHeader
	}
	return n
}
