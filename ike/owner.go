package ike

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// owner is the Endpoint as its Machines see it: sa.Owner, apart from the
// Endpoint's own methods so that nobody else calls these.
type owner Endpoint

var _ sa.Owner = (*owner)(nil)

func (o *owner) e() *Endpoint { return (*Endpoint)(o) }

// Emit implements sa.Owner.
func (o *owner) Emit(a sa.Action) { o.e().emit(a) }

// NewSPI implements sa.Owner.
func (o *owner) NewSPI() uint64 { return o.e().newSPI() }

// Candidates implements sa.Owner, and the caller leaves them as they are. Peers whose configured address of ours is the one that the message came to, or
// that have none configured, come before the others; a peer that may have any identity comes last.
// Behind them come those that may come from anywhere.
func (o *owner) Candidates(version int, local, remote netip.Addr) []*sa.Peer {
	at, anywhere := o.suit(version, local, remote), o.suit(version, local, netip.Addr{})
	return append(slices.Clip(at.all), anywhere.all...)
}

// Welcoming implements sa.Owner.
func (o *owner) Welcoming(version int, local, remote netip.Addr, id ipsec.Identity) []*sa.Peer {
	at := o.suit(version, local, remote)
	out := slices.Clip(at.by(id))
	if id != ipsec.AnyIdentity {
		out = append(out, at.by(ipsec.AnyIdentity)...) // these are the last of an address
	}
	return append(out, o.suit(version, local, netip.Addr{}).by(id)...)
}

// suited are the Candidates of a suitor.
type suited struct {
	all   []*sa.Peer
	named map[ipsec.Identity][]*sa.Peer // the same by their identities as they are compared; nil: not asked for yet
}

// by are those of an identity.
func (s *suited) by(id ipsec.Identity) (out []*sa.Peer) {
	id = id.Folded()
	if len(s.all) <= crowd {
		for _, p := range s.all {
			if p.RemoteID.Folded() == id {
				out = append(out, p)
			}
		}
		return out
	}
	if s.named == nil {
		s.named = make(map[ipsec.Identity][]*sa.Peer, len(s.all))
		for _, p := range s.all {
			s.named[p.RemoteID.Folded()] = append(s.named[p.RemoteID.Folded()], p)
		}
	}
	return s.named[id]
}

// suit finds the peers at an address; without one, those that may come from anywhere.
func (o *owner) suit(version int, local, remote netip.Addr) *suited {
	who := suitor{version, local.Unmap(), remote.Unmap()}
	at := o.anywhere
	if remote.IsValid() {
		at = o.peersAt[who.remote]
	}
	if len(at) <= crowd {
		return &suited{all: candidates(at, who)}
	}
	s, ok := o.suited[who]
	if !ok {
		if len(o.suited) > crowd { // of our addresses there may be many
			clear(o.suited)
		}
		s = &suited{all: candidates(at, who)}
		o.suited[who] = s
	}
	return s
}

// suitor is who asks with a first message.
type suitor struct {
	version       int
	local, remote netip.Addr
}

// crowd is how many peers of one address are worth to be remembered in the order of Candidates.
const crowd = 16

func candidates(at []*peer, who suitor) []*sa.Peer {
	var exact, other []*sa.Peer
	for _, p := range at {
		if !p.cfg.Speaks(who.version) {
			continue
		}
		if !p.cfg.Local.IsValid() || p.cfg.Local == who.local {
			exact = append(exact, p.cfg)
		} else {
			other = append(other, p.cfg)
		}
	}
	out := append(exact, other...)
	slices.SortStableFunc(out, func(a, b *sa.Peer) int { return anybody(a) - anybody(b) })
	return out
}

func anybody(p *sa.Peer) int {
	if p.RemoteID == ipsec.AnyIdentity {
		return 1
	}
	return 0
}

// Spawned implements sa.Owner.
func (o *owner) Spawned(m sa.Machine) {
	o.table.add(m)
	if p := o.peerOf[m.Info().Peer]; p != nil {
		p.machines = append(p.machines, m)
	}
	o.e().look(m)
}

// Stirred implements sa.Owner. The deadline of m changes until m returns, so it is asked later.
func (o *owner) Stirred(m sa.Machine) { o.stirred = append(o.stirred, m) }

// Sole implements sa.Owner. A half-open SA that could be the same peer's counts:
// were both ends to assert INITIAL_CONTACT at once, they would delete each other's.
func (o *owner) Sole(m sa.Machine, cfg *sa.Peer) bool {
	at := cfg.Remote
	if cfg.Anywhere() {
		at = m.Info().Path.Remote.Addr().Unmap()
	}
	if o.answered.v2.from[at] > 0 || m.Info().Version == 1 && o.pending.count(at)+o.answered.v1.from[at] > 0 {
		return false
	}
	here, anywhere := endsOf(cfg), endsOf(cfg)
	here.remote, anywhere.remote = at, netip.Addr{}
	for _, p := range slices.Concat(o.e().peersBetween(here), o.e().peersBetween(anywhere)) {
		if len(p.others(m)) > 0 {
			return false
		}
	}
	return true
}

