package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rtnetlink has the methods of *netlink.Handle that Set uses.
type rtnetlink interface {
	LinkList() ([]netlink.Link, error)
	LinkByIndex(index int) (netlink.Link, error)
	LinkSetMTU(link netlink.Link, mtu int) error
	LinkSetUp(link netlink.Link) error
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	AddrAdd(link netlink.Link, addr *netlink.Addr) error
	AddrDel(link netlink.Link, addr *netlink.Addr) error
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RouteAdd(route *netlink.Route) error
	RouteDel(route *netlink.Route) error
	RuleList(family int) ([]netlink.Rule, error)
	RuleAdd(rule *netlink.Rule) error
	RuleDel(rule *netlink.Rule) error
}

// kernel is our copy of the kernel's state: our own objects, and the foreign objects that can
// block them. Without it, Set would have to dump every route of the host for each change.
type kernel struct {
	fresh   bool // false: a dump is needed
	links   map[int]linkState
	addrs   map[address]struct{}           // ours
	routes  placed[routeValue]             // ours
	guards  placed[struct{}]               // ours
	rules   map[ruleKey]struct{}           // ours
	foreign map[tablePrefix][]foreignRoute // in the tables that Set writes to
	sorted  []netip.Prefix                 // of foreign, those of the main table; nil: not sorted yet
	owners  map[netip.Addr][]int           // devices, not ours, that have an address
	byTOS   bool                           // a route of some table is for one TOS only
}

// linkState is that of one of our devices.
type linkState struct {
	up  bool
	mtu int
}

type address struct {
	index  int
	prefix netip.Prefix // with the host part
}

type tablePrefix struct {
	table  int
	prefix netip.Prefix
}

// routeKey identifies one of our routes, as the kernel does.
type routeKey struct {
	tablePrefix
	metric int
}

type routeValue struct {
	index  int
	second int // of two devices that share the route by flow, the one with the higher index; 0: one device
	source netip.Addr
}

// more is the second device of a route with more than two next hops: none of ours has so many.
const more = -1

// sharing is the value of a route with these next hops.
func sharing(hops []int, source netip.Addr) routeValue {
	v := routeValue{source: source}
	switch slices.Sort(hops); len(hops) {
	case 1:
		v.index = hops[0]
	case 2:
		v.index, v.second = hops[0], hops[1]
	default:
		v.second = more
	}
	return v
}

func valueOf(r *netlink.Route) routeValue {
	if len(r.MultiPath) == 0 {
		return routeValue{index: r.LinkIndex, source: addrOf(r.Src)}
	}
	var hops []int
	for _, n := range r.MultiPath {
		hops = append(hops, n.LinkIndex)
	}
	return sharing(hops, addrOf(r.Src))
}

// foreignRoute has the fields that identify a route in an event.
type foreignRoute struct {
	metric, tos, protocol, typ, index int
	gateway                           netip.Addr
}

// ruleKey is a rule with the fields that our rules use.
type ruleKey struct {
	v6       bool
	priority int
	from, to netip.Prefix // zero: all
	table    int
	suppress int // the rule ignores routes with a prefix of at most this length; -1: none
	goTo     int // priority; -1: none
	mark     uint32
	invert   bool
}

func newKernel() kernel {
	return kernel{
		links: make(map[int]linkState), addrs: make(map[address]struct{}),
		routes: make(placed[routeValue]), rules: make(map[ruleKey]struct{}), guards: make(placed[struct{}]),
		foreign: make(map[tablePrefix][]foreignRoute), owners: make(map[netip.Addr][]int),
	}
}

// dump reads the kernel's whole state. An address on a device of ours counts as ours only if we
// put it there, which is known from before the dump.
func (h *Host) dump() error {
	had, k := h.have, newKernel()
	links, err := retryDump(func() ([]netlink.Link, error) { return h.rt.LinkList() })
	if err != nil {
		return fmt.Errorf("dump links: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); h.owned[a.Index] != nil {
			k.links[a.Index] = linkState{up: a.Flags&net.FlagUp != 0, mtu: a.MTU}
		}
	}
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return h.rt.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("dump addresses: %w", err)
	}
	for _, a := range addrs {
		p := prefixOf(a.IPNet)
		if h.owned[a.LinkIndex] == nil {
			k.own(p.Addr(), a.LinkIndex)
		} else if _, ok := had.addrs[address{a.LinkIndex, p}]; ok {
			k.addrs[address{a.LinkIndex, p}] = struct{}{}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := retryDump(func() ([]netlink.Rule, error) { return h.rt.RuleList(family) })
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("dump rules: %w", err)
		}
		for _, r := range rules {
			if r.Protocol == Protocol {
				k.rules[ruleKeyOf(r, family)] = struct{}{}
			}
		}
		if err := h.dumpRoutes(&k, family); err != nil {
			return fmt.Errorf("dump routes: %w", err)
		}
	}
	for a := range had.addrs {
		if _, ok := k.addrs[a]; !ok {
			h.work.gone = append(h.work.gone, a.prefix.Addr())
		}
	}
	for a := range had.owners {
		if _, ok := k.owners[a]; !ok {
			h.work.gone = append(h.work.gone, a)
		}
	}
	k.fresh = true
	h.have = k
	h.dumped, h.doubt = time.Now(), false
	return nil
}

