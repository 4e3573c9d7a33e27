package ike

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// IKE_SA_INIT requests of IKEv2. Nothing in such a message is authentic. So that a flood costs little, the
// cheap questions come first: the address, a hash, the numbers of half-open IKE SAs, a cookie, and only then
// a key exchange.

const (
	shareAlways  = 32 // half-open IKE SAs that one address may have, beside CookieThreshold
	sharePerPeer = 4  // or so many for each peer configured at the address, since a NAT may hide them all
)

// saInit takes an IKE_SA_INIT request.
func (e *Endpoint) saInit(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.SPIi == 0 || h.SPIr != 0 || h.ID != 0 || h.Flags&wire.FlagInitiator == 0 || e.stopping {
		e.counters.Malformed++
		return
	}
	if e.isOurs(now, h.SPIi, d) || !e.knowsV2(now, h, d) {
		return
	}
	key := firstKey{d.Remote, h.SPIi, sha256.Sum256(d.Data)}
	if m := e.answered.find(key); m != nil { // a retransmission
		m.Handle(now, d)
		e.touch(m)
		return
	}
	if from := d.Remote.Addr().Unmap(); !e.hasRoom(&e.answered.v2, from, e.share(from), true) {
		return
	}
	msg := e.readInit(now, h, d)
	if msg == nil {
		return
	}
	reachable := e.cookies.valid(now, msg, d.Remote)
	if !reachable && len(e.answered.v2.all) >= min(e.cfg.CookieThreshold, e.cfg.MaxHalfOpen) {
		e.challenge(now, msg, d)
		return
	}
	m, err := ikev2.Respond(&e.env, now, d, msg, reachable)
	if err != nil {
		e.refuseInit(now, msg, d, reachable, err)
		return
	}
	e.makeRoom(now, &e.answered.v2, key)
	e.answered.add(key, m, &e.answered.v2, e.strange(key.from()))
	e.touch(m)
}

// refuseInit tells the sender of a request, which has been parsed, why there is no IKE SA. A sender that has not
// proven its address is asked to when those that forge the address have had all the answers that there are for it.
func (e *Endpoint) refuseInit(now time.Time, msg *wire.Message, d ipsec.Datagram, reachable bool, err error) {
	e.counters.InitRefused++
	var n *wire.NotifyError
	switch {
	case errors.Is(err, ikev2.ErrBusy) && !reachable:
		e.challenge(now, msg, d)
	case !errors.As(err, &n) || n.Kind == wire.InvalidSyntax: // "may only be returned for and in an encrypted packet" (section 3.10.1)
	case reachable:
		e.notify(msg.Header, d, &wire.Notify{Kind: n.Kind, Data: n.Data})
	case !e.refuse(now, msg.Header, d, n):
		e.challenge(now, msg, d)
	}
}

// isOurs reports whether a first message has an SPI of ours: somebody sends us back what we sent to a peer. Were we to
// answer, we would prove to ourselves that we know the key.
func (e *Endpoint) isOurs(now time.Time, spiI uint64, d ipsec.Datagram) bool {
	m, ok := e.table.bySPI[spiI]
	if !ok {
		return false
	}
	e.counters.Reflected++
	if in := m.Info(); in.Initiator && in.Peer.Remote == d.Remote.Addr().Unmap() {
		(*owner)(e).Troubled(now, in.Peer, diag.Cause{Code: diag.Reflected})
	}
	return true
}

// knowsV2 reports whether a peer at the sender's address speaks IKEv2, and otherwise answers.
func (e *Endpoint) knowsV2(now time.Time, h wire.Header, d ipsec.Datagram) bool {
	switch {
	case !e.expects(d.Remote.Addr().Unmap()):
		e.counters.UnknownSources++
		e.refuse(now, h, d, &wire.NotifyError{Kind: wire.NoProposalChosen, Cause: diag.Cause{Code: diag.UnknownPeer, Peer: d.Remote}})
		return false
	case !e.speaks(2, d.Remote.Addr()):
		e.otherVersion(now, h, d)
		return false
	}
	return true
}

// hasRoom reports whether there may be one more half-open IKE SA from an address, which may have so many. When there are as
// many as there may be at all, an address with few still takes the place of one with many, if it can prove that it is no
// forged one: then makeRoom follows.
func (e *Endpoint) hasRoom(h *halfOpen, from netip.Addr, most int, provable bool) bool {
	switch {
	case h.from[from] >= most:
		e.counters.HalfOpenShare++
		return false
	case len(h.all) >= e.cfg.MaxHalfOpen && !(provable && (h.hasLittle(from) || e.crowded(h, from))):
		e.counters.HalfOpenFull++
		return false
	}
	return true
}

// makeRoom ends a half-open IKE SA if there are as many as there may be, for a new one whose sender has proven its address. Strangers have
// half of the room, since some have many addresses: there the oldest one goes.
func (e *Endpoint) makeRoom(now time.Time, h *halfOpen, k firstKey) {
	var m sa.Machine
	switch {
	case e.crowded(h, k.from()):
		m = e.answered.oldest(h, h.isStrange)
	case len(h.all) >= e.cfg.MaxHalfOpen:
		m = e.answered.displaced(h)
	default:
		return
	}
	e.counters.HalfOpenDisplaced++
	m.Drop(now, diag.Cause{Code: diag.TooManyIKE})
}

