package ike

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// What comes before there is an IKE SA: nothing here is authentic. In this order
// a flood costs little: a hash, a look at who may call, a limit, a cookie, and only
// then a key exchange value.

// firstKey finds a responder's IKE SA again when its IKE_SA_INIT request is
// retransmitted. Address and port are in it because "two different peers behind a single NAT
// could choose the same initiator SPI" (RFC 7296 section 2.1), and so is the message.
type firstKey struct {
	remote netip.AddrPort
	spiI   uint64
	hash   [32]byte
}

// firsts are the IKE SAs that we answered.
type firsts struct {
	byKey    map[firstKey]sa.Machine
	keys     map[sa.Machine]firstKey
	halfOpen map[sa.Machine]struct{} // those of byKey that IKE_AUTH has not reached
	from     map[netip.Addr]int      // how many of halfOpen are from an address
	// opening are those of IKEv1 that are half-open. They do not count among the others: what
	// anybody can begin of them must not keep IKEv2's out.
	opening map[sa.Machine]struct{}
}

func newFirsts() firsts {
	return firsts{byKey: map[firstKey]sa.Machine{}, keys: map[sa.Machine]firstKey{}, halfOpen: map[sa.Machine]struct{}{}, from: map[netip.Addr]int{}, opening: map[sa.Machine]struct{}{}}
}

func (f *firsts) add(k firstKey, m sa.Machine) {
	f.byKey[k], f.keys[m], f.halfOpen[m] = m, k, struct{}{}
	f.from[k.remote.Addr().Unmap()]++
}

// addV1 is add for an ISAKMP SA.
func (f *firsts) addV1(k firstKey, m sa.Machine) {
	f.byKey[k], f.keys[m], f.opening[m] = m, k, struct{}{}
}

// settled notes that m is half-open no more.
func (f *firsts) settled(m sa.Machine) {
	delete(f.opening, m)
	if _, ok := f.halfOpen[m]; !ok {
		return
	}
	delete(f.halfOpen, m)
	a := f.keys[m].remote.Addr().Unmap()
	if f.from[a]--; f.from[a] == 0 {
		delete(f.from, a)
	}
}

func (f *firsts) remove(m sa.Machine) {
	if k, ok := f.keys[m]; ok {
		f.settled(m)
		delete(f.byKey, k)
		delete(f.keys, m)
	}
}

const (
	shareAlways  = 32 // half-open IKE SAs that an address may have beside those that need no cookie
	sharePerPeer = 4  // or this many for each peer that there may be, behind a NAT
)

// share is how many half-open IKE SAs may be from one address, so that it does not use up all
// there may be. Anybody can begin as many in its name as there may be without a
// cookie; they leave as much again for who is really there.
func (e *Endpoint) share(a netip.Addr) int {
	own := max(shareAlways, sharePerPeer*len(e.peersAt[a]))
	return min(e.cfg.CookieThreshold+own, (e.cfg.MaxHalfOpen+1)/2)
}

// first is an IKE_SA_INIT request.
func (e *Endpoint) first(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.SPIi == 0 || h.SPIr != 0 || h.ID != 0 || h.Flags&wire.FlagInitiator == 0 || e.stopping {
		e.counters.Malformed++
		return
	}
	key := firstKey{d.Remote, h.SPIi, sha256.Sum256(d.Data)}
	if m, ok := e.firsts.byKey[key]; ok {
		m.Handle(now, d)
		e.touch(m)
		return
	}
	from := d.Remote.Addr().Unmap()
	if len(e.peersAt[from]) == 0 {
		e.counters.UnknownSources++
		e.refuse(now, h, d, &wire.NotifyError{Kind: wire.NoProposalChosen, Why: "no connection has a peer at this address"})
		return
	}
	if !e.speaks(2, d.Remote.Addr()) {
		e.otherVersion(now, h, d)
		return
	}
	if len(e.firsts.halfOpen) >= e.cfg.MaxHalfOpen {
		e.counters.HalfOpenFull++
		return
	}
	if e.firsts.from[from] >= e.share(from) {
		e.counters.HalfOpenShare++
		return
	}
	msg, err := wire.Parse(d.Data)
	var critical *wire.UnsupportedCritical
	switch {
	case errors.As(err, &critical): // "MUST be rejected", with a notification even so early (section 2.5)
		e.counters.InitRefused++
		e.refuse(now, h, d, critical.Notify())
		return
	case err != nil:
		e.counters.Malformed++
		return
	}
	if len(e.firsts.halfOpen) >= e.cfg.CookieThreshold && !e.cookies.valid(now, msg, d.Remote) {
		if n, ok := wire.Find[*wire.Nonce](msg.Payloads); ok {
			e.counters.CookiesSent++
			e.notify(h, d, &wire.Notify{Kind: wire.Cookie, Data: e.cookies.mint(now, n.Data, d.Remote, h.SPIi)})
		}
		return
	}
	m, err := ikev2.Respond(&e.env, now, d, msg)
	if err != nil {
		e.counters.InitRefused++
		var n *wire.NotifyError
		// INVALID_SYNTAX "may only be returned for and in an encrypted packet" (section 3.10.1).
		if errors.As(err, &n) && n.Kind != wire.InvalidSyntax {
			e.refuse(now, h, d, n)
		}
		return
	}
	e.firsts.add(key, m)
	e.touch(m)
}

// refuse answers a first message in the clear, seldom.
func (e *Endpoint) refuse(now time.Time, h wire.Header, d ipsec.Datagram, n *wire.NotifyError) {
	if e.replies.allow(now) {
		e.log.Info("refusing IKE_SA_INIT", "peer", d.Remote, "notify", n.Kind.String(), "why", n.Why)
		e.notify(h, d, &wire.Notify{Kind: n.Kind, Data: n.Data})
	}
}

// otherVersion is a message of a version that no peer at its source speaks, or of the future (RFC 7296 section 2.5).
func (e *Endpoint) otherVersion(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.WrongVersion++
	if h.Major <= 2 && h.SPIr == 0 {
		for _, p := range e.peersAt[d.Remote.Addr().Unmap()] {
			(*owner)(e).Troubled(now, p.cfg, fmt.Sprintf("the peer speaks IKEv%d; this connection is IKEv%d: set the peer to IKEv%d", h.Major, p.cfg.Version, p.cfg.Version))
		}
	}
	if h.Major > 2 && h.Flags&wire.FlagResponse == 0 && e.replies.allow(now) {
		e.notify(h, d, &wire.Notify{Kind: wire.InvalidMajorVersion})
	}
}

// speaks reports whether some peer at an address speaks a version.
func (e *Endpoint) speaks(version int, a netip.Addr) bool {
	return slices.ContainsFunc(e.peersAt[a.Unmap()], func(p *peer) bool { return p.cfg.Speaks(version) })
}

// unknown is a message of no IKE SA that we have (RFC 7296 section 2.21.4).
func (e *Endpoint) unknown(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.UnknownSPI++
	if h.Flags&wire.FlagResponse == 0 && e.replies.allow(now) {
		e.notify(h, d, &wire.Notify{Kind: wire.InvalidIKESPI})
	}
}

// notify answers a request in the clear, with its own SPIs and message id.
func (e *Endpoint) notify(h wire.Header, d ipsec.Datagram, n *wire.Notify) {
	h.Flags = wire.FlagResponse | wire.FlagInitiator&^h.Flags
	h.Major, h.Minor = 2, 0
	m := wire.Message{Header: h, Payloads: []wire.Payload{n}}
	e.emit(sa.Send{Path: ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}, Data: m.Marshal()})
}
