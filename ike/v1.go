package ike

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"time"

	"vpngw/diag"
	"vpngw/ike/ikev1"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// handleV1 takes one message of IKEv1.
func (e *Endpoint) handleV1(now time.Time, h wire.Header, d ipsec.Datagram) {
	if m := e.findV1(h); m != nil {
		m.Handle(now, d)
		e.touch(m)
		return
	}
	if p := e.pending.find(h, d); p != nil {
		e.resumeMain(now, p, h, d)
		return
	}
	if e.beginsV1(now, h, d) {
		e.phase1(now, h, d)
	}
}

// findV1 is the ISAKMP SA of a message, or nil. The header of IKEv1 does not say which end speaks.
func (e *Endpoint) findV1(h wire.Header) sa.Machine {
	if m, ok := e.table.bySPI[h.SPIi]; ok {
		if in := m.Info(); in.Version == 1 && in.Initiator && (in.SPIr == h.SPIr || in.SPIr == 0 || h.SPIr == 0 && h.Exchange == wire.ExchangeInfo1) {
			return m
		}
	}
	if m, ok := e.table.bySPI[h.SPIr]; ok && h.SPIr != 0 {
		if in := m.Info(); in.Version == 1 && !in.Initiator && in.SPIi == h.SPIi {
			return m
		}
	}
	return nil
}

// beginsV1 reports whether a message of no ISAKMP SA is the first of a phase 1, from a peer that speaks IKEv1.
func (e *Endpoint) beginsV1(now time.Time, h wire.Header, d ipsec.Datagram) bool {
	from := d.Remote.Addr().Unmap()
	switch {
	case h.SPIr == 0 && e.expects(from) && !e.speaks(1, from):
		e.otherVersion(now, h, d)
	case h.SPIr != 0 || h.Flags&wire.FlagEncrypted != 0 || h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive:
		e.counters.UnknownSPI++ // the sender could not believe an answer, so there is none
	case h.SPIi == 0 || h.ID != 0 || e.stopping:
		e.counters.Malformed++
	case e.isOurs(now, h.SPIi, d): // all keys are made with this cookie, so it can't be changed
	case !e.expects(from):
		e.counters.UnknownSources++
	default:
		return true
	}
	return false
}

// phase1 takes the first message of a phase 1.
func (e *Endpoint) phase1(now time.Time, h wire.Header, d ipsec.Datagram) {
	key := firstKey{d.Remote, h.SPIi, sha256.Sum256(d.Data)}
	if m := e.answered.find(key); m != nil { // a retransmission
		m.Handle(now, d)
		e.touch(m)
		return
	}
	if h.Exchange == wire.ExchangeMain {
		e.answerMain(now, key, h, d)
	} else {
		e.answerAggressive(now, key, h, d)
	}
}

// answerMain answers message 1 of main mode, which makes a pending main mode and no ISAKMP SA yet.
func (e *Endpoint) answerMain(now time.Time, key firstKey, h wire.Header, d ipsec.Datagram) {
	p := e.pending.byKey[key]
	if p == nil {
		p = &pendingMain{key: key, cookie: e.newSPI(), first: d, at: now}
		var err error
		if p.answer, err = ikev1.Answer(&e.env, now, d, p.cookie); err != nil {
			e.refuseV1(now, h, d, err)
			return
		}
		p.first.Data = bytes.Clone(d.Data)
		e.counters.Displaced += e.pending.add(p)
		e.reschedule(&e.pending)
	}
	for _, m := range p.answer {
		e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m})
	}
}

// resumeMain takes message 3 of main mode: its sender has received message 2, so it is where it claims to be.
func (e *Endpoint) resumeMain(now time.Time, p *pendingMain, h wire.Header, d ipsec.Datagram) {
	if h.Exchange != wire.ExchangeMain || h.Flags&wire.FlagEncrypted != 0 {
		e.counters.Dropped[sa.DropTooEarly]++
		return
	}
	if _, c, err := wire.Parse1(d.Data); err != nil || c.Index(wire.TypeKE1) < 0 && c.Index(wire.TypeFragment1) < 0 {
		e.counters.Dropped[sa.DropMalformed]++
		return
	}
	if from := d.Remote.Addr().Unmap(); !e.hasRoom(&e.answered.v1, from, e.share(from), true) {
		return
	}
	m, err := ikev1.Resume(&e.env, now, p.first, p.cookie)
	if err != nil { // the configuration has changed
		e.counters.InitRefused++
		return
	}
	e.makeRoom(now, &e.answered.v1, p.key)
	e.answered.add(p.key, m, &e.answered.v1, e.strange(p.key.from()))
	e.pending.remove(p)
	e.reschedule(&e.pending)
	m.Handle(now, d)
	e.touch(m)
}

// answerAggressive answers message 1 of aggressive mode.
func (e *Endpoint) answerAggressive(now time.Time, key firstKey, h wire.Header, d ipsec.Datagram) {
	from := d.Remote.Addr().Unmap()
	if !e.mayReply(now, from) { // with more than was asked
		e.counters.Limited++
		return
	}
	// It proves nothing, so the rest of the share is for main modes of the host that really has the address. The newest
	// may be the peer's: in a flood it has some seconds to send message 3, and after it nothing to wait for.
	half := &e.answered.v1
	var oldest sa.Machine
	strange := e.strange(from)
	switch {
	case half.from[from] >= e.share(from)/2:
		oldest = e.answered.oldest(half, func(m sa.Machine) bool { return e.answered.at(m) == from && m.Info().Unproven })
	case strange && len(half.strange) >= (e.cfg.MaxHalfOpen+3)/4: // each may be from an address of its own
		oldest = e.answered.oldest(half, func(m sa.Machine) bool { return half.isStrange(m) && m.Info().Unproven })
	}
	if oldest == nil && !e.hasRoom(half, from, e.share(from)/2, false) {
		return
	}
	m, err := ikev1.Respond(&e.env, now, d)
	if err != nil {
		e.refuseV1(now, h, d, err)
		return
	}
	if oldest != nil {
		e.counters.HalfOpenDisplaced++
		oldest.Drop(now, diag.Cause{Code: diag.TooManyIKE})
	}
	e.answered.add(key, m, half, strange)
	e.touch(m)
}

// refuseV1 answers a first message in the clear, at a limited rate, if its sender may be told why.
func (e *Endpoint) refuseV1(now time.Time, h wire.Header, d ipsec.Datagram, err error) {
	e.counters.InitRefused++
	var r *ikev1.Refusal
	if !errors.As(err, &r) {
		e.unusable(now, 1, h, d, err)
		return
	}
	if !e.mayReply(now, d.Remote.Addr()) {
		return
	}
	log, _ := (*owner)(e).Hearsay(now, d.Remote.Addr(), r.Cause.Code)
	log.Info("refusing phase 1", "peer", d.Remote, "notify", r.Kind.String(), sa.Why(r.Cause))
	m := wire.Message{
		Header:   wire.Header{SPIi: h.SPIi, Major: 1, Exchange: wire.ExchangeInfo1, ID: uint32(e.newSPI())},
		Payloads: []wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: r.Kind}},
	}
	e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m.Marshal()})
}
