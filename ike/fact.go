package ike

import (
	"maps"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// emit queues an Action. What it does to a Child SA follows as a Fact.
func (e *Endpoint) emit(a sa.Action) {
	e.actions = append(e.actions, a)
	switch a := a.(type) {
	case sa.InstallIn:
		e.installed[a.SA.SPIIn] = installed{sa: a.SA, peer: e.peerOfSA(a.SA)}
		e.emit(sa.ChildIn(a))
	case sa.InstallOut:
		if in, ok := e.installed[a.SA.SPIIn]; ok {
			in.out = true
			e.installed[a.SA.SPIIn] = in
		}
		e.emit(sa.ChildOut(a))
	case sa.Remove:
		if in, ok := e.installed[a.SPIIn]; ok {
			delete(e.installed, a.SPIIn)
			e.emit(sa.ChildGone{SA: in.sa, Why: a.Why})
		}
	}
}

// peerOfSA is the peer that a Child SA is with, or nil.
func (e *Endpoint) peerOfSA(c *ipsec.ChildSA) *peer {
	var p *peer
	for _, w := range e.tunnels[c.Tunnel] {
		if p == nil || w.cfg.Name == c.Child {
			p = w.peer
		}
	}
	return p
}

// tellAll says what there is, for a reader that knows nothing yet.
func (e *Endpoint) tellAll() {
	e.each(maps.Keys(e.table.bySPI), func(m sa.Machine) {
		if _, ok := e.established[m]; ok {
			e.emit(sa.IKEEstablished{SA: e.about(m)})
		}
	})
	for _, spi := range slices.Sorted(maps.Keys(e.installed)) {
		in := e.installed[spi]
		if e.emit(sa.ChildIn{SA: in.sa}); in.out {
			e.emit(sa.ChildOut{SA: in.sa})
		}
	}
	for _, p := range e.inOrder() {
		for _, m := range p.machines {
			if in := m.Info(); in.Initiator && in.State == sa.Connecting {
				e.emit(sa.IKEConnecting{SA: e.about(m)})
			}
		}
		if !p.why.OK() {
			e.emit(p.failure())
		}
		for _, c := range p.children {
			if !c.why.OK() {
				e.emit(sa.ChildFailed{Child: c.given, Cause: c.why.Cause()})
			}
		}
	}
}

// about is an IKE SA as a Fact names it.
func (e *Endpoint) about(m sa.Machine) sa.IKESA {
	in := m.Info()
	cfg := in.Peer
	if p := e.peerOf[cfg]; p != nil {
		cfg = p.given
	}
	return sa.IKESA{
		Peer: cfg, Version: in.Version, Initiator: in.Initiator, SPIi: in.SPIi, SPIr: in.SPIr,
		Path: in.Path, Suite: in.Suite, NAT: in.NAT, Encap: in.Encap,
	}
}

// begun says that an IKE SA is established, unless a Fact has said so already.
func (e *Endpoint) begun(m sa.Machine) {
	if _, ok := e.established[m]; !ok && usable(m) {
		e.established[m] = struct{}{}
		e.emit(sa.IKEEstablished{SA: e.about(m)})
	}
}

// replaced says that m has taken the place of old.
func (e *Endpoint) replaced(m, old sa.Machine) {
	delete(e.established, old)
	e.established[m] = struct{}{}
	e.emit(sa.IKERekeyed{SA: e.about(m), Old: e.about(old)})
}

// ended says that an established IKE SA is of no more use. A replaced one has been told of already.
func (e *Endpoint) ended(m sa.Machine, why diag.Cause) {
	if _, ok := e.established[m]; ok {
		delete(e.established, m)
		e.emit(sa.IKEEnded{SA: e.about(m), Why: why})
	}
}

// fail notes why there is no IKE SA with a peer, and says so.
func (p *peer) fail(now time.Time, why diag.Cause) {
	p.why, p.since = diag.Keep(why), now
	p.e.emit(p.failure())
}

func (p *peer) failure() sa.IKEFailed {
	f := sa.IKEFailed{Peer: p.given, Cause: p.why.Cause(), Connecting: p.connecting()}
	if !f.Connecting && !p.e.stopping && p.toInitiate() != nil {
		f.Retry = p.nextTry
	}
	return f
}

// forgive forgets why there was no IKE SA.
func (p *peer) forgive(now time.Time) {
	if !p.why.OK() {
		p.why, p.since = diag.Kept{}, now
		p.e.emit(sa.IKEFailed{Peer: p.given, Connecting: p.connecting()})
	}
}

// fail notes why a Child SA is not there, or with an OK cause that the trouble is over, and says so.
func (c *child) fail(now time.Time, why diag.Cause) {
	if c.why.OK() && why.OK() {
		return
	}
	if !c.why.Equal(why) {
		c.since = now
	}
	c.why = diag.Keep(why)
	c.peer.e.emit(sa.ChildFailed{Child: c.given, Cause: why})
}
