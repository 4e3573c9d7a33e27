package esp

// A window remembers which sequence numbers were accepted, so that each is
// accepted once (RFC 4303 section 3.4.3). It is a ring of bits, of which moving
// forward clears only the words it enters (RFC 6479). Numbers are 64 bits;
// without ESN the high half stays 0. The zero value has accepted nothing. Not
// safe for concurrent use.
type window struct {
	top  uint64 // the highest accepted
	ring [windowWords]uint64
}

const (
	windowWords = 128 // a power of two
	// windowSize is how far behind top a number may be: a word less than the
	// ring holds, since the word of top is entered bit by bit.
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
	return w.ring[seq/64%windowWords]&(1<<(seq%64)) == 0
}

// accept marks seq, which check has let pass and whose packet is authentic. It
// reports whether seq is the new top.
func (w *window) accept(seq uint64) bool {
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

// recover is the whole of an extended sequence number of which low came in the
// packet (RFC 4303 section A2.2): the one in the window or ahead of it. false: it
// would be before the first.
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
