package main

import "fmt"

// The round keys of a cipher are 15 blocks, the last ones unused where a key is short: the number of rounds is 10, 12 or 14.

func aes(o *out) {
	keyHelpers(o)
	cbcEncryptWide(o)
	cbcEncryptNarrow(o)
	cbcDecryptWide(o)
	cbcDecryptNarrow(o)
	blocksWide(o)
	blocksNarrow(o)
}

// keyHelpers are what the key schedule needs of the hardware. They take the place of tables.
func keyHelpers(o *out) {
	// func subWord(w *uint32)
	o.function("subWord", 0, [2]string{"w", "DI"})
	o.op("VMOVD", "(DI)", "X0")
	o.op("VPSLLDQ", 4, "X0", "X0")
	o.op("VAESKEYGENASSIST", 0, "X0", "X0")
	o.op("VMOVD", "X0", "(DI)")
	o.op("RET")
	// func inverseMix(block *[16]byte)
	o.function("inverseMix", 0, [2]string{"block", "DI"})
	o.op("VMOVDQU", "(DI)", "X0")
	o.op("VAESIMC", "X0", "X0")
	o.op("VMOVDQU", "X0", "(DI)")
	o.op("RET")
}

// byRounds writes body once for each number of rounds, which is in BX.
func byRounds(o *out, body func(rounds int, suffix string)) {
	for _, rounds := range []int{14, 12, 10} {
		suffix := fmt.Sprint(rounds)
		if rounds > 10 {
			o.op("CMPQ", "BX", fmt.Sprintf("$%d", rounds))
			o.op("JNE", "not"+suffix)
		}
		body(rounds, suffix)
		o.op("VZEROUPPER")
		o.op("RET")
		if rounds > 10 {
			o.label("not" + suffix)
		}
	}
}

// wideKeys loads the round keys into registers 16 to 30, four times each.
func wideKeys(o *out, rounds int) {
	for i := range rounds + 1 {
		o.op("VBROADCASTI32X4", at(16*i, "DI"), z(16+i))
	}
}

func z(n int) string { return fmt.Sprintf("Z%d", n) }

// wideRounds writes all rounds but the first key on registers 0 to n-1.
func wideRounds(o *out, name string, rounds, n int) {
	for r := 1; r <= rounds; r++ {
		op := name
		if r == rounds {
			op += "LAST"
		}
		for i := range n {
			o.op(op, z(16+r), z(i), z(i))
		}
	}
}

// narrowRounds is wideRounds on registers of 16 bytes. It reads the round keys from memory, by register 15.
func narrowRounds(o *out, name string, rounds, n int) {
	for r := 1; r <= rounds; r++ {
		op := name
		if r == rounds {
			op += "LAST"
		}
		o.op("VMOVDQU", at(16*r, "DI"), "X15")
		for i := range n {
			o.op(op, "X15", low(i), low(i))
		}
	}
}

var keysAndRounds = [][2]string{{"keys", "DI"}, {"rounds", "BX"}}

// func cbcEncryptX16(keys *roundKeys, rounds int, data *[16]*byte, off, blocks int)
//
// It encrypts blocks in place, from off bytes behind each pointer; the block before is the IV. Pointers may be the same.
func cbcEncryptWide(o *out) {
	for _, regs := range []int{4, 1} {
		o.function(fmt.Sprintf("cbcEncryptX%d", 4*regs), 64+64*regs, append(keysAndRounds, [][2]string{{"data", "SI"}, {"off", "DX"}, {"blocks", "CX"}}...)...)
		gpr := []string{"R8", "R9", "R10", "R11"}
		if regs == 1 {
			for i, r := range gpr {
				o.op("MOVQ", at(8*i, "SI"), r)
			}
		}
		pointers := func(q int) {
			if regs > 1 {
				for i, r := range gpr {
					o.op("MOVQ", at(8*(4*q+i), "SI"), r)
				}
			}
		}
		gather := func(q, to int, off string) {
			pointers(q)
			for i, r := range gpr {
				m := fmt.Sprintf("%s(%s)(DX*1)", off, r)
				if i == 0 {
					o.op("VMOVDQU", m, low(to))
				} else {
					o.op("VINSERTI32X4", i, m, z(to), z(to))
				}
			}
		}
		o.op("LEAQ", fmt.Sprintf("rows-%d(SP)", 64+64*regs), "R12")
		o.op("ADDQ", 63, "R12")
		o.op("ANDQ", -64, "R12")
		for q := range regs {
			gather(q, q, "-16")
		}
		byRounds(o, func(rounds int, suffix string) {
			wideKeys(o, rounds)
			o.label("loop" + suffix)
			for q := range regs {
				gather(q, 4+q, "")
				o.op("VPTERNLOGD", 0x96, z(4+q), z(16), z(q))
			}
			wideRounds(o, "VAESENC", rounds, regs)
			// By way of the stack: an extraction would take units that the insertions need.
			for q := range regs {
				o.op("VMOVDQU64", z(q), at(64*q, "R12"))
			}
			for q := range regs {
				pointers(q)
				for i, r := range gpr {
					m := fmt.Sprintf("(%s)(DX*1)", r)
					if i == 0 {
						o.op("VMOVDQU", low(q), m)
					} else {
						o.op("VMOVDQU", at(64*q+16*i, "R12"), low(8+i))
						o.op("VMOVDQU", low(8+i), m)
					}
				}
			}
			o.op("ADDQ", 16, "DX")
			o.op("DECQ", "CX")
			o.op("JNZ", "loop"+suffix)
		})
	}
}

