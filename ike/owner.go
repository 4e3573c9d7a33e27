package ike

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// owner is the Endpoint as its Machines see it: sa.Owner, apart from the
// Endpoint's own methods so that nobody else calls these.
type owner Endpoint

var _ sa.Owner = (*owner)(nil)

func (o *owner) e() *Endpoint { return (*Endpoint)(o) }

func (o *owner) Emit(a sa.Action) { o.e().emit(a) }

func (o *owner) NewSPI() uint64 { return o.e().newSPI() }

// Candidates implements sa.Owner. A configured address of ours need not be the
// one that the message came to, but it comes first; who takes any identity comes last.
func (o *owner) Candidates(version int, local, remote netip.Addr) []*sa.Peer {
	var exact, other []*sa.Peer
	for _, p := range o.peersAt[remote.Unmap()] {
		if !p.cfg.Speaks(version) {
			continue
		}
		if !p.cfg.Local.IsValid() || p.cfg.Local == local.Unmap() {
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

func (o *owner) Spawned(m sa.Machine) {
	in := m.Info()
	own := in.SPIr
	if in.Initiator {
		own = in.SPIi
	}
	o.machines[own] = m
	if p := o.peerOf[in.Peer]; p != nil {
		p.machines = append(p.machines, m)
	}
	o.timers.touch(m)
}

// Stirred implements sa.Owner. What m is at changes until it returns, so it is looked at later.
func (o *owner) Stirred(m sa.Machine) { o.stirred = append(o.stirred, m) }

// Sole implements sa.Owner. A half-open SA that could be the same peer's counts:
// were both ends to assert INITIAL_CONTACT at once, they would delete each other's.
func (o *owner) Sole(m sa.Machine, cfg *sa.Peer) bool {
	if o.firsts.from[cfg.Remote] > 0 || m.Info().Version == 1 && o.openings.from[cfg.Remote] > 0 {
		return false
	}
	for other := range o.firsts.opening {
		if m.Info().Version == 1 && other.Info().Path.Remote.Addr() == cfg.Remote {
			return false
		}
	}
	for _, p := range o.peersAt[cfg.Remote] {
		if p.cfg.RemoteID == cfg.RemoteID && p.cfg.LocalID == cfg.LocalID && len(p.others(m)) > 0 {
			return false
		}
	}
	return true
}

func (o *owner) Held(c *sa.Child) bool {
	w := o.want[c]
	return w == nil || w.held
}

func (o *owner) Authenticated(now time.Time, m sa.Machine, initialContact bool) {
	e := o.e()
	e.firsts.settled(m)
	p := e.peerOf[m.Info().Peer]
	if p == nil {
		return
	}
	p.established(now, m)
	others := p.others(m)
	if !initialContact && len(others) > maxIKESAs+len(p.wants) {
		others[0].Close(now, "the peer has too many IKE SAs")
		others = others[1:]
	}
	for _, other := range others {
		m.Inherit(now, other, initialContact)
	}
	p.changed()
}

func (o *owner) Succeeded(_ time.Time, old, successor sa.Machine) {
	if p := o.peerOf[successor.Info().Peer]; p != nil {
		p.changed()
	}
	o.timers.touch(old)
	o.timers.touch(successor)
}

func (o *owner) Closed(now time.Time, m sa.Machine, why string) {
	e := o.e()
	e.firsts.settled(m)
	if p := e.peerOf[m.Info().Peer]; p != nil {
		p.lost(now, m, why)
	}
}

func (o *owner) Gone(m sa.Machine) {
	e := o.e()
	in := m.Info()
	for _, spi := range [...]uint64{in.SPIi, in.SPIr} {
		if e.machines[spi] == m {
			delete(e.machines, spi)
		}
	}
	e.firsts.remove(m)
	if p := e.peerOf[in.Peer]; p != nil {
		p.forget(m)
		p.changed()
	}
	e.timers.remove(m)
}

func (o *owner) ChildChanged(now time.Time, m sa.Machine, c *sa.Child, why string) {
	w := o.want[c]
	if w == nil || w.held { // held: the operator's wish is the reason
		return
	}
	w.note(now, why)
	w.peer.changed()
}

func (o *owner) Dropped(why sa.Drop) { o.counters.Dropped[why]++ }

// Troubled implements sa.Owner. Anybody can send a bad first message, so it says
// nothing of a peer with which all is well.
func (o *owner) Troubled(now time.Time, cfg *sa.Peer, why string) {
	if p := o.peerOf[cfg]; p != nil && p.why != why && p.main() == nil {
		p.log.Warn("cannot connect", "why", why)
		p.why, p.since = why, now
		p.changed()
	}
}
