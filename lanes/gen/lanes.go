package main

import "fmt"

// A hash of lanes has a state of some words and a block of 16, each a register with the word of every lane. Its function is
//
//	func name(state *[words][lanes]word, data *[lanes]*byte, off, blocks int, lanes uint64, from *[16]word, sums *[lanes][64]byte)
//
// It hashes blocks from off bytes behind each pointer, and changes the state of the lanes that have a bit. All lanes need a
// pointer that can be read. If there is from, every lane has the state in its first words before. Without data, the
// block is the state as it was, followed by the last words of from: the outer hash of an HMAC. If there are sums, they get the state of each lane in the end, in the
// hash's own byte order.
type hash struct {
	vec
	name  string
	state int  // words
	big   bool // endian
	table string

	// With AVX-512 the block is in registers 0 to 15, the state from 16 on, the rest is spare. With AVX2 the block is on the stack,
	// the state from 0 on.
	spare int
}

const frame = 16*32 + 32 // AVX2's block, and room to align it

// w is word t of the block as an operand.
func (h *hash) w(t int) string {
	if h.wide {
		return h.reg(t % 16)
	}
	return at(t%16*32, "R9")
}

func (h *hash) s(i int) string {
	if h.wide {
		return h.reg(16 + i)
	}
	return h.reg(i)
}

// tmp are the registers that are free during the rounds.
func (h *hash) tmp(i int) string { return h.reg(h.spare + i) }

// write writes the function; rounds does all rounds on the state's registers.
func (h *hash) write(rounds func(*hash)) {
	size := 0
	h.spare = 16 + h.state
	if !h.wide {
		size = frame
		h.spare = h.state
	}
	h.function(h.name, size, [2]string{"state", "DI"}, [2]string{"data", "SI"}, [2]string{"off", "DX"}, [2]string{"blocks", "CX"}, [2]string{"lanes", "AX"}, [2]string{"from", "R11"}, [2]string{"sums", "R12"})
	if h.wide {
		h.op("KMOVW", "AX", "K1")
	} else {
		h.op("LEAQ", "block-"+fmt.Sprint(frame)+"(SP)", "R9")
		h.op("ADDQ", 31, "R9")
		h.op("ANDQ", -32, "R9")
		h.op("MOVQ", "AX", "R10")
	}
	h.op("LEAQ", h.table+"<>(SB)", "R8")
	h.op("TESTQ", "R11", "R11")
	h.op("JEQ", "begin")
	h.op("TESTQ", "SI", "SI")
	h.op("JNE", "spread")
	h.outer()
	h.spread()
	h.op("JMP", "compress")
	h.label("spread")
	h.spread()
	h.label("begin")
	h.op("TESTQ", "CX", "CX")
	h.op("JLE", "done")
	h.label("loop")
	h.load()
	h.label("compress")
	for i := range h.state {
		h.move(at(i*h.size(), "DI"), h.s(i))
	}
	rounds(h)
	h.feed()
	h.op("ADDQ", 16*h.word, "DX")
	h.op("DECQ", "CX")
	h.op("JNZ", "loop")
	h.label("done")
	h.op("TESTQ", "R12", "R12")
	h.op("JEQ", "return")
	h.digests()
	h.label("return")
	h.op("VZEROUPPER")
	h.op("RET")
}

// outer makes the state and the last words at R11 a block.
func (h *hash) outer() {
	for i := range 16 {
		r := h.w(i)
		if !h.wide {
			r = h.reg(0)
		}
		if i < h.state {
			h.move(at(i*h.size(), "DI"), r)
		} else {
			h.op(h.typed("VPBROADCAST"), at(i*h.word, "R11"), r)
		}
		if !h.wide {
			h.move(r, h.w(i))
		}
	}
}

// spread gives every lane the state at R11.
func (h *hash) spread() {
	for i := range h.state {
		h.op(h.typed("VPBROADCAST"), at(i*h.word, "R11"), h.s(i))
		h.move(h.s(i), at(i*h.size(), "DI"))
	}
}

// digests writes the state of each lane to R12.
func (h *hash) digests() {
	n := h.lanes()
	for part := 0; part*n < h.state; part++ {
		for i := range min(n, h.state-part*n) {
			h.move(at((part*n+i)*h.size(), "DI"), h.reg(i))
			if h.big {
				h.op("VPSHUFB", fmt.Sprintf("flip%d<>(SB)", h.word), h.reg(i), h.reg(i))
			}
		}
		from := h.transpose(0, n)
		for i := range n {
			r := h.reg(from + i)
			if h.wide && h.word == 4 {
				r = "Y" + r[1:]
			}
			if h.wide && h.word == 8 {
				h.move(r, at(64*i, "R12"))
			} else {
				h.op("VMOVDQU", r, at(64*i+part*32, "R12"))
			}
		}
	}
}

// load loads and transposes a block.
func (h *hash) load() {
	flip := func(r string, mask string) {
		if h.big {
			h.op("VPSHUFB", mask, r, r)
		}
	}
	flipTable := fmt.Sprintf("flip%d<>(SB)", h.word)
	n := h.lanes()
	if h.wide {
		if h.word == 4 {
			h.rows(0, 0)
			h.transpose(0, 16)
		} else {
			h.rows(0, 16)
			h.transpose(16, 0) // leaves its result in 0 to 7
			h.rows(1, 16)
			h.transpose(16, 8)
		}
		if h.big {
			h.move(flipTable, h.reg(16))
		}
		for i := range 16 {
			flip(h.reg(i), h.reg(16))
		}
		return
	}
	for piece := range 16 / n {
		h.rows(piece, 0)
		from := h.transpose(0, 8)
		if h.big {
			h.move(flipTable, h.reg((from+8)%16))
		}
		for i := range n {
			flip(h.reg(from+i), h.reg((from+8)%16))
			h.move(h.reg(from+i), h.w(piece*n+i))
		}
	}
}

// feed adds the state's registers to the state of the lanes that have a bit.
func (h *hash) feed() {
	t, u := h.tmp(0), h.tmp(1)
	if !h.wide { // bits to a mask of words
		h.op("VMOVQ", "R10", "X"+t[1:])
		h.op(h.typed("VPBROADCAST"), "X"+t[1:], t)
		h.move(fmt.Sprintf("bits%d<>(SB)", h.word), u)
		h.op("VPAND", u, t, t)
		h.op(h.typed("VPCMPEQ"), u, t, t)
	}
	for i := range h.state {
		to := at(i*h.size(), "DI")
		if h.wide {
			h.move(to, t)
			h.op(h.typed("VPADD"), h.s(i), t, "K1", t)
			h.move(t, to)
			continue
		}
		h.op("VPAND", t, h.s(i), h.s(i))
		h.add(to, h.s(i), h.s(i))
		h.move(h.s(i), to)
	}
}

// masks writes the tables of load and feed.
func masks(o *out, word int) {
	var flip, bits []uint64
	for i := range 8 {
		if word == 4 {
			flip = append(flip, [2]uint64{0x0405060700010203, 0x0c0d0e0f08090a0b}[i%2])
		} else {
			flip = append(flip, [2]uint64{0x0001020304050607, 0x08090a0b0c0d0e0f}[i%2])
		}
	}
	for i := range 32 / word {
		bits = append(bits, 1<<i)
	}
	o.words(fmt.Sprintf("flip%d", word), 8, flip...)
	o.words(fmt.Sprintf("bits%d", word), word, bits...)
}