// func cbcEncryptNI8(keys *roundKeys, rounds int, data *[8]*byte, off, blocks int), and one for a single buffer
func cbcEncryptNarrow(o *out) {
	for _, n := range []int{8, 1} {
		o.function(fmt.Sprintf("cbcEncryptNI%d", n), 0, append(keysAndRounds, [][2]string{{"data", "SI"}, {"off", "DX"}, {"blocks", "CX"}}...)...)
		gpr := []string{"R8", "R9", "R10", "R11", "R12", "R13", "AX", "R15"}[:n]
		for i, r := range gpr {
			o.op("MOVQ", at(8*i, "SI"), r)
			o.op("VMOVDQU", fmt.Sprintf("-16(%s)(DX*1)", r), low(i))
		}
		byRounds(o, func(rounds int, suffix string) {
			o.label("loop" + suffix)
			o.op("VMOVDQU", "(DI)", "X15")
			for i, r := range gpr {
				o.op("VPXOR", "X15", low(i), low(i))
				o.op("VPXOR", fmt.Sprintf("(%s)(DX*1)", r), low(i), low(i))
			}
			narrowRounds(o, "VAESENC", rounds, n)
			for i, r := range gpr {
				o.op("VMOVDQU", low(i), fmt.Sprintf("(%s)(DX*1)", r))
			}
			o.op("ADDQ", 16, "DX")
			o.op("DECQ", "CX")
			o.op("JNZ", "loop"+suffix)
		})
	}
}

// groups writes a loop that goes on while CX has n blocks or more, and jumps to done if none are left.
func groups(o *out, n int, suffix string, body func()) {
	enough := fmt.Sprintf("$%d", n)
	o.op("CMPQ", "CX", enough)
	o.op("JLT", "tail"+suffix)
	o.label("loop" + suffix)
	body()
	o.op("SUBQ", n, "CX")
	o.op("CMPQ", "CX", enough)
	o.op("JGE", "loop"+suffix)
	o.label("tail" + suffix)
	o.op("TESTQ", "CX", "CX")
	o.op("JEQ", "done"+suffix)
}

// func cbcDecryptWide(keys *roundKeys, rounds int, dst, src *byte, blocks int)
//
// The block before src is the IV. dst may be src.
func cbcDecryptWide(o *out) {
	o.function("cbcDecryptWide", 0, append(keysAndRounds, [][2]string{{"dst", "R8"}, {"src", "SI"}, {"blocks", "CX"}}...)...)
	o.op("VMOVDQU", "-16(SI)", "X0")
	o.op("VINSERTI32X4", 3, "X0", z(12), z(12)) // the block before, highest
	byRounds(o, func(rounds int, suffix string) {
		wideKeys(o, rounds)
		groups(o, 16, suffix, func() {
			for q := range 4 {
				o.op("VMOVDQU64", at(64*q, "SI"), z(4+q))
			}
			decryptFour(o, rounds)
			for q := range 4 {
				o.op("VMOVDQU64", z(q), at(64*q, "R8"))
			}
			o.op("ADDQ", 256, "SI")
			o.op("ADDQ", 256, "R8")
		})
		masksOfTail(o)
		for q := range 4 {
			o.op("VMOVDQU64.Z", at(64*q, "SI"), fmt.Sprintf("K%d", q+1), z(4+q))
		}
		decryptFour(o, rounds)
		for q := range 4 {
			o.op("VMOVDQU64", z(q), fmt.Sprintf("K%d", q+1), at(64*q, "R8"))
		}
		o.label("done" + suffix)
	})
}

