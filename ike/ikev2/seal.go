package ikev2

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

const (
	// fragmentAt is the longest IP packet that carries an IKE message of ours when the
	// peer supports fragmentation (RFC 7383 section 2.5.1).
	fragmentAt = 1280
	outerSize  = 40 + 8 + 4 // IPv6, UDP, non-ESP marker
	// maxFragments and maxMessage bound how much a peer can make us keep.
	maxFragments = 64
	maxMessage   = 1 << 16
	gatherTime   = time.Minute // how long fragments wait for the missing ones
)

var (
	errForged = errors.New("not authentic")          // dropped without a trace
	errNotYet = errors.New("more fragments to come") // an authentic fragment of a message that is not whole yet
)

// fragments gathers one message (RFC 7383 section 2.6).
type fragments struct {
	id    uint32
	total uint16
	next  wire.PayloadType
	parts [][]byte
	have  uint16
	size  int      // of the parts so far
	first [32]byte // hash of fragment 1 as received
	since time.Time
}

// firstHash is the hash by which a repeated request is recognised: of fragment 1 (RFC
// 7383 section 2.6.1), or of the whole message if it came in one piece.
func (f *fragments) firstHash(data []byte) [32]byte {
	if f != nil {
		return f.first
	}
	return sha256.Sum256(data)
}

// seal encrypts payloads in one message, or in fragments if the message would be
// too long.
func (s *SA) seal(x wire.Exchange, flags wire.Flags, id uint32, ps []wire.Payload) ([][]byte, error) {
	c := s.keys.toI
	if s.initiator {
		c = s.keys.fromI
	}
	h := s.header(x, flags, id)
	inner := wire.AppendChain(make([]byte, 0, 256), ps)
	if s.fragment && wire.HeaderSize+4+c.Size(len(inner))+outerSize > fragmentAt {
		return s.sealFragments(c, h, wire.FirstType(ps), inner)
	}
	m, err := sealOne(c, s, h, &wire.Encrypted{Next: wire.FirstType(ps), Body: make([]byte, c.Size(len(inner)))}, inner)
	return [][]byte{m}, err
}

func (s *SA) sealFragments(c *sa.Cipher, h wire.Header, first wire.PayloadType, inner []byte) ([][]byte, error) {
	size := fragmentAt - outerSize - wire.HeaderSize - 8
	for c.Size(size) > fragmentAt-outerSize-wire.HeaderSize-8 {
		size--
	}
	total := (len(inner) + size - 1) / size
	if total > 0xffff {
		return nil, fmt.Errorf("a message of %d bytes", len(inner))
	}
	var msgs [][]byte
	for i := range total {
		part := inner[i*size : min((i+1)*size, len(inner))]
		f := &wire.Fragment{Number: uint16(i + 1), Total: uint16(total), Body: make([]byte, c.Size(len(part)))}
		if i == 0 {
			f.Next = first
		}
		m, err := sealOne(c, s, h, f, part)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

// sealOne fills the body of p, which ends the message.
func sealOne(c *sa.Cipher, s *SA, h wire.Header, p wire.Payload, plaintext []byte) ([]byte, error) {
	m := (&wire.Message{Header: h, Payloads: []wire.Payload{p}}).Marshal()
	n := len(m) - c.Size(len(plaintext))
	return c.Seal(m[:n], plaintext, s.env.Rand)
}

// open decrypts a message; f is where its fragments are gathered, nil while there is none. After any error but errForged
// and errNotYet the message is authentic.
func (s *SA) open(now time.Time, h wire.Header, data []byte, f **fragments) ([]wire.Payload, error) {
	if s.keys == nil {
		return nil, errForged
	}
	c := s.keys.fromI
	if s.initiator {
		c = s.keys.toI
	}
	m, err := wire.Parse(data)
	if err != nil || len(m.Payloads) == 0 {
		return nil, errForged // nothing outside the encrypted payload is authentic yet
	}
	switch p := m.Payloads[len(m.Payloads)-1].(type) {
	case *wire.Encrypted:
		plain, err := c.Open(data, p.Offset)
		if err != nil {
			return nil, errForged
		}
		*f = nil
		return wire.ParseChain(p.Next, plain)
	case *wire.Fragment:
		if s.fragment {
			return gather(f, now, c, h, p, data)
		}
	}
	return nil, errForged
}

// gather takes one fragment, and returns the message when it is whole.
func gather(to **fragments, now time.Time, c *sa.Cipher, h wire.Header, p *wire.Fragment, data []byte) ([]wire.Payload, error) {
	if p.Number == 0 || p.Number > p.Total || p.Total > maxFragments {
		return nil, errForged
	}
	f := *to
	same := f != nil && f.id == h.ID && now.Sub(f.since) < gatherTime
	switch {
	case same && p.Total < f.total: // sent before the peer made smaller fragments
		return nil, errForged
	case same && p.Total == f.total && f.parts[p.Number-1] != nil:
		return nil, errForged // a copy
	}
	plain, err := c.Open(data, p.Offset)
	if err != nil {
		return nil, errForged
	}
	if !same || p.Total > f.total {
		f = &fragments{id: h.ID, total: p.Total, parts: make([][]byte, p.Total), since: now}
		*to = f
	}
	if p.Number == 1 {
		f.next, f.first = p.Next, sha256.Sum256(data)
	}
	if f.size += len(plain); f.size > maxMessage {
		*to = nil
		return nil, errForged
	}
	f.parts[p.Number-1] = append([]byte{}, plain...) // never nil: nil marks a missing fragment
	if f.have++; f.have < f.total {
		return nil, errNotYet
	}
	return wire.ParseChain(f.next, bytes.Join(f.parts, nil))
}
