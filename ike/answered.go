package ike

import (
	"hash/maphash"
	"net/netip"

	"vpngw/ike/sa"
)

// firstKey finds a responder's IKE SA again when the first message is
// retransmitted. Address and port are in it because "two different peers behind a single NAT
// could choose the same initiator SPI" (RFC 7296 section 2.1), and the message itself too.
type firstKey struct {
	remote netip.AddrPort
	spiI   uint64
	hash   [32]byte
}

// begun is a first message, and the IKE SA that it began.
type begun struct {
	key     firstKey
	machine sa.Machine
}

// answered are the IKE SAs that the peer began, by their first messages.
type answered struct {
	seed  maphash.Seed
	byKey map[uint64]*begun // by the hash of the key, under a seed that nobody knows
	of    map[sa.Machine]*begun
	v2    halfOpen
	// v1 is counted apart: what anybody can begin of IKEv1 must not keep IKEv2's out.
	v1 halfOpen
}

// halfOpen are the IKE SAs of answered whose peer has not proven who it is.
type halfOpen struct {
	all     map[sa.Machine]struct{}
	from    map[netip.Addr]int      // how many are from an address
	strange map[sa.Machine]struct{} // those from addresses at which no peer was known to be
}

func (h *halfOpen) isStrange(m sa.Machine) bool {
	_, ok := h.strange[m]
	return ok
}

func (k firstKey) from() netip.Addr { return k.remote.Addr().Unmap() }

func newAnswered() answered {
	return answered{seed: maphash.MakeSeed(), byKey: map[uint64]*begun{}, of: map[sa.Machine]*begun{}, v2: newHalfOpen(), v1: newHalfOpen()}
}

func newHalfOpen() halfOpen {
	return halfOpen{all: map[sa.Machine]struct{}{}, from: map[netip.Addr]int{}, strange: map[sa.Machine]struct{}{}}
}

func (a *answered) hash(k firstKey) uint64 { return maphash.Comparable(a.seed, k) }

// find is the IKE SA that a first message has begun, or nil.
func (a *answered) find(k firstKey) sa.Machine {
	if f := a.byKey[a.hash(k)]; f != nil && f.key == k {
		return f.machine
	}
	return nil
}

func (a *answered) add(k firstKey, m sa.Machine, h *halfOpen, strange bool) {
	f := &begun{k, m}
	a.byKey[a.hash(k)], a.of[m] = f, f
	h.all[m] = struct{}{}
	if strange {
		h.strange[m] = struct{}{}
	}
	h.from[k.from()]++
}

// completed notes that m is not half-open any more.
func (a *answered) completed(m sa.Machine) {
	from := a.at(m)
	a.v2.remove(m, from)
	a.v1.remove(m, from)
}

func (a *answered) isHalfOpen(m sa.Machine) bool {
	_, v2 := a.v2.all[m]
	_, v1 := a.v1.all[m]
	return v2 || v1
}

func (a *answered) remove(m sa.Machine) {
	if f := a.of[m]; f != nil {
		a.completed(m)
		delete(a.byKey, a.hash(f.key))
		delete(a.of, m)
	}
}

func (h *halfOpen) remove(m sa.Machine, from netip.Addr) {
	if _, ok := h.all[m]; !ok {
		return
	}
	delete(h.all, m)
	delete(h.strange, m)
	if h.from[from]--; h.from[from] == 0 {
		delete(h.from, from)
	}
}

// hasLittle reports whether an address would still have less than the average with one more, so that another has more.
func (h *halfOpen) hasLittle(from netip.Addr) bool {
	return (h.from[from]+1)*len(h.from) < len(h.all)
}

// displaced is the half-open IKE SA that gives way to another: the oldest from the address that has the most.
func (a *answered) displaced(h *halfOpen) sa.Machine {
	var most netip.Addr
	for at, n := range h.from {
		if n > h.from[most] {
			most = at
		}
	}
	return a.oldest(h, func(m sa.Machine) bool { return a.at(m) == most })
}

// at is the address that m is from.
func (a *answered) at(m sa.Machine) netip.Addr {
	if f := a.of[m]; f != nil {
		return f.key.from()
	}
	return netip.Addr{}
}

// oldest is the oldest half-open IKE SA of a kind, or nil.
func (a *answered) oldest(h *halfOpen, is func(sa.Machine) bool) (oldest sa.Machine) {
	for m := range h.all {
		if is(m) && (oldest == nil || m.Info().Since.Before(oldest.Info().Since)) {
			oldest = m
		}
	}
	return oldest
}