// masksOfTail has bits in K1 to K4 for the words of 8 bytes of CX blocks, fewer than 16.
func masksOfTail(o *out) {
	o.op("ADDQ", "CX", "CX")
	o.op("MOVL", 1, "AX")
	o.op("SHLL", "CX", "AX")
	o.op("DECL", "AX")
	for q := range 4 {
		if q > 0 {
			o.op("SHRL", 8, "AX")
		}
		o.op("KMOVW", "AX", fmt.Sprintf("K%d", q+1)) // as words of 64 bits its lowest 8 bits count
	}
}

// decryptFour decrypts registers 4 to 7 into 0 to 3. Register 12 has the block before them in its highest 16 bytes.
func decryptFour(o *out, rounds int) {
	for q := range 4 {
		o.op("VPXORD", z(16), z(4+q), z(q))
	}
	wideRounds(o, "VAESDEC", rounds, 4)
	before := 12
	for q := range 4 {
		o.op("VALIGNQ", 6, z(before), z(4+q), z(8))
		o.op("VPXORD", z(8), z(q), z(q))
		before = 4 + q
	}
	o.op("VMOVDQA64", z(7), z(12))
}

// func cbcDecryptNarrow is cbcDecryptWide with AVX2's registers of 16 bytes.
func cbcDecryptNarrow(o *out) {
	o.function("cbcDecryptNarrow", 0, append(keysAndRounds, [][2]string{{"dst", "R8"}, {"src", "SI"}, {"blocks", "CX"}}...)...)
	o.op("VMOVDQU", "-16(SI)", "X14")
	group := func(n, rounds int) {
		o.op("VMOVDQU", "(DI)", "X15")
		for i := range n {
			o.op("VPXOR", at(16*i, "SI"), "X15", low(i))
		}
		narrowRounds(o, "VAESDEC", rounds, n)
		o.op("VPXOR", "X14", "X0", "X0")
		for i := 1; i < n; i++ {
			o.op("VPXOR", at(16*(i-1), "SI"), low(i), low(i))
		}
		o.op("VMOVDQU", at(16*(n-1), "SI"), "X14")
		for i := range n {
			o.op("VMOVDQU", low(i), at(16*i, "R8"))
		}
		o.op("ADDQ", 16*n, "SI")
		o.op("ADDQ", 16*n, "R8")
	}
	byRounds(o, func(rounds int, suffix string) {
		groups(o, 8, suffix, func() { group(8, rounds) })
		o.label("one" + suffix)
		group(1, rounds)
		o.op("DECQ", "CX")
		o.op("JNZ", "one"+suffix)
		o.label("done" + suffix)
	})
}

// func blocksX16(keys *roundKeys, rounds int, data *[256]byte)
//
// It encrypts 16 blocks, each by itself, in place.
func blocksWide(o *out) {
	o.function("blocksX16", 0, append(keysAndRounds, [2]string{"data", "SI"})...)
	byRounds(o, func(rounds int, suffix string) {
		wideKeys(o, rounds)
		for q := range 4 {
			o.op("VPXORD", at(64*q, "SI"), z(16), z(q))
		}
		wideRounds(o, "VAESENC", rounds, 4)
		for q := range 4 {
			o.op("VMOVDQU64", z(q), at(64*q, "SI"))
		}
	})
}

func blocksNarrow(o *out) {
	o.function("blocksX8", 0, append(keysAndRounds, [2]string{"data", "SI"})...)
	byRounds(o, func(rounds int, suffix string) {
		o.op("VMOVDQU", "(DI)", "X15")
		for i := range 8 {
			o.op("VPXOR", at(16*i, "SI"), "X15", low(i))
		}
		narrowRounds(o, "VAESENC", rounds, 8)
		for i := range 8 {
			o.op("VMOVDQU", low(i), at(16*i, "SI"))
		}
	})
}