// Others implements sa.Owner.
func (o *owner) Others(m sa.Machine) []sa.Machine {
	if p := o.peerOf[m.Info().Peer]; p != nil {
		return p.others(m)
	}
	return nil
}

// Held implements sa.Owner.
func (o *owner) Held(cfg *sa.Child) bool {
	c := o.childOf[cfg]
	return c == nil || c.held
}

// Authenticated implements sa.Owner.
func (o *owner) Authenticated(now time.Time, m sa.Machine, initialContact bool) {
	e := o.e()
	e.answered.completed(m)
	p := e.peerOf[m.Info().Peer]
	if p == nil {
		return
	}
	p.authenticated(now, m)
	others := p.others(m)
	if !initialContact && len(others) > maxIKESAs+len(p.children) {
		others[0].Close(now, diag.Cause{Code: diag.TooManyIKE})
		others = others[1:]
	}
	for _, other := range others {
		e.inherit(now, m, other, initialContact || movedFrom(m, other))
	}
	p.trim(now)
	e.begun(m)
	p.wake()
}

// inherit tells m that it replaces other. In IKEv1, m takes over the Child SAs of other, and a rekey is reported.
func (e *Endpoint) inherit(now time.Time, m, other sa.Machine, restarted bool) {
	_, was := e.established[other]
	m.Inherit(now, other, restarted)
	if was && other.Info().State == sa.Replaced {
		e.replaced(m, other)
	}
}

// Succeeded implements sa.Owner.
func (o *owner) Succeeded(now time.Time, old, successor sa.Machine) {
	e := o.e()
	p := e.peerOf[successor.Info().Peer]
	if _, ok := e.established[old]; ok {
		e.replaced(successor, old)
	} else if p != nil { // old has ended already, before a collision of rekeys was decided
		p.authenticated(now, successor)
		e.begun(successor)
	}
	if p != nil {
		p.crowded(now, successor)
		p.trim(now)
		p.wake()
	}
	e.look(old)
	e.look(successor)
}

// Measured implements sa.Owner.
func (o *owner) Measured(m sa.Machine, f sa.Measured) {
	f.SA = o.e().about(m)
	o.e().emit(f)
}

// Exchanged implements sa.Owner.
func (o *owner) Exchanged(m sa.Machine, f sa.Exchanged) {
	f.SA = o.e().about(m)
	o.e().emit(f)
}

// Floated implements sa.Owner.
func (o *owner) Floated(m sa.Machine) {
	if p := o.peerOf[m.Info().Peer]; p != nil && p.main() == nil { // else m replaces one, and no Fact has told of it
		o.e().emit(sa.IKEConnecting{SA: o.e().about(m)})
	}
}

// Answered implements sa.Owner.
func (o *owner) Answered(m sa.Machine, port uint16) {
	if p := o.peerOf[m.Info().Peer]; p != nil {
		p.door = port
	}
}

// PeerMoved implements sa.Owner.
func (o *owner) PeerMoved(_ time.Time, m sa.Machine, was netip.AddrPort) {
	e := o.e()
	if m.Info().Current { // a replaced IKE SA says nothing about where its successor sends to
		e.emit(sa.PeerMoved{SA: e.about(m), Was: was})
	}
	e.table.look(m)
}

// Closed implements sa.Owner.
func (o *owner) Closed(now time.Time, m sa.Machine, why diag.Cause) {
	e := o.e()
	e.ended(m, why)
	if p := e.peerOf[m.Info().Peer]; p != nil {
		p.lost(now, m, why)
	}
}

// Gone implements sa.Owner.
func (o *owner) Gone(m sa.Machine) {
	e := o.e()
	e.table.remove(m)
	e.answered.remove(m)
	delete(e.established, m)
	if p := e.peerOf[m.Info().Peer]; p != nil {
		p.forget(m)
		p.wake()
	}
	e.timers.Remove(m)
}

// ChildChanged implements sa.Owner.
func (o *owner) ChildChanged(now time.Time, m sa.Machine, cfg *sa.Child, why diag.Cause) {
	c := o.childOf[cfg]
	if c == nil || c.held { // held: the operator's wish is the reason
		return
	}
	c.note(now, why)
	c.peer.wake()
}

// ChildRefused implements sa.Owner.
func (o *owner) ChildRefused(now time.Time, _ sa.Machine, cfg *sa.Child, local, remote []ipsec.Selector, why diag.Cause) {
	c := o.childOf[cfg]
	if c == nil || c.held {
		return
	}
	c.refused(now, wishOf(cfg, local, remote), why)
	c.peer.wake()
}

// Dropped implements sa.Owner.
func (o *owner) Dropped(why sa.Drop) { o.counters.Dropped[why]++ }

// Troubled implements sa.Owner. Anybody can send a bad first message, so it says
// nothing about a peer that has an IKE SA.
func (o *owner) Troubled(now time.Time, cfg *sa.Peer, why diag.Cause) {
	p := o.peerOf[cfg]
	if p == nil || p.why.Equal(why) || p.main() != nil {
		return
	}
	if log, ok := o.Hearsay(now, cfg.Remote, why.Code); ok {
		log.Warn("cannot connect", "conn", cfg.Name, sa.Why(why))
		p.fail(now, why)
		p.wake()
	}
}
