package host

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Rules of policy routing keep a tunnel's route from capturing the packets that
// carry the tunnel. A prefix P of length N that contains a peer's outer address
// has its route in our Table instead of main, and is looked up so:
//
//	7300+2·(128−N):  to P lookup main suppress_prefixlength N   what main knows better
//	             +1: to P goto 7558                             and not a shorter P
//	7558:            not fwmark Mark lookup Table               all but our own packets
//
// The prefix 0.0.0.0/0 needs no goto, and is always kept so: the host keeps its
// default route. Longer prefixes come first, so that the longest match wins as
// it would within one table.
const (
	rulePriority    = 7300
	captureRule     = rulePriority + 2*128 + 2
	longestIPv6Bits = 128
)

// Two tunnels to one network, for different networks of ours, have a route for
// the same prefix. The first is in main; the other's is in a table of its device's
// own, for packets that come from its networks, after what main knows better:
//
//	7300+2·(128−N)+1:  from S to P lookup 737300000+ifindex
const sharedTable = 737300000

// share adds the rules that lead to a route in a device's own table; false when
// there is no network of the prefix's family to tell the packets by.
func (w *wanted) share(p netip.Prefix, sources []netip.Prefix, index int) bool {
	some := false
	for _, s := range sources {
		if s.Bits() > 0 && s.Addr().Is4() == p.Addr().Is4() {
			better := w.better(p)
			w.rules[ruleKey{
				v6: better.v6, priority: better.priority + 1, from: s.Masked(), to: p,
				table: sharedTable + index, suppress: -1, goTo: -1,
			}] = struct{}{}
			some = true
		}
	}
	return some
}

// wanted is a State in the kernel's terms.
type wanted struct {
	links  map[int]linkState
	addrs  map[address]struct{}
	routes []wantedRoute // in the order of the State; no two for one prefix
	rules  map[ruleKey]struct{}
}

type wantedRoute struct {
	tablePrefix
	routeValue
	device string
}

// plan works out what a State wants, leaving out what something foreign blocks.
func (h *Host) plan(s State) (wanted, []BlockedRoute, error) {
	w := wanted{
		links: make(map[int]linkState), addrs: make(map[address]struct{}),
		rules: make(map[ruleKey]struct{}),
	}
	var blocked []BlockedRoute
	var errs []error
	peers := sortedPeers(s.Peers)
	taken := make(map[netip.Prefix]string)
	for _, d := range s.Devices {
		t := h.tuns[d.Name]
		if t == nil {
			errs = append(errs, &DeviceError{d.Name, errors.New("not created")})
			continue
		}
		w.links[t.index] = linkState{up: true, mtu: d.MTU}
		routes := slices.Clone(d.Routes)
		for _, a := range d.Addresses {
			if on := h.have.owners[a.Addr()]; len(on) > 0 {
				r := Route{Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())}
				blocked = append(blocked, BlockedRoute{d.Name, r, "the same address on " + h.linkName(on[0])})
				continue
			}
			w.addrs[address{t.index, a}] = struct{}{}
			if !a.IsSingleIP() {
				routes = append(routes, Route{Prefix: a.Masked(), Source: a.Addr()})
			}
		}
		for _, r := range routes {
			if !r.Prefix.IsValid() || (r.Source.IsValid() && r.Source.Is4() != r.Prefix.Addr().Is4()) {
				errs = append(errs, &DeviceError{d.Name, fmt.Errorf("route %s from %s makes no sense", r.Prefix, r.Source)})
				continue
			}
			r.Prefix = r.Prefix.Masked()
			key := tablePrefix{unix.RT_TABLE_MAIN, r.Prefix}
			if contains(r.Prefix, peers) || r.Prefix.Bits() == 0 {
				key.table = Table
			}
			if other, ok := taken[r.Prefix]; ok {
				if other == d.Name {
					continue
				}
				if key.table == Table || !w.share(r.Prefix, d.Sources, t.index) {
					blocked = append(blocked, BlockedRoute{d.Name, r, "the route of our own device " + other})
					continue
				}
				key.table = sharedTable + t.index
				w.routes = append(w.routes, wantedRoute{key, routeValue{t.index, r.Source}, d.Name})
				continue
			}
			if by := h.blockedBy(key); by != "" {
				blocked = append(blocked, BlockedRoute{d.Name, r, by})
				continue
			}
			taken[r.Prefix] = d.Name
			w.routes = append(w.routes, wantedRoute{key, routeValue{t.index, r.Source}, d.Name})
			if key.table == Table {
				w.capture(r.Prefix)
			}
		}
	}
	return w, blocked, errors.Join(errs...)
}

// capture adds the rules that lead to a route in our Table.
func (w *wanted) capture(p netip.Prefix) {
	all := ruleKey{v6: p.Addr().Is6(), priority: captureRule, table: Table, suppress: -1, goTo: -1, mark: Mark, invert: true}
	w.rules[all] = struct{}{}
	better := w.better(p)
	if p.Bits() > 0 {
		w.rules[ruleKey{v6: all.v6, priority: better.priority + 1, to: p, suppress: -1, goTo: captureRule}] = struct{}{}
	}
}

// better adds the rule that lets main's longer prefixes within p go first.
func (w *wanted) better(p netip.Prefix) ruleKey {
	k := ruleKey{
		v6: p.Addr().Is6(), priority: rulePriority + 2*(longestIPv6Bits-p.Bits()),
		table: unix.RT_TABLE_MAIN, suppress: p.Bits(), goTo: -1,
	}
	if p.Bits() > 0 {
		k.to = p
	}
	w.rules[k] = struct{}{}
	return k
}

// blockedBy describes the foreign route that a route of ours would compete with.
// The host's default route is none: 0.0.0.0/0 in our Table stands beside it.
func (h *Host) blockedBy(key tablePrefix) string {
	if key.prefix.Bits() > 0 {
		if in := h.have.foreign[tablePrefix{unix.RT_TABLE_MAIN, key.prefix}]; len(in) > 0 {
			return h.describe(key.prefix, in[0])
		}
	}
	if in := h.have.foreign[key]; len(in) > 0 {
		return fmt.Sprintf("%s in table %d", h.describe(key.prefix, in[0]), key.table)
	}
	return ""
}

func (h *Host) describe(p netip.Prefix, r foreignRoute) string {
	s := "the route " + p.String()
	if r.gateway.IsValid() {
		s += " via " + r.gateway.String()
	}
	if r.index != 0 {
		s += " on " + h.linkName(r.index)
	}
	if r.metric != 0 {
		s += fmt.Sprintf(", metric %d", r.metric)
	}
	return s
}

func (h *Host) linkName(index int) string {
	if l, err := h.nl.LinkByIndex(index); err == nil {
		return l.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}

func sortedPeers(peers []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(peers))
	for _, p := range peers {
		out = append(out, p.Unmap().WithZone(""))
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// contains reports whether a prefix has one of the sorted addresses in it.
func contains(p netip.Prefix, peers []netip.Addr) bool {
	i, _ := slices.BinarySearchFunc(peers, p.Addr(), netip.Addr.Compare)
	return i < len(peers) && p.Contains(peers[i])
}

// sortedKeys puts rules in the order in which the kernel asks them.
func sortedKeys(rules map[ruleKey]struct{}) []ruleKey {
	var out []ruleKey
	for k := range rules {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b ruleKey) int {
		return cmp.Or(
			cmp.Compare(a.priority, b.priority), a.to.Addr().Compare(b.to.Addr()),
			cmp.Compare(b.from.Bits(), a.from.Bits()), a.from.Addr().Compare(b.from.Addr()))
	})
	return out
}
