package tunnel

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/config"
)

// A Want that the kernel refused is repeated after so long.
const hostRetry = 5 * time.Second

// emitWant emits a Want, unless it is the last one.
func (g *Group) emitWant() {
	for _, m := range g.members {
		switch {
		case m.held:
			m.routed = false
		case m.carries():
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

// wanted is what should be in the kernel.
func (g *Group) hostState() Want {
	var w Want
	outer := map[netip.Addr]bool{}
	for _, m := range g.members {
		for _, a := range m.remotes() {
			outer[a] = true
		}
		if m.fault.OK() {
			w.Devices = append(w.Devices, DeviceState{
				Tunnel: m.Tunnel.Name, Device: m.Device, MTU: m.mtu, Routes: g.routesOf(m), Sources: m.Tunnel.Local.Subnets,
			})
		}
	}
	for a := range outer {
		w.Peers = append(w.Peers, a)
	}
	slices.SortFunc(w.Peers, netip.Addr.Compare)
	return w
}

// routesOf are the routes that go into m now. As there is no failover yet, a
// standby has none of the active tunnel's until the operator has taken that down.
func (g *Group) routesOf(m *member) []Route {
	if !m.routed {
		return nil
	}
	var out []Route
	for _, p := range m.Tunnel.Routes {
		if m.Tunnel.Role == config.Standby && g.activeHas(p) {
			continue
		}
		out = append(out, Route{p, sourceFor(p, m.Tunnel.Local.Subnets, g.own)})
	}
	return out
}

// activeHas reports whether a tunnel that is no standby wants the prefix.
func (g *Group) activeHas(p netip.Prefix) bool {
	return slices.ContainsFunc(g.members, func(m *member) bool {
		return m.Tunnel.Role != config.Standby && !m.held && slices.Contains(m.Tunnel.Routes, p)
	})
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

// sourceFor is the address that this host's own packets into prefix should
// come from: one of its addresses that lies in the tunnel's local subnets, for
// only those the peer accepts. Narrow subnets are asked first; the all-zero one
// says nothing. The zero address leaves the choice to the kernel.
func sourceFor(prefix netip.Prefix, subnets []netip.Prefix, addresses []netip.Addr) netip.Addr {
	sorted := slices.SortedStableFunc(slices.Values(subnets), func(a, b netip.Prefix) int {
		return cmp.Compare(b.Bits(), a.Bits())
	})
	for _, s := range sorted {
		if s.Bits() == 0 || s.Addr().Is4() != prefix.Addr().Is4() {
			continue
		}
		for _, a := range addresses {
			if s.Contains(a) && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}
