package main

// The ones' complement sum of 16-bit words (RFC 1071). VPMADDWD adds two words to one of 32 bits, but takes them as signed. A word
// whose highest bit is inverted is, as a signed number, the word less 2^15; so each sum of two lacks 2^16, which the end adds again.

func sum(o *out) {
	// Each word of sumOnes is 1; each word of sumHigh is its highest bit.
	o.words("sumOnes", 8, 0x0001000100010001, 0x0001000100010001, 0x0001000100010001, 0x0001000100010001)
	o.words("sumHigh", 8, 0x8000800080008000, 0x8000800080008000, 0x8000800080008000, 0x8000800080008000)
	sumNarrow(vec{o, false, 4})
}

// func sumNarrow(data *byte, n int, sum *uint64)
//
// It adds up the little-endian words of n bytes, a multiple of 32, and at most 1 MB, so that 32 bits hold the sums.
func sumNarrow(v vec) {
	v.function("sumNarrow", 0, [2]string{"data", "SI"}, [2]string{"n", "CX"}, [2]string{"sum", "DI"})
	v.move("sumHigh<>(SB)", v.reg(8))
	v.move("sumOnes<>(SB)", v.reg(9))
	v.op("XORL", "R8", "R8") // 2^16 for each register that was added
	for q := range 4 {
		v.op("VPXOR", v.reg(q), v.reg(q), v.reg(q))
	}
	add := func(q int) {
		v.op("VPXOR", at(q*v.size(), "SI"), v.reg(8), v.reg(4+q))
		v.op("VPMADDWD", v.reg(9), v.reg(4+q), v.reg(4+q))
		v.add(v.reg(4+q), v.reg(q), v.reg(q))
	}
	loop := func(name string, n int) {
		v.label(name)
		for q := range n {
			add(q)
		}
		v.op("ADDQ", n*v.size(), "SI")
		v.op("ADDQ", n<<16, "R8")
		v.op("SUBQ", n*v.size(), "CX")
		v.op("JGE", name)
	}
	v.op("SUBQ", 4*v.size(), "CX")
	v.op("JLT", "few")
	loop("four", 4)
	v.label("few")
	v.op("ADDQ", 3*v.size(), "CX")
	v.op("JLT", "end")
	loop("one", 1)
	v.label("end")
	for _, x := range [][2]int{{1, 0}, {3, 2}, {2, 0}} {
		v.add(v.reg(x[0]), v.reg(x[1]), v.reg(x[1]))
	}
	v.op("VMOVQ", "R8", "X4")
	v.op("VPBROADCASTD", "X4", "Y4")
	v.add(v.reg(4), v.reg(0), v.reg(0))
	v.op("VPSRLQ", 32, v.reg(0), v.reg(1)) // each 32 bits to 64
	v.op("VPSLLQ", 32, v.reg(0), v.reg(0))
	v.op("VPSRLQ", 32, v.reg(0), v.reg(0))
	v.op("VPADDQ", v.reg(1), v.reg(0), v.reg(0))
	v.op("VEXTRACTI128", 1, "Y0", "X1")
	v.op("VPADDQ", "X1", "X0", "X0")
	v.op("VPSRLDQ", 8, "X0", "X1")
	v.op("VPADDQ", "X1", "X0", "X0")
	v.op("VMOVQ", "X0", "(DI)")
	v.op("VZEROUPPER")
	v.op("RET")
}
