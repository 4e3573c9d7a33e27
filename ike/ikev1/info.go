package ikev1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Informational exchanges, RFC 2409 section 5.7: one message that nobody answers.
//
//	HDR*, HASH(1), N/D      -->

// handleInformational takes an informational exchange. A message without the right HASH changes
// nothing; but the operator hears of an error that answers our first messages.
func (s *SA) handleInformational(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.Flags&wire.FlagEncrypted == 0 {
		s.env.Owner.Dropped(sa.DropCleartext)
		if _, c, err := wire.Parse1(d.Data); err == nil && s.state == sa.Connecting && s.p1 != nil {
			s.hint(now, c.Payloads)
		}
		return
	}
	last := s.lastIV
	if s.awaitsProof() {
		last = s.p1.x.iv
	}
	if s.keys == nil || last == nil || s.used(h.ID) {
		why := sa.DropRepeated
		if s.keys == nil {
			why = sa.DropTooEarly
		}
		s.env.Owner.Dropped(why)
		return
	}
	x := &exchange{kind: wire.ExchangeInfo1, id: h.ID, iv: s.keys.nextIV(last, h.ID), step: inf1}
	err := s.deliver(now, x, h, d)
	if e := (*dropped)(nil); errors.As(err, &e) && e.why == sa.DropUndecryptable && s.state == sa.Connecting && (s.initiator || s.awaitsProof()) {
		s.p1.refused = diag.Cause{Code: diag.NotDecrypted, Message: "the peer's answer to message 5"}
		if s.awaitsProof() {
			s.p1.refused.Message = "the peer's answer to message 2 of aggressive mode"
		}
		s.env.Owner.Troubled(now, s.peer, s.p1.refused)
	}
}

// awaitsProof reports whether message 3 of aggressive mode comes next, and perhaps an error about our message 2 in its
// place, encrypted as if phase 1 had ended.
func (s *SA) awaitsProof() bool { return s.state == sa.Connecting && s.p1 != nil && s.p1.x.step == ag3 }

// hint tells the operator of an error that came in the clear. It may be forged, so it changes nothing else.
func (s *SA) hint(now time.Time, ps []wire.Payload) {
	n, ok := wire.Find[*wire.Notify1](ps)
	if !ok || !n.Kind.IsError() || !s.initiator && !s.awaitsProof() {
		return
	}
	s.p1.refused = diag.Cause{Code: diag.Phase1Refused, Notify: n.Kind.String()}
	switch {
	case s.awaitsProof() && n.Kind == wire.InvalidID1:
		s.p1.refused = s.disbelieved(n.Kind.String())
	case s.spiR != 0:
	case n.Kind == wire.NoProposalChosen1:
		s.p1.refused.Code, s.p1.refused.Ours = diag.IKERefused, sa.ProposalText(s.peer.Proposals)
	case s.peer.Aggressive && aboutIdentity(n):
		s.p1.refused = s.disbelieved(n.Kind.String()) // message 1 has our identity and no proof of it
	}
	s.env.Owner.Troubled(now, s.peer, s.p1.refused)
}

// informed takes the message of an informational exchange. The HASH may be at its head (RFC 2409)
// or at its end (RFC 3706), and covers the other payloads.
func (s *SA) informed(_ *exchange, now time.Time, m *message) error {
	i := m.Index(wire.TypeHash1)
	rest := slices.Concat(m.Raw[:i], m.Raw[i+1:])
	if !proven(m, s.keys.hash1(m.ID, rest...)) {
		return drop(sa.DropBadHash, "HASH(1) of an informational exchange is wrong")
	}
	s.use(m.ID)
	asked, failed := 0, 0
	for _, p := range m.Payloads {
		switch p := p.(type) {
		case *wire.Delete1:
			s.deleted(now, p)
		case *wire.Notify1:
			// One message gets one answer and makes one line of the log.
			if p.Kind == wire.RUThere {
				asked++
			} else if p.Kind.IsError() {
				failed++
			}
			if asked > 1 || failed > 1 {
				break
			}
			if err := s.notified(now, p, m, i > 0); err != nil {
				return err
			}
		}
		if s.state == sa.Dead || s.state == sa.Outlived {
			return nil
		}
	}
	return nil
}