// crowded reports whether an address is a stranger's, and strangers have all their room.
func (e *Endpoint) crowded(h *halfOpen, from netip.Addr) bool {
	return len(h.strange) >= (e.cfg.MaxHalfOpen+1)/2 && e.strange(from)
}

// share is how many half-open IKE SAs one address may have. Without a cookie anybody can begin CookieThreshold of
// them in the address's name; the rest is for the host that really has the address.
func (e *Endpoint) share(a netip.Addr) int {
	own := max(shareAlways, sharePerPeer*len(e.peersAt[a]))
	return min(e.cfg.CookieThreshold+own, (e.cfg.MaxHalfOpen+1)/2)
}

// readInit parses a request; nil: it was refused.
func (e *Endpoint) readInit(now time.Time, h wire.Header, d ipsec.Datagram) *wire.Message {
	msg, err := wire.Parse(d.Data)
	var critical *wire.UnsupportedCritical
	switch {
	case errors.As(err, &critical): // "MUST be rejected", with a notification even so early (section 2.5)
		e.counters.InitRefused++
		e.refuse(now, h, d, critical.Notify())
		return nil
	case err != nil:
		e.counters.Malformed++
		e.unusable(now, 2, h, d, err)
		return nil
	}
	return msg
}

// unusable tells the operator of a first message that could not be read, for the peers that it may have come from.
func (e *Endpoint) unusable(now time.Time, version int, h wire.Header, d ipsec.Datagram, err error) {
	for _, p := range e.suspects(d.Remote.Addr().Unmap()) {
		if p.cfg.Speaks(version) {
			(*owner)(e).Troubled(now, p.cfg, diag.Cause{Code: diag.FirstUnusable, Peer: d.Remote, Message: "first message of " + h.Exchange.String(), Err: err.Error()})
		}
	}
}

// challenge asks the sender of a request to prove its address with a cookie.
func (e *Endpoint) challenge(now time.Time, msg *wire.Message, d ipsec.Datagram) {
	if n, ok := wire.Find[*wire.Nonce](msg.Payloads); ok {
		e.counters.CookiesSent++
		e.notify(msg.Header, d, &wire.Notify{Kind: wire.Cookie, Data: e.cookies.mint(now, n.Data, d.Remote, msg.SPIi)})
	}
}

// refuse answers a first message in the clear, if the sender's budget allows.
func (e *Endpoint) refuse(now time.Time, h wire.Header, d ipsec.Datagram, n *wire.NotifyError) bool {
	if !e.mayReply(now, d.Remote.Addr()) {
		return false
	}
	log, _ := (*owner)(e).Hearsay(now, d.Remote.Addr(), n.Cause.Code)
	log.Info("refusing IKE_SA_INIT", "peer", d.Remote, "notify", n.Kind.String(), sa.Why(n.Cause))
	e.notify(h, d, &wire.Notify{Kind: n.Kind, Data: n.Data})
	return true
}

// otherVersion takes a message of a version that no peer at its source speaks, or of one above 2 (RFC 7296 section 2.5).
func (e *Endpoint) otherVersion(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.WrongVersion++
	if h.Major <= 2 && h.SPIr == 0 {
		for _, p := range e.suspects(d.Remote.Addr().Unmap()) {
			(*owner)(e).Troubled(now, p.cfg, diag.Cause{Code: diag.IKEVersion, Version: int(h.Major), Ours: versionText(p.cfg.Version)})
		}
	}
	if h.Major > 2 && h.Flags&wire.FlagResponse == 0 && e.mayReply(now, d.Remote.Addr()) {
		e.notify(h, d, &wire.Notify{Kind: wire.InvalidMajorVersion})
	}
}

// versionText is a configured version of IKE for a sentence.
func versionText(version int) string {
	return map[int]string{0: "IKEv1 or IKEv2", 1: "IKEv1", 2: "IKEv2"}[version]
}

// speaks reports whether some peer at an address speaks a version.
func (e *Endpoint) speaks(version int, a netip.Addr) bool {
	for p := range e.at(a.Unmap()) {
		if p.cfg.Speaks(version) {
			return true
		}
	}
	return false
}

// unknown takes a message that belongs to no IKE SA of ours (RFC 7296 section 2.21.4).
func (e *Endpoint) unknown(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.UnknownSPI++
	if h.Flags&wire.FlagResponse == 0 && e.mayReply(now, d.Remote.Addr()) {
		e.notify(h, d, &wire.Notify{Kind: wire.InvalidIKESPI})
	}
}

// notify answers a request in the clear, with the request's SPIs and message id.
func (e *Endpoint) notify(h wire.Header, d ipsec.Datagram, n *wire.Notify) {
	h.Flags = wire.FlagResponse | wire.FlagInitiator&^h.Flags
	h.Major, h.Minor = 2, 0
	m := wire.Message{Header: h, Payloads: []wire.Payload{n}}
	e.emit(sa.Send{Path: sa.ReplyPath(d), Data: m.Marshal()})
}
