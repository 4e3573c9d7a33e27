package main

import "fmt"

// AES-GCM (NIST SP 800-38D) with four blocks in a register. 16 counters are encrypted and 16 blocks are hashed, neither of which waits
// for the other, so the processor does both at once: to seal, the ciphertext hashed is that of the 16 blocks before.
//
// A block of GHASH is a polynomial whose first bit is its lowest coefficient. With its bytes reversed it is a number whose highest bit is
// that coefficient. The product of two such numbers lacks a factor x, so the powers of H are stored with that factor. The
// modulus is x^128 + x^127 + x^126 + x^121 + 1. Adding the multiple of it that clears the lowest 64 bits of a product adds these bits 128
// bits higher, and, times x^63 + x^62 + x^57, to the next 64 bits. Done twice this leaves the upper 128 of 256 bits, which is
// the reduced product.
//
// 16 blocks are multiplied by H^16 to H^1, and the sum of the products is reduced once.
//
// A key is the round keys, then H^17 to H^1, then 48 bytes that are read but only multiplied by 0.

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

// gcmXOR is the name of the instruction on registers of width w: X or Z.
func gcmXOR(w string) string {
	if w == "Z" {
		return "VPXORQ"
	}
	return "VPXOR"
}

// gcmProduct multiplies register a by b, unreduced: register 10 has the low half, 11 the high one, and 12 what lies between them.
// Register 14 is spare.
func gcmProduct(o *out, w string, a, b int) {
	r := func(n int) string { return fmt.Sprintf("%s%d", w, n) }
	o.op("VPCLMULQDQ", 0x00, r(b), r(a), r(10))
	o.op("VPCLMULQDQ", 0x11, r(b), r(a), r(11))
	o.op("VPCLMULQDQ", 0x01, r(b), r(a), r(12))
	o.op("VPCLMULQDQ", 0x10, r(b), r(a), r(14))
	o.op(gcmXOR(w), r(14), r(12), r(12))
}

// gcmSum adds the product of a and b to what gcmProduct has made. Registers 9 and 14 are spare.
func gcmSum(o *out, a, b int) {
	o.op("VPCLMULQDQ", 0x00, z(b), z(a), "Z14")
	o.op("VPXORQ", "Z14", "Z10", "Z10")
	o.op("VPCLMULQDQ", 0x11, z(b), z(a), "Z9")
	o.op("VPXORQ", "Z9", "Z11", "Z11")
	o.op("VPCLMULQDQ", 0x01, z(b), z(a), "Z14")
	o.op("VPCLMULQDQ", 0x10, z(b), z(a), "Z9")
	o.op("VPTERNLOGD", 0x96, "Z9", "Z14", "Z12")
}

// gcmHash multiplies register i of some, the first of which is 0, by the power at from, and adds the product to theirs.
func gcmHash(o *out, i, register int, from string) {
	if i == 0 {
		o.op("VPXORQ", "Z9", z(register), z(register)) // the hash so far
	}
	o.op("VMOVDQU64", from, "Z13")
	if i == 0 {
		gcmProduct(o, "Z", register, 13)
	} else {
		gcmSum(o, register, 13)
	}
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
		gcmProduct(o, "X", 1, 0)
		gcmReduce(o, "X")
		o.op("DECQ", "CX")
		o.op("JNZ", "loop"+suffix)
		o.op("VMOVDQU", "X11", "(R8)")
	})
	o.words("gcmModulus", 8, 1, 1<<63|1<<62|1<<57)
}

