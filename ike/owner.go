package ike

import (
	"net/netip"
	"time"

	"vpngw/ike/sa"
)

// owner is the Endpoint as its Machines see it: sa.Owner, apart from the
// Endpoint's own methods so that nobody else calls these.
type owner Endpoint

var _ sa.Owner = (*owner)(nil)

func (o *owner) e() *Endpoint { return (*Endpoint)(o) }

func (o *owner) Emit(a sa.Action) { o.e().emit(a) }

func (o *owner) NewSPI() uint64 { return o.e().newSPI() }

func (o *owner) Candidates(remote netip.Addr) []*sa.Peer {
	var out []*sa.Peer
	for _, p := range o.peers {
		if p.cfg.Remote == remote.Unmap() {
			out = append(out, p.cfg)
		}
	}
	return out
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

// Sole implements sa.Owner. A half-open SA that could be the same peer's counts:
// were both ends to assert INITIAL_CONTACT at once, they would delete each other's.
func (o *owner) Sole(m sa.Machine, cfg *sa.Peer) bool {
	for _, other := range o.machines {
		in := other.Info()
		if other == m || in.State == sa.Dead || in.State == sa.Deleting {
			continue
		}
		if in.Peer == nil && in.Path.Remote.Addr() == cfg.Remote {
			return false
		}
		if in.Peer != nil && in.Peer.RemoteID == cfg.RemoteID && in.Peer.LocalID == cfg.LocalID && in.Peer.Remote == cfg.Remote {
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
	delete(e.half, m)
	p := e.peerOf[m.Info().Peer]
	if p == nil {
		return
	}
	p.established(now, m)
	if initialContact {
		for _, other := range p.others(m) {
			// RFC 7296 section 2.4 lets us forget it. A Delete costs nothing, and helps
			// when both ends began at once and the peer still has it.
			other.Close(now, "the peer started anew (INITIAL_CONTACT)")
			e.timers.touch(other)
		}
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
	delete(e.half, m)
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
	for k, other := range e.halfOpen {
		if other == m {
			delete(e.halfOpen, k)
			break
		}
	}
	delete(e.half, m)
	if p := e.peerOf[in.Peer]; p != nil {
		p.forget(m)
	}
	e.timers.remove(m)
}

func (o *owner) ChildChanged(now time.Time, m sa.Machine, c *sa.Child, why string) {
	w := o.want[c]
	if w == nil {
		return
	}
	w.note(now, why)
	w.peer.changed()
}

func (o *owner) Troubled(now time.Time, cfg *sa.Peer, why string) {
	if p := o.peerOf[cfg]; p != nil && p.why != why {
		p.log.Warn("cannot connect", "why", why)
		p.why, p.since = why, now
		p.changed()
	}
}
