package ike

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/ike/sa"
)

// SetPeers makes ps the peers that there are. What is the same as before is
// untouched; what changed is deleted and brought up anew.
func (e *Endpoint) SetPeers(now time.Time, ps []*sa.Peer) {
	old := map[sa.PeerKey][]*peer{}
	for _, p := range e.peers {
		old[p.cfg.PeerKey] = append(old[p.cfg.PeerKey], p)
	}
	gone, were := e.peers, e.peerOf
	e.peers = nil
	kept := map[*peer]bool{}
	for _, cfg := range ps {
		same := old[cfg.PeerKey]
		i := slices.IndexFunc(same, func(p *peer) bool { return !kept[p] && len(p.cfg.Settings.Diff(&cfg.Settings)) == 0 })
		if i < 0 {
			e.peers = append(e.peers, e.newPeer(now, cfg))
			continue
		}
		kept[same[i]] = true
		e.peers = append(e.peers, same[i])
		same[i].adopt(now, cfg)
	}
	e.index()
	for _, p := range gone {
		if kept[p] {
			continue
		}
		for _, m := range slices.Clone(p.machines) {
			m.Close(now, "the configuration changed")
			e.touch(m)
		}
		e.timers.remove(p)
	}
	e.each(func(m sa.Machine) { // a responder in aggressive mode has a peer, which does not know of it yet
		cfg := m.Info().Peer
		switch p := were[cfg]; {
		case p == nil || e.peerOf[cfg] != nil || slices.Contains(p.machines, m):
		case kept[p]:
			m.Adopt(now, p.cfg)
		default:
			m.Close(now, "the configuration changed")
		}
	})
	for _, p := range e.peers {
		for _, m := range p.machines {
			e.timers.touch(m)
		}
		p.changed()
	}
}

// index makes the maps of who is who.
func (e *Endpoint) index() {
	e.peerOf, e.peersAt = map[*sa.Peer]*peer{}, map[netip.Addr][]*peer{}
	e.want, e.carriers = map[*sa.Child]*want{}, map[string]*peer{}
	for _, p := range e.peers {
		e.peerOf[p.cfg] = p
		e.peersAt[p.cfg.Remote] = append(e.peersAt[p.cfg.Remote], p)
		for _, w := range p.wants {
			e.want[w.cfg] = w
			e.carriers[w.cfg.Tunnel] = p
		}
	}
}

// sameChild reports whether two children differ at most in who brings them up.
func sameChild(a, b *sa.Child) bool {
	x, y := *a, *b
	x.Initiate, y.Initiate = false, false
	return reflect.DeepEqual(x, y)
}

// adopt goes on with a new list of children. Those that are the same keep the
// very *sa.Child that machines know them by.
func (p *peer) adopt(now time.Time, cfg *sa.Peer) {
	next := *cfg
	next.Children = slices.Clone(cfg.Children)
	old := p.wants
	p.wants = nil
	for n, c := range next.Children {
		i := slices.IndexFunc(old, func(w *want) bool { return sameChild(w.cfg, c) })
		if i < 0 {
			p.wants = append(p.wants, p.newWant(now, c))
			continue
		}
		next.Children[n], old[i].initiate = old[i].cfg, c.Initiate
		p.wants = append(p.wants, old[i])
		old = slices.Delete(old, i, i+1)
	}
	p.cfg = &next
	p.e.peerOf[p.cfg] = p
	p.log = p.e.log.With("conn", cfg.Name)
	for _, w := range old { // now it is Held, to the machines
		delete(p.e.want, w.cfg)
	}
	for _, m := range slices.Clone(p.machines) {
		m.Adopt(now, p.cfg)
		for _, w := range old {
			m.DeleteChildren(now, w.cfg)
		}
	}
}

// ofTunnel calls f for each established IKE SA and child of a tunnel.
func (e *Endpoint) ofTunnel(tunnel string, f func(sa.Machine, *sa.Child)) {
	for _, p := range e.peers {
		for _, w := range p.wants {
			if w.cfg.Tunnel != tunnel {
				continue
			}
			for _, m := range p.usable() {
				f(m, w.cfg)
				e.touch(m)
			}
		}
	}
}

// raise ends what lower began, and tries at once what is for us to bring up.
func (e *Endpoint) raise(now time.Time, tunnel string) {
	for _, p := range e.peers {
		for _, w := range p.wants {
			if w.cfg.Tunnel == tunnel {
				w.held, w.why, w.since = false, "", now
				w.failures, w.nextTry = 0, time.Time{}
				p.failures, p.nextTry = 0, time.Time{}
				p.why, p.since = "", now
				p.changed()
			}
		}
	}
}

// lower takes a tunnel down and holds it there. The IKE SA goes with the last
// tunnel on it.
func (e *Endpoint) lower(now time.Time, tunnel string) {
	for _, p := range e.peers {
		hit, others := false, false
		for _, w := range p.wants {
			if w.cfg.Tunnel == tunnel {
				w.held, w.why, w.since = true, "taken down by the operator", now
				hit = true
			} else if !w.held {
				others = true
			}
		}
		if !hit {
			continue
		}
		for _, m := range slices.Clone(p.machines) {
			if !others {
				m.Close(now, "taken down by the operator")
			}
			for _, w := range p.wants {
				if w.held {
					m.DeleteChildren(now, w.cfg)
				}
			}
			e.touch(m)
		}
		p.changed()
	}
}
