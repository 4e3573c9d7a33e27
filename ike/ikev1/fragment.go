package ikev1

import (
	"bytes"
	"time"

	"vpngw/ike/wire"
)

const (
	// fragmentAt is the longest IP packet that we make of a message when the peer takes fragments.
	fragmentAt   = 1280
	outerSize    = 40 + 8 + 4          // IPv6, UDP, non-ESP marker
	fragmentSize = wire.HeaderSize + 8 // what a fragment adds: header, payload header, numbers
	maxFragments = 64
	maxMessage   = 1 << 16
	gatherTime   = 20 * time.Second // how long fragments wait for the others
)

// fragments is a message as it goes out: whole, or in pieces where it is long and the peer takes them.
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

// gatherer puts one message together. Nothing of a fragment is authentic, so there
// is one message at a time, of bounded size, and a newer one displaces it.
type gatherer struct {
	exchange wire.Exchange
	id       uint32
	fragment uint16
	parts    [][]byte
	last     int // number of the last; 0: not here yet
	size     int
	until    time.Time
}

func (g *gatherer) advance(now time.Time) {
	if !g.until.IsZero() && !now.Before(g.until) {
		*g = gatherer{}
	}
}

// gather takes one fragment, and returns the message when it is whole.
func (g *gatherer) gather(now time.Time, h wire.Header, data []byte) []byte {
	_, c, err := wire.Parse1(data)
	if err != nil || len(c.Payloads) != 1 {
		return nil
	}
	f, ok := c.Payloads[0].(*wire.Fragment1)
	if !ok || f.Number > maxFragments {
		return nil
	}
	n := int(f.Number)
	same := g.parts != nil && g.exchange == h.Exchange && g.id == h.ID && g.fragment == f.ID
	if same && g.parts[n-1] != nil {
		if bytes.Equal(g.parts[n-1], f.Data) {
			return nil
		}
		same = false // the next message; most senders never change the id
	}
	if !same {
		*g = gatherer{exchange: h.Exchange, id: h.ID, fragment: f.ID, parts: make([][]byte, maxFragments), until: now.Add(gatherTime)}
	}
	if g.size += len(f.Data); g.size > maxMessage {
		*g = gatherer{}
		return nil
	}
	g.parts[n-1] = f.Data
	if f.Last {
		g.last = n
	}
	if g.last == 0 {
		return nil
	}
	for _, p := range g.parts[:g.last] {
		if p == nil {
			return nil
		}
	}
	whole := bytes.Join(g.parts[:g.last], nil)
	*g = gatherer{}
	return whole
}
