package host

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// events is a subscription to changes of links, addresses, routes and rules.
// The kernel queues an event before the call that caused it returns, so a
// reader that has emptied the queue knows every earlier change.
type events struct {
	*os.File
	rc  syscall.RawConn
	buf []byte
}

func subscribe() (*events, error) {
	return subscribeTo(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
}

// subscribeTo subscribes to groups of events of a netlink protocol.
func subscribeTo(protocol int, list ...uint) (*events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	var groups uint32
	for _, g := range list {
		groups |= 1 << (g - 1)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) // events of some ten thousand routes; empty it costs nothing
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	e := &events{File: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, 64<<10)}
	if e.rc, err = e.SyscallConn(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// errNone says that no event is there, errOverrun that some were lost.
var (
	errNone    = errors.New("no event")
	errOverrun = errors.New("netlink overrun")
)

// take returns the events of one read without waiting.
func (e *events) take() (msgs []syscall.NetlinkMessage, err error) {
	if cerr := e.rc.Control(func(fd uintptr) { msgs, err = e.receive(fd) }); cerr != nil {
		return nil, cerr
	}
	return msgs, err
}

// wait returns the events of one read, waiting for it until the deadline, if
// one is set.
func (e *events) wait() (msgs []syscall.NetlinkMessage, err error) {
	rerr := e.rc.Read(func(fd uintptr) bool {
		msgs, err = e.receive(fd)
		return err != errNone
	})
	if rerr != nil {
		return nil, rerr
	}
	return msgs, err
}

func (e *events) receive(fd uintptr) ([]syscall.NetlinkMessage, error) {
	n, from, err := unix.Recvfrom(int(fd), e.buf, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, errNone
	case errors.Is(err, unix.EINTR):
		return nil, nil
	case errors.Is(err, unix.ENOBUFS):
		return nil, errOverrun
	case err != nil:
		return nil, err
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil, nil // not the kernel
	}
	return syscall.ParseNetlinkMessage(e.buf[:n])
}

// source gives Set its events: an *events, or a test's fake.
type source interface {
	take() ([]syscall.NetlinkMessage, error)
	Close() error
}

// doubtful is the age of the last dump from which an error of the kernel causes another dump. The
// events alone should keep h.have correct; if they fail to, the dump corrects it.
const doubtful = 10 * time.Second

// update brings h.have up to date with the events since the last update. It dumps the
// state at the start, after an overrun, and after an event that does not tell
// everything.
func (h *Host) update() error {
	h.readEvents(h.apply)
	if h.have.fresh && !(h.doubt && time.Since(h.dumped) > doubtful) {
		return nil
	}
	if err := h.dump(); err != nil {
		return err
	}
	h.decideAll()
	return nil
}

// skipEcho drops the events of our own changes: h.have contains them already.
func (h *Host) skipEcho() {
	h.readEvents(func(e event) {
		if !e.ours {
			h.apply(e)
		}
	})
}

func (h *Host) readEvents(do func(event)) {
	for {
		msgs, err := h.events.take()
		switch {
		case err == errNone:
			return
		case err == errOverrun:
			h.have.fresh = false
			continue
		case err != nil:
			h.have.fresh = false
			return
		}
		for _, m := range msgs {
			if e, ok := h.parse(m); ok {
				do(e)
			}
		}
	}
}

// event is one change of an object that may concern us.
type event struct {
	typ  uint16 // RTM_NEWROUTE …
	ours bool   // about an object of ours

	index   int // link, address
	flags   uint32
	down    bool // taken down just now
	mtu     int
	addr    netip.Prefix
	key     tablePrefix // route
	metric  int
	route   foreignRoute
	source  netip.Addr
	hops    []int // devices of several next hops
	replace bool
	guard   bool // with ours: the route is a guard
	several bool // next hops, which foreignRoute does not hold
	rule    ruleKey
}

// parse reads a message; false: it does not concern us, or tells of a device that Close removes.
func (h *Host) parse(m syscall.NetlinkMessage) (event, bool) {
	e := event{typ: m.Header.Type, replace: m.Header.Flags&unix.NLM_F_REPLACE != 0}
	switch e.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return e, h.parseLink(m.Data, &e)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return e, h.parseAddr(m.Data, &e)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return e, h.parseRoute(m.Data, &e)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return e, parseRule(m.Data, &e)
	}
	return e, false
}

func (h *Host) parseLink(b []byte, e *event) bool {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC { // AF_BRIDGE: of a bridge port
		return false
	}
	m := nl.DeserializeIfInfomsg(b)
	if h.closing[int(m.Index)] {
		e.index = int(m.Index)
		return false
	}
	e.index, e.ours = int(m.Index), h.owned[int(m.Index)] != nil
	e.flags = m.Flags & (unix.IFF_UP | unix.IFF_RUNNING)
	e.down = m.Flags&unix.IFF_UP == 0 && m.Change&unix.IFF_UP != 0
	if mtu := attribute(b, unix.SizeofIfInfomsg, unix.IFLA_MTU); len(mtu) == 4 { // of some fifty attributes
		e.mtu = int(binary.NativeEndian.Uint32(mtu))
	}
	return true
}

func (h *Host) parseAddr(b []byte, e *event) bool {
	if len(b) < unix.SizeofIfAddrmsg {
		return false
	}
	m := nl.DeserializeIfAddrmsg(b)
	if h.closing[int(m.Index)] {
		return false
	}
	e.index, e.ours = int(m.Index), h.owned[int(m.Index)] != nil
	for _, a := range attributes(b, unix.SizeofIfAddrmsg) {
		// IPv4 has its own in LOCAL, and in ADDRESS that or the far end's.
		if a.Attr.Type == unix.IFA_LOCAL || (a.Attr.Type == unix.IFA_ADDRESS && !e.addr.IsValid()) {
			e.addr = netip.PrefixFrom(addrOf(a.Value), int(m.Prefixlen))
		}
	}
	return e.addr.IsValid()
}

func (h *Host) parseRoute(b []byte, e *event) bool {
	if len(b) < unix.SizeofRtMsg {
		return false
	}
	m := nl.DeserializeRtMsg(b)
	if (m.Family != unix.AF_INET && m.Family != unix.AF_INET6) || m.Flags&unix.RTM_F_CLONED != 0 {
		return false
	}
	e.key = tablePrefix{int(m.Table), everything(m.Family == unix.AF_INET6)}
	e.ours = m.Protocol == Protocol
	e.route = foreignRoute{tos: int(m.Tos), protocol: int(m.Protocol), typ: int(m.Type)}
	for _, a := range attributes(b, unix.SizeofRtMsg) {
		number := 0
		if len(a.Value) == 4 {
			number = int(binary.NativeEndian.Uint32(a.Value))
		}
		switch a.Attr.Type {
		case unix.RTA_TABLE:
			e.key.table = number
		case unix.RTA_DST:
			e.key.prefix = netip.PrefixFrom(addrOf(a.Value), int(m.Dst_len))
		case unix.RTA_PRIORITY:
			e.route.metric = number
		case unix.RTA_OIF:
			e.route.index = number
		case unix.RTA_PREFSRC:
			e.source = addrOf(a.Value)
		case unix.RTA_GATEWAY:
			e.route.gateway = addrOf(a.Value)
		case unix.RTA_MULTIPATH:
			e.several = true
			e.hops = nextHops(a.Value)
		}
	}
	e.metric = e.route.metric
	e.guard = e.ours && isGuard(e.route.typ)
	h.have.byTOS = h.have.byTOS || m.Tos != 0 // whatever its table
	if !ourTable(e.key.table) {
		return false
	}
	// The kernel removes its own routes on our devices together with the devices.
	return e.ours || h.owned[e.route.index] == nil && !h.closing[e.route.index]
}

// nextHops returns the devices in an RTA_MULTIPATH, a list of struct rtnexthop with attributes.
func nextHops(b []byte) []int {
	var hops []int
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		hops = append(hops, int(int32(binary.NativeEndian.Uint32(b[4:]))))
		b = b[min(len(b), (n+3)&^3):]
	}
	return hops
}

