package ikev2

import (
	"encoding/binary"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// INFORMATIONAL, RFC 7296 section 1.4.

// liveness checks that the peer is alive, by a request without payloads.
type liveness struct{ plain }

func (*liveness) build(*SA, time.Time) (request, bool) {
	return request{exchange: wire.ExchangeInformational}, true
}

func (*liveness) answered(*SA, time.Time, []wire.Payload) error { return nil }

// deleteIKE ends the IKE SA.
type deleteIKE struct {
	plain
	notify *wire.Notify // tells the peer why; may be nil
}

func (t *deleteIKE) build(s *SA, now time.Time) (request, bool) {
	if !s.expireAt.IsZero() { // discard leaves it zero: the Delete is repeated as long as any request
		s.expireAt = now.Add(deleteTime) // counted from now: the Delete may have waited for an open exchange
	}
	var ps []wire.Payload
	if t.notify != nil {
		ps = append(ps, t.notify)
	}
	return request{wire.ExchangeInformational, append(ps, &wire.Delete{Protocol: ipsec.ProtoIKE})}, true
}

func (*deleteIKE) answered(s *SA, now time.Time, _ []wire.Payload) error {
	s.die(now, s.endWhy.Cause())
	return nil
}

// deleteChild deletes one Child SA, by its inbound SPI (section 1.4.1).
type deleteChild struct {
	plain
	spiIn uint32
	c     *child // nil: only the peer has it
}

// deleteChild queues the deletion of a child, unless it is queued already.
func (s *SA) deleteChild(c *child) {
	if c.deleting || c.gone {
		return
	}
	c.deleting, c.softAt = true, time.Time{}
	if t := c.rekey; t != nil {
		s.unqueue(t)
	}
	s.enqueue(&deleteChild{spiIn: c.sa.SPIIn, c: c})
}

// deleteSPI deletes a Child SA that the peer made and we could not.
func (s *SA) deleteSPI(spiIn uint32) {
	if spiIn != 0 {
		s.enqueue(&deleteChild{spiIn: spiIn})
	}
}

func (t *deleteChild) build(s *SA, _ time.Time) (request, bool) {
	if t.c != nil && t.c.gone {
		return request{}, false // the peer has deleted it meanwhile
	}
	return request{wire.ExchangeInformational, []wire.Payload{&wire.Delete{Protocol: ipsec.ProtoESP, SPIs: [][]byte{u32(t.spiIn)}}}}, true
}

func (t *deleteChild) answered(s *SA, now time.Time, _ []wire.Payload) error {
	if t.c != nil {
		s.retire(now, t.c, diag.Cause{Code: diag.ChildDeleted})
	}
	return nil
}

func (s *SA) answerInformational(now time.Time, ps []wire.Payload) ([]wire.Payload, func(), error) {
	var reply wire.Delete
	reply.Protocol = ipsec.ProtoESP
	var ended []*child
	if n := errorNotify(ps); n != nil {
		s.logger().Info("the peer reports an error", "notify", n.Kind.String())
		// "The only ones to cause the IKE SA to be deleted [...] without a Delete payload"
		// (section 2.21.2). An initiator sends the first when it does not accept our
		// proof of identity.
		switch n.Kind {
		case wire.AuthenticationFailed:
			why := diag.Cause{Code: diag.AuthDisbelieved, Notify: n.Kind.String(), Ours: sa.IDText(s.peer.LocalID)}
			return nil, func() { s.deletedByPeer(now, why) }, nil
		case wire.InvalidSyntax, wire.UnsupportedCriticalPayload:
			return nil, func() { s.deletedByPeer(now, diag.Cause{Code: diag.MessageUnread, Notify: n.Kind.String()}) }, nil
		}
	}
	for _, p := range ps {
		p, ok := p.(*wire.Delete)
		if !ok {
			continue
		}
		if p.Protocol == ipsec.ProtoIKE {
			why := diag.Cause{Code: diag.PeerDeletedIKE}
			s.bequeath(now, why) // before the response, on which the peer removes its half
			return nil, func() { s.deletedByPeer(now, why) }, nil
		}
		for _, spi := range p.SPIs {
			c := s.findOut(spi)
			if t := s.creating(); c == nil && t != nil && len(spi) == 4 && len(t.deleted) < maxDeleted {
				t.deleted = append(t.deleted, binary.BigEndian.Uint32(spi))
			}
			if c == nil || p.Protocol != ipsec.ProtoESP || c.gone || slices.Contains(ended, c) {
				continue
			}
			if !c.deleting { // "it SHOULD reply without a Delete payload" otherwise (section 2.25.1)
				reply.SPIs = append(reply.SPIs, u32(c.sa.SPIIn))
			}
			ended = append(ended, c)
		}
	}
	for _, c := range ended {
		if c.successor == nil { // the peer may have chosen between two Child SAs that both ends asked for
			c.successor = s.twin(c, ended)
		}
	}
	var out []wire.Payload
	if len(reply.SPIs) > 0 {
		out = append(out, &reply)
	}
	for _, c := range ended { // before the response, on which the peer removes its half
		if c.successor != nil {
			s.installOut(now, c.latest())
		}
	}
	return out, func() {
		for _, c := range ended {
			if c.successor == nil {
				s.logger().Info("the peer deleted a Child SA", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn))
			}
			s.retire(now, c, diag.Cause{Code: diag.PeerDeletedESP})
		}
	}, nil
}

// twin is a child that carries the traffic of c, is up, and does not end too; nil: there is none.
func (s *SA) twin(c *child, ended []*child) *child {
	for _, o := range s.fam.children {
		if o != c && o.out && o.successor == nil && !o.leaving() && sameTraffic(o, c) && !slices.Contains(ended, o) {
			return o
		}
	}
	return nil
}

// deletedByPeer ends the IKE SA after the peer's Delete, or a notification that
// stands for one.
func (s *SA) deletedByPeer(now time.Time, why diag.Cause) {
	s.concede(now)
	if s.fam.current != s {
		why = replaced
	} else {
		s.info(now, "the peer ended the IKE SA", sa.Why(why))
	}
	s.linger(now, why)
}
