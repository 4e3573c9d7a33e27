package ikev1

import (
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Path MTU probes, RFC 8899, where ICMP is filtered: an R-U-THERE in a message that a second Notify fills. A peer without
// dead peer detection answers none.

// padding is the Notify that fills a probe. It says nothing outside of a quick mode with the commit bit (RFC 2408 section 3.1), and
// every peer knows its type: Libreswan drops a message with a type that it does not know, also if that is one for private use.
const padding = wire.Connected1

// measure is the probe that is under way.
type measure struct {
	seq   uint32 // of its R-U-THERE
	asked int    // the size in question
	size  int    // of the packet
	until time.Time
}

// Measure implements sa.Machine.
func (s *SA) Measure(now time.Time, size int) {
	switch {
	case s.state != sa.Established:
		return
	case !s.peerSays.dpd:
		s.env.Owner.Measured(s, sa.Measured{Asked: size, Unable: true})
		return
	case s.dpd.retx.Active() || !s.measure.until.IsZero():
		return // one question at a time: an answer names the last one
	}
	s.nextQuestion()
	ask := s.dpdNotify(wire.RUThere, s.dpd.sent)
	fill := &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: padding}
	hash := 4 + s.keys.prf.Size()
	block, outer := s.keys.block.BlockSize(), sa.OuterSize(s.path)
	room := (size - outer - wire.HeaderSize) / block * block // whole blocks
	n := room - hash - len(wire.AppendChain(nil, []wire.Payload{ask, fill}))
	if n < 0 {
		return
	}
	fill.Data = make([]byte, n)
	msg := s.informational(s.dpdOrder(), ask, fill)
	if msg == nil {
		return
	}
	s.measure = measure{seq: s.dpd.sent, asked: size, size: outer + len(msg), until: now.Add(sa.MeasureWait)}
	s.env.Owner.Emit(sa.Send{Path: s.path, Data: msg, Whole: true})
	s.env.Owner.Stirred(s)
}

// measured ends the probe under way.
func (s *SA) measured(passed bool) {
	m := s.measure
	s.measure = measure{}
	s.env.Owner.Measured(s, sa.Measured{Asked: m.asked, Size: m.size, Passed: passed})
}

// dpdOrder is the order of the payloads in messages of dead peer detection.
func (s *SA) dpdOrder() dpd.Order {
	order := s.peer.DPD.Order
	if order == dpd.Mirror && s.dpd.last {
		order = dpd.NotifyHash
	}
	return order
}
