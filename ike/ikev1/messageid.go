package ikev1

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// messageIDs are the message ids of all exchanges of phase 2 on an ISAKMP SA, in order. Both ends use the same
// keys in both directions, and HASH(1) covers the message id but not the exchange type or the sender. So an id
// serves for one exchange of one end: whoever sends a recorded message again, the peer's or ours, finds its id used. No id
// is forgotten while the keys live. The zero value is ready.
type messageIDs []uint32

const (
	// softIDs is how many ids an ISAKMP SA may use before the end that began it replaces it: with liveness checks
	// from both ends each 20 s, about as many as in a day. The other end, which counts the same, waits for laterIDs. At
	// maxIDs the ISAKMP SA ends; the ids take 128 KiB then.
	softIDs  = 1 << 14
	laterIDs = 5 << 12
	maxIDs   = 1 << 15
)

func (u messageIDs) has(id uint32) bool {
	_, ok := slices.BinarySearch(u, id)
	return ok || id == 0
}

// used reports whether the peer may not begin an exchange with an id.
func (s *SA) used(id uint32) bool { return len(s.ids) >= maxIDs || s.ids.has(id) }

// use keeps an id for ever, and has an ISAKMP SA replaced in time that has used many.
func (s *SA) use(id uint32) {
	i, _ := slices.BinarySearch(s.ids, id)
	s.ids = slices.Insert(s.ids, i, id)
	soft := laterIDs
	if s.initiator {
		soft = softIDs
	}
	switch len(s.ids) {
	case soft:
		s.rekeyAt = s.authedAt
	case maxIDs:
		s.expireAt = s.authedAt
	default:
		return
	}
	s.env.Owner.Stirred(s)
}

// newID draws a message id that neither end has used.
func (s *SA) newID() (uint32, error) {
	for range 64 {
		var b [4]byte
		if _, err := io.ReadFull(s.env.Rand, b[:]); err != nil {
			return 0, err
		}
		if id := binary.BigEndian.Uint32(b[:]); !s.ids.has(id) {
			s.use(id)
			return id, nil
		}
	}
	return 0, errors.New("found no unused message id in 64 draws")
}
