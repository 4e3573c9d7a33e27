package ike

import (
	"reflect"
	"slices"
	"time"

	"vpngw/ike/sa"
)

// SetPeers makes ps the peers that there are. What is the same as before is
// untouched; what changed is deleted and brought up anew.
func (e *Endpoint) SetPeers(now time.Time, ps []*sa.Peer) {
	old := e.peers
	e.peers = nil
	for _, cfg := range ps {
		i := slices.IndexFunc(old, func(p *peer) bool { return key(p.cfg) == key(cfg) && sameIKE(p.cfg, cfg) })
		if i < 0 {
			e.peers = append(e.peers, e.newPeer(now, cfg))
			continue
		}
		p := old[i]
		old = slices.Delete(old, i, i+1)
		e.peers = append(e.peers, p)
		p.adopt(now, cfg)
	}
	for _, p := range old {
		for _, m := range slices.Clone(p.machines) {
			m.Close(now, "the configuration changed")
			e.timers.touch(m)
		}
		e.timers.remove(p)
	}
	e.peerOf, e.want = map[*sa.Peer]*peer{}, map[*sa.Child]*want{}
	for _, p := range e.peers {
		e.peerOf[p.cfg] = p
		for _, w := range p.wants {
			e.want[w.cfg] = w
		}
	}
	for _, p := range e.peers {
		p.changed()
	}
}

// sameIKE reports whether two peers differ in name and children at most.
func sameIKE(a, b *sa.Peer) bool {
	x, y := *a, *b
	x.Children, y.Children = nil, nil
	x.Name, y.Name = "", ""
	return reflect.DeepEqual(x, y)
}

// adopt goes on with a new list of children.
func (p *peer) adopt(now time.Time, cfg *sa.Peer) {
	var wants []*want
	for _, c := range cfg.Children {
		i := slices.IndexFunc(p.wants, func(w *want) bool { return reflect.DeepEqual(w.cfg, c) })
		if i < 0 {
			wants = append(wants, &want{peer: p, cfg: c, since: now})
			continue
		}
		w := p.wants[i]
		p.wants = slices.Delete(p.wants, i, i+1)
		wants = append(wants, w)
	}
	for _, w := range p.wants { // what is left of the old ones is not wanted any more
		for _, m := range p.usable() {
			m.DeleteChildren(now, w.cfg)
		}
	}
	for _, w := range wants {
		for _, c := range cfg.Children {
			if reflect.DeepEqual(w.cfg, c) {
				w.cfg = c
			}
		}
	}
	p.wants, p.cfg = wants, cfg
	p.log = p.e.log.With("conn", cfg.Name)
	for _, m := range p.machines {
		m.Adopt(now, cfg)
		p.e.timers.touch(m)
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
				e.timers.touch(m)
			}
		}
	}
}

// raise wants a tunnel up from now on.
func (e *Endpoint) raise(now time.Time, tunnel string) {
	for _, p := range e.peers {
		for _, w := range p.wants {
			if w.cfg.Tunnel == tunnel {
				w.held, w.why, w.since = false, "", now
				w.failures, w.nextTry = 0, time.Time{}
				p.failures, p.nextTry = 0, time.Time{}
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
				e.timers.touch(m)
				continue
			}
			for _, w := range p.wants {
				if w.held {
					m.DeleteChildren(now, w.cfg)
				}
			}
			e.timers.touch(m)
		}
		p.changed()
	}
}
