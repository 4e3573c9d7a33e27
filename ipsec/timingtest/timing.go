// Package timingtest tells, for tests, whether the time that something takes depends on which of two inputs it gets.
package timingtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

const (
	// Samples is how many times of each input are compared.
	Samples = 100_000
	// Limit is the t beyond which two inputs count as told apart.
	Limit = 4.5
	// crop is the share of all times that is kept, the shortest ones: interrupts make the others long, whatever the input.
	crop  = 0.9
	tries = 3
)

// Pick copies x or y, the input 0 or 1, to dst. All three have one length. It reads both, so that the caches know neither
// better than the other.
func Pick(dst, x, y []byte, input int) {
	mask := byte(-input)
	for i := range dst {
		dst[i] = x[i]&^mask | y[i]&mask
	}
}

// Same fails the test when the inputs 0 and 1 can be told apart by the time of call. prepare makes an input ready; it is
// called before each call, and its time does not count. Other work on the machine can push t beyond the limit,
// but not three times to the same side.
func Same(t *testing.T, name string, prepare func(input int), call func()) {
	t.Helper()
	var all []float64
	for range tries {
		v := welch(prepare, call)
		if all = append(all, v); math.Abs(v) < Limit || v*all[0] < 0 {
			t.Logf("%-70s t =%s", name, list(all))
			return
		}
	}
	t.Errorf("%s: t =%s, want less than %v", name, list(all), Limit)
}

// Log prints t, and holds it to nothing.
func Log(t *testing.T, name string, prepare func(input int), call func()) {
	t.Helper()
	t.Logf("%-70s t =%s, not held to anything", name, list([]float64{welch(prepare, call)}))
}

func list(ts []float64) (s string) {
	for _, v := range ts {
		s += fmt.Sprintf(" %.2f", v)
	}
	return s
}

// welch is Welch's t of the times of both inputs, in a random order. What is longer than nine tenths of all times, of
// both inputs together, is left out.
func welch(prepare func(int), call func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var times [2][]float64
	for i := 0; len(times[0]) < Samples || len(times[1]) < Samples; i++ {
		if i%2000 == 0 {
			runtime.GC()
		}
		input := rand.IntN(2)
		prepare(input)
		began := time.Now()
		call()
		times[input] = append(times[input], float64(time.Since(began)))
	}
	all := slices.Sorted(slices.Values(slices.Concat(times[0], times[1])))
	longest := all[int(crop*float64(len(all)))]
	var mean, square [2]float64 // square: of the mean's error
	for i, ts := range times {
		ts = slices.DeleteFunc(ts, func(v float64) bool { return v > longest })
		n := float64(len(ts))
		for _, v := range ts {
			mean[i] += v / n
		}
		for _, v := range ts {
			square[i] += (v - mean[i]) * (v - mean[i]) / (n - 1) / n
		}
	}
	return (mean[0] - mean[1]) / math.Sqrt(square[0]+square[1])
}
