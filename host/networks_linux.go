package host

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Networks lists, sorted, what BGP can tell of this host: connected are the networks of its devices, but for ours and loopbacks; kernel are
// the routes of the main table into such devices that administrators and other programs made. Neither has link-local networks,
// multicast or default routes.
func (h *Host) Networks() (connected, kernel []netip.Prefix, err error) {
	links, err := retryDump(h.nl.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("links: %w", err)
	}
	h.mu.Lock()
	counts := make(map[int]bool, len(links)) // a device that is down has no routes, and a blackhole has no device
	for _, l := range links {
		a := l.Attrs()
		counts[a.Index] = h.owned[a.Index] == nil && a.Flags&net.FlagLoopback == 0
	}
	h.mu.Unlock()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := retryDump(func() ([]netlink.Route, error) {
			return h.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, nil, fmt.Errorf("routes: %w", err)
		}
		for _, r := range routes {
			p := prefixOf(r.Dst)
			switch {
			case !p.IsValid() || p.Bits() == 0 || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().IsLoopback():
			case r.Protocol == Protocol || len(r.MultiPath) == 0 && !counts[r.LinkIndex]:
			case r.Protocol == unix.RTPROT_KERNEL && len(r.Gw) == 0:
				connected = append(connected, p.Masked())
			case r.Protocol != unix.RTPROT_KERNEL:
				kernel = append(kernel, p.Masked())
			}
		}
	}
	for _, list := range []*[]netip.Prefix{&connected, &kernel} {
		slices.SortFunc(*list, netip.Prefix.Compare)
		*list = slices.Compact(*list)
	}
	return connected, kernel, nil
}
