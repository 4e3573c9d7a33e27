package lanes

import (
	"fmt"
	"testing"
)

// The benchmarks work on packets of 1400 bytes. plain is the standard library. TestMeasure has more, and bears a busy machine.

const packet = 1400

func packets(n int) [][]byte {
	all := make([]byte, n*(packet+56))
	var bufs [][]byte
	for i := range n {
		bufs = append(bufs, all[i*(packet+56):][:16+packet/16*16])
	}
	return bufs
}

func BenchmarkCBCEncrypt(b *testing.B) {
	benchEveryLevel(b, func(b *testing.B) {
		for _, n := range []int{1, 4, 16} {
			b.Run(fmt.Sprint(n), func(b *testing.B) {
				e, _ := NewEncrypter(make([]byte, 16))
				bufs := packets(n)
				b.SetBytes(int64(n * packet))
				for b.Loop() {
					e.CBC(bufs)
				}
			})
		}
	})
}

func BenchmarkCBCDecrypt(b *testing.B) {
	benchEveryLevel(b, func(b *testing.B) {
		d, _ := NewDecrypter(make([]byte, 16))
		src := packets(1)[0]
		dst := make([]byte, len(src)-16)
		b.SetBytes(packet)
		for b.Loop() {
			d.CBC(dst, src)
		}
	})
}

func BenchmarkGCM(b *testing.B) {
	benchEveryLevel(b, func(b *testing.B) {
		for _, n := range []int{64, packet} {
			b.Run(fmt.Sprint(n), func(b *testing.B) {
				s, _ := NewGCMSealer(make([]byte, 16), make([]byte, GCMSalt))
				text, dst, aad := make([]byte, n), make([]byte, n+GCMOverhead), make([]byte, 8)
				b.SetBytes(int64(n))
				for b.Loop() {
					s.Seal(dst, text, aad, s.last+1)
				}
			})
		}
	})
}

func BenchmarkHMAC(b *testing.B) {
	for h := range SHA512 + 1 {
		b.Run(hashNames[h], func(b *testing.B) {
			benchEveryLevel(b, func(b *testing.B) {
				for _, n := range []int{1, 16} {
					b.Run(fmt.Sprint(n), func(b *testing.B) {
						m := NewHMAC(h, make([]byte, 20))
						bufs, tails := packets(n), make([]uint32, n)
						var s Scratch
						b.SetBytes(int64(n * packet))
						for b.Loop() {
							m.Sum(&s, bufs, tails)
						}
					})
				}
			})
		})
	}
}
