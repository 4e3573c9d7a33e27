package main

import (
	"fmt"
	"math/big"
)

// primes are the first n primes.
func primes(n int) (ps []int64) {
	for p := int64(2); len(ps) < n; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			ps = append(ps, p)
		}
	}
	return ps
}

// cubeRoots are the first 64 bits of the fractional parts of the cube roots of the first 80 primes (FIPS 180-4 sections
// 4.2.2 and 4.2.3).
func cubeRoots() (ks []uint64) {
	for _, p := range primes(80) {
		// The root of p, times 2^64, by bisection.
		n := new(big.Int).Lsh(big.NewInt(p), 192)
		lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(8), 64)
		for new(big.Int).Sub(hi, lo).Cmp(big.NewInt(1)) > 0 {
			mid := new(big.Int).Add(lo, hi)
			mid.Rsh(mid, 1)
			if new(big.Int).Exp(mid, big.NewInt(3), nil).Cmp(n) <= 0 {
				lo = mid
			} else {
				hi = mid
			}
		}
		ks = append(ks, new(big.Int).And(lo, new(big.Int).SetUint64(1<<64-1)).Uint64())
	}
	return ks
}

func sha256(o *out) {
	var k []uint64
	for _, x := range cubeRoots()[:64] {
		k = append(k, x>>32)
	}
	o.words("k256", 4, k...)
	masks(o, 4)
	bits := [4][3]int{{6, 11, 25}, {2, 13, 22}, {7, 18, -3}, {17, 19, -10}}
	(&hash{vec: vec{o, true, 4}, name: "sha256x16", state: 8, big: true, table: "k256"}).write(sha2(64, bits))
	(&hash{vec: vec{o, false, 4}, name: "sha256x8", state: 8, big: true, table: "k256"}).write(sha2(64, bits))
	sha256NI(o, 1)
	sha256NI(o, 2)
}

func sha512(o *out) {
	o.words("k512", 8, cubeRoots()...)
	masks(o, 8)
	bits := [4][3]int{{14, 18, 41}, {28, 34, 39}, {1, 8, -7}, {19, 61, -6}}
	(&hash{vec: vec{o, true, 8}, name: "sha512x8", state: 8, big: true, table: "k512"}).write(sha2(80, bits))
	(&hash{vec: vec{o, false, 8}, name: "sha512x4", state: 8, big: true, table: "k512"}).write(sha2(80, bits))
}

// sha2 writes the rounds of SHA-256 or SHA-512 (FIPS 180-4 sections 6.2.2 and 6.4.2). bits are those of the capital sigmas
// 1 and 0, and of the small ones 0 and 1.
func sha2(rounds int, bits [4][3]int) func(*hash) {
	return func(h *hash) {
		t0, t1, t2, t3 := h.tmp(0), h.tmp(1), h.tmp(2), h.tmp(3)
		// The first 16 rounds have no new words; the others are a loop of 16, in which registers and words come back to their places.
		h.op("XORL", "BX", "BX")
		for t := range 32 {
			if t == 16 {
				h.label("rounds")
				h.op("ADDQ", 16*h.word, "R8")
			}
			s := func(i int) string { return h.s((i - t%8 + 8) % 8) }
			a, b, c, d, e, f, g, hh := s(0), s(1), s(2), s(3), s(4), s(5), s(6), s(7)
			if t >= 16 { // W[t] = W[t-16] + σ0(W[t-15]) + W[t-7] + σ1(W[t-2])
				x, y := h.w(t+1), h.w(t+14)
				if !h.wide {
					h.move(x, t3)
					x = t3
				}
				h.fold(bits[2], x, t0, [2]string{t1, t2})
				h.add(h.w(t), t0, t0)
				if !h.wide {
					h.move(y, t3)
					y = t3
				}
				h.add(h.w(t+9), t0, t0)
				if h.wide {
					h.fold(bits[3], y, t3, [2]string{t1, t2})
					h.add(t3, t0, h.w(t))
				} else {
					h.fold(bits[3], y, t2, [2]string{t1, t1})
					h.add(t2, t0, t0)
					h.move(t0, h.w(t))
				}
			}
			h.addConst(at(t%16*h.word, "R8"), hh, hh, t3)
			h.add(h.w(t), hh, hh)
			h.choose(e, f, g, t0)
			h.add(t0, hh, hh)
			h.fold(bits[0], e, t1, [2]string{t2, t3})
			h.add(t1, hh, hh)
			h.add(hh, d, d)
			h.majority(a, b, c, t0, t3)
			h.add(t0, hh, hh)
			h.fold(bits[1], a, t1, [2]string{t2, t3})
			h.add(t1, hh, hh)
		}
		h.op("ADDQ", 16, "BX")
		h.op("CMPQ", "BX", fmt.Sprintf("$%d", rounds-16))
		h.op("JLT", "rounds")
		h.op("SUBQ", (rounds-16)*h.word, "R8")
	}
}
