package main

import "math"

func sha1(o *out) {
	// FIPS 180-4 section 4.2.1
	o.words("k1", 4, 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6)
	masks(o, 4)
	(&hash{vec: vec{o, true, 4}, name: "sha1x16", state: 5, big: true, table: "k1"}).write(sha1Rounds)
	(&hash{vec: vec{o, false, 4}, name: "sha1x8", state: 5, big: true, table: "k1"}).write(sha1Rounds)
	sha1NI(o, 1)
	sha1NI(o, 2)
}

// sha1Rounds writes the rounds of SHA-1 (FIPS 180-4 section 6.1.2).
func sha1Rounds(h *hash) {
	t0, t1, t2, k := h.tmp(0), h.tmp(1), h.tmp(2), h.tmp(3)
	for t := range 80 {
		s := func(i int) string { return h.s((i - t%5 + 5) % 5) }
		a, b, c, d, e := s(0), s(1), s(2), s(3), s(4)
		if t%20 == 0 {
			h.op("VPBROADCASTD", at(t/20*4, "R8"), k)
		}
		if t >= 16 { // W[t] = W[t-3] ^ W[t-8] ^ W[t-14] ^ W[t-16], rotated by 1
			w := h.w(t)
			if !h.wide {
				w = t0
				h.move(h.w(t), w)
			}
			h.xor3(h.w(t+13), h.w(t+8), w)
			h.op("VPXOR"+map[bool]string{true: "D"}[h.wide], h.w(t+2), w, w)
			h.rotate(1, w, w, t1)
			if !h.wide {
				h.move(w, h.w(t))
			}
		}
		h.add(k, e, e)
		h.add(h.w(t), e, e)
		switch t / 20 {
		case 0:
			h.choose(b, c, d, t0)
		case 2:
			h.majority(b, c, d, t0, t1)
		default:
			h.xored(b, c, d, t0)
		}
		h.add(t0, e, e)
		h.rotate(5, a, t1, t2)
		h.add(t1, e, e)
		h.rotate(30, b, b, t2)
	}
}

func md5(o *out) {
	// RFC 1321 section 3.4: "T[i] ... which is equal to the integer part of 4294967296 times abs(sin(i)), where i is in radians"
	var k []uint64
	for i := range 64 {
		k = append(k, uint64(math.Floor(4294967296*math.Abs(math.Sin(float64(i+1))))))
	}
	o.words("kMD5", 4, k...)
	masks(o, 4)
	(&hash{vec: vec{o, true, 4}, name: "md5x16", state: 4, table: "kMD5"}).write(md5Rounds)
	(&hash{vec: vec{o, false, 4}, name: "md5x8", state: 4, table: "kMD5"}).write(md5Rounds)
}

// md5Rounds writes the 64 operations of MD5 (RFC 1321 section 3.4).
func md5Rounds(h *hash) {
	t0, t1, ones := h.tmp(0), h.tmp(1), h.tmp(2)
	shifts := [4][4]int{{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}
	if !h.wide {
		h.op("VPCMPEQD", ones, ones, ones)
	}
	for t := range 64 {
		s := func(i int) string { return h.s((i - t%4 + 4) % 4) }
		a, b, c, d := s(0), s(1), s(2), s(3)
		word := [4]int{t, 5*t + 1, 3*t + 5, 7 * t}[t/16] % 16
		h.addConst(at(4*t, "R8"), a, a, t1)
		h.add(h.w(word), a, a)
		switch t / 16 {
		case 0:
			h.choose(b, c, d, t0)
		case 1:
			h.choose(d, b, c, t0)
		case 2:
			h.xored(b, c, d, t0)
		case 3: // c ^ (b | ^d)
			if h.wide {
				h.move(b, t0)
				h.op("VPTERNLOGD", md5I, d, c, t0)
			} else {
				h.op("VPXOR", ones, d, t0)
				h.op("VPOR", b, t0, t0)
				h.op("VPXOR", c, t0, t0)
			}
		}
		h.add(t0, a, a)
		h.rotate(shifts[t/16][t%4], a, a, t1)
		h.add(b, a, a)
	}
}

// md5I is the table of c ^ (b | ^d) for VPTERNLOGD; b is its highest bit, d its lowest.
const md5I = 0x39
