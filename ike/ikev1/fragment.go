package ikev1

import (
	"bytes"
	"time"

	"vpngw/ike/wire"
)

const (
	// fragmentAt is the longest IP packet of a message to a peer that takes fragments.
	fragmentAt     = 1280
	outerSize      = 40 + 8 + 4          // IPv6, UDP, non-ESP marker
	fragmentSize   = wire.HeaderSize + 8 // what a fragment adds: header, payload header, numbers
	maxFragments   = 64
	maxMessage     = 1 << 16
	reassemblyTime = 20 * time.Second // how long fragments wait for the others
)

// fragments cuts a long message into pieces, if the peer takes them. Other messages stay whole.
func (s *SA) fragments(msg []byte) [][]byte {
	const room = fragmentAt - outerSize
	if len(msg) <= room || !s.peerSays.frag {
		return [][]byte{msg}
	}
	h, err := wire.ParseHeader(msg)
	if err != nil {
		return [][]byte{msg}
	}
	h.Flags = 0
	var out [][]byte
	for n := uint8(1); len(msg) > 0; n++ {
		part := msg[:min(len(msg), room-fragmentSize)]
		msg = msg[len(part):]
		f := wire.Message{Header: h, Payloads: []wire.Payload{&wire.Fragment1{ID: 1, Number: n, Last: len(msg) == 0, Data: part}}}
		out = append(out, f.Marshal())
	}
	return out
}

// reassembler puts one message together. Fragments are not authenticated, so it holds one
// message at a time, of bounded size, and a newer one displaces it. The zero value is ready.
type reassembler struct {
	exchange wire.Exchange
	id       uint32
	fragment uint16
	parts    [][]byte
	last     int // number of the last fragment; 0: not here yet
	size     int
	until    time.Time
}

func (r *reassembler) advance(now time.Time) {
	if !r.until.IsZero() && !now.Before(r.until) {
		*r = reassembler{}
	}
}

// add takes one fragment, and returns the message when it is whole.
func (r *reassembler) add(now time.Time, h wire.Header, data []byte) []byte {
	_, c, err := wire.Parse1(data)
	if err != nil || len(c.Payloads) != 1 {
		return nil
	}
	f, ok := c.Payloads[0].(*wire.Fragment1)
	if !ok || f.Number > maxFragments {
		return nil
	}
	n := int(f.Number)
	same := r.parts != nil && r.exchange == h.Exchange && r.id == h.ID && r.fragment == f.ID
	if same && r.parts[n-1] != nil {
		if bytes.Equal(r.parts[n-1], f.Data) {
			return nil
		}
		same = false // the next message; most senders never change the id
	}
	if !same {
		*r = reassembler{exchange: h.Exchange, id: h.ID, fragment: f.ID, parts: make([][]byte, maxFragments), until: now.Add(reassemblyTime)}
	}
	if r.size += len(f.Data); r.size > maxMessage {
		*r = reassembler{}
		return nil
	}
	r.parts[n-1] = f.Data
	if f.Last {
		r.last = n
	}
	if r.last == 0 {
		return nil
	}
	for _, p := range r.parts[:r.last] {
		if p == nil {
			return nil
		}
	}
	whole := bytes.Join(r.parts[:r.last], nil)
	*r = reassembler{}
	return whole
}
