//go:build !purego

package lanes

import (
	"crypto/fips140"

	"golang.org/x/sys/cpu"
)

// level is a set of instructions.
type level uint8

const (
	plain  level = iota // the standard library
	avx2                // AVX2 and AES-NI
	avx512              // AVX-512, VAES and VPCLMULQDQ
)

// detected is the best set that the processor and the kernel have. hasSHA tells of the SHA instructions. Tests change both.
var detected, hasSHA = detect()

func detect() (level, bool) {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasAES || fips140.Enabled() { // what is validated is the standard library
		return plain, false
	}
	var regs [4]uint32
	cpuid(7, 0, &regs)
	sha := regs[1]&(1<<29) != 0 // Intel's manual, volume 2, CPUID, leaf 7: EBX bit 29
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ {
		return avx512, sha
	}
	return avx2, sha
}

// What follows is written by gen; aes.go, gcm.go, lanes.go, ni.go and sum.go there say what it does.

func cpuid(leaf, sub uint64, regs *[4]uint32)

//go:noescape
func subWord(w *uint32)

//go:noescape
func inverseMix(block *[blockSize]byte)

//go:noescape
func cbcEncryptX16(keys *roundKeys, rounds int, data *[Max]*byte, off, blocks int)

//go:noescape
func cbcEncryptX4(keys *roundKeys, rounds int, data *[Max]*byte, off, blocks int)

//go:noescape
func cbcEncryptNI8(keys *roundKeys, rounds int, data *[Max]*byte, off, blocks int)

//go:noescape
func cbcEncryptNI1(keys *roundKeys, rounds int, data *[1]*byte, off, blocks int)

//go:noescape
func cbcDecryptWide(keys *roundKeys, rounds int, dst, src *byte, blocks int)

//go:noescape
func cbcDecryptNarrow(keys *roundKeys, rounds int, dst, src *byte, blocks int)

//go:noescape
func blocksX16(keys *roundKeys, rounds int, data *byte)

//go:noescape
func blocksX8(keys *roundKeys, rounds int, data *byte)

//go:noescape
func gcmPowers(key *gcmKey, rounds int)

//go:noescape
func gcmSeal(key *gcmKey, rounds int, dst, src *byte, n int, counterLow, counterHigh, aadLow, aadHigh, aadBits uint64, tag *[blockSize]byte)

//go:noescape
func gcmOpen(key *gcmKey, rounds int, dst, src *byte, n int, counterLow, counterHigh, aadLow, aadHigh, aadBits uint64, tag *[blockSize]byte)

//go:noescape
func md5x16(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func md5x8(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha1x16(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha1x8(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha256x16(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha256x8(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha512x8(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha512x4(state *[64]uint64, data *[Max]*byte, off, blocks int, lanes uint64, from *[16]uint64, sums *[Max][64]byte)

//go:noescape
func sha1ni1(states *[2]*uint32, data *[2]*byte, off, blocks int)

//go:noescape
func sha1ni2(states *[2]*uint32, data *[2]*byte, off, blocks int)

//go:noescape
func sha256ni1(states *[2]*uint32, data *[2]*byte, off, blocks int)

//go:noescape
func sha256ni2(states *[2]*uint32, data *[2]*byte, off, blocks int)

//go:noescape
func sumNarrow(data *byte, n int, sum *uint64)
