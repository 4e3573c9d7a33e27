package tunnel

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// hostRetry is the time until a refused Want is repeated.
const hostRetry = 5 * time.Second

// emitWant emits the present Want unless it equals the last one.
func (g *Group) emitWant() {
	for _, m := range g.members {
		switch {
		case m.held:
			m.routed = false
		case m.carries(), m.onTraffic():
			m.routed = true
		}
	}
	w := g.hostState()
	if !g.repeat && reflect.DeepEqual(w, g.want) {
		return
	}
	g.want, g.repeat, g.applies = w, false, true
	g.emit(w)
}

// hostState returns everything that the group needs in the kernel now.
func (g *Group) hostState() Want {
	var w Want
	outer := map[netip.Addr]bool{}
	for _, m := range g.members {
		for _, a := range m.remotes() {
			outer[a] = true
		}
		if m.fault.OK() {
			d := DeviceState{Tunnel: m.Tunnel.Name, Device: m.Device, MTU: m.mtu, Metric: m.Tunnel.Metric, Routes: g.routesOf(m), Sources: m.Tunnel.Local.Subnets, ByFlow: g.balanced()}
			if !m.held {
				d.Address = m.Tunnel.Inside
			}
			w.Devices = append(w.Devices, d)
		}
	}
	for a := range outer {
		w.Peers = append(w.Peers, a)
	}
	slices.SortFunc(w.Peers, netip.Addr.Compare)
	w.Guards = g.guards()
	return w
}

// guards returns what the routes of the wanted tunnels cover, from the start on, whether they are up or not.
func (g *Group) guards() []Guard {
	var out []Guard
	several := false
	for _, m := range g.members {
		if m.held || m.Tunnel.Pass {
			continue
		}
		several = out != nil
		for _, p := range m.Tunnel.Routes {
			out = append(out, Guard{p, m.Tunnel.Metric})
		}
	}
	if several { // two tunnels may have the same, and the worse metric counts
		slices.SortFunc(out, func(a, b Guard) int { return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(b.Metric, a.Metric)) })
		out = slices.CompactFunc(out, func(a, b Guard) bool { return a.Prefix == b.Prefix })
	}
	return out
}

// routesOf returns the present routes into m. What two tunnels lead to has its route in
// the current one, or in all of those that share the traffic.
func (g *Group) routesOf(m *member) []Route {
	if !m.routed || g.revoked(m) {
		return nil
	}
	var out []Route
	for _, p := range m.Tunnel.Routes {
		if g.elsewhere(m, p) {
			continue
		}
		src := sourceFor(p, m.Tunnel.Local.Subnets, g.own)
		if !src.IsValid() && m.Tunnel.Inside.IsValid() {
			src = otherSource(p, g.own, m.Tunnel.Local.Address)
		}
		out = append(out, Route{p, src})
	}
	return out
}

func (g *Group) noteApplied(now time.Time, f Applied) {
	g.applies = false
	for _, m := range g.members {
		m.lacks = f.Trouble[m.Tunnel.Name]
	}
	g.retryAt = time.Time{}
	if f.Refused {
		g.retryAt = now.Add(hostRetry)
	}
}

// sourceFor chooses the source address of this host's own packets into prefix:
// an address of the host in the tunnel's local subnets, because the peer
// accepts no other. Narrow subnets come first; 0.0.0.0/0 and ::/0 do not count.
// The zero address leaves the choice to the kernel.
func sourceFor(prefix netip.Prefix, subnets []netip.Prefix, addresses []netip.Addr) netip.Addr {
	sorted := slices.SortedStableFunc(slices.Values(subnets), func(a, b netip.Prefix) int {
		return cmp.Compare(b.Bits(), a.Bits())
	})
	for _, s := range sorted {
		if s.Bits() == 0 || s.Addr().Is4() != prefix.Addr().Is4() {
			continue
		}
		for _, a := range addresses {
			if s.Contains(a) && reachable(a) {
				return a
			}
		}
	}
	return netip.Addr{}
}

// otherSource chooses the source where no local subnet tells it and the device has an address in the tunnel: the kernel would
// take that one, to which no host behind the peer has a route. It is a private address of the host, if there is
// one, and rather not outer, by which the peer knows the host.
func otherSource(prefix netip.Prefix, addresses []netip.Addr, outer netip.Addr) netip.Addr {
	var best netip.Addr
	rank := 0
	for _, a := range addresses {
		r := 1
		if a.IsPrivate() {
			r += 2
		}
		if a != outer {
			r++
		}
		if a.Is4() == prefix.Addr().Is4() && reachable(a) && r > rank {
			best, rank = a, r
		}
	}
	return best
}

// reachable reports whether others than this host's neighbours can answer an address.
func reachable(a netip.Addr) bool { return !a.IsLoopback() && !a.IsLinkLocalUnicast() }
