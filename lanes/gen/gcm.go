package main

import (
	"bytes"
	"fmt"
)

// AES-GCM (NIST SP 800-38D) with four blocks in a register: 16 blocks are encrypted as counters while 16 are hashed.
//
// A block of GHASH is a polynomial whose first bit is its lowest coefficient. With its bytes turned around it is a number whose highest bit is
// that coefficient, and the product of two such numbers lacks a factor x. The powers of H have it already. Numbers are multiplied
// modulo x^128 + x^127 + x^126 + x^121 + 1: to add a multiple of that which clears the lowest 64 bits moves them, times
// x^63 + x^62 + x^57, to the next 64 bits, and to those 128 bits higher. Doing so twice divides by x^128, as the reflection asks for.
//
// Blocks are not hashed one by one: 16 of them are multiplied by H^16 to H^1, the products added, and the sum is reduced once.
//
// A key is the round keys, then H^17 to H^1, then 48 bytes that are read, but only multiplied by 0.

const (
	powersAt  = 15 * 16 // H^17
	lastPower = powersAt + 16*16
)

func gcm(o *out) {
	four := func(name string, values ...uint64) {
		for len(values) < 8 {
			values = append(values, values...)
		}
		o.words(name, 8, values...)
	}
	four("gcmFlip", 0x08090a0b0c0d0e0f, 0x0001020304050607)
	four("gcmPoly", 1<<63|1<<62|1<<57)
	four("gcmFirst", 1, 0, 2, 0, 3, 0, 4, 0)
	four("gcmNext", 4, 0)
	four("gcmLane", 0, 0, 1, 1, 2, 2, 3, 3)
	var bytes []uint64
	for i := range uint64(256) {
		bytes = append(bytes, i)
	}
	o.words("gcmByte", 1, bytes...)
	gcmPowers(o)
	gcmCrypt(o, true)
	gcmCrypt(o, false)
}

// gcmProduct multiplies register a by b, unreduced: register 10 has the low half, 11 the high one, and 12 what lies between them. w is
// the width: X or Z. With add the product is added to what they have. Registers 9 and 14 are spare.
func gcmProduct(o *out, w string, a, b int, add bool) {
	r := func(n int) string { return fmt.Sprintf("%s%d", w, n) }
	op := func(halves int, to int) { o.op("VPCLMULQDQ", halves, r(b), r(a), r(to)) }
	if !add {
		op(0x00, 10)
		op(0x11, 11)
		op(0x01, 12)
		op(0x10, 14)
		o.op("VPXOR"+map[string]string{"Z": "Q"}[w], r(14), r(12), r(12))
		return
	}
	op(0x00, 14)
	o.op("VPXORQ", r(14), r(10), r(10))
	op(0x11, 9)
	o.op("VPXORQ", r(9), r(11), r(11))
	op(0x01, 14)
	op(0x10, 9)
	o.op("VPTERNLOGD", 0x96, r(9), r(14), r(12))
}

// gcmReduce reduces what gcmProduct has made to register 11. Register 14 is spare.
func gcmReduce(o *out, w string) {
	r := func(n int) string { return fmt.Sprintf("%s%d", w, n) }
	for _, from := range []int{10, 12} {
		to := map[int]int{10: 12, 12: 11}[from]
		o.op("VPCLMULQDQ", 0x00, "gcmPoly<>(SB)", r(from), r(14))
		o.op("VPSHUFD", 0x4e, r(from), r(from))
		if w == "Z" {
			o.op("VPTERNLOGD", 0x96, r(14), r(from), r(to))
		} else {
			o.op("VPXOR", r(14), r(to), r(to))
			o.op("VPXOR", r(from), r(to), r(to))
		}
	}
}

// gcmFold adds up the four blocks of register 11 to X9.
func gcmFold(o *out) {
	o.op("VEXTRACTI64X4", 1, "Z11", "Y14")
	o.op("VPXOR", "Y14", "Y11", "Y11")
	o.op("VEXTRACTI128", 1, "Y11", "X14")
	o.op("VPXOR", "X14", "X11", "X9")
}

