package esp

import (
	"math"
	"math/rand/v2"
	"testing"
)

// model is a window that remembers everything.
type model struct {
	top  uint64
	seen map[uint64]bool
}

func (m *model) accepts(seq uint64) bool {
	return seq != 0 && !m.seen[seq] && (seq > m.top || m.top-seq < windowSize)
}

func (m *model) accept(seq uint64) {
	m.seen[seq] = true
	m.top = max(m.top, seq)
}

func TestWindowAgreesWithAModelThatRemembersEverything(t *testing.T) {
	r := rng(t)
	for range 200 {
		var w window
		m := model{seen: make(map[uint64]bool)}
		if r.IntN(2) == 0 {
			w.top = r.Uint64N(1 << 40)
			m.top = w.top
			// the number that is top counts as accepted
			w.ring = new([windowWords]uint64)
			w.ring[w.top/64%windowWords] |= 1 << (w.top % 64)
			m.seen[w.top] = true
		}
		for range 3000 {
			seq := step(r, m.top)
			want := m.accepts(seq)
			if got := w.check(seq); got != want {
				t.Fatalf("top %d, %d: got %v, want %v", m.top, seq, got, want)
			}
			if !want || r.IntN(4) == 0 { // a quarter is found forged
				continue
			}
			if newest := w.accept(seq); newest != (seq > m.top) {
				t.Fatalf("top %d, %d: newest is %v", m.top, seq, newest)
			}
			m.accept(seq)
		}
	}
}

// step draws a number near, behind, far behind or far ahead of top.
func step(r *rand.Rand, top uint64) uint64 {
	switch r.IntN(8) {
	case 0:
		return top + r.Uint64N(3*windowSize)
	case 1:
		return top - min(top, r.Uint64N(2*windowSize))
	case 2:
		return top - min(top, windowSize-2+r.Uint64N(4))
	case 3:
		return r.Uint64N(top + 100)
	}
	return top + 2 - min(top+2, r.Uint64N(70))
}

func TestWindowHoldsAtLeast4096(t *testing.T) {
	if windowSize < 4096 {
		t.Fatal(windowSize)
	}
	var w window
	w.accept(10000)
	for seq := uint64(10000 - windowSize + 1); seq < 10000; seq++ {
		if !w.check(seq) {
			t.Fatalf("%d is refused", seq)
		}
		w.accept(seq)
		if w.check(seq) {
			t.Fatalf("%d is taken twice", seq)
		}
	}
	if w.check(10000 - windowSize) {
		t.Error("the number behind the window is taken")
	}
	if w.check(0) {
		t.Error("0 is taken")
	}
}

// RFC 4303 section A2.2: whatever the top, each number in the window, and each
// up to 2^32 minus the window ahead of it, is recovered from its low half.
func TestRecoverExtendedSequenceNumber(t *testing.T) {
	const w = windowSize
	for _, top := range []uint64{
		1, 5, w - 2, w - 1, w, 1<<31 + 3, 1<<32 - 2, 1<<32 - 1, // the first subspace
		1 << 32, 1<<32 + 1, 1<<32 + w - 2, 1<<32 + w - 1, 1<<32 + w, // Tl < W-1 and about
		5<<32 - 1, 5 << 32, 5<<32 + 17, 5<<32 + w, math.MaxUint64 - 1<<33,
	} {
		win := window{top: top}
		for _, d := range []uint64{0, 1, 2, 63, 64, w / 2, w - 2, w - 1} {
			if d >= top {
				continue
			}
			if got, ok := win.recover(uint32(top - d)); !ok || got != top-d {
				t.Errorf("top %d, %d behind: got %d %v", top, d, got, ok)
			}
		}
		for _, d := range []uint64{1, 2, 64, w, 1 << 20, 1 << 31, 1<<32 - w} {
			if got, ok := win.recover(uint32(top + d)); !ok || got != top+d {
				t.Errorf("top %d, %d ahead: got %d %v", top, d, got, ok)
			}
		}
	}
	if seq, ok := (&window{top: 5}).recover(math.MaxUint32); ok {
		t.Errorf("a number before the first is recovered as %d", seq)
	}
	if seq, ok := (&window{top: math.MaxUint64}).recover(3); ok {
		t.Errorf("a number after the last is recovered as %d", seq)
	}
}

func TestAThawedWindowIsAsItWas(t *testing.T) {
	var w, again window
	f := w.frozen()
	if again.thaw(&f); again.ring != nil || !again.check(1) {
		t.Error("a window without a packet has room for some, or takes none")
	}
	for _, seq := range []uint64{1, 3, 700} {
		w.accept(seq)
	}
	f = w.frozen()
	again.thaw(&f)
	w.accept(699)
	for seq, want := range map[uint64]bool{0: false, 1: false, 2: true, 3: false, 699: true, 700: false, 701: true} {
		if again.check(seq) != want {
			t.Errorf("%d: accepted is %v", seq, !want)
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	var w window
	for seq := uint64(1); b.Loop(); seq++ {
		if w.check(seq) {
			w.accept(seq)
		}
	}
}
