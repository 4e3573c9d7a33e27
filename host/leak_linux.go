package host

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// A Leak is a packet that the kernel would send in clear though a prefix covers it.
type Leak struct {
	Prefix netip.Prefix // of ours
	To     netip.Addr
	Device string
	Route  string // the route that the packet takes, in words
}

// Bounds of one Leak: how many of a tunnel's networks are tried as sources, and how many foreign routes inside of a prefix.
const (
	triedSources = 8
	triedInside  = 64
)

// Leak asks the kernel where it would send packets to the prefixes: this host's own, and those that it would forward
// from the networks that are the packets' sources. It returns the first packet that would leave by a device that is
// not ours. What stays on this host or on a link of it does not count, nor what lies in one of the sources.
//
// Leak costs some requests of netlink for each prefix, and does not wait for a Set.
func (h *Host) Leak(prefixes, sources []netip.Prefix) (Leak, bool) {
	ways := h.ways(sources)
	for _, p := range prefixes {
		for _, to := range h.targets(p.Masked(), sources) {
			for _, w := range ways {
				if w.source.IsValid() && w.source.Is4() != to.Is4() {
					continue
				}
				if device, route, ok := h.leaves(to, w); ok {
					return Leak{p, to, device, route}, true
				}
			}
		}
	}
	return Leak{}, false
}

// way is how a packet comes to be routed. The zero way is that of a packet of this host without a source yet.
type way struct {
	source netip.Addr
	in     int // the device that it came in by; 0: it is this host's own
}

func (h *Host) ways(sources []netip.Prefix) []way {
	out := []way{{}}
	for _, s := range sources[:min(len(sources), triedSources)] {
		if s = s.Masked(); s.Bits() == 0 {
			continue
		}
		own := h.ownWithin(s)
		if len(own) > 0 {
			out = append(out, way{source: own[0]})
		}
		host := s.Addr()
		for range len(own) + 1 { // one that is not this host's
			if !s.IsSingleIP() {
				host = host.Next()
			}
			if !slices.Contains(own, host) {
				break
			}
		}
		if !s.Contains(host) || slices.Contains(own, host) {
			continue
		}
		r, err := h.nl.RouteGetWithOptions(host.AsSlice(), &netlink.RouteGetOptions{})
		if err == nil && len(r) > 0 && r[0].Type == unix.RTN_UNICAST && !h.owns(r[0].LinkIndex) {
			out = append(out, way{host, r[0].LinkIndex})
		}
	}
	return out
}

// ownWithin returns the addresses of this host in a network.
func (h *Host) ownWithin(s netip.Prefix) (out []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a := range h.have.owners {
		if s.Contains(a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

func (h *Host) owns(index int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owned[index] != nil
}

// targets returns addresses of a prefix: one that no foreign route inside of it has, and one of each foreign route inside
// of it that leads away.
func (h *Host) targets(p netip.Prefix, sources []netip.Prefix) (out []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readEvents(h.apply)
	rest := FirstHost(p)
	for _, q := range h.have.inside(p) {
		if q == p {
			continue
		}
		if q.Contains(rest) {
			rest = ipsec.SelectorOf(q).End.Next()
		}
		local := slices.ContainsFunc(sources, func(s netip.Prefix) bool { return s.Bits() > 0 && s.Bits() <= q.Bits() && s.Contains(q.Addr()) })
		away := slices.ContainsFunc(h.have.foreign[tablePrefix{unix.RT_TABLE_MAIN, q}], func(r foreignRoute) bool {
			return r.typ == unix.RTN_UNICAST && r.gateway.IsValid()
		})
		if away && !local && len(out) < triedInside {
			out = append(out, FirstHost(q))
		}
	}
	if p.Contains(rest) {
		out = append([]netip.Addr{rest}, out...)
	}
	return out
}

// leaves reports whether a packet leaves this host by a device that is not ours, by which, and by which route.
// The kernel's errors mean that it drops the packet: unreachable, not forwarded, or taken for spoofed.
func (h *Host) leaves(to netip.Addr, w way) (device, route string, ok bool) {
	o := &netlink.RouteGetOptions{IifIndex: w.in, FIBMatch: true}
	if w.source.IsValid() {
		o.SrcAddr = w.source.AsSlice()
	}
	r, err := h.nl.RouteGetWithOptions(to.AsSlice(), o)
	if err != nil || len(r) == 0 || r[0].Type != unix.RTN_UNICAST {
		return "", "", false
	}
	index, gw := r[0].LinkIndex, addrOf(r[0].Gw)
	if hops := r[0].MultiPath; index == 0 && len(hops) > 0 {
		index, gw = hops[0].LinkIndex, addrOf(hops[0].Gw)
	}
	if index == 0 || h.owns(index) {
		return "", "", false
	}
	prefix := everything(to.Is6())
	if r[0].Dst != nil {
		prefix = prefixOf(r[0].Dst)
	}
	return h.linkName(index), h.describe(prefix, obstacle{r[0].Table, foreignRoute{metric: r[0].Priority, index: index, gateway: gw}}), true
}
