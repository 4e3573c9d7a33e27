package dialect

import (
	"net/netip"
	"slices"
)

// LinkLocal is where the clouds have the addresses inside their tunnels.
var LinkLocal = netip.MustParsePrefix("169.254.0.0/16")

// Hosts are the two addresses of a /30 that a host can have.
func Hosts(block netip.Prefix) (low, high netip.Addr) {
	low = block.Masked().Addr().Next()
	return low, low.Next()
}

// SetInside gives a tunnel its addresses: cloud is the cloud's, the other host of its
// /30 the customer's. It reports whether cloud is the address of a host there.
func (t *Tunnel) SetInside(block netip.Prefix, cloud netip.Addr, side Side) bool {
	low, high := Hosts(block)
	other := high
	switch cloud {
	case low:
	case high:
		other = low
	default:
		return false
	}
	if side == Customer {
		cloud, other = other, cloud
	}
	t.Inside, t.Peer = netip.PrefixFrom(cloud, block.Bits()), other
	return true
}

// Mirror gives a tunnel the view of its other end.
func (t *Tunnel) Mirror() {
	t.Local, t.Remote = t.Remote, t.Local
	t.Pairs = slices.Clone(t.Pairs)
	for i, p := range t.Pairs {
		t.Pairs[i] = Pair{Local: p.Remote, Remote: p.Local}
	}
	if t.Inside.IsValid() && t.Peer.IsValid() {
		t.Inside, t.Peer = netip.PrefixFrom(t.Peer, t.Inside.Bits()), t.Inside.Addr()
	}
}

// Everything is the selector of a tunnel into which routes lead.
var Everything = netip.MustParsePrefix("0.0.0.0/0")

// All reports whether a tunnel with these selectors carries everything.
func All(local, remote []netip.Prefix) bool {
	all := func(ps []netip.Prefix) bool { return len(ps) == 1 && ps[0].Bits() == 0 }
	return all(local) && all(remote)
}

// RoutingOf is what decides which packets go into tunnels with these selectors.
func RoutingOf(bgp bool, local, remote []netip.Prefix) Routing {
	switch {
	case bgp:
		return RouteBGP
	case All(local, remote):
		return RouteDestination
	}
	return RouteFlows
}

// NoteRoutes says what the body of a cloud that routes cannot say to its customer.
func (c *Connection) NoteRoutes() {
	if c.Side == Customer && c.Routing != RouteFlows {
		c.Notes = append(c.Notes, "the body does not say what is behind the cloud's gateway: what is to go into the tunnel stands in routes: beside it")
	}
}
