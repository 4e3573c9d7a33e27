package ikev2

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
)

func concat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }

func hex32(v uint32) string { return fmt.Sprintf("%08x", v) }

// due reports whether at is set and not after now.
func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// earliest is the first of the times that are set.
func earliest(ts ...time.Time) time.Time {
	var first time.Time
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// random is in [0, 1).
func (s *SA) random() float64 {
	var b [4]byte
	if _, err := io.ReadFull(s.env.Rand, b[:]); err != nil {
		return 0.5
	}
	return float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
}

// nonce is fresh and long enough for every PRF: "at least 128 bits in size, and
// [...] at least half the key size of the negotiated pseudorandom function" (RFC 7296 section 2.10).
func (s *SA) nonce() ([]byte, error) {
	n := make([]byte, 32)
	_, err := io.ReadFull(s.env.Rand, n)
	return n, err
}
