package dialect

import "net/netip"

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

// RoutingOf is what decides which packets go into tunnels with these selectors.
func RoutingOf(bgp bool, local, remote []netip.Prefix) Routing {
	all := func(ps []netip.Prefix) bool { return len(ps) == 1 && ps[0].Bits() == 0 }
	switch {
	case bgp:
		return RouteBGP
	case all(local) && all(remote):
		return RouteDestination
	}
	return RouteFlows
}
