package ike

import (
	"slices"
	"time"

	"vpngw/ike/sa"
)

// A child whose settings change is another child. The Child SAs of the former one carry on until those of its tunnel's
// present children do, so that a change loses no packet where the peer agrees at once.

// orphanTime is how long they carry on at most. A peer that refuses the new settings must not keep the old ones alive.
const orphanTime = 30 * time.Second

// succeeded reports whether present children of c's tunnel will have Child SAs that this end asks for.
func (p *peer) succeeded(c *child) bool {
	return p.main() != nil && slices.ContainsFunc(p.children, func(n *child) bool {
		return n.cfg.Tunnel == c.cfg.Tunnel && n.initiate && !n.held
	})
}

// orphansAreDone reports whether there are orphans that nothing needs any more.
func (p *peer) orphansAreDone() bool {
	return !p.orphans.IsZero() && !slices.ContainsFunc(p.children, func(c *child) bool {
		return c.initiate && !c.held && (c.lacking() || slices.ContainsFunc(c.sas(), func(in sa.ChildInfo) bool { return !in.Out }))
	})
}

// endOrphans deletes the Child SAs of former children.
func (p *peer) endOrphans(now time.Time) {
	if p.orphans.IsZero() {
		return
	}
	p.orphans = time.Time{}
	for _, m := range slices.Clone(p.machines) {
		for _, in := range m.Children() {
			if p.e.childOf[in.Child] == nil && !in.Leaving {
				m.DeleteChildren(now, in.Child)
			}
		}
		p.e.touch(m)
	}
}

// reunite begins an ISAKMP SA with a peer whose Child SAs have outlived theirs, and who sends on one that this end does not have. The peer
// may still believe in the ISAKMP SA that has ended here: the packets of the other Child SAs tell it that all is well. So this end begins,
// even if it only answers otherwise.
func (e *Endpoint) reunite(now time.Time, m sa.Machine) {
	p := e.peerOf[m.Info().Peer]
	if p == nil || e.stopping || p.main() != nil || p.connecting() || now.Before(p.nextTry) || !p.cfg.Remote.IsValid() || len(p.children) == 0 {
		return
	}
	p.nextTry = now.Add(sa.ProbeInterval) // anybody could forge the packets
	if n, _ := p.begin(now, p.children[0]); n != nil {
		e.emit(sa.IKEConnecting{SA: e.about(n)})
		e.touch(n)
	}
}