// func gcmPowers(key *gcmKey, rounds int)
//
// It computes the powers of H from the round keys.
func gcmPowers(o *out) {
	o.function("gcmPowers", 0, [2]string{"key", "DI"}, [2]string{"rounds", "BX"})
	byRounds(o, func(rounds int, suffix string) {
		o.op("VMOVDQU", "(DI)", "X0") // of a block of zeros
		narrowRounds(o, "VAESENC", rounds, 1)
		o.op("VPSHUFB", "gcmFlip<>(SB)", "X0", "X0")
		// Times x: the highest bit comes back as the modulus without x^128.
		o.op("VPSHUFD", 0xff, "X0", "X2")
		o.op("VPSRAD", 31, "X2", "X2")
		o.op("VPSRLQ", 63, "X0", "X1")
		o.op("VPSLLDQ", 8, "X1", "X1")
		o.op("VPSLLQ", 1, "X0", "X0")
		o.op("VPOR", "X1", "X0", "X0")
		o.op("VPAND", "gcmModulus<>(SB)", "X2", "X2")
		o.op("VPXOR", "X2", "X0", "X0")
		o.op("VMOVDQA", "X0", "X11")
		o.op("MOVQ", 16, "CX")
		o.op("LEAQ", at(lastPower, "DI"), "R8")
		o.label("loop" + suffix)
		o.op("VMOVDQU", "X11", "(R8)")
		o.op("SUBQ", 16, "R8")
		o.op("VMOVDQA", "X11", "X1")
		gcmProduct(o, "X", 1, 0, false)
		gcmReduce(o, "X")
		o.op("DECQ", "CX")
		o.op("JNZ", "loop"+suffix)
		o.op("VMOVDQU", "X11", "(R8)")
	})
	o.words("gcmModulus", 8, 1, 1<<63|1<<62|1<<57)
}

// weave writes the instructions of both, those of the shorter one spread evenly over the longer. The processor has units that a and b
// use apart from each other, and neither has to wait until all of the other is under way.
func weave(o *out, a, b func(o *out)) {
	lines := func(f func(o *out)) [][]byte {
		var x out
		f(&x)
		return bytes.SplitAfter(x.Bytes(), []byte("\n"))
	}
	x, y := lines(a), lines(b)
	if len(x) < len(y) {
		x, y = y, x
	}
	for i := range x {
		o.Write(x[i])
		for j := i * len(y) / len(x); j < (i+1)*len(y)/len(x); j++ {
			o.Write(y[j])
		}
	}
}

