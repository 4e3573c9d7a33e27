package main

import "fmt"

// The functions of this file use the SHA instructions, on one buffer or on two in turn, of which one computes while
// the other waits for its last result:
//
//	func name(states *[n]*uint32, data *[n]*byte, off, blocks int)
//
// They hash blocks from off bytes behind each pointer of data.

// A stream is the registers of one buffer. Its state is in s[0] and s[1], its block in m.
type stream struct {
	s    [2]string
	m    [4]string
	data string // points to the block
	to   string // points to the state
	kept int    // where the state before the block is kept, on the stack
}

func streams(n int) []stream {
	all := []stream{
		{s: [2]string{"X1", "X2"}, m: [4]string{"X3", "X4", "X5", "X6"}, data: "R10", to: "R12", kept: 0},
		{s: [2]string{"X8", "X9"}, m: [4]string{"X10", "X11", "X12", "X13"}, data: "R11", to: "R13", kept: 32},
	}
	return all[:n]
}

// ni writes a function: begin and end turn a state as it is in memory to the instructions' and back, rounds does four
// rounds of one stream.
func ni(o *out, name string, n int, table string, begin, end func(stream), flip string, groups int, rounds func(c stream, i int), feed func(c stream)) {
	o.function(fmt.Sprintf("%sni%d", name, n), 64, [2]string{"states", "DI"}, [2]string{"data", "SI"}, [2]string{"off", "DX"}, [2]string{"blocks", "CX"})
	all := streams(n)
	if table != "" {
		o.op("LEAQ", table+"<>(SB)", "R8")
	}
	o.op("VMOVDQU", flip+"<>(SB)", "X15")
	for i, c := range all {
		o.op("MOVQ", at(8*i, "SI"), c.data)
		o.op("ADDQ", "DX", c.data)
		o.op("MOVQ", at(8*i, "DI"), c.to)
		begin(c)
	}
	o.op("TESTQ", "CX", "CX")
	o.op("JLE", "done")
	o.label("loop")
	for _, c := range all {
		for j, r := range c.s {
			o.op("VMOVDQU", r, c.keptAt(j))
		}
		for j, r := range c.m {
			o.op("VMOVDQU", at(16*j, c.data), r)
			o.op("VPSHUFB", "X15", r, r)
		}
	}
	for i := range groups {
		for _, c := range all {
			rounds(c, i)
		}
	}
	for _, c := range all {
		feed(c)
		o.op("ADDQ", 64, c.data)
	}
	o.op("DECQ", "CX")
	o.op("JNZ", "loop")
	o.label("done")
	for _, c := range all {
		end(c)
	}
	o.op("RET")
}

func (c stream) keptAt(i int) string { return fmt.Sprintf("kept-%d(SP)", 64-c.kept-16*i) }

func sha256NI(o *out, n int) {
	begin := func(c stream) { // dcba and hgfe become feba and hgdc, highest word first
		o.op("VMOVDQU", at(0, c.to), "X0")
		o.op("VMOVDQU", at(16, c.to), c.s[1])
		o.op("VPSHUFD", 0xb1, "X0", "X0")
		o.op("VPSHUFD", 0x1b, c.s[1], c.s[1])
		o.op("VPALIGNR", 8, c.s[1], "X0", c.s[0])
		o.op("VPBLENDW", 0xf0, "X0", c.s[1], c.s[1])
	}
	end := func(c stream) {
		o.op("VPSHUFD", 0x1b, c.s[0], c.s[0])
		o.op("VPSHUFD", 0xb1, c.s[1], c.s[1])
		o.op("VPBLENDW", 0xf0, c.s[1], c.s[0], "X0")
		o.op("VPALIGNR", 8, c.s[0], c.s[1], c.s[1])
		o.op("VMOVDQU", "X0", at(0, c.to))
		o.op("VMOVDQU", c.s[1], at(16, c.to))
	}
	rounds := func(c stream, i int) {
		m := func(j int) string { return c.m[(i+j+4)%4] }
		o.op("VPADDD", at(16*i, "R8"), m(0), "X0")
		o.op("SHA256RNDS2", "X0", c.s[0], c.s[1])
		if 3 <= i && i < 15 {
			o.op("VPALIGNR", 4, m(-1), m(0), "X7")
			o.op("VPADDD", "X7", m(1), m(1))
			o.op("SHA256MSG2", m(0), m(1))
		}
		o.op("VPSHUFD", 0x0e, "X0", "X0")
		o.op("SHA256RNDS2", "X0", c.s[1], c.s[0])
		if 1 <= i && i < 13 {
			o.op("SHA256MSG1", m(0), m(-1))
		}
	}
	feed := func(c stream) {
		for i, r := range c.s {
			o.op("VPADDD", c.keptAt(i), r, r)
		}
	}
	ni(o, "sha256", n, "k256", begin, end, "flip4", 16, rounds, feed)
}

// sha1NI has a to d in s[0], highest word first, and e in the highest word of s[1].
func sha1NI(o *out, n int) {
	if n == 1 {
		o.words("flip16", 8, 0x08090a0b0c0d0e0f, 0x0001020304050607)
	}
	// s[1] and a spare register take turns.
	e := func(c stream, i int) (cur, other string) {
		spare := map[string]string{"X2": "X7", "X9": "X14"}[c.s[1]]
		if i%2 == 0 {
			return c.s[1], spare
		}
		return spare, c.s[1]
	}
	begin := func(c stream) {
		o.op("VMOVDQU", at(0, c.to), c.s[0])
		o.op("VPSHUFD", 0x1b, c.s[0], c.s[0])
		o.op("VMOVD", at(16, c.to), c.s[1])
		o.op("VPSLLDQ", 12, c.s[1], c.s[1])
	}
	end := func(c stream) {
		o.op("VPSHUFD", 0x1b, c.s[0], c.s[0])
		o.op("VMOVDQU", c.s[0], at(0, c.to))
		o.op("VPEXTRD", 3, c.s[1], at(16, c.to))
	}
	rounds := func(c stream, i int) {
		m := func(j int) string { return c.m[(i+j+4)%4] }
		cur, other := e(c, i)
		if i == 0 {
			o.op("VPADDD", m(0), cur, cur)
		} else {
			o.op("SHA1NEXTE", m(0), cur)
		}
		o.op("VMOVDQA", c.s[0], other)
		if 3 <= i && i <= 18 {
			o.op("SHA1MSG2", m(0), m(1))
		}
		o.op("SHA1RNDS4", i/5, cur, c.s[0])
		if 1 <= i && i <= 16 {
			o.op("SHA1MSG1", m(0), m(-1))
		}
		if 2 <= i && i <= 17 {
			o.op("VPXOR", m(0), m(-2), m(-2))
		}
	}
	feed := func(c stream) {
		// After twenty groups the state before the last one is in s[1], whose rotated word is the new e.
		o.op("VMOVDQU", c.keptAt(1), "X0")
		o.op("SHA1NEXTE", "X0", c.s[1])
		o.op("VPADDD", c.keptAt(0), c.s[0], c.s[0])
	}
	ni(o, "sha1", n, "", begin, end, "flip16", 20, rounds, feed)
}
