package lanes

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// plainSum is RFC 1071 word by word.
func plainSum(b []byte) uint16 {
	var s uint64
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestSumAtEveryLengthAndAlignment(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		data := random(r, 1<<17)
		ones := make([]byte, 1<<22+99)
		for i := range ones {
			ones[i] = 0xff
		}
		check := func(b []byte) {
			t.Helper()
			if got, want := Sum(b), plainSum(b); got != want {
				t.Fatalf("%d bytes: %04x, want %04x", len(b), got, want)
			}
		}
		for n := range 2049 {
			check(data[n%64:][:n])
			check(data[63-n%64:][: n : n+63])
			check(ones[:n])
			check(make([]byte, n))
			b := make([]byte, n+1) // one word that is not 0, or one byte at the end
			b[int(r.Uint64()%uint64(n+1))] = 0x80
			check(b)
			check(b[:n])
		}
		for offset := range 64 {
			for _, n := range []int{127, 128, 129, 255, 1380, 1460, 9000, 65535} {
				check(data[offset:][:n])
			}
		}
		for _, n := range []int{1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<22 + 99} {
			check(ones[:n])
		}
		for range 2000 {
			n := int(r.Uint64() % 3000)
			check(data[r.Uint64()%60000:][:n])
		}
	})
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("an odd number of bytes."), uint16(3), uint8(1))
	f.Add([]byte{0xff, 0xff, 0}, uint16(700), uint8(63))
	f.Fuzz(func(t *testing.T, b []byte, times uint16, offset uint8) {
		var all []byte
		for range int(offset)%64 + 1 {
			all = append(all, 0xaa)
		}
		start := len(all)
		for range int(times)%4096 + 1 {
			if all = append(all, b...); len(all) > 1<<17 {
				break
			}
		}
		if got, want := Sum(all[start:]), plainSum(all[start:]); got != want {
			t.Fatalf("%d bytes: %04x, want %04x", len(all)-start, got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, packet)
	rand.NewChaCha8([32]byte{}).Read(data)
	benchEveryLevel(b, func(b *testing.B) {
		b.SetBytes(packet)
		for b.Loop() {
			Sum(data)
		}
	})
}