// parseRule reads a rule, and reports whether it is ours.
func parseRule(b []byte, e *event) bool {
	if len(b) < unix.SizeofRtMsg { // struct fib_rule_hdr has that layout, with flags at its end
		return false
	}
	m := nl.DeserializeRtMsg(b)
	e.rule = ruleKey{v6: m.Family == unix.AF_INET6, suppress: -1, goTo: -1, invert: m.Flags&unix.FIB_RULE_INVERT != 0}
	for _, a := range attributes(b, unix.SizeofRtMsg) {
		number := 0
		if len(a.Value) == 4 {
			number = int(int32(binary.NativeEndian.Uint32(a.Value)))
		}
		switch a.Attr.Type {
		case nl.FRA_PROTOCOL:
			e.ours = len(a.Value) == 1 && a.Value[0] == Protocol
		case nl.FRA_PRIORITY:
			e.rule.priority = number
		case nl.FRA_SRC:
			e.rule.from = netip.PrefixFrom(addrOf(a.Value), int(m.Src_len))
		case nl.FRA_DST:
			e.rule.to = netip.PrefixFrom(addrOf(a.Value), int(m.Dst_len))
		case nl.FRA_TABLE:
			e.rule.table = number
		case nl.FRA_SUPPRESS_PREFIXLEN:
			e.rule.suppress = number
		case nl.FRA_GOTO:
			e.rule.goTo = number
		case nl.FRA_FWMARK:
			e.rule.mark = uint32(number)
		}
	}
	return e.ours
}

