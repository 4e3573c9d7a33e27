package ike

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"vpngw/ike/sa"
)

// Peers that may come from anywhere. To a message from an address that no peer is configured at, they are who may have sent it; elsewhere
// they come behind the peers of that address. Until a sender has proven who it is, it is a stranger, and has a stranger's budgets.

// maxSuspects is for how many peers that may come from anywhere a stranger's message, which says nothing of who sent it, has a cause.
const maxSuspects = 16

// at are the peers that a message from an address may come from.
func (e *Endpoint) at(a netip.Addr) iter.Seq[*peer] {
	return func(yield func(*peer) bool) {
		for _, p := range e.peersAt[a] {
			if !yield(p) {
				return
			}
		}
		for _, p := range e.anywhere {
			if !yield(p) {
				return
			}
		}
	}
}

// suspects are those of at that hear of a message that nobody could use.
func (e *Endpoint) suspects(a netip.Addr) []*peer {
	if ps := e.peersAt[a]; len(ps) > 0 || len(e.anywhere) > maxSuspects {
		return ps
	}
	return e.anywhere
}

// expects reports whether a message from an address may come from a peer.
func (e *Endpoint) expects(a netip.Addr) bool { return len(e.peersAt[a]) > 0 || len(e.anywhere) > 0 }

// strange reports whether no peer is known to be at an address.
func (e *Endpoint) strange(a netip.Addr) bool {
	if len(e.peersAt[a]) > 0 {
		return false
	}
	if len(e.anywhere) > 0 {
		for _, spi := range e.table.at[a] {
			if in := e.table.bySPI[spi].Info(); in.State == sa.Established && in.Peer != nil {
				return false
			}
		}
	}
	return true
}

// enter puts a peer into the index by addresses.
func (e *Endpoint) enter(p *peer) {
	if p.cfg.Anywhere() {
		e.anywhere = inserted(e.anywhere, p)
		return
	}
	e.peersAt[p.cfg.Remote] = inserted(e.peersAt[p.cfg.Remote], p)
}

func inserted(ps []*peer, p *peer) []*peer {
	i, _ := slices.BinarySearchFunc(ps, p.place+1, func(q *peer, place int) int { return cmp.Compare(q.place, place) })
	return slices.Insert(ps, i, p)
}

// leave takes it out.
func (e *Endpoint) leave(p *peer) {
	is := func(q *peer) bool { return q == p }
	if p.cfg.Anywhere() {
		e.anywhere = slices.DeleteFunc(e.anywhere, is)
		return
	}
	at := p.cfg.Remote
	e.peersAt[at] = slices.DeleteFunc(e.peersAt[at], is)
	if len(e.peersAt[at]) == 0 {
		delete(e.peersAt, at)
		e.budgets.forget(at)
	}
}

// movedFrom reports whether m, of a peer that may come from anywhere, is at another address than other: the peer has moved, or begun
// again there, and the other one is of no more use.
func movedFrom(m, other sa.Machine) bool {
	a, b := m.Info(), other.Info()
	return a.Peer != nil && a.Peer.Anywhere() && a.Path.Remote.Addr().Unmap() != b.Path.Remote.Addr().Unmap()
}