// func gcmSeal(key *gcmKey, rounds int, dst, src *byte, n int, counter, aad [2]uint64, aadBits uint64, tag *[16]byte)
//
// It encrypts n bytes of src to dst and writes the tag; gcmOpen decrypts, and writes the tag that there should be. dst may be
// src. counter is the block that the tag is encrypted with, as a number whose low half comes first, and so is the block of
// additional data.
//
// Registers: 0 to 4 are blocks under encryption, 5 to 8 the ciphertext that is hashed, 9 the hash so far, 15 the next four
// counters as numbers, 16 to 30 the round keys, and 31 turns bytes around.
func gcmCrypt(o *out, seal bool) {
	name := map[bool]string{true: "gcmSeal", false: "gcmOpen"}[seal]
	o.function(name, 0, append([][2]string{{"key", "DI"}, {"rounds", "BX"}}, [][2]string{
		{"dst", "R9"},
		{"src", "SI"},
		{"n", "CX"},
		{"counterLow", "R10"},
		{"counterHigh", "R11"},
		{"aadLow", "R12"},
		{"aadHigh", "R13"},
		{"aadBits", "AX"},
		{"tag", "R8"},
	}...)...)
	o.op("VMOVDQU64", "gcmFlip<>(SB)", "Z31")
	o.op("VMOVQ", "R10", "X15")
	o.op("VPINSRQ", 1, "R11", "X15", "X15")
	o.op("VSHUFI64X2", 0, "Z15", "Z15", "Z15")
	o.op("VPADDD", "gcmFirst<>(SB)", "Z15", "Z15")
	o.op("VMOVQ", "R12", "X5")
	o.op("VPINSRQ", 1, "R13", "X5", "X5")
	o.op("VMOVDQU", at(lastPower, "DI"), "X13")
	gcmProduct(o, "X", 5, 13, false)
	gcmReduce(o, "X")
	o.op("VMOVDQA", "X11", "X9")
	o.op("LEAQ", "(CX*8)", "DX") // bits
	byRounds(o, func(rounds int, suffix string) {
		wideKeys(o, rounds)
		encrypt := func(o *out) {
			for q := range 4 {
				o.op("VPSHUFB", "Z31", "Z15", z(q))
				o.op("VPADDD", "gcmNext<>(SB)", "Z15", "Z15")
			}
			for q := range 4 {
				o.op("VPXORQ", "Z16", z(q), z(q))
			}
			wideRounds(o, "VAESENC", rounds, 4)
		}
		hash := func(o *out) {
			for q := range 4 {
				if !seal {
					o.op("VMOVDQU64", at(64*q, "SI"), z(5+q))
					o.op("VPSHUFB", "Z31", z(5+q), z(5+q))
				}
				if q == 0 {
					o.op("VPXORQ", "Z9", "Z5", "Z5")
				}
				o.op("VMOVDQU64", at(powersAt+16+64*q, "DI"), "Z13")
				gcmProduct(o, "Z", 5+q, 13, q > 0)
			}
			gcmReduce(o, "Z")
			gcmFold(o)
		}
		finish := func() {
			for q := range 4 {
				o.op("VPXORQ", at(64*q, "SI"), z(q), z(q))
				o.op("VMOVDQU64", z(q), at(64*q, "R9"))
				if seal {
					o.op("VPSHUFB", "Z31", z(q), z(5+q))
				}
			}
			o.op("ADDQ", 256, "SI")
			o.op("ADDQ", 256, "R9")
			o.op("SUBQ", 256, "CX")
		}
		o.op("CMPQ", "CX", "$256")
		o.op("JLT", "tail"+suffix)
		if seal {
			encrypt(o)
			finish()
			o.op("CMPQ", "CX", "$256")
			o.op("JLT", "drain"+suffix)
		}
		o.label("loop" + suffix)
		weave(o, encrypt, hash)
		finish()
		o.op("CMPQ", "CX", "$256")
		o.op("JGE", "loop"+suffix)
		if seal {
			o.label("drain" + suffix)
			hash(o)
		}
		o.label("tail" + suffix)
		// The powers begin with that of as many blocks as are left, and the lengths.
		o.op("LEAQ", "15(CX)", "R12")
		o.op("ANDQ", -16, "R12")
		o.op("LEAQ", at(lastPower, "DI"), "R13")
		o.op("SUBQ", "R12", "R13")
		o.op("SHRQ", 4, "R12")
		o.op("ANDQ", 3, "R12")
		o.op("VPBROADCASTQ", "R12", "Z13")
		o.op("VPCMPEQQ", "gcmLane<>(SB)", "Z13", "K3")
		o.op("VPBROADCASTB", "CX", "Z14")
		for n := 1; n <= 5; n++ {
			next := fmt.Sprintf("more%dthan%d", rounds, n)
			if n < 5 {
				o.op("CMPQ", "CX", fmt.Sprintf("$%d", 64*n-16))
				o.op("JGT", next)
			}
			gcmTail(o, seal, rounds, n)
			if n < 5 {
				o.op("VZEROUPPER")
				o.op("RET")
				o.label(next)
			}
		}
	})
}

