package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// failure is a change that the kernel refused. part is the part that wants it; it is nil for a removal,
// which stays in the work until it succeeds.
type failure struct {
	part *part
	err  error
}

func (d *device) failed(err error) failure {
	return failure{d.part, &DeviceError{d.name, err}}
}

// enforce makes the kernel's objects that h.work lists as the sum says. A route that
// moves or changes never disappears: the new route and its rules are complete before the
// old ones are removed.
func (h *Host) enforce() []failure {
	failures := h.pass()
	if !h.have.fresh { // another program changed something meanwhile
		if err := h.dump(); err != nil {
			return append(failures, failure{err: err})
		}
		h.decideAll()
		failures = h.pass()
		h.have.fresh = true // a second dump would not explain a further difference
	}
	if len(failures) > 0 {
		h.doubt = true
	}
	h.filterCleartext()
	h.skipEcho()
	return failures
}

// enforceAll is enforce for whom the failures of all parts concern.
func (h *Host) enforceAll() error {
	var errs []error
	for _, f := range h.enforce() {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// pass is one pass over the work.
func (h *Host) pass() []failure {
	w := &h.work
	failures := h.setLinks(w.links)
	failures = append(failures, h.addAddresses(w.addrs)...)
	// At every moment, the best route to a prefix is one into a device, if one was and one is to be: a guard of a better metric
	// comes after the new route, and one of a worse metric goes before the old route.
	failures = append(failures, h.addRoutes(w.routes)...)
	later, refused := h.addGuards(w.guards)
	failures = append(failures, refused...)
	rules := sortRules(w.rules)
	failures = append(failures, h.addRules(rules)...)
	routes, addrs, guards, gone := w.routes, w.addrs, w.guards, w.gone
	w.links, w.addrs, w.routes, w.rules, w.guards, w.gone = nil, nil, nil, nil, nil, nil // objects that cannot be removed come back into the list
	if len(later) > 0 {
		wait := make(map[tablePrefix]bool, len(later))
		for _, k := range later {
			wait[k] = true
		}
		guards = slices.DeleteFunc(guards, func(k tablePrefix) bool { return wait[k] })
	}
	failures = append(failures, h.removeRules(rules)...)
	failures = append(failures, h.removeGuards(guards)...)
	failures = append(failures, h.removeRoutes(routes)...)
	if len(later) > 0 {
		_, refused = h.addGuards(later)
		failures = append(failures, refused...)
		failures = append(failures, h.removeGuards(later)...)
	}
	failures = append(failures, h.removeAddresses(addrs)...)
	for _, a := range gone {
		if h.local(a) { // again
			continue
		}
		failures = append(failures, h.checkSource(a)...)
	}
	return failures
}

func (h *Host) setLinks(indexes []int) (failures []failure) {
	for _, index := range indexes {
		d := h.want.links[index]
		if d == nil {
			continue
		}
		have := h.have.links[index]
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
		if d.mtu != 0 && d.mtu != have.mtu {
			if err := h.rt.LinkSetMTU(link, d.mtu); err != nil {
				failures = append(failures, d.failed(fmt.Errorf("MTU %d: %w", d.mtu, err)))
				continue
			}
			have.mtu = d.mtu
		}
		if !have.up {
			if err := h.rt.LinkSetUp(link); err != nil {
				failures = append(failures, d.failed(fmt.Errorf("up: %w", err)))
				continue
			}
			have.up = true
			h.hush(index)
		}
		h.have.links[index] = have
	}
	return failures
}

func (h *Host) addAddresses(addrs []address) (failures []failure) {
	for _, a := range addrs {
		own := h.want.addrs[a]
		if _, ok := h.have.addrs[a]; ok || own == nil {
			continue
		}
		if err := h.rt.AddrAdd(nil, a.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			failures = append(failures, own.device.failed(fmt.Errorf("address %s: %w", a.prefix, err)))
			continue
		}
		h.have.addrs[a] = struct{}{}
	}
	return failures
}

func (h *Host) removeAddresses(addrs []address) (failures []failure) {
	for _, a := range addrs {
		if _, ok := h.have.addrs[a]; !ok || h.want.addrs[a] != nil {
			continue
		}
		if err := h.rt.AddrDel(nil, a.netlink()); err != nil && !gone(err) {
			failures = append(failures, failure{err: fmt.Errorf("remove address %s: %w", a.prefix, err)})
			h.work.addrs = append(h.work.addrs, a)
			continue
		}
		delete(h.have.addrs, a)
		failures = append(failures, h.restoreRoutes(a)...)
	}
	return failures
}

// restoreRoutes puts back the routes that the kernel drops with a device's last IPv4 address:
// all its IPv4 routes, without an event (fib_inetaddr_event).
func (h *Host) restoreRoutes(a address) (failures []failure) {
	if d := h.want.links[a.index]; d != nil && a.prefix.Addr().Is4() {
		for _, c := range d.claims {
			if c.within != nil {
				c = c.within
			}
			if key, ok := h.haveRoute(c); ok && c.placed && c.prefix.Addr().Is4() && c.source != a.prefix.Addr() {
				if c.second != nil { // it stays, without this device
					h.rt.RouteDel(key.removal(c.value()))
				}
				h.have.routes.drop(key)
				failures = append(failures, h.addRoute(c, key, true)...)
				h.work.claims = append(h.work.claims, c)
			}
		}
	}
	return append(failures, h.checkSource(a.prefix.Addr())...)
}

// checkSource adds the routes again whose source address has disappeared, so that the kernel
// accepts or refuses them. IPv4 has dropped them, but only from main and without an event; IPv6
// keeps them without their source.
func (h *Host) checkSource(a netip.Addr) (failures []failure) {
	for c := range h.want.sources[a] {
		if key, ok := h.haveRoute(c); ok && c.placed {
			h.rt.RouteDel(key.removal(c.value()))
			h.have.routes.drop(key)
			failures = append(failures, h.addRoute(c, key, true)...)
			h.work.claims = append(h.work.claims, c)
		}
	}
	return failures
}

// netlink returns the address without its prefix route: newPart makes a claim for that.
func (a address) netlink() *netlink.Addr {
	flags := unix.IFA_F_NOPREFIXROUTE
	if a.prefix.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	return &netlink.Addr{
		IPNet: ipNet(a.prefix), LinkIndex: a.index, Flags: flags,
		Broadcast: net.IPv4zero, // for package netlink: no broadcast address
	}
}

func (h *Host) addRoutes(keys []tablePrefix) (failures []failure) {
	for _, k := range keys {
		c := h.want.routes[k]
		if c == nil {
			continue
		}
		if key, ok := h.haveRoute(c); !ok {
			if v, used := h.have.routes.get(key); used { // both metrics are in use, as after a crash
				failures = append(failures, h.removeRoute(key, v)...)
			}
			failures = append(failures, h.addRoute(c, key, false)...)
		}
	}
	return failures
}

// addRoute adds a claim's route. maybeThere says that our own route may still be in place: then
// EEXIST is no error.
func (h *Host) addRoute(c *claim, key routeKey, maybeThere bool) []failure {
	c.refused = diag.Kept{}
	h.judge(c.prefix)
	err := h.rt.RouteAdd(key.netlink(c.value())) // with NLM_F_EXCL
	switch {
	case err == nil, maybeThere && errors.Is(err, unix.EEXIST):
		h.have.routes.put(key, c.value())
	case errors.Is(err, unix.EEXIST):
		h.have.fresh = false
		c.refused = diag.Keep(diag.Cause{Code: diag.RouteBlocked, Device: c.device.name, Prefix: c.prefix, Err: "a route that another program has just added"})
	case errors.Is(err, unix.EINVAL) && c.source.IsValid() && !h.local(c.source):
		c.refused = diag.Keep(diag.Cause{Code: diag.RouteSource, Device: c.device.name, Prefix: c.prefix, Addr: c.source})
	default:
		return []failure{c.device.failed(fmt.Errorf("route %s: %w", c.prefix, err))}
	}
	return nil
}

func (c *claim) value() routeValue {
	v := routeValue{index: c.device.index, source: c.source}
	if c.second != nil {
		v.index, v.second = min(v.index, c.second.device.index), max(v.index, c.second.device.index)
	}
	return v
}

// haveRoute returns the key of a claim's route and true if the route is in place,
// else the key to add it under: the one of its two metrics that is free.
func (h *Host) haveRoute(c *claim) (routeKey, bool) {
	if at := h.have.routes[c.key]; len(at) == 1 && at[0].metric == c.device.metric && at[0].value == c.value() { // as nearly always
		return routeKey{c.key, at[0].metric}, true
	}
	free := routeKey{c.key, c.device.metric}
	for _, metric := range [...]int{c.device.metric + 1, c.device.metric} {
		key := routeKey{c.key, metric}
		switch v, ok := h.have.routes.get(key); {
		case !ok && h.have.guards.has(key): // that of a better metric, which goes
		case !ok:
			free = key
		case v == c.value():
			return key, true
		}
	}
	return free, false
}

// local reports whether an address is one of this host's.
func (h *Host) local(a netip.Addr) bool {
	return len(h.have.owners[a]) > 0 || slices.ContainsFunc(h.want.addresses[a], func(o *ownAddress) bool {
		_, ok := h.have.addrs[address{o.device.index, o.prefix}]
		return ok
	})
}

// removeRoutes removes the routes in places that should have none, and those that the place's route has replaced: of
// whatever metric, for an earlier run may have had another.
func (h *Host) removeRoutes(keys []tablePrefix) (failures []failure) {
	for _, k := range keys {
		var keep routeKey
		if c := h.want.routes[k]; c != nil {
			keep, _ = h.haveRoute(c)
		}
		for _, r := range h.have.routes.at(k) {
			if key := (routeKey{k, r.metric}); key != keep {
				failures = append(failures, h.removeRoute(key, r.value)...)
			}
		}
	}
	return failures
}

func (h *Host) removeRoute(key routeKey, v routeValue) []failure {
	if err := h.rt.RouteDel(key.removal(v)); err != nil && !gone(err) {
		h.work.routes = append(h.work.routes, key.tablePrefix)
		return []failure{{err: fmt.Errorf("remove route %s: %w", key.prefix, err)}}
	}
	h.have.routes.drop(key)
	h.judge(key.prefix)
	return nil
}

// addRules adds rules. A refused rule may serve many claims: it is a failure of each claim in the work.
func (h *Host) addRules(rules []ruleKey) (failures []failure) {
	refused := make(map[ruleKey]error)
	for _, k := range rules {
		if _, ok := h.have.rules[k]; ok || len(h.want.rules[k]) == 0 {
			continue
		}
		switch err := h.rt.RuleAdd(k.netlink()); {
		case err == nil:
			h.have.rules[k] = struct{}{}
		case errors.Is(err, unix.EEXIST): // a foreign rule does the same, and stays foreign
		default:
			refused[k] = fmt.Errorf("rule %d: %w", k.priority, err)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	told := make(map[*claim]bool)
	for _, c := range h.work.claims {
		for _, k := range c.rules {
			if err := refused[k]; err != nil && !told[c] {
				told[c] = true
				failures = append(failures, c.device.failed(err))
			}
		}
	}
	for _, k := range h.work.guards {
		if q := h.want.guards[k]; q != nil {
			for _, r := range q.rules {
				if err := refused[r]; err != nil {
					failures = append(failures, failure{q.owner(), err})
				}
			}
		}
	}
	return failures
}

func (h *Host) removeRules(rules []ruleKey) (failures []failure) {
	for _, k := range rules {
		if _, ok := h.have.rules[k]; !ok || len(h.want.rules[k]) > 0 {
			continue
		}
		if h.retained.on {
			h.retained.rules = append(h.retained.rules, k)
			continue
		}
		if err := h.rt.RuleDel(k.netlink()); err != nil && !gone(err) {
			failures = append(failures, failure{err: fmt.Errorf("remove rule %d: %w", k.priority, err)})
			h.work.rules = append(h.work.rules, k)
			continue
		}
		delete(h.have.rules, k)
	}
	return failures
}

// gone reports whether an error says that the object to remove does not exist.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}