// deleted takes a Delete.
func (s *SA) deleted(now time.Time, p *wire.Delete1) {
	if s.state == sa.Connecting {
		return
	}
	for _, spi := range p.SPIs {
		switch p.Protocol {
		case ipsec.ProtoESP:
			if c := s.fam.findOut(binary.BigEndian.Uint32(spi)); c != nil && !c.gone {
				if c.successor == nil {
					s.log.Info("the peer deleted a Child SA", "child", c.cfg.Name, "spi", sa.Hex32(c.sa.SPIIn))
				}
				s.fam.current.retire(now, c, diag.Cause{Code: diag.PeerDeletedESP})
			}
		case ipsec.ProtoIKE:
			if bytes.Equal(spi, append(u64(s.spiI), u64(s.spiR)...)) {
				s.leave(now, s.whyDeleted(now))
				return
			}
			// The peer deletes another ISAKMP SA over this one.
			for _, m := range slices.Clone(s.fam.members) {
				if m.live() && bytes.Equal(spi, append(u64(m.spiI), u64(m.spiR)...)) {
					m.leave(now, diag.Cause{Code: diag.PeerDeletedIKE})
				}
			}
		}
	}
}

// notified takes a notification.
func (s *SA) notified(now time.Time, n *wire.Notify1, m *message, hashLast bool) error {
	switch {
	case n.Kind == wire.RUThere || n.Kind == wire.RUThereAck:
		return s.dpdMessage(n, hashLast)
	case n.Kind == wire.InitialContact1 && s.state == sa.Established && now.Sub(s.authedAt) < 10*time.Second:
		s.env.Owner.Authenticated(now, s, true)
	case n.Kind == wire.ResponderLifetime && n.Protocol == ipsec.ProtoIKE && s.state == sa.Established:
		s.lifetimeNotice(m)
		s.shorten(now)
	case !n.Kind.IsError():
	case s.state == sa.Connecting:
		if s.initiator {
			why := diag.Cause{Code: diag.Phase1Refused, Notify: n.Kind.String()}
			if aboutIdentity(n) {
				why = s.disbelieved(n.Kind.String()) // its HASH has proven the pre-shared key
			}
			s.Drop(now, why)
		} else if s.awaitsProof() && aboutIdentity(n) {
			s.p1.refused = s.disbelieved(n.Kind.String())
			s.env.Owner.Troubled(now, s.peer, s.p1.refused)
		}
	default:
		s.log.Info("the peer notes an error", "notify", n.Kind.String())
		if q := s.refusedBy(n.SPI); q != nil {
			q.refused(now, n)
		} else if s.identityRefused(now, n) {
			s.leave(now, s.disbelieved(n.Kind.String()))
		}
	}
	return nil
}

// known reports whether an SPI belongs to a Child SA of this end. An error with a known SPI is
// not about the open quick mode. Peers put their SPI there, or ours, or none.
func (s *SA) known(spi []byte) bool {
	if len(spi) != 4 {
		return false
	}
	n := binary.BigEndian.Uint32(spi)
	return s.fam.find(n) != nil || s.fam.findOut(n) != nil
}

// refusedBy is which of our quick modes an error with an SPI is about; nil: none. An SPI that says nothing leaves the last one.
func (s *SA) refusedBy(spi []byte) *quick {
	var last *quick
	for q := range s.asked() {
		if string(spi) == string(u32(q.spiIn)) {
			return q
		}
		last = q
	}
	if s.known(spi) {
		return nil
	}
	return last
}

// identityRefused reports whether an error can only be about the last message of phase 1. The
// peer did not accept the message then, and has no ISAKMP SA.
func (s *SA) identityRefused(now time.Time, n *wire.Notify1) bool {
	return aboutIdentity(n) && n.Protocol == ipsec.ProtoIKE && len(s.fam.children) == 0 && now.Sub(s.authedAt) < 10*time.Second
}

func aboutIdentity(n *wire.Notify1) bool {
	return n.Kind == wire.InvalidID1 || n.Kind == wire.AuthenticationFailed1
}

