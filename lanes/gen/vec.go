package main

import "fmt"

// A vec writes instructions on registers of 64 or 32 bytes, with a word of each lane side by side.
type vec struct {
	*out
	wide bool // AVX-512; else AVX2
	word int  // bytes of a word
}

func (v vec) size() int {
	if v.wide {
		return 64
	}
	return 32
}

func (v vec) lanes() int { return v.size() / v.word }

// reg is a register, and low its lowest 16 bytes.
func (v vec) reg(n int) string {
	if v.wide {
		return z(n)
	}
	return fmt.Sprintf("Y%d", n)
}

func low(n int) string { return fmt.Sprintf("X%d", n) }

// typed is an instruction's name for the size of a word.
func (v vec) typed(name string) string {
	if v.word == 8 {
		return name + "Q"
	}
	return name + "D"
}

func (v vec) move(src, dst string) {
	if v.wide {
		v.op("VMOVDQU64", src, dst)
	} else {
		v.op("VMOVDQU", src, dst)
	}
}

func (v vec) add(a, b, dst string) { v.op(v.typed("VPADD"), a, b, dst) }

// addConst is dst = b + the word of a table, in every lane.
func (v vec) addConst(table string, b, dst, tmp string) {
	if v.wide {
		v.op(v.typed("VPADD")+".BCST", table, b, dst)
		return
	}
	v.op(v.typed("VPBROADCAST"), table, tmp)
	v.add(tmp, b, dst)
}

// rotate is dst = src rotated left by n bits. dst may be src; tmp is neither.
func (v vec) rotate(n int, src, dst, tmp string) {
	if v.wide {
		v.op(v.typed("VPROL"), n, src, dst)
		return
	}
	v.op(v.typed("VPSLL"), n, src, tmp)
	v.op(v.typed("VPSRL"), 8*v.word-n, src, dst)
	v.op("VPOR", tmp, dst, dst)
}

// fold is the xor of src rotated and shifted right. Negative: shifted. dst is not src, nor tmp either.
func (v vec) fold(bits [3]int, src, dst string, tmp [2]string) {
	if v.wide {
		for i, r := range []string{dst, tmp[0], tmp[1]} {
			if bits[i] < 0 {
				v.op(v.typed("VPSRL"), -bits[i], src, r)
			} else {
				v.op(v.typed("VPROR"), bits[i], src, r)
			}
		}
		v.xor3(tmp[0], tmp[1], dst)
		return
	}
	for i, n := range bits {
		to := tmp[0]
		if i == 0 {
			to = dst
		}
		v.op(v.typed("VPSRL"), max(n, -n), src, to)
		if i > 0 {
			v.op("VPXOR", tmp[0], dst, dst)
		}
		if n > 0 {
			v.op(v.typed("VPSLL"), 8*v.word-n, src, tmp[0])
			v.op("VPXOR", tmp[0], dst, dst)
		}
	}
}

// xor3 is dst ^= a ^ b.
func (v vec) xor3(a, b, dst string) {
	if v.wide {
		v.op("VPTERNLOGD", 0x96, a, b, dst)
		return
	}
	v.op("VPXOR", a, dst, dst)
	v.op("VPXOR", b, dst, dst)
}

// xored is dst = a ^ b ^ c; dst is none of them.
func (v vec) xored(a, b, c, dst string) {
	if v.wide {
		v.move(a, dst)
		v.xor3(b, c, dst)
		return
	}
	v.op("VPXOR", a, b, dst)
	v.op("VPXOR", c, dst, dst)
}

// choose is dst = x ? y : z, bit by bit; dst is none of them.
func (v vec) choose(x, y, z, dst string) {
	if v.wide {
		v.move(x, dst)
		v.op("VPTERNLOGD", 0xca, z, y, dst)
		return
	}
	v.op("VPXOR", y, z, dst)
	v.op("VPAND", x, dst, dst)
	v.op("VPXOR", z, dst, dst)
}

// majority is dst = the bits that two of x, y and z have.
func (v vec) majority(x, y, z, dst, tmp string) {
	if v.wide {
		v.move(x, dst)
		v.op("VPTERNLOGD", 0xe8, z, y, dst)
		return
	}
	v.op("VPXOR", x, z, tmp)
	v.op("VPXOR", y, z, dst)
	v.op("VPAND", tmp, dst, dst)
	v.op("VPXOR", z, dst, dst)
}

// rows loads a piece, as large as a register, of each lane's block into registers from base on. The blocks lie DX bytes
// behind the pointers at SI.
func (v vec) rows(piece, base int) {
	for i := range v.lanes() {
		v.op("MOVQ", at(8*i, "SI"), "AX")
		v.move(fmt.Sprintf("%d(AX)(DX*1)", piece*v.size()), v.reg(base+i))
	}
}

// transpose turns as many rows as there are lanes, in registers from base on, into words. It uses registers from spare on
// too, as many again, and returns the register that has word 0 of each lane; the other words follow.
func (v vec) transpose(base, spare int) int {
	n := v.lanes()
	from, to := base, spare
	r := v.reg
	step := func(f func()) { f(); from, to = to, from }
	if v.word == 4 {
		step(func() { // words of two rows beside each other
			for i := 0; i < n; i += 2 {
				v.op("VPUNPCKLDQ", r(from+i+1), r(from+i), r(to+i))
				v.op("VPUNPCKHDQ", r(from+i+1), r(from+i), r(to+i+1))
			}
		})
		step(func() { // words of four rows; register 4g+w has word w of rows 4g to 4g+3 in its lowest 16 bytes
			for i := 0; i < n; i += 4 {
				for j := range 2 {
					v.op("VPUNPCKLQDQ", r(from+i+2+j), r(from+i+j), r(to+i+2*j))
					v.op("VPUNPCKHQDQ", r(from+i+2+j), r(from+i+j), r(to+i+2*j+1))
				}
			}
		})
	} else {
		step(func() { // register 2g+w has word w of rows 2g and 2g+1 in its lowest 16 bytes
			for i := 0; i < n; i += 2 {
				v.op("VPUNPCKLQDQ", r(from+i+1), r(from+i), r(to+i))
				v.op("VPUNPCKHQDQ", r(from+i+1), r(from+i), r(to+i+1))
			}
		})
	}
	k := 16 / v.word // words in 16 bytes
	if !v.wide {
		step(func() {
			for w := range k {
				v.op("VPERM2I128", 0x20, r(from+k+w), r(from+w), r(to+w))
				v.op("VPERM2I128", 0x31, r(from+k+w), r(from+w), r(to+k+w))
			}
		})
	} else {
		step(func() {
			for w := range k {
				for g := 0; g < 4; g += 2 {
					v.op("VSHUFI32X4", 0x44, r(from+(g+1)*k+w), r(from+g*k+w), r(to+g*k+w))
					v.op("VSHUFI32X4", 0xee, r(from+(g+1)*k+w), r(from+g*k+w), r(to+(g+1)*k+w))
				}
			}
		})
		step(func() {
			for w := range k {
				for g := range 2 {
					v.op("VSHUFI32X4", 0x88, r(from+(g+2)*k+w), r(from+g*k+w), r(to+2*g*k+w))
					v.op("VSHUFI32X4", 0xdd, r(from+(g+2)*k+w), r(from+g*k+w), r(to+(2*g+1)*k+w))
				}
			}
		})
	}
	return from
}
