package ikev1

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"vpngw/ike/wire"
)

// messageIDs are the message ids that the peer has used on an ISAKMP SA. None may come
// twice, or an eavesdropper could send a message again. The ids of informational
// exchanges are many, so the oldest are forgotten. The zero value is ready.
type messageIDs struct {
	quick  map[uint32]struct{}
	recent map[uint32]struct{}
	ring   []uint32
	next   int
}

const (
	maxQuickModes   = 1 << 14 // on one ISAKMP SA; then it must be replaced
	maxRecentInform = 1 << 10
)

func (u *messageIDs) seen(id uint32) bool {
	_, q := u.quick[id]
	_, r := u.recent[id]
	return q || r || id == 0
}

// note keeps an id. It is false when the peer has used up its quick modes.
func (u *messageIDs) note(kind wire.Exchange, id uint32) bool {
	if u.quick == nil {
		u.quick, u.recent = map[uint32]struct{}{}, map[uint32]struct{}{}
	}
	switch {
	case kind == wire.ExchangeQuick:
		u.quick[id] = struct{}{}
		return len(u.quick) <= maxQuickModes
	case len(u.ring) < maxRecentInform:
		u.ring = append(u.ring, id)
	default:
		delete(u.recent, u.ring[u.next])
		u.ring[u.next] = id
		u.next = (u.next + 1) % maxRecentInform
	}
	u.recent[id] = struct{}{}
	return true
}

// newID draws a message id that neither end has used.
func (s *SA) newID() (uint32, error) {
	for range 64 {
		var b [4]byte
		if _, err := io.ReadFull(s.env.Rand, b[:]); err != nil {
			return 0, err
		}
		id := binary.BigEndian.Uint32(b[:])
		if !s.used.seen(id) && !slices.ContainsFunc(s.exchanges, func(x *exchange) bool { return x.id == id }) {
			return id, nil
		}
	}
	return 0, errors.New("found no unused message id in 64 draws")
}
