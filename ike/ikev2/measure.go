package ikev2

import (
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// Path MTU probes, RFC 8899, where ICMP is filtered: a liveness check that fills a packet of the size in question.
//
// "A retransmission from the initiator MUST be bitwise identical to the original request" (RFC 7296 section 2.1). But
// a request that no packet of its size can bring would block the IKE SA, whose window is one request, and end it. So a repetition
// brings the same request without its padding too, under the same message id. A peer that has the first one
// ignores it, or repeats its answer; to any other peer it is the request.

// padding is the Notify that fills a probe: "Unrecognized [...] status types [...] MUST be ignored" (section 3.10.1).
const padding wire.NotifyType = 53997

// maxMeasures bounds the probes that wait: one is enough for each tunnel of an IKE SA.
const maxMeasures = 8

type measure struct {
	liveness
	asked int  // the size in question
	size  int  // of the packet that was sent
	over  bool // the verdict is told
}

// Measure implements sa.Machine.
func (s *SA) Measure(now time.Time, size int) {
	n := 0
	for _, t := range s.tasks() {
		if _, ok := t.(*measure); ok {
			n++
		}
	}
	if s.state != sa.Established || n >= maxMeasures {
		return
	}
	s.enqueue(&measure{asked: size})
	s.pump(now)
}

// startMeasure sends t's request, padded. plain is the same request without padding.
func (s *SA) startMeasure(now time.Time, t *measure, plain [][]byte) {
	padded, size, ok := s.sealPadded(s.nextID, t.asked)
	if !ok {
		s.start(now, t, wire.ExchangeInformational, plain)
		return
	}
	t.size = size
	s.out, s.outKind, s.outID = t, wire.ExchangeInformational, s.nextID
	s.retx.First = sa.MeasureWait
	s.retx.Start(now, append(plain, padded)...)
	s.retx.First = 0
	s.env.Owner.Emit(sa.Send{Path: s.requestPath(), Data: padded, Whole: true})
	s.env.Owner.Stirred(s)
}

// sealPadded makes the message that fills an IP packet of at most size bytes, as far as the cipher's blocks allow.
func (s *SA) sealPadded(id uint32, size int) (msg []byte, actual int, ok bool) {
	c := s.keys.toI
	if s.initiator {
		c = s.keys.fromI
	}
	outer := sa.OuterSize(s.requestPath())
	n := wire.Notify{Kind: padding}
	empty := len(wire.AppendChain(nil, []wire.Payload{&n}))
	fill := size - outer - wire.HeaderSize - 4 - c.Size(empty)
	for ; fill > 0 && outer+wire.HeaderSize+4+c.Size(empty+fill) > size; fill-- {
	}
	if fill <= 0 {
		return nil, 0, false
	}
	n.Data = make([]byte, fill)
	inner := wire.AppendChain(nil, []wire.Payload{&n})
	h := s.header(wire.ExchangeInformational, 0, id)
	msg, err := sealOne(c, s, h, &wire.Encrypted{Next: wire.TypeNotify, Body: make([]byte, c.Size(len(inner)))}, inner)
	return msg, outer + len(msg), err == nil
}

// answered says that the probe has arrived, unless a repetition may have brought the answer.
func (t *measure) answered(s *SA, _ time.Time, _ []wire.Payload) error {
	t.tell(s, true)
	return nil
}

// repeated says that the probe was lost.
func (t *measure) repeated(s *SA) { t.tell(s, false) }

func (t *measure) tell(s *SA, passed bool) {
	if !t.over && t.size > 0 {
		t.over = true
		s.env.Owner.Measured(s, sa.Measured{Asked: t.asked, Size: t.size, Passed: passed})
	}
}
