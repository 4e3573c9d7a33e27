package host

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// lookAgain is how often the ways in use are looked for again. A rule of a firewall, or another
	// neighbour, has its effect after that time at most.
	lookAgain = time.Second
	// maxWays bounds what one look costs. Further peers go by the socket.
	maxWays = 256
)

// Run sends packets of protocol 50 as Ethernet frames wherever that changes nothing but the
// speed, until ctx ends: where the route leads to a device with Ethernet's header; the
// neighbour is known; and nothing is there that packets of this host pass on their way out and
// frames do not: rules of netfilter, IPsec policies of the kernel, routing by protocol. Queueing
// disciplines and taps see frames too. Without Run, or where one of these is not so,
// they go by the raw socket.
func (s *Sockets) Run(ctx context.Context) error {
	if s.ether == nil {
		return nil
	}
	ev, err := subscribe()
	if err != nil {
		return err
	}
	defer ev.Close()
	defer s.ether.forget()
	defer context.AfterFunc(ctx, func() { ev.SetReadDeadline(time.Unix(1, 0)) })()
	look := looker{host: s.host, ether: s.ether}
	next := time.Now().Add(lookAgain)
	for ctx.Err() == nil {
		ev.SetReadDeadline(next)
		switch _, err := ev.wait(); {
		case err == nil, err == errOverrun:
			s.ether.forget() // they may all have changed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return ended(ctx, err)
		default:
			look.again()
			next = time.Now().Add(lookAgain)
		}
	}
	return nil
}

// looker looks for ways.
type looker struct {
	host  *Host
	ether *ethernet
	asked map[ends]*way // what was asked for lately
	neigh map[neighbours][]netlink.Neigh
}

type neighbours struct{ index, family int }

// again looks for every way that was asked for or used since the last time.
func (l *looker) again() {
	next := make(map[ends]*way)
	for e, w := range l.asked {
		if w.used.Load() {
			next[e] = nil
		}
	}
	for more := true; more; {
		select {
		case e := <-l.ether.wanted:
			if len(next) < maxWays {
				next[e] = nil
			}
		default:
			more = false
		}
	}
	l.neigh = make(map[neighbours][]netlink.Neigh)
	plain := len(next) > 0 && l.host.plain()
	for e := range next {
		w := new(way)
		if plain && !l.find(w, e) {
			w.index = 0
		}
		next[e] = w
	}
	l.asked = next
	l.ether.ways.Store(&next)
}

// find makes w the way from one end to the other. false: there is none but by the socket.
func (l *looker) find(w *way, e ends) bool {
	remote := e.remote.Unmap()
	o := netlink.RouteGetOptions{Mark: Mark}
	if e.local.IsValid() && !e.local.IsUnspecified() {
		o.SrcAddr = e.local.Unmap().AsSlice()
	}
	rs, err := l.host.nl.RouteGetWithOptions(remote.AsSlice(), &o)
	if err != nil || len(rs) != 1 {
		return false
	}
	r := &rs[0]
	if r.Type != unix.RTN_UNICAST || r.Encap != nil || r.Via != nil || r.MPLSDst != nil || len(r.MultiPath) > 0 {
		return false
	}
	local := e.local.Unmap()
	if o.SrcAddr == nil {
		local = addrOf(r.Src)
	}
	link, err := l.host.nl.LinkByIndex(r.LinkIndex)
	if err != nil || local.Is6() != remote.Is6() {
		return false
	}
	a := link.Attrs()
	const want = unix.IFF_UP | unix.IFF_RUNNING
	if a.EncapType != "ether" || len(a.HardwareAddr) != 6 || a.RawFlags&(want|unix.IFF_NOARP|unix.IFF_LOOPBACK) != want {
		return false
	}
	hop := remote
	if r.Gw != nil {
		hop = addrOf(r.Gw)
	}
	to, ok := l.neighbour(a.Index, hop)
	if !ok {
		return false
	}
	w.index, w.mtu = a.Index, a.MTU
	if r.MTU > 0 {
		w.mtu = min(w.mtu, r.MTU)
	}
	hops := r.Hoplimit
	if hops == 0 {
		hops = defaultHops(a.Name, remote.Is6())
	}
	w.frame([6]byte(a.HardwareAddr), to, local, remote, uint8(hops))
	return true
}

// neighbour is the MAC address of a next hop, if the kernel would use it now.
func (l *looker) neighbour(index int, hop netip.Addr) (mac [6]byte, ok bool) {
	key := neighbours{index, netlink.FAMILY_V4}
	if hop.Is6() {
		key.family = netlink.FAMILY_V6
	}
	list, known := l.neigh[key]
	if !known {
		list, _ = l.host.nl.NeighList(key.index, key.family)
		l.neigh[key] = list
	}
	const good = netlink.NUD_PERMANENT | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
	for _, n := range list {
		if addrOf(n.IP) == hop && n.State&good != 0 && len(n.HardwareAddr) == 6 {
			return [6]byte(n.HardwareAddr), true
		}
	}
	return mac, false
}

// defaultHops is the TTL or hop limit that the kernel gives packets of its own.
func defaultHops(device string, v6 bool) int {
	file := "/proc/sys/net/ipv4/ip_default_ttl"
	if v6 {
		file = "/proc/sys/net/ipv6/conf/" + device + "/hop_limit"
	}
	b, _ := os.ReadFile(file)
	if n, err := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil && 0 < n && n < 256 {
		return n
	}
	return 64
}

// plain reports whether nothing looks at, or changes, packets that this host sends.
// What it cannot find out is not plain.
func (h *Host) plain() bool {
	// Tables of nftables; what iptables writes today are such.
	for _, family := range []uint8{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		tables, err := h.filters.dump(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, []byte{family, unix.NFNETLINK_V0, 0, 0})
		if len(tables) > 0 || err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
			return false
		}
	}
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		if b, err := os.ReadFile("/proc/thread-self/net/" + file); len(b) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	policies, err := h.filters.dump(unix.NETLINK_XFRM, nl.XFRM_MSG_GETPOLICY, make([]byte, unix.SizeofIfInfomsg))
	if len(policies) > 0 || err != nil && !errors.Is(err, unix.EPROTONOSUPPORT) {
		return false
	}
	rules, err := h.nl.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, r := range rules {
		if r.IPProto != 0 {
			return false
		}
	}
	return true
}

// filters are netlink sockets to what filters packets, by protocol. A kernel may lack any.
type filters map[int]*nl.SocketHandle

func openFilters() (filters, error) {
	f := make(filters)
	for _, protocol := range []int{unix.NETLINK_NETFILTER, unix.NETLINK_XFRM} {
		s, err := nl.GetNetlinkSocketAt(-1, -1, protocol)
		switch {
		case err == nil:
			f[protocol] = &nl.SocketHandle{Socket: s}
		case !errors.Is(err, unix.EPROTONOSUPPORT):
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (f filters) Close() {
	for _, s := range f {
		s.Close()
	}
}

// dump asks for everything of a kind.
func (f filters) dump(protocol, kind int, request []byte) ([][]byte, error) {
	if f[protocol] == nil {
		return nil, unix.EPROTONOSUPPORT
	}
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	req.Sockets = f
	req.AddRawData(request)
	return req.Execute(protocol, 0)
}
