package gateway

import (
	"cmp"
	"net/netip"
	"slices"

	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/ike/sa"
)

// peers are the other ends as IKE knows them. Tunnels with the same addresses
// and identities share one peer, each with its own Child SAs.
type peers struct {
	byKey    map[sa.PeerKey]*peer // by the key as configured
	byRemote map[netip.Addr]*remote
	anywhere remote  // of the peers that may come from anywhere: what came from addresses of no other peer
	dirty    []*peer // have changed since tellPeers
}

// peer is one other end.
type peer struct {
	key     sa.PeerKey
	entries []*entry // in the order of the configuration
	told    *sa.Peer // the last version that IKE got; nil: IKE does not have the peer
	dirty   bool
}

// remote is a configured outer address of peers.
type remote struct {
	entries []*entry
	sent    diag.Kept    // why the last IKE message to it was not sent; OK: it was
	asked   doctor.Ports // IKE messages that were sent to it
	heard   doctor.Ports // IKE messages that came from it, or in its name
}

func newPeers() peers {
	return peers{byKey: map[sa.PeerKey]*peer{}, byRemote: map[netip.Addr]*remote{}}
}

// add adds e to the tunnels of its peer.
func (ps *peers) add(e *entry) {
	k := e.tunnel.PeerKey()
	p := ps.byKey[k]
	if p == nil {
		p = &peer{key: k}
		ps.byKey[k] = p
	}
	p.entries = append(p.entries, e)
	e.peer = p
	if a := e.tunnel.Remote.Address; !e.tunnel.Remote.Any {
		if ps.byRemote[a] == nil {
			ps.byRemote[a] = &remote{}
		}
		ps.byRemote[a].entries = append(ps.byRemote[a].entries, e)
	}
	ps.changed(p)
}

// remove undoes add. Call it before the entry's tunnel changes: the tunnel names the peer.
func (ps *peers) remove(e *entry) {
	p := e.peer
	p.entries = slices.DeleteFunc(p.entries, func(o *entry) bool { return o == e })
	e.peer = nil
	a := e.tunnel.Remote.Address
	if r := ps.byRemote[a]; r != nil {
		r.entries = slices.DeleteFunc(r.entries, func(o *entry) bool { return o == e })
		if len(r.entries) == 0 {
			delete(ps.byRemote, a)
		}
	}
	ps.changed(p)
}

// of is the remote of a tunnel's peer; nil: there is none.
func (ps *peers) of(e *entry) *remote {
	if e.tunnel.Remote.Any {
		return &ps.anywhere
	}
	return ps.byRemote[e.tunnel.Remote.Address]
}

// from is the remote that a message from an address counts for.
func (ps *peers) from(a netip.Addr) *remote {
	if r := ps.byRemote[a]; r != nil {
		return r
	}
	return &ps.anywhere
}

// addresses are the configured outer addresses of all peers.
func (ps *peers) addresses() map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(ps.byRemote))
	for a := range ps.byRemote {
		out[a] = true
	}
	return out
}

// changed schedules p for tellPeers.
func (ps *peers) changed(p *peer) {
	if !p.dirty {
		p.dirty = true
		ps.dirty = append(ps.dirty, p)
	}
}

// see looks for configured outer addresses that this host has for the first
// time, and schedules their peers for tellPeers.
func (ps *peers) see(u *underlay, entries []*entry) {
	for _, e := range entries {
		if a := e.tunnel.Local.Address; u.see(a) {
			for _, p := range ps.byKey {
				if p.key.Local == a {
					ps.changed(p)
				}
			}
		}
	}
}

// take returns the scheduled peers and clears the list.
func (ps *peers) take() []*peer {
	out := ps.dirty
	ps.dirty = nil
	for _, p := range out {
		p.dirty = false
		if len(p.entries) == 0 && ps.byKey[p.key] == p {
			delete(ps.byKey, p.key)
		}
	}
	return out
}

// saPeer returns the peer for IKE, with the tunnels that have a device; nil: no
// tunnel has one. local maps a configured address to the host's; the zero
// address lets the route choose.
func (p *peer) saPeer(local func(netip.Addr) netip.Addr) *sa.Peer {
	slices.SortFunc(p.entries, func(a, b *entry) int { return cmp.Compare(a.pos, b.pos) })
	var out *sa.Peer
	for _, e := range p.entries {
		if e.open == nil {
			continue
		}
		if out == nil {
			out = &sa.Peer{Name: e.conn.Name, PeerKey: p.key, Settings: e.tunnel.Settings()}
			out.Local = local(p.key.Local)
		} else {
			out.Name += "," + e.conn.Name
		}
		for _, c := range e.tunnel.ChildSAs() {
			c.Initiate = e.group.Initiates(e.tunnel.Name)
			out.Children = append(out.Children, c)
		}
	}
	return out
}
