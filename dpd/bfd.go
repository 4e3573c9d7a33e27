package dpd

import "time"

// BFD says how a session of RFC 5880 asks. The zero value is none.
type BFD struct {
	Interval   time.Duration // Desired Min TX and Required Min RX; no faster than 1 s until the session is Up
	Multiplier int           // missed packets after which the session is down
}

// DefaultBFD is a session for which nothing is said.
var DefaultBFD = BFD{Interval: time.Second, Multiplier: 3}
