package esp

// A window remembers which sequence numbers were accepted, so that each is
// accepted once (RFC 4303 section 3.4.3). It is a ring of bits: when the window moves
// forward, only the words that it enters are cleared (RFC 6479). Numbers have 64 bits;
// without ESN the high half stays 0. The zero value has accepted nothing. Not
// safe for concurrent use.
type window struct {
	top  uint64               // the highest number accepted
	ring *[windowWords]uint64 // nil: no packet came yet
}

const (
	windowWords = 128 // a power of two
	// windowSize is how far behind top a number may be. It is one word less than the
	// ring, since top's word fills bit by bit.
	windowSize = (windowWords - 1) * 64
)

// check reports whether seq may still be accepted.
func (w *window) check(seq uint64) bool {
	switch {
	case seq == 0:
		return false // RFC 4303 section 2.2: the first packet has 1
	case seq > w.top:
		return true
	case w.top-seq >= windowSize:
		return false
	}
	return w.ring == nil || w.ring[seq/64%windowWords]&(1<<(seq%64)) == 0
}

// accept marks seq as accepted, after check has let it pass and its packet was found authentic. It
// reports whether seq is the new top.
func (w *window) accept(seq uint64) bool {
	if w.ring == nil {
		w.ring = new([windowWords]uint64)
	}
	newest := seq > w.top
	if newest {
		for word, n := w.top/64, min(seq/64-w.top/64, windowWords); n > 0; n-- {
			word++
			w.ring[word%windowWords] = 0
		}
		w.top = seq
	}
	w.ring[seq/64%windowWords] |= 1 << (seq % 64)
	return newest
}

// recover is the extended sequence number whose low half came in a
// packet (RFC 4303 section A2.2): the one that lies in the window or ahead of it. false: it
// would lie before the first number.
func (w *window) recover(low uint32) (uint64, bool) {
	high, topLow := w.top>>32, uint32(w.top)
	bottom := topLow - windowSize + 1 // modulo 2^32
	if topLow >= windowSize-1 {       // case A: the window lies in one subspace
		if low < bottom {
			high++
		}
	} else if low >= bottom { // case B: the window spans two; low is in the older
		if high == 0 {
			return 0, false
		}
		high--
	}
	return high<<32 | uint64(low), high <= 1<<32-1
}

func (w *window) frozen() FrozenWindow {
	if w.ring == nil {
		return FrozenWindow{Top: w.top}
	}
	return FrozenWindow{w.top, *w.ring}
}

func (w *window) thaw(f *FrozenWindow) {
	*w = window{top: f.Top}
	if *f != (FrozenWindow{}) {
		w.ring = new(f.Bits)
	}
}
