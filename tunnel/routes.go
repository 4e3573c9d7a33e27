package tunnel

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/diag"
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
	if !g.repeat && w.equal(g.want) {
		return
	}
	g.want, g.repeat, g.applies = w, false, true
	g.emit(w)
}

// hostState returns everything that the group needs in the kernel now.
func (g *Group) hostState() Want {
	var w Want
	g.tabulate()
	outer := map[netip.Addr]bool{}
	for i, m := range g.members {
		for _, a := range m.remotes() {
			outer[a] = true
		}
		if m.fault.OK() {
			d := DeviceState{Tunnel: m.Tunnel.Name, Device: m.Device, MTU: m.mtu, Metric: m.Tunnel.Metric, Routes: g.table.routes[i], Sources: m.Tunnel.Local.Subnets, ByFlow: g.balanced()}
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
	w.Guards = g.table.guards
	return w
}

// equal reports whether two Wants say the same. Their routes and guards, which may be many, are mostly the same lists.
func (w Want) equal(o Want) bool {
	return slices.EqualFunc(w.Devices, o.Devices, DeviceState.equal) && slices.Equal(w.Peers, o.Peers) && alike(w.Guards, o.Guards)
}

func (d DeviceState) equal(o DeviceState) bool {
	if !alike(d.Routes, o.Routes) || !alike(d.Sources, o.Sources) {
		return false
	}
	d.Routes, d.Sources, o.Routes, o.Sources = nil, nil, nil, nil
	return reflect.DeepEqual(d, o)
}

// alike is slices.Equal, without a look at the elements where both are one list.
func alike[E comparable](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func (g *Group) noteApplied(now time.Time, f Applied) {
	g.applies = false
	for _, m := range g.members {
		m.lacks = diag.Keep(f.Trouble[m.Tunnel.Name])
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
