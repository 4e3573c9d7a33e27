package esp

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"vpngw/ipsec"
)

// A quota counts the packets of one direction of an SA against its lifetime
// (RFC 4301 section 4.4.2.1). Not safe for concurrent use.
type quota struct {
	bytes, packets         uint64
	softBytes, softPackets uint64 // here the SA should be replaced
	hardBytes, hardPackets uint64 // here it carries nothing more
}

// newQuota draws the soft limits at random between 80 and 90 % of the hard limits,
// so that two ends that count the same packets do not both start a rekey at once.
func newQuota(l ipsec.Lifetime, rand io.Reader) (quota, error) {
	var b [2]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return quota{}, fmt.Errorf("esp: soft lifetime: %w", err)
	}
	share := 0.8 + 0.1*float64(binary.BigEndian.Uint16(b[:]))/math.MaxUint16
	limits := func(hard uint64) (uint64, uint64) {
		if hard == 0 {
			return math.MaxUint64, math.MaxUint64
		}
		return uint64(float64(hard) * share), hard
	}
	var q quota
	q.softBytes, q.hardBytes = limits(l.Bytes)
	q.softPackets, q.hardPackets = limits(l.Packets)
	return q, nil
}

// allows reports whether a packet of n bytes may still be carried.
func (q *quota) allows(n int) bool {
	return q.packets < q.hardPackets && q.hardBytes-q.bytes >= uint64(n)
}

// spend counts a packet of n bytes and returns the soft limit that is reached.
func (q *quota) spend(n int) ipsec.Limit {
	q.bytes += uint64(n)
	q.packets++
	switch {
	case q.bytes >= q.softBytes:
		return ipsec.LimitBytes
	case q.packets >= q.softPackets:
		return ipsec.LimitPackets
	}
	return ipsec.NoLimit
}
