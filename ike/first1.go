package ike

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"vpngw/ike/ikev1"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	// aggressivePerSecond is how many first messages of aggressive mode are answered for one source
	// in a second: each costs two exponentiations, and an answer that is longer than the question.
	aggressivePerSecond = 5
	// maxEarly is how many main modes there may be whose sender has not yet answered from where it
	// claims to be. IKEv1 has no cookies that come back: when there are more, the oldest
	// gives way, so that a flood of false senders leaves a true one the time of a round trip.
	maxEarly = 4096
)

// handle1 takes one message of IKEv1.
func (e *Endpoint) handle1(now time.Time, h wire.Header, d ipsec.Datagram) {
	if m := e.find1(h); m != nil {
		m.Handle(now, d)
		e.touch(m)
		return
	}
	if h.SPIr == 0 && len(e.peersAt[d.Remote.Addr().Unmap()]) > 0 && !e.speaks(1, d.Remote.Addr()) {
		e.otherVersion(now, h, d)
		return
	}
	if h.SPIr != 0 || h.Flags&wire.FlagEncrypted != 0 || h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive {
		e.counters.UnknownSPI++ // and no word: whoever sent it could not believe it
		return
	}
	e.first1(now, h, d)
}

// find1 is the ISAKMP SA of a message, or nil. IKEv1 does not say who is speaking.
func (e *Endpoint) find1(h wire.Header) sa.Machine {
	if m, ok := e.machines[h.SPIi]; ok {
		if in := m.Info(); in.Version == 1 && in.Initiator && (in.SPIr == h.SPIr || in.SPIr == 0 || h.SPIr == 0 && h.Exchange == wire.ExchangeInfo1) {
			return m
		}
	}
	if m, ok := e.machines[h.SPIr]; ok && h.SPIr != 0 {
		if in := m.Info(); in.Version == 1 && !in.Initiator && in.SPIi == h.SPIi {
			return m
		}
	}
	return nil
}

// first1 is the first message of a phase 1.
func (e *Endpoint) first1(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.SPIi == 0 || h.ID != 0 || e.stopping {
		e.counters.Malformed++
		return
	}
	from := d.Remote.Addr().Unmap()
	if len(e.peersAt[from]) == 0 {
		e.counters.UnknownSources++
		return
	}
	key := firstKey{d.Remote, h.SPIi, sha256.Sum256(d.Data)}
	if m, ok := e.firsts.byKey[key]; ok {
		m.Handle(now, d)
		e.touch(m)
		return
	}
	switch h.Exchange {
	case wire.ExchangeAggressive:
		if !e.allow(now, from) {
			e.counters.Limited++
			return
		}
		if len(e.firsts.opening) >= e.cfg.MaxHalfOpen+maxEarly {
			e.counters.HalfOpenFull++
			return
		}
	default:
		e.makeRoom(now)
	}
	m, err := ikev1.Respond(&e.env, now, d)
	if err != nil {
		e.counters.InitRefused++
		if r := (*ikev1.Refusal)(nil); errors.As(err, &r) {
			e.refuse1(now, h, d, r)
		}
		return
	}
	e.firsts.addV1(key, m, h.Exchange == wire.ExchangeMain)
	e.touch(m)
}

// allow limits aggressive mode by source. There are no more sources than peers.
func (e *Endpoint) allow(now time.Time, from netip.Addr) bool {
	l := e.sources[from]
	if l == nil {
		l = &limiter{perSecond: aggressivePerSecond}
		e.sources[from] = l
	}
	return l.allow(now)
}

// makeRoom ends the oldest main mode that has not gone on, when there are too many.
func (e *Endpoint) makeRoom(now time.Time) {
	f := &e.firsts
	for len(f.early) > 0 {
		m := f.early[0]
		_, open := f.opening[m]
		switch {
		case open && !m.Info().Reached && len(f.early) < maxEarly:
			return
		case open && !m.Info().Reached:
			e.counters.Displaced++
			m.Drop(now, "too many main modes are open") // which takes it off the list
		default:
			f.early = f.early[1:]
		}
	}
}

// refuse1 answers a first message in the clear, seldom.
func (e *Endpoint) refuse1(now time.Time, h wire.Header, d ipsec.Datagram, r *ikev1.Refusal) {
	if !e.replies.allow(now) {
		return
	}
	e.log.Info("refusing phase 1", "peer", d.Remote, "notify", r.Kind.String(), "why", r.Why)
	m := wire.Message{
		Header:   wire.Header{SPIi: h.SPIi, Major: 1, Exchange: wire.ExchangeInfo1, ID: uint32(e.newSPI())},
		Payloads: []wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: r.Kind}},
	}
	e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m.Marshal()})
}
