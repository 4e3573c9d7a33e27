//go:build !purego

package lanes

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMeasure prints what README.md and the table in hmac_amd64.go say: MB/s of packets of 1400 bytes, by how many there
// are, and nanoseconds for one packet or sum, by its length. Each figure is of the fastest of many short runs, so that a busy machine hardly matters.
//
//	LANES_MEASURE=1 go test -v -run TestMeasure ./lanes
func TestMeasure(t *testing.T) {
	if os.Getenv("LANES_MEASURE") == "" {
		t.Skip("needs LANES_MEASURE=1")
	}
	counts := []int{1, 2, 3, 4, 6, 8, 10, 12, 14, 16}
	row := func(name string, f func(bufs [][]byte)) {
		var line strings.Builder
		for _, n := range counts {
			bufs := packets(n)
			fmt.Fprintf(&line, "%7.0f", float64(n*packet)/fastest(func() { f(bufs) })*1000)
		}
		t.Logf("%-26s%s", name, line.String())
	}
	var s Scratch
	t.Logf("%-26s%7v", "", counts)
	everyLevel(t, func(t *testing.T) {
		e, _ := NewEncrypter(make([]byte, 16))
		d, _ := NewDecrypter(make([]byte, 16))
		out := make([]byte, packet)
		row("AES-128-CBC encrypt", e.CBC)
		row("AES-128-CBC decrypt", func(bufs [][]byte) {
			for _, b := range bufs {
				d.CBC(out[:len(b)-16], b)
			}
		})
		for h := range SHA512 + 1 {
			m := NewHMAC(h, make([]byte, 20))
			tails := make([]uint32, Max)
			sum := func(bufs [][]byte) { m.Sum(&s, bufs, tails[:len(bufs)]) }
			row(hashNames[h], sum)
			if m.use.any() { // each way by itself
				was := m.use
				m.use.pays = math.MaxInt32
				row(hashNames[h]+", never in lanes", sum)
				m.use.pays = 0
				row(hashNames[h]+", always in lanes", sum)
				m.use = was
			}
		}
	})
}

// TestMeasureLengths is part of TestMeasure.
func TestMeasureLengths(t *testing.T) {
	if os.Getenv("LANES_MEASURE") == "" {
		t.Skip("needs LANES_MEASURE=1")
	}
	lengths := []int{20, 52, 84, 132, 192, 256, 404, 604, 804, 1004, 1204, 1404, 4096, 8964}
	row := func(name string, f func(n int) func()) {
		var line strings.Builder
		for _, n := range lengths {
			fmt.Fprintf(&line, "%7.1f", fastest(f(n)))
		}
		t.Logf("%-26s%s", name, line.String())
	}
	t.Logf("%-26s%7v", "", lengths)
	text, sealed, aad := make([]byte, 1<<14), make([]byte, 1<<14), make([]byte, 8)
	everyLevel(t, func(t *testing.T) {
		for _, size := range []int{16, 32} {
			s, _ := NewGCMSealer(make([]byte, size), make([]byte, GCMSalt))
			o, _ := NewGCMOpener(make([]byte, size), make([]byte, GCMSalt))
			row(fmt.Sprintf("AES-%d-GCM seal", 8*size), func(n int) func() {
				return func() { s.Seal(sealed[:n+GCMOverhead], text[:n], aad, s.last+1) }
			})
			row(fmt.Sprintf("AES-%d-GCM open", 8*size), func(n int) func() {
				s.Seal(sealed[:n+GCMOverhead], text[:n], aad, s.last+1)
				return func() {
					if !o.Open(text[:n], sealed[:n+GCMOverhead], aad) {
						t.Fatal("not opened")
					}
				}
			})
		}
		row("Sum", func(n int) func() { return func() { Sum(text[:n]) } })
	})
}

// fastest is the shortest time of a call in ns, of many runs of some microseconds.
func fastest(f func()) float64 {
	f()
	best := math.Inf(1)
	calls := 1
	for began := time.Now(); time.Since(began) < 60*time.Millisecond; {
		start := time.Now()
		for range calls {
			f()
		}
		took := time.Since(start)
		best = min(best, float64(took)/float64(calls))
		if took < 10*time.Microsecond {
			calls *= 2
			best = math.Inf(1)
		}
	}
	return best
}
