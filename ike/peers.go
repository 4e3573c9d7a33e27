package ike

import (
	"cmp"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// SetPeers makes ps the configured peers, in this order. A peer with the same key and settings as before
// keeps its IKE SAs; a changed one is deleted and connects again.
func (e *Endpoint) SetPeers(now time.Time, ps []*sa.Peer) {
	others, kept := e.match(ps)
	for n, p := range kept {
		if p == nil {
			e.add(e.newPeer(now, ps[n], n))
			continue
		}
		p.place = n
		p.adopt(now, ps[n])
	}
	e.placed = len(ps)
	for _, p := range others {
		e.remove(now, p)
	}
	for _, at := range e.peersAt {
		inOrder(at)
	}
	inOrder(e.anywhere)
	clear(e.suited)
}

// SetPeer changes one configured peer: old, as it was handed over before (nil: none), becomes next (nil: it is
// removed). The others are untouched, and the cost does not depend on how many they are. What stays the same in
// old and next is kept as by SetPeers.
func (e *Endpoint) SetPeer(now time.Time, old, next *sa.Peer) {
	p := e.peers[old]
	if p != nil && next != nil && p.sameIKE(next) {
		p.adopt(now, next)
		return
	}
	if next != nil {
		place := e.placed
		if p != nil {
			place = p.place
		} else {
			e.placed++
		}
		e.add(e.newPeer(now, next, place))
	}
	if p != nil {
		e.remove(now, p)
	}
}

// match finds for each of ps the peer that it goes on with; nil: none. It returns the others too, in order.
func (e *Endpoint) match(ps []*sa.Peer) (others, kept []*peer) {
	byKey := map[sa.PeerKey][]*peer{}
	for _, p := range e.inOrder() {
		byKey[p.cfg.PeerKey] = append(byKey[p.cfg.PeerKey], p)
	}
	for _, cfg := range ps {
		same := byKey[cfg.PeerKey]
		i := slices.IndexFunc(same, func(p *peer) bool { return p.sameIKE(cfg) })
		if i < 0 {
			kept = append(kept, nil)
			continue
		}
		kept = append(kept, same[i])
		byKey[cfg.PeerKey] = slices.Delete(same, i, i+1)
	}
	for _, same := range byKey {
		others = append(others, same...)
	}
	return inOrder(others), kept
}

// sameIKE reports whether an IKE SA of p can be one of cfg.
func (p *peer) sameIKE(cfg *sa.Peer) bool {
	return p.cfg.PeerKey == cfg.PeerKey && p.cfg.Keeps(&cfg.Settings)
}

// inOrder are all peers in the order of SetPeers.
func (e *Endpoint) inOrder() []*peer { return inOrder(slices.Collect(maps.Values(e.peers))) }

func inOrder(ps []*peer) []*peer {
	slices.SortFunc(ps, func(a, b *peer) int { return cmp.Compare(a.place, b.place) })
	return ps
}

// ends are an address and the identities of both ends: peers with the same are told apart by their settings alone.
type ends struct {
	remote            netip.Addr
	localID, remoteID ipsec.Identity
}

func endsOf(cfg *sa.Peer) ends { return ends{cfg.Remote, cfg.LocalID, cfg.RemoteID} }

func (e *Endpoint) hash(b ends) uint64 { return maphash.Comparable(e.seed, b) }

// peersBetween are the peers with these ends.
func (e *Endpoint) peersBetween(b ends) []*peer {
	return slices.DeleteFunc(slices.Clone(e.between[e.hash(b)]), func(p *peer) bool { return endsOf(p.cfg) != b })
}

// add puts a new peer into the indexes.
func (e *Endpoint) add(p *peer) {
	e.peers[p.given], e.peerOf[p.cfg] = p, p
	e.enter(p)
	b := e.hash(endsOf(p.cfg))
	e.between[b] = append(e.between[b], p)
	clear(e.suited)
	for _, c := range p.children {
		e.addChild(c)
	}
	p.wake()
}

// remove takes a peer out of the indexes, and ends its IKE SAs.
func (e *Endpoint) remove(now time.Time, p *peer) {
	p.forgive(now)
	e.admission.remove(p)
	delete(e.peers, p.given)
	delete(e.peerOf, p.cfg)
	e.leave(p)
	clear(e.suited)
	b := e.hash(endsOf(p.cfg))
	if e.between[b] = slices.DeleteFunc(e.between[b], func(q *peer) bool { return q == p }); len(e.between[b]) == 0 {
		delete(e.between, b)
	}
	for _, c := range p.children {
		e.removeChild(now, c)
	}
	for _, m := range slices.Clone(p.machines) {
		m.Close(now, configChanged)
		e.touch(m)
	}
	e.timers.Remove(p)
}

func (e *Endpoint) addChild(c *child) {
	e.childOf[c.cfg] = c
	e.tunnels[c.cfg.Tunnel] = append(e.tunnels[c.cfg.Tunnel], c)
}

// removeChild takes a child out of the indexes; to the machines it is Held from then on.
func (e *Endpoint) removeChild(now time.Time, c *child) {
	c.fail(now, noCause)
	delete(e.childOf, c.cfg)
	name := c.cfg.Tunnel
	e.tunnels[name] = slices.DeleteFunc(e.tunnels[name], func(o *child) bool { return o == c })
	if len(e.tunnels[name]) == 0 {
		delete(e.tunnels, name)
	}
}

// adopt goes on with a new list of children. A child that is the same as before keeps the
// *sa.Child that the machines know it by.
func (p *peer) adopt(now time.Time, cfg *sa.Peer) {
	e := p.e
	next := *cfg
	next.Children = slices.Clone(cfg.Children)
	old := p.children
	p.children = nil
	for n, c := range next.Children {
		i := slices.IndexFunc(old, func(o *child) bool { return o.cfg.Same(c) })
		if i < 0 {
			added := p.newChild(now, c)
			p.children = append(p.children, added)
			e.addChild(added)
			continue
		}
		if c.Initiate && !old[i].initiate { // a packet wants it
			p.cleared = false
		}
		next.Children[n], old[i].initiate, old[i].given = old[i].cfg, c.Initiate, c
		p.children = append(p.children, old[i])
		old = slices.Delete(old, i, i+1)
	}
	delete(e.peers, p.given)
	delete(e.peerOf, p.cfg)
	clear(e.suited)
	p.given, p.cfg = cfg, &next
	e.peers[p.given], e.peerOf[p.cfg] = p, p
	for _, c := range old {
		e.removeChild(now, c)
	}
	old = slices.DeleteFunc(old, func(c *child) bool {
		orphaned := p.succeeded(c)
		if orphaned {
			p.orphans = now.Add(orphanTime)
		}
		return orphaned
	})
	for _, m := range slices.Clone(p.machines) {
		m.Adopt(now, p.cfg)
		for _, c := range old {
			m.DeleteChildren(now, c.cfg)
		}
	}
	p.wakeAll()
}

// ofTunnel calls f for each established IKE SA and child of a tunnel.
func (e *Endpoint) ofTunnel(tunnel string, f func(sa.Machine, *sa.Child)) {
	for _, c := range slices.Clone(e.tunnels[tunnel]) {
		for _, m := range c.peer.usable() {
			f(m, c.cfg)
			e.touch(m)
		}
	}
}

// measure sends a probe over the newest IKE SA that a tunnel is on.
func (e *Endpoint) measure(now time.Time, c sa.Measure) {
	for _, child := range e.tunnels[c.Tunnel] {
		if m := child.peer.main(); m != nil {
			m.Measure(now, c.Size)
			e.touch(m)
			return
		}
	}
}

// raise ends what lower began, and tries at once what is for us to bring up.
func (e *Endpoint) raise(now time.Time, tunnel string) {
	for _, c := range e.tunnels[tunnel] {
		c.held = false
		c.fail(now, noCause)
		c.since = now
		c.anew()
		p := c.peer
		p.failures, p.nextTry, p.absent, p.cleared = 0, time.Time{}, now, false
		p.forgive(now)
		p.wake()
	}
}

// lower takes a tunnel down and holds it there. The IKE SA goes with the last
// tunnel on it.
func (e *Endpoint) lower(now time.Time, tunnel string) {
	var peers []*peer
	for _, c := range e.tunnels[tunnel] {
		c.held = true
		c.fail(now, operatorDown)
		if !slices.Contains(peers, c.peer) {
			peers = append(peers, c.peer)
		}
	}
	for _, p := range peers {
		p.endOrphans(now)
		last := !slices.ContainsFunc(p.children, func(c *child) bool { return !c.held })
		for _, m := range slices.Clone(p.machines) {
			if last {
				m.Close(now, operatorDown)
			}
			for _, c := range p.children {
				if c.held {
					m.DeleteChildren(now, c.cfg)
				}
			}
			e.touch(m)
		}
		p.wake()
	}
}
