package config

import (
	"net/netip"
	"slices"
)

// Children says how subnets become Child SAs.
type Children string

const (
	Lists Children = "lists" // one Child SA for all subnets
	Pairs Children = "pairs" // one for each pair of a local and a remote subnet
)

// Pair is a subnet behind each end. The traffic between the two is protected.
type Pair struct{ Local, Remote netip.Prefix }

// SetPairs makes the tunnel carry the traffic between these pairs of subnets and no
// other, with a Child SA for each pair.
func (t *Tunnel) SetPairs(ps []Pair) {
	t.Children, t.Pairs = Pairs, ps
	t.Local.Subnets, t.Remote.Subnets = nil, nil
	for _, p := range ps {
		t.Local.Subnets = appendNew(t.Local.Subnets, p.Local)
		t.Remote.Subnets = appendNew(t.Remote.Subnets, p.Remote)
	}
}

// appendNew appends p unless it is there.
func appendNew(ps []netip.Prefix, p netip.Prefix) []netip.Prefix {
	if slices.Contains(ps, p) {
		return ps
	}
	return append(ps, p)
}

// EachPair is the pairs of subnets that the tunnel protects: the pairs that it lists, or
// else each local subnet with each remote one of its family.
func (t *Tunnel) EachPair() []Pair {
	if t.Pairs != nil {
		return t.Pairs
	}
	var out []Pair
	for _, l := range t.Local.Subnets {
		for _, r := range t.Remote.Subnets {
			if l.Addr().Is4() == r.Addr().Is4() {
				out = append(out, Pair{l, r})
			}
		}
	}
	return out
}

// Overlaps reports whether some packet is selected by both tunnels.
func (t *Tunnel) Overlaps(u *Tunnel) bool {
	if !anyOverlap(t.Local.Subnets, u.Local.Subnets) || !anyOverlap(t.Remote.Subnets, u.Remote.Subnets) {
		return false
	}
	if t.Pairs == nil && u.Pairs == nil {
		return true
	}
	for _, p := range t.EachPair() {
		for _, q := range u.EachPair() {
			if p.Local.Overlaps(q.Local) && p.Remote.Overlaps(q.Remote) {
				return true
			}
		}
	}
	return false
}

func anyOverlap(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

// Unrouted reports whether the remote network is everything, and nothing leads into the tunnel.
func (t *Tunnel) Unrouted() bool {
	return len(t.Routes) == 0 && t.BGP == nil && slices.ContainsFunc(t.Remote.Subnets, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// DefaultRoutes are a tunnel's routes where the configuration lists none: the remote
// subnets without the default routes.
func (t *Tunnel) DefaultRoutes() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range t.Remote.Subnets {
		if p.Bits() > 0 {
			out = appendNew(out, p)
		}
	}
	return out
}