func (h *Host) dumpRoutes(k *kernel, family int) error {
	routes, err := retryDump(func() ([]netlink.Route, error) { // of every table, in one dump
		return h.rt.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	for _, r := range routes {
		k.byTOS = k.byTOS || r.Tos != 0
		if !ourTable(r.Table) {
			continue
		}
		key := tablePrefix{r.Table, prefixOf(r.Dst)}
		if r.Dst == nil {
			key.prefix = everything(family == netlink.FAMILY_V6)
		}
		switch {
		case r.Protocol == Protocol && isGuard(r.Type):
			k.guards.put(routeKey{key, r.Priority}, struct{}{})
		case r.Protocol == Protocol:
			k.routes.put(routeKey{key, r.Priority}, valueOf(&r))
		case h.owned[r.LinkIndex] == nil:
			k.foreign[key] = append(k.foreign[key], foreignRoute{
				metric: r.Priority, tos: r.Tos, protocol: int(r.Protocol), typ: r.Type,
				index: r.LinkIndex, gateway: addrOf(r.Gw),
			})
		}
	}
	return err
}

// ourTable reports whether Set writes to a table.
func ourTable(table int) bool {
	return table == unix.RT_TABLE_MAIN || table == Table || table > sharedTable
}

// own notes that a foreign device has an address.
func (k *kernel) own(a netip.Addr, index int) {
	if !slices.Contains(k.owners[a], index) {
		k.owners[a] = append(k.owners[a], index)
	}
}

// retryDump repeats a dump while the kernel reports that the state changed during it.
func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	for i := 0; ; i++ {
		list, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || i == 10 {
			return list, err
		}
	}
}

func ruleKeyOf(r netlink.Rule, family int) ruleKey {
	k := ruleKey{
		v6: family == netlink.FAMILY_V6, priority: r.Priority, table: r.Table,
		suppress: r.SuppressPrefixlen, goTo: r.Goto, mark: r.Mark, invert: r.Invert,
	}
	if r.Src != nil {
		k.from = prefixOf(r.Src)
	}
	if r.Dst != nil {
		k.to = prefixOf(r.Dst)
	}
	return k
}

func (k ruleKey) netlink() *netlink.Rule {
	r := netlink.NewRule()
	r.Family = netlink.FAMILY_V4
	if k.v6 {
		r.Family = netlink.FAMILY_V6
	}
	r.Priority, r.Table, r.SuppressPrefixlen, r.Goto = k.priority, k.table, k.suppress, k.goTo
	r.Mark, r.Invert, r.Protocol = k.mark, k.invert, Protocol
	if k.from.IsValid() {
		r.Src = ipNet(k.from)
	}
	if k.to.IsValid() {
		r.Dst = ipNet(k.to)
	}
	return r
}

func (k routeKey) netlink(v routeValue) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: v.index, Dst: ipNet(k.prefix), Table: k.table, Priority: k.metric,
		Protocol: Protocol, Type: unix.RTN_UNICAST,
	}
	if k.prefix.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	if v.source.IsValid() {
		r.Src = v.source.AsSlice()
	}
	if v.second != 0 {
		r.LinkIndex = 0
		for _, index := range []int{v.index, v.second} {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: index})
			if k.prefix.Addr().Is6() {
				r.MultiPath[len(r.MultiPath)-1].Gw = anyGateway
			}
		}
	}
	return r
}

// anyGateway is the gateway of IPv6 routes into two devices, for IPv6 has such routes only with gateways. A TUN device
// asks for no neighbours, so nobody has to have the address.
var anyGateway = net.ParseIP("fe80::7373")

// removal returns the route as RouteDel needs it: the next hops of a route into several devices identify nothing, and their
// order must not matter.
func (k routeKey) removal(v routeValue) *netlink.Route {
	r := k.netlink(v)
	if v.second != 0 {
		r.LinkIndex, r.MultiPath = 0, nil
	}
	return r
}

func everything(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf keeps the host part; the zero Prefix for nil.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, size := n.Mask.Size()
	a := addrOf(n.IP)
	if size == 32 { // package netlink has 0.0.0.0/0 in 16 bytes
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits)
}

// addrOf reads an address of the kernel. Its length is that of its family, so an IPv6 address in
// ::ffff:0:0/96 stays one.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}