// gcmTail writes the end for what fits into n registers together with one block more: as a counter, that which encrypts the tag; as
// hashed, that with the lengths. It is in the last register, in the place that K3 tells. CX and Z14 have the number of bytes.
func gcmTail(o *out, seal bool, rounds, n int) {
	// Which bytes of register q there are; all, if it says "".
	mask := func(q int) string {
		switch {
		case q == n-1:
			return "K1"
		case q == n-2:
			return "K2"
		}
		return ""
	}
	for q := max(0, n-2); q < min(n, 4); q++ {
		o.op("VPCMPUB", 6, fmt.Sprintf("gcmByte<>+%d(SB)", 64*q), "Z14", mask(q)) // greater
	}
	load := func(o *out, q int, to string) {
		switch {
		case q == 4:
			o.op("VPXORQ", to, to, to)
		case mask(q) == "":
			o.op("VMOVDQU64", at(64*q, "SI"), to)
		default:
			o.op("VMOVDQU8.Z", at(64*q, "SI"), mask(q), to)
		}
	}
	insert := func(o *out, low, high, to string) {
		o.op("VMOVQ", low, "X13")
		o.op("VPINSRQ", 1, high, "X13", "X13")
		o.op("VSHUFI64X2", 0, "Z13", "Z13", "K3", to)
	}
	encrypt := func(o *out) {
		for q := range n {
			if q < n-1 {
				o.op("VPSHUFB", "Z31", "Z15", z(q))
				o.op("VPADDD", "gcmNext<>(SB)", "Z15", "Z15")
				continue
			}
			insert(o, "R10", "R11", "Z15")
			o.op("VPSHUFB", "Z31", "Z15", z(q))
		}
		for q := range n {
			o.op("VPXORQ", "Z16", z(q), z(q))
		}
		wideRounds(o, "VAESENC", rounds, n)
	}
	hash := func(o *out) {
		for q := range n {
			r := q
			if !seal {
				r = 5
				load(o, q, z(r))
				o.op("VPSHUFB", "Z31", z(r), z(r))
			}
			if q == n-1 {
				insert(o, "DX", "AX", z(r))
			}
			if q == 0 {
				o.op("VPXORQ", "Z9", z(r), z(r))
			}
			o.op("VMOVDQU64", at(64*q, "R13"), "Z13")
			gcmProduct(o, "Z", r, 13, q > 0)
		}
		gcmReduce(o, "Z")
	}
	if seal {
		encrypt(o)
	} else {
		// insert uses register 13 on both sides, so the counters come first.
		var both out
		encrypt(&both)
		lines := bytes.SplitAfter(both.Bytes(), []byte("\n"))
		first := 3*n + 2
		for _, l := range lines[:first] {
			o.Write(l)
		}
		weave(o, func(o *out) { o.Write(bytes.Join(lines[first:], nil)) }, hash)
	}
	o.op("VMOVDQU64.Z", z(n-1), "K3", "Z6")
	for q := range min(n, 4) {
		if m := mask(q); m != "" {
			load(o, q, "Z13")
			o.op("VPXORQ", "Z13", z(q), z(q))
			o.op("VMOVDQU8", z(q), m, at(64*q, "R9"))
			if seal {
				o.op("VMOVDQU8.Z", z(q), m, z(q))
			}
		} else {
			o.op("VPXORQ", at(64*q, "SI"), z(q), z(q))
			o.op("VMOVDQU64", z(q), at(64*q, "R9"))
		}
		if seal {
			o.op("VPSHUFB", "Z31", z(q), z(q))
		}
	}
	if seal {
		if n == 5 {
			load(o, 4, "Z4")
		}
		hash(o)
	}
	o.op("VPSHUFB", "Z31", "Z11", "Z11")
	o.op("VPXORQ", "Z6", "Z11", "Z11")
	gcmFold(o)
	o.op("VMOVDQU", "X9", "(R8)")
}
