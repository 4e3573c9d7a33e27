package host

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Set makes the kernel's addresses, routes and rules what s says, and our
// devices up with their MTU. It is idempotent and touches only what differs from what
// is there. Nothing foreign is changed or replaced: what it blocks is told in the
// Result, and tried again by the next Set. An error does not stop the rest: it
// is errors.Join of all that came, a *DeviceError each where it is of one device.
//
// Set(State{}) takes everything out.
func (h *Host) Set(s State) (Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set(s)
}

func (h *Host) set(s State) (Result, error) {
	if err := h.catchUp(); err != nil {
		return Result{}, err
	}
	want, blocked, planErr := h.plan(s)
	errs := []error{planErr}
	errs = append(errs, h.setLinks(want)...)
	errs = append(errs, h.addAddresses(want)...)
	more, routeErrs := h.setRoutes(want)
	blocked, errs = append(blocked, more...), append(errs, routeErrs...)
	errs = append(errs, h.setRules(want)...)
	errs = append(errs, h.removeAddresses(want)...)
	if !h.have.fresh { // routes went with an address
		errs = append(errs, h.dump())
		_, routeErrs = h.setRoutes(want)
		errs = append(errs, routeErrs...)
	}
	err := errors.Join(errs...)
	if err != nil {
		h.have.fresh = false // whatever we believed, look again next time
	}
	h.settle()
	return Result{Blocked: blocked}, err
}

func (h *Host) setLinks(want wanted) (errs []error) {
	for index, w := range want.links {
		have := h.have.links[index]
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
		if w.mtu != 0 && w.mtu != have.mtu {
			if err := h.nl.LinkSetMTU(link, w.mtu); err != nil {
				errs = append(errs, &DeviceError{h.owned[index].name, fmt.Errorf("MTU %d: %w", w.mtu, err)})
				continue
			}
			have.mtu = w.mtu
		}
		if !have.up {
			if err := h.nl.LinkSetUp(link); err != nil {
				errs = append(errs, &DeviceError{h.owned[index].name, fmt.Errorf("up: %w", err)})
				continue
			}
			have.up = true
		}
		h.have.links[index] = have
	}
	return errs
}

func (h *Host) addAddresses(want wanted) (errs []error) {
	for a := range want.addrs {
		if _, ok := h.have.addrs[a]; ok {
			continue
		}
		if err := h.nl.AddrAdd(nil, a.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, &DeviceError{h.owned[a.index].name, fmt.Errorf("address %s: %w", a.prefix, err)})
			continue
		}
		h.have.addrs[a] = struct{}{}
	}
	return errs
}

func (h *Host) removeAddresses(want wanted) (errs []error) {
	for a := range h.have.addrs {
		if _, ok := want.addrs[a]; ok {
			continue
		}
		if err := h.nl.AddrDel(nil, a.netlink()); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove address %s: %w", a.prefix, err))
			continue
		}
		delete(h.have.addrs, a)
		if a.prefix.Addr().Is4() && want.routesIPv4(a.index) {
			// With a device's last IPv4 address the kernel drops its IPv4 routes, those
			// without a source too, and sends no event (fib_inetaddr_event).
			h.have.fresh = false
		}
	}
	return errs
}

func (w wanted) routesIPv4(index int) bool {
	return slices.ContainsFunc(w.routes, func(r wantedRoute) bool {
		return r.index == index && r.prefix.Addr().Is4()
	})
}

// netlink is the address without its prefix route, which plan makes one of ours.
func (a address) netlink() *netlink.Addr {
	flags := unix.IFA_F_NOPREFIXROUTE
	if a.prefix.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	return &netlink.Addr{
		IPNet: ipNet(a.prefix), LinkIndex: a.index, Flags: flags,
		Broadcast: net.IPv4zero, // for the package: none
	}
}

// setRoutes adds before it removes: a route that changes is there all the time,
// its successor under the other of our two metrics.
func (h *Host) setRoutes(want wanted) (blocked []BlockedRoute, errs []error) {
	keep := make(map[routeKey]bool, len(want.routes))
	for _, w := range want.routes {
		key, found := h.haveRoute(w)
		if found {
			keep[key] = true
			continue
		}
		err := h.nl.RouteAdd(key.netlink(w.routeValue)) // with NLM_F_EXCL
		switch {
		case err == nil:
			h.have.routes[key], keep[key] = w.routeValue, true
		case errors.Is(err, unix.EEXIST):
			h.have.fresh = false
			blocked = append(blocked, w.blocked("a route that another program has just added"))
		case errors.Is(err, unix.EINVAL) && w.source.IsValid() && !h.local(w):
			blocked = append(blocked, w.blocked("that its source address "+w.source.String()+" is on no interface of this host"))
		default:
			errs = append(errs, &DeviceError{w.device, fmt.Errorf("route %s: %w", w.prefix, err)})
		}
	}
	for key, v := range h.have.routes {
		if keep[key] {
			continue
		}
		if err := h.nl.RouteDel(key.netlink(v)); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", key.prefix, err))
			continue
		}
		delete(h.have.routes, key)
	}
	return blocked, errs
}

// haveRoute finds a route that is in place, or else the key to add it under.
func (h *Host) haveRoute(w wantedRoute) (routeKey, bool) {
	free := routeKey{w.tablePrefix, Metric}
	for _, metric := range []int{Metric + 1, Metric} {
		key := routeKey{w.tablePrefix, metric}
		switch v, ok := h.have.routes[key]; {
		case !ok:
			free = key
		case v == w.routeValue:
			return key, true
		}
	}
	if v, ok := h.have.routes[free]; ok { // both are in use, which a crash can leave
		if err := h.nl.RouteDel(free.netlink(v)); err == nil || gone(err) {
			delete(h.have.routes, free)
		}
	}
	return free, false
}

func (w wantedRoute) blocked(by string) BlockedRoute {
	return BlockedRoute{w.device, Route{w.prefix, w.source}, by}
}

// local reports whether a route's source is an address of this host.
func (h *Host) local(w wantedRoute) bool {
	if len(h.have.owners[w.source]) > 0 {
		return true
	}
	for a := range h.have.addrs {
		if a.prefix.Addr() == w.source {
			return true
		}
	}
	return false
}

func (h *Host) setRules(want wanted) (errs []error) {
	for _, k := range sortedKeys(want.rules) {
		if _, ok := h.have.rules[k]; ok {
			continue
		}
		switch err := h.nl.RuleAdd(k.netlink()); {
		case err == nil:
			h.have.rules[k] = struct{}{}
		case errors.Is(err, unix.EEXIST): // another's, which does as well and stays another's
		default:
			errs = append(errs, fmt.Errorf("rule %d: %w", k.priority, err))
		}
	}
	for _, k := range sortedKeys(h.have.rules) {
		if _, ok := want.rules[k]; ok {
			continue
		}
		if err := h.nl.RuleDel(k.netlink()); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove rule %d: %w", k.priority, err))
			continue
		}
		delete(h.have.rules, k)
	}
	return errs
}

// gone reports whether what was to be removed is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}