// disbelieved is the cause of a refusal that can be about our identity only, or about the mode.
func (s *SA) disbelieved(notify string) diag.Cause {
	mode := "main"
	if s.peer.Aggressive {
		mode = "aggressive"
	}
	return diag.Cause{Code: diag.IDDisbelieved, Notify: notify, Ours: sa.IDText(s.peer.LocalID), Name: mode}
}

// whyDeleted is the cause of the peer's Delete. strongSwan, as initiator, sends nothing else when our last message of
// phase 1 has another identity than it expects.
func (s *SA) whyDeleted(now time.Time) diag.Cause {
	if !s.initiator && len(s.fam.children) == 0 && len(s.exchanges) == 0 && now.Sub(s.authedAt) < time.Second {
		return s.disbelieved("a Delete at once")
	}
	return diag.Cause{Code: diag.PeerDeletedIKE}
}

// shorten moves the end of the ISAKMP SA to a lifetime that has become shorter.
func (s *SA) shorten(now time.Time) {
	end := s.authedAt.Add(s.life)
	if s.life == 0 || !s.expireAt.IsZero() && !end.Before(s.expireAt) {
		return
	}
	s.expireAt = end
	if s.peer.Lifetime > 0 {
		s.rekeyAt = s.authedAt.Add(s.env.SoftTime(s.life, s.initiator))
	}
	s.env.Owner.Stirred(s)
}

// inform sends an informational exchange, if the SA can still protect it.
func (s *SA) inform(ps ...wire.Payload) [][]byte { return s.informOrdered(dpd.HashNotify, ps...) }

func (s *SA) informOrdered(order dpd.Order, ps ...wire.Payload) [][]byte {
	msg := s.informational(order, ps...)
	if msg == nil {
		return nil
	}
	if s.unacked != nil {
		s.send(s.path, s.fragments(s.unacked))
	}
	msgs := s.fragments(msg)
	s.send(s.path, msgs)
	return msgs
}

// informational makes the message of an informational exchange; nil: the SA cannot protect it any more.
func (s *SA) informational(order dpd.Order, ps ...wire.Payload) []byte {
	if s.keys == nil || s.lastIV == nil || s.state == sa.Dead || s.state == sa.Outlived {
		return nil
	}
	mid, err := s.newID()
	if err != nil {
		s.log.Error("cannot inform the peer", "err", err)
		return nil
	}
	x := &exchange{kind: wire.ExchangeInfo1, id: mid, iv: s.keys.nextIV(s.lastIV, mid)}
	all := hashed(ps, func(rest []byte) []byte { return s.keys.hash1(mid, rest) })
	if order == dpd.NotifyHash {
		// The HASH covers the payloads as they stand on the wire: the last one names HASH as the next payload.
		hash := &wire.Raw{Kind: wire.TypeHash1, Data: make([]byte, s.keys.prf.Size())}
		chain := wire.AppendChain(nil, append(slices.Clone(ps), hash))
		hash.Data = s.keys.hash1(mid, chain[:len(chain)-4-len(hash.Data)])
		all = append(slices.Clone(ps), hash)
	}
	return s.seal(x, all)
}

// tell sends an error about phase 1, encrypted.
func (s *SA) tell(r *refusal) {
	s.inform(&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: append(u64(s.spiI), u64(s.spiR)...), Kind: r.kind})
}

// heard notes that a new authentic message came.
func (s *SA) heard(now time.Time, d ipsec.Datagram) {
	s.monitor.Heard(now)
	s.spoke = now
	if s.dpd.retx.Active() {
		s.env.Owner.Exchanged(s, sa.Exchanged{What: sa.LivenessCheck, Done: true, Took: now.Sub(s.dpd.began)})
	}
	s.dpd.retx.Stop()
	if s.state == sa.Connecting {
		return
	}
	s.unacked = nil
	s.unackedRetx.Stop()
	s.follow(now, d.Local, d.Remote)
}

// random32 draws the first sequence number of dead peer detection.
func (s *SA) random32() uint32 {
	var b [4]byte
	io.ReadFull(s.env.Rand, b[:])
	return binary.BigEndian.Uint32(b[:])
}
