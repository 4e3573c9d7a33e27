package ikev1

import (
	"encoding/binary"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Dead peer detection, RFC 3706.
//
//	Sender                                      Responder
//	HDR*, HASH, NOTIFY(R-U-THERE)      -->
//	                                   <--      HDR*, HASH, NOTIFY(R-U-THERE-ACK)
//
// Some peers put the HASH behind the NOTIFY, as the RFC prints it.

// liveness is the state of dead peer detection at one end.
type liveness struct {
	sent   uint32    // the sequence number of our last question
	asked  bool      // whether sent is set
	theirs uint32    // the sequence number of the peer's last question
	knows  bool      // whether theirs is set
	last   bool      // the peer puts the HASH last
	began  time.Time // when we began to ask
	strict bool      // ESP is no answer: a quick mode had none, so the peer may have lost the ISAKMP SA but not its Child SAs
	retx   sa.Retransmitter
}

// monitorDeadline is when checkAlive has to look at the monitor; zero: never.
func (s *SA) monitorDeadline() time.Time {
	if s.state != sa.Established {
		return time.Time{}
	}
	return s.monitor.Deadline()
}

// lastHeard is when the peer last sent an authentic message or packet.
func (s *SA) lastHeard() time.Time {
	for _, c := range s.fam.children {
		s.monitor.Heard(s.env.LastInbound(c.sa.SPIIn))
	}
	return s.monitor.Last()
}

// checkAlive asks a peer that has been silent.
func (s *SA) checkAlive(now time.Time) {
	if s.state != sa.Established {
		return
	}
	if sa.Due(now, s.monitor.Deadline()) {
		s.lastHeard()
		switch s.monitor.Due(now) {
		case dpd.Ask:
			s.askAlive(now)
		case dpd.Dead:
			s.dead(now, s.monitor.Timeout)
			return
		}
	}
	if !sa.Due(now, s.dpd.retx.Deadline()) {
		return
	}
	esp := s.lastHeard().After(s.dpd.began)
	if esp && !s.dpd.strict {
		s.dpd.retx.Stop()
		return
	}
	msgs, gaveUp := s.dpd.retx.Due(now)
	switch {
	case gaveUp && esp:
		s.RekeyIKE(now, diag.Cause{Code: diag.LivenessDead, After: s.dpd.retx.Total})
	case gaveUp:
		s.dead(now, s.dpd.retx.Total)
	case msgs != nil:
		s.rUThere()
	}
}

func (s *SA) dead(now time.Time, after time.Duration) {
	s.env.Owner.Exchanged(s, sa.Exchanged{What: sa.LivenessCheck})
	s.Drop(now, diag.Cause{Code: diag.LivenessDead, After: after})
}

// askAlive begins to ask whether the peer is alive, unless a question is open.
func (s *SA) askAlive(now time.Time) {
	if s.state != sa.Established || !s.peerSays.dpd || s.dpd.retx.Active() {
		return
	}
	s.nextQuestion()
	s.dpd.retx.First, s.dpd.retx.Max = s.peer.DPD.Repeat()
	s.dpd.retx.Total = deadTime
	if t := s.peer.DPD.Timeout; t > 0 {
		s.dpd.retx.Total = t
	}
	s.dpd.retx.Start(now, nil) // each repetition is a new message with an id of its own
	s.dpd.began, s.dpd.strict = now, false
	s.rUThere()
	s.env.Owner.Stirred(s)
}

// nextQuestion numbers a question.
func (s *SA) nextQuestion() {
	if !s.dpd.asked { // "the high-bit of the sequence number initially SHOULD be set to zero" (section 6.2)
		s.dpd.sent, s.dpd.asked = s.random32()>>1, true
	}
	s.dpd.sent++
}

// Probe implements sa.Machine. Anybody could forge the hints that lead to it, so it seldom acts.
func (s *SA) Probe(now time.Time) {
	if s.state != sa.Established || now.Sub(s.probed) < sa.ProbeInterval {
		return
	}
	s.probed = now
	s.askAlive(now)
}

// Disown implements sa.Machine. Nobody answers a Delete, so one of ours may have been lost: the peer gets it again.
func (s *SA) Disown(now time.Time, spiIn uint32) {
	if s.state != sa.Established || now.Sub(s.probed) < sa.ProbeInterval {
		return
	}
	offered := s.fam.asked(func(q *quick) bool { return q.spiIn == spiIn }) != nil // the packet has overtaken message 2
	if s.fam.current == s && spiIn >= 256 && !offered && s.fam.find(spiIn) == nil {
		s.inform(&wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{u32(spiIn)}})
	}
	s.Probe(now)
}

// HDR*, HASH, NOTIFY(R-U-THERE) -->
func (s *SA) rUThere() { s.dpdSend(wire.RUThere, s.dpd.sent) }

func (s *SA) dpdSend(kind wire.NotifyType1, seq uint32) {
	s.informOrdered(s.dpdOrder(), s.dpdNotify(kind, seq))
}

func (s *SA) dpdNotify(kind wire.NotifyType1, seq uint32) *wire.Notify1 {
	return &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: append(u64(s.spiI), u64(s.spiR)...), Kind: kind, Data: u32(seq)}
}

// dpdMessage takes R-U-THERE and R-U-THERE-ACK.
func (s *SA) dpdMessage(n *wire.Notify1, hashLast bool) error {
	if s.state == sa.Connecting || len(n.Data) != 4 {
		return drop(sa.DropMalformed, "a liveness check before phase 1 is done, or without a number")
	}
	seq := binary.BigEndian.Uint32(n.Data)
	s.dpd.last = hashLast
	if n.Kind == wire.RUThereAck {
		// "The initial sender SHOULD reject the R-U-THERE-ACK if the sequence number fails
		// to match the one sent" (section 6.1).
		if !s.dpd.asked || seq != s.dpd.sent {
			return drop(sa.DropSequence, "an answer to a liveness check %d that is not open", seq)
		}
		if !s.measure.until.IsZero() && seq == s.measure.seq {
			s.measured(true)
		}
		return nil
	}
	// A repeated question has the same number. A lower number is an eavesdropper's replay.
	if s.dpd.knows && int32(seq-s.dpd.theirs) < 0 {
		return drop(sa.DropSequence, "a liveness check %d after %d", seq, s.dpd.theirs)
	}
	s.dpd.theirs, s.dpd.knows = seq, true
	s.dpdSend(wire.RUThereAck, seq) // HDR*, HASH, NOTIFY(R-U-THERE-ACK) -->
	return nil
}