func attributes(b []byte, header int) []syscall.NetlinkRouteAttr {
	if len(b) < header {
		return nil
	}
	attrs, err := nl.ParseRouteAttr(b[header:])
	if err != nil {
		return nil
	}
	return attrs
}

// attribute is the value of one attribute; nil: it is not there.
func attribute(b []byte, header int, kind uint16) []byte {
	for b = b[min(header, len(b)):]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK == kind {
			return b[unix.SizeofRtAttr:n]
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}

// apply brings h.have in step with an event, and decides what depends on it. skipEcho has dropped
// the events of our own changes, so an event about an object of ours means that another program
// changed it. That needs a dump, unless a route or a rule was removed. The removal of a foreign
// link or address needs a dump too: IPv4 sends no event for the routes that it drops with them.
func (h *Host) apply(e event) {
	k := &h.have
	switch {
	case e.typ == unix.RTM_NEWLINK && e.ours:
		l, up := k.links[e.index], e.flags&unix.IFF_UP != 0
		if up != l.up || (e.mtu != 0 && e.mtu != l.mtu) {
			k.fresh = false
		}
	case e.typ == unix.RTM_NEWLINK && !e.down: // no concern of routes
	case e.typ == unix.RTM_NEWADDR && e.ours: // left alone
	case e.typ == unix.RTM_NEWADDR:
		k.own(e.addr.Addr(), e.index)
		for _, a := range h.want.addresses[e.addr.Addr()] {
			h.decideAddress(a)
			for _, c := range a.device.claims {
				if c.address == a {
					h.decide(c.prefix, c)
				}
			}
		}
		for c := range h.want.sources[e.addr.Addr()] {
			h.decide(c.prefix, c)
		}
	case e.typ == unix.RTM_NEWROUTE && !e.ours && !e.several:
		k.addForeign(e)
		h.decide(e.key.prefix)
		h.judge(e.key.prefix)
	case e.typ == unix.RTM_DELROUTE && !e.ours && !e.several && k.dropForeign(e):
		h.decide(e.key.prefix)
		h.judge(e.key.prefix)
	case e.typ == unix.RTM_DELROUTE && e.guard:
		k.guards.drop(routeKey{e.key, e.metric})
		h.work.guards = append(h.work.guards, e.key)
	case e.typ == unix.RTM_DELROUTE && e.ours:
		h.lostRoute(e)
	case e.typ == unix.RTM_DELRULE:
		if _, ok := k.rules[e.rule]; ok {
			delete(k.rules, e.rule)
			h.work.rules = append(h.work.rules, e.rule)
		}
	default:
		k.fresh = false
	}
}

// lostRoute notes that another program removed a route of ours.
func (h *Host) lostRoute(e event) {
	key := routeKey{e.key, e.metric}
	switch v, ok := h.have.routes.get(key); {
	case !ok:
	case v != e.value():
		h.have.fresh = false
	default:
		h.have.routes.drop(key)
		h.judge(key.prefix)
		h.work.routes = append(h.work.routes, e.key)
		if c := h.want.routes[e.key]; c != nil {
			h.work.claims = append(h.work.claims, c)
		}
	}
}

func (e event) value() routeValue {
	if e.several {
		return sharing(slices.Clone(e.hops), e.source)
	}
	return routeValue{index: e.route.index, source: e.source}
}

func (k *kernel) addForeign(e event) {
	list := k.foreign[e.key]
	if e.replace {
		list = slices.DeleteFunc(list, func(r foreignRoute) bool {
			return r.metric == e.route.metric && r.tos == e.route.tos
		})
	}
	if !slices.Contains(list, e.route) {
		list = append(list, e.route)
	}
	k.foreign[e.key], k.sorted = list, nil
}

// dropForeign reports whether the route was known.
func (k *kernel) dropForeign(e event) bool {
	list := k.foreign[e.key]
	i := slices.Index(list, e.route)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(k.foreign, e.key)
	} else {
		k.foreign[e.key] = list
	}
	k.sorted = nil
	return true
}
