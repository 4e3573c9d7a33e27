package sa

import (
	"encoding/binary"
	"io"
	"time"
)

// Due reports whether at is set and not after now.
func Due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// Earliest returns the earliest time that is set; zero if none is.
func Earliest(ts ...time.Time) time.Time {
	var first time.Time
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// AdoptGrace is how long an IKE SA may live at least whose lifetime has become shorter, so that its rekey comes first.
const AdoptGrace = time.Minute

// Random returns a random number in [0, 1).
func (e *Env) Random() float64 {
	var b [4]byte
	if _, err := io.ReadFull(e.Rand, b[:]); err != nil {
		return 0.5
	}
	return float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
}

// Jitter returns a random time between from and to.
func (e *Env) Jitter(from, to time.Duration) time.Duration {
	return from + time.Duration(e.Random()*float64(to-from))
}

// SoftTime is how long after its start an SA with lifetime life is rekeyed. The end
// that initiated it (made) rekeys first, the other end later, both with jitter, so that
// they seldom collide (RFC 7296 section 2.8.1).
func (e *Env) SoftTime(life time.Duration, made bool) time.Duration {
	from, spread := 0.90, 0.05
	if made {
		from, spread = 0.80, 0.08
	}
	return time.Duration(float64(life) * (from + spread*e.Random()))
}

// Nonce draws a nonce that is long enough for every PRF: "at least 128 bits in size, and
// [...] at least half the key size of the negotiated pseudorandom function" (RFC 7296 section 2.10).
func (e *Env) Nonce() ([]byte, error) {
	n := make([]byte, 32)
	_, err := io.ReadFull(e.Rand, n)
	return n, err
}
