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
	"golang.org/x/sys/unix"
)

const (
	// searchEvery is how often the paths in use are searched again. A new firewall rule or a changed
	// neighbour takes effect after at most that time.
	searchEvery = time.Second
	// maxPaths bounds the cost of one search. Packets to further peers go by the socket.
	maxPaths = 256
)

// Run sends packets of protocol 50 as Ethernet frames, until ctx ends, wherever that affects only
// the speed: the route leads to a device with an Ethernet header, the neighbour is known, and
// nothing on the host that frames would bypass concerns packets that it sends (plain). Queueing
// disciplines and taps see frames too. Elsewhere, and without Run, packets go by the raw socket.
func (s *Sockets) Run(ctx context.Context) error {
	if s.frames == nil {
		return nil
	}
	ev, err := subscribe()
	if err != nil {
		return err
	}
	defer ev.Close()
	defer s.frames.forget()
	defer context.AfterFunc(ctx, func() { ev.SetReadDeadline(time.Unix(1, 0)) })()
	finder := pathFinder{host: s.host, frames: s.frames}
	next := time.Now().Add(searchEvery)
	for ctx.Err() == nil {
		ev.SetReadDeadline(next)
		switch _, err := ev.wait(); {
		case err == nil, err == errOverrun:
			s.frames.forget() // every path may have changed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return ended(ctx, err)
		default:
			finder.search()
			next = time.Now().Add(searchEvery)
		}
	}
	return nil
}

// pathFinder finds frame paths.
type pathFinder struct {
	host   *Host
	frames *frameSender
	found  map[ends]*framePath // by the last search
	neigh  map[neighbours][]netlink.Neigh
}

type neighbours struct{ index, family int }

// search looks for each path that a sender asked for or used since the last search.
func (f *pathFinder) search() {
	next := make(map[ends]*framePath)
	for e, p := range f.found {
		if p.used.Load() {
			next[e] = nil
		}
	}
	for more := true; more; {
		select {
		case e := <-f.frames.asked:
			if len(next) < maxPaths {
				next[e] = nil
			}
		default:
			more = false
		}
	}
	f.neigh = make(map[neighbours][]netlink.Neigh)
	plain := len(next) > 0 && f.host.plain()
	for e := range next {
		p := new(framePath)
		if plain && !f.find(p, e) {
			p.index = 0
		}
		next[e] = p
	}
	f.found = next
	f.frames.paths.Store(&next)
}

// find makes p the path from one end to the other. false: only the socket leads there.
func (f *pathFinder) find(p *framePath, e ends) bool {
	remote := e.remote.Unmap()
	o := netlink.RouteGetOptions{Mark: Mark}
	if e.local.IsValid() && !e.local.IsUnspecified() {
		o.SrcAddr = e.local.Unmap().AsSlice()
	}
	rs, err := f.host.nl.RouteGetWithOptions(remote.AsSlice(), &o)
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
	link, err := f.host.nl.LinkByIndex(r.LinkIndex)
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
	to, ok := f.neighbour(a.Index, hop)
	if !ok {
		return false
	}
	p.index, p.mtu = a.Index, a.MTU
	hops := r.Hoplimit
	if hops == 0 {
		hops = defaultHops(a.Name, remote.Is6())
	}
	p.frame([6]byte(a.HardwareAddr), to, local, remote, uint8(hops))
	return true
}

// neighbour is the MAC address of a next hop, if the kernel would use it now.
func (f *pathFinder) neighbour(index int, hop netip.Addr) (mac [6]byte, ok bool) {
	key := neighbours{index, netlink.FAMILY_V4}
	if hop.Is6() {
		key.family = netlink.FAMILY_V6
	}
	list, known := f.neigh[key]
	if !known {
		list, _ = f.host.nl.NeighList(key.index, key.family)
		f.neigh[key] = list
	}
	const good = netlink.NUD_PERMANENT | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
	for _, n := range list {
		if addrOf(n.IP) == hop && n.State&good != 0 && len(n.HardwareAddr) == 6 {
			return [6]byte(n.HardwareAddr), true
		}
	}
	return mac, false
}

// defaultHops returns the TTL or hop limit of packets that the kernel itself sends.
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
