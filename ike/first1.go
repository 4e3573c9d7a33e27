package ike

import (
	"bytes"
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
)

// handle1 takes one message of IKEv1.
func (e *Endpoint) handle1(now time.Time, h wire.Header, d ipsec.Datagram) {
	if m := e.find1(h); m != nil {
		m.Handle(now, d)
		e.touch(m)
		return
	}
	if o := e.openings.find(h, d); o != nil {
		e.resume(now, o, h, d)
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
	if h.Exchange == wire.ExchangeMain {
		e.open(now, key, h, d)
		return
	}
	if !e.allow(now, from) {
		e.counters.Limited++
		return
	}
	if len(e.firsts.opening) >= e.cfg.MaxHalfOpen {
		e.counters.HalfOpenFull++
		return
	}
	m, err := ikev1.Respond(&e.env, now, d)
	if err != nil {
		e.refuse1(now, h, d, err)
		return
	}
	e.firsts.addV1(key, m)
	e.touch(m)
}

// open answers the first message of a main mode.
func (e *Endpoint) open(now time.Time, key firstKey, h wire.Header, d ipsec.Datagram) {
	o := e.openings.byKey[key]
	if o == nil {
		o = &opening{key: key, cookie: e.newSPI(), first: d, at: now}
		var err error
		if o.answer, err = ikev1.Answer(&e.env, now, d, o.cookie); err != nil {
			e.refuse1(now, h, d, err)
			return
		}
		o.first.Data = bytes.Clone(d.Data)
		e.counters.Displaced += e.openings.add(o)
		e.timers.touch(&e.openings)
	}
	for _, m := range o.answer {
		e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m})
	}
}

// resume goes on with a main mode: its sender is where it claims to be.
func (e *Endpoint) resume(now time.Time, o *opening, h wire.Header, d ipsec.Datagram) {
	if h.Exchange != wire.ExchangeMain || h.Flags&wire.FlagEncrypted != 0 {
		e.counters.Dropped[sa.DropTooEarly]++
		return
	}
	if len(e.firsts.opening) >= e.cfg.MaxHalfOpen {
		e.counters.HalfOpenFull++
		return
	}
	m, err := ikev1.Resume(&e.env, now, o.first, o.cookie)
	if err != nil { // the configuration has changed
		e.counters.InitRefused++
		return
	}
	e.firsts.addV1(o.key, m)
	e.openings.remove(o)
	e.timers.touch(&e.openings)
	m.Handle(now, d)
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

// refuse1 answers a first message in the clear, seldom, if its sender may be told why.
func (e *Endpoint) refuse1(now time.Time, h wire.Header, d ipsec.Datagram, err error) {
	e.counters.InitRefused++
	r := (*ikev1.Refusal)(nil)
	if !errors.As(err, &r) || !e.replies.allow(now) {
		return
	}
	e.log.Info("refusing phase 1", "peer", d.Remote, "notify", r.Kind.String(), "why", r.Why)
	m := wire.Message{
		Header:   wire.Header{SPIi: h.SPIi, Major: 1, Exchange: wire.ExchangeInfo1, ID: uint32(e.newSPI())},
		Payloads: []wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: r.Kind}},
	}
	e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m.Marshal()})
}