// func gcmSeal(key *gcmKey, rounds int, dst, src *byte, n int, counterLow, counterHigh, aadLow, aadHigh, aadBits uint64, tag *[16]byte)
//
// It encrypts n bytes of src to dst and writes the tag; gcmOpen decrypts, and writes the tag that there should be. dst may be
// src. The block whose encryption masks the tag, and that of additional data, are numbers in two halves.
//
// Registers 0 to 4 have blocks under encryption, 5 to 8 the ciphertext to hash, 9 the hash so far, 15 the next four
// counters as numbers, 16 to 30 the round keys, and 31 reverses the bytes of a block.
func gcmCrypt(o *out, seal bool) {
	name := map[bool]string{true: "gcmSeal", false: "gcmOpen"}[seal]
	o.function(
		name, 0, [2]string{"key", "DI"}, [2]string{"rounds", "BX"}, [2]string{"dst", "R9"}, [2]string{"src", "SI"}, [2]string{"n", "CX"},
		[2]string{"counterLow", "R10"}, [2]string{"counterHigh", "R11"}, [2]string{"aadLow", "R12"}, [2]string{"aadHigh", "R13"},
		[2]string{"aadBits", "AX"}, [2]string{"tag", "R8"},
	)
	o.op("VMOVDQU64", "gcmFlip<>(SB)", "Z31")
	o.op("VMOVQ", "R10", "X15")
	o.op("VPINSRQ", 1, "R11", "X15", "X15")
	o.op("VSHUFI64X2", 0, "Z15", "Z15", "Z15")
	o.op("VPADDD", "gcmFirst<>(SB)", "Z15", "Z15")
	o.op("VMOVQ", "R12", "X5")
	o.op("VPINSRQ", 1, "R13", "X5", "X5")
	o.op("VMOVDQU", at(lastPower, "DI"), "X13")
	gcmProduct(o, "X", 5, 13)
	gcmReduce(o, "X")
	o.op("VMOVDQA", "X11", "X9")
	o.op("LEAQ", "(CX*8)", "DX") // bits
	byRounds(o, func(rounds int, suffix string) {
		wideKeys(o, rounds)
		encrypt := func() {
			for q := range 4 {
				o.op("VPSHUFB", "Z31", "Z15", z(q))
				o.op("VPADDD", "gcmNext<>(SB)", "Z15", "Z15")
			}
			for q := range 4 {
				o.op("VPXORQ", "Z16", z(q), z(q))
			}
			wideRounds(o, "VAESENC", rounds, 4)
		}
		hash := func() {
			for q := range 4 {
				if !seal {
					o.op("VMOVDQU64", at(64*q, "SI"), z(5+q))
					o.op("VPSHUFB", "Z31", z(5+q), z(5+q))
				}
				gcmHash(o, q, 5+q, at(powersAt+16+64*q, "DI"))
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
			encrypt()
			finish()
			o.op("CMPQ", "CX", "$256")
			o.op("JLT", "drain"+suffix)
		}
		o.label("loop" + suffix)
		encrypt()
		hash()
		finish()
		o.op("CMPQ", "CX", "$256")
		o.op("JGE", "loop"+suffix)
		if seal {
			o.label("drain" + suffix)
			hash()
		}
		o.label("tail" + suffix)
		// R13 points to the power of H for the first of the blocks that are left; K3 has the place of the one behind them.
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

// gcmTail writes the end of a function for a rest that fits into n registers together with one more block, whose place in the last register
// K3 tells. Among the counters that block is the one whose encryption masks the tag; among the hashed blocks it is the lengths. CX, and each
// byte of Z14, is the number of bytes.
func gcmTail(o *out, seal bool, rounds, n int) {
	// mask is the mask of the bytes that register q has; "" if it has all.
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
	load := func(q int, to string) {
		switch {
		case q == 4:
			o.op("VPXORQ", to, to, to)
		case mask(q) == "":
			o.op("VMOVDQU64", at(64*q, "SI"), to)
		default:
			o.op("VMOVDQU8.Z", at(64*q, "SI"), mask(q), to)
		}
	}
	insert := func(low, high, to string) {
		o.op("VMOVQ", low, "X13")
		o.op("VPINSRQ", 1, high, "X13", "X13")
		o.op("VSHUFI64X2", 0, "Z13", "Z13", "K3", to)
	}
	encrypt := func() {
		for q := range n - 1 {
			o.op("VPSHUFB", "Z31", "Z15", z(q))
			o.op("VPADDD", "gcmNext<>(SB)", "Z15", "Z15")
		}
		insert("R10", "R11", "Z15")
		o.op("VPSHUFB", "Z31", "Z15", z(n-1))
		for q := range n {
			o.op("VPXORQ", "Z16", z(q), z(q))
		}
		wideRounds(o, "VAESENC", rounds, n)
	}
	hash := func() {
		for q := range n {
			r := q
			if !seal {
				r = 5
				load(q, z(r))
				o.op("VPSHUFB", "Z31", z(r), z(r))
			}
			if q == n-1 {
				insert("DX", "AX", z(r))
			}
			gcmHash(o, q, r, at(64*q, "R13"))
		}
		gcmReduce(o, "Z")
	}
	encrypt()
	if !seal {
		hash()
	}
	o.op("VMOVDQU64.Z", z(n-1), "K3", "Z6")
	for q := range min(n, 4) {
		if m := mask(q); m != "" {
			load(q, "Z13")
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
			load(4, "Z4")
		}
		hash()
	}
	o.op("VPSHUFB", "Z31", "Z11", "Z11")
	o.op("VPXORQ", "Z6", "Z11", "Z11")
	gcmFold(o)
	o.op("VMOVDQU", "X9", "(R8)")
}
