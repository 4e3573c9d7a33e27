package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errNoRoute: the host has no route to a peer.
var errNoRoute = errors.New("no route to it; check the default route")

// Source is the local address from which our sockets send to remote. Our own
// routes do not influence it.
func (h *Host) Source(remote netip.Addr) (netip.Addr, error) {
	r, err := h.route(remote, false)
	if err != nil {
		return netip.Addr{}, err
	}
	if a := addrOf(r.Src); a.IsValid() {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("route to %s: it has no source address", remote)
}

// PathMTU is the largest outer IP packet to remote as this host's configuration says: the MTU of the interface, or
// that of the route. What the kernel has heard of routers does not count: see ICMPSocket.
func (h *Host) PathMTU(remote netip.Addr) (int, error) {
	r, err := h.route(remote, false)
	if err != nil {
		return 0, err
	}
	l, err := h.nl.LinkByIndex(r.LinkIndex)
	if err != nil {
		return 0, fmt.Errorf("route to %s: %w", remote, err)
	}
	mtu := l.Attrs().MTU
	if r, err := h.route(remote, true); err == nil && r.MTU > 0 {
		mtu = min(mtu, r.MTU)
	}
	return mtu, nil
}

// route asks the kernel as our sockets would, with their mark. entry asks for the route as it was configured.
func (h *Host) route(remote netip.Addr, entry bool) (netlink.Route, error) {
	if !remote.IsValid() {
		return netlink.Route{}, errors.New("the peer has no address")
	}
	rs, err := h.nl.RouteGetWithOptions(remote.Unmap().AsSlice(), &netlink.RouteGetOptions{Mark: Mark, FIBMatch: entry})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), err == nil && len(rs) == 0:
		return netlink.Route{}, fmt.Errorf("%s: %w", remote, errNoRoute)
	case err != nil:
		return netlink.Route{}, fmt.Errorf("route to %s: %w", remote, err)
	}
	return rs[0], nil
}

// Addresses lists the host's global unicast addresses, without the addresses of our own devices.
func (h *Host) Addresses() ([]netip.Addr, error) {
	list, err := retryDump(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []netip.Addr
	for _, a := range list {
		if ip := addrOf(a.IP); h.owned[a.LinkIndex] == nil && net.IP.IsGlobalUnicast(a.IP) {
			out = append(out, ip)
		}
	}
	return out, nil
}
