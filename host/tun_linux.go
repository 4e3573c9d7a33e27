package host

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
)

// TUN is a device of ours: packets and super-packets, each behind a virtio_net_hdr.
type TUN struct {
	fd      *descriptor
	host    *Host
	name    string
	index   int
	uso     bool       // UDP super-packets
	packets tun.Device // nil unless asked for
}

// CreateTUN makes a TUN device, which lives until Close or the end of the
// process. It is down until Set. It never takes over an existing device. Name
// is at most 15 bytes.
func (h *Host) CreateTUN(name string, mtu int) (*TUN, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/%: \t\n") || strings.Trim(name, ".") == "" {
		return nil, fmt.Errorf("device %q: a name has 1 to %d bytes, none of them a blank, slash, colon or per cent", name, unix.IFNAMSIZ-1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readEvents(h.apply)
	t, err := openTUN(name)
	if err != nil {
		return nil, explainTUN(name, err)
	}
	t.host = h
	if err := h.brand(t, mtu); err != nil {
		t.end()
		h.skipEcho()
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	h.tuns[name] = t
	h.owned[t.index] = t
	h.have.links[t.index] = linkState{mtu: mtu}
	h.skipEcho()
	return t, nil
}

// openTUN makes a device with the offloads that wireguard/tun asks for, but without what its constructor costs each device: a
// monitor with a netlink socket and two goroutines, a place in the runtime's poller, and tables for merging packets.
func openTUN(name string) (*TUN, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	// Without TUN_F_TSO_ECN the kernel cuts super-packets with CWR for wireguard/tun, which would
	// repeat it in every segment.
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	uso := false
	if err == nil {
		if uso = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil; !uso {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &TUN{name: name, fd: unwaited(fd), uso: uso}, nil
}

// Packets returns the device as a wireguard/tun device, which cuts and merges super-packets itself. It
// changes the offloads of the device, so frames must not be used beside it.
func (t *TUN) Packets() (tun.Device, error) {
	if t.packets != nil {
		return t.packets, nil
	}
	var fd int
	var err error
	t.fd.do(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", t.name, err)
	}
	if t.packets, _, err = tun.CreateUnmonitoredTUNFromFD(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("device %s: %w", t.name, err)
	}
	return t.packets, nil
}

// end closes the device.
func (t *TUN) end() error {
	if t.packets != nil {
		t.packets.Close()
	}
	return t.fd.Close()
}

// explainTUN adds the remedy to an error of making a device.
func explainTUN(name string, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, unix.EBUSY):
		remedy = "a device of that name exists: remove it, or choose another name with `device`"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		remedy = "no /dev/net/tun: modprobe tun (in a container: --device /dev/net/tun)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		remedy = "run as root or with CAP_NET_ADMIN"
	default:
		return fmt.Errorf("device %s: %w", name, err)
	}
	return fmt.Errorf("device %s: %w; %s", name, err, remedy)
}

// As long as an Ethernet device's queue, so that a burst is not lost while the thread that reads is not on a processor. Longer was
// no better.
const tunQueue = 1000

// brand marks a new device as ours and keeps the kernel from sending packets of
// its own over it.
func (h *Host) brand(t *TUN, mtu int) error {
	index, err := indexOf(t.name)
	if err != nil {
		return err
	}
	t.index = index
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := h.brandAtOnce(index, mtu); err != nil {
		if err := h.brandOneByOne(link, mtu); err != nil {
			return err
		}
	}
	h.deviceSysctl(t.name, "accept_ra", "0")
	h.deviceSysctl(t.name, "autoconf", "0")
	// Of a device without any IPv4 address even the loose filter drops a packet whose answer would leave by another
	// device (fib_validate_source), such as what comes in by the standby of two tunnels. With the scope host no
	// packet gets this address as its source.
	dummy := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(dummyAddress(index), 32)), Scope: unix.RT_SCOPE_HOST, Flags: unix.IFA_F_NOPREFIXROUTE}
	if err := h.nl.AddrAdd(link, dummy); err != nil {
		h.log.Debug("address not set: what comes in by a standby tunnel may be dropped", "device", t.name, "err", err)
	}
	return nil
}

// hush removes the IPv6 multicast route that the kernel gives each device of ours when it comes up: nothing of ours uses it, and of
// ten thousand of these the kernel looks at each whenever any device changes. Where there is none, there is nothing to do.
func (h *Host) hush(index int) {
	multicast := &netlink.Route{LinkIndex: index, Dst: ipNet(allMulticast6), Table: unix.RT_TABLE_LOCAL}
	if err := h.rt.RouteDel(multicast); err != nil {
		h.log.Debug("the multicast route of our device stays", "index", index, "err", err)
	}
}

var allMulticast6 = netip.MustParsePrefix("ff00::/8")

// indexOf is the index of a device of the caller's network namespace.
func indexOf(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

// Numbers of the kernel that package unix lacks, and values of them.
const (
	inetConf        = 1 // IFLA_INET_CONF
	rpFilter        = 8 // IPV4_DEVCONF_RP_FILTER
	addrGenMode     = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

	// The larger of "all" and the device's own counts, and 2 (loose) is larger than
	// 1 (strict): so the device is never strict, whatever "all" is or becomes.
	looseFilter = 2
)

// brandAtOnce sets all that netlink sets of a new device: one message is one event. A kernel that lacks a part refuses it.
func (h *Host) brandAtOnce(index, mtu int) error {
	number := func(n uint32) []byte { return nl.Uint32Attr(n) }
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(inetConf, nil).AddRtAttr(rpFilter, number(looseFilter))
	// No link-local address, router solicitation or advertisement in the tunnel.
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(addrGenMode, []byte{addrGenModeNone})
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(Alias)),
		nl.NewRtAttr(unix.IFLA_GROUP, number(Group)),
		nl.NewRtAttr(unix.IFLA_TXQLEN, number(tunQueue)),
		// wireguard/tun's Read cuts at most that many segments from a super-packet, and drops the rest.
		nl.NewRtAttr(unix.IFLA_GSO_MAX_SEGS, number(conn.IdealBatchSize)),
		spec,
	}
	if mtu > 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_MTU, number(uint32(mtu))))
	}
	return h.setLink(index, attrs...)
}

// setLink changes a device.
func (h *Host) setLink(index int, attrs ...*nl.RtAttr) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.Sockets = h.filters // of the Host's network namespace
	req.AddData(msg)
	for _, a := range attrs {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// brandOneByOne is brandAtOnce for a kernel that lacks a part. It fails where the device could not be recognised later.
func (h *Host) brandOneByOne(link netlink.Link, mtu int) error {
	index := link.Attrs().Index
	if err := h.nl.LinkSetAlias(link, Alias); err != nil {
		return err
	}
	if err := h.nl.LinkSetGroup(link, Group); err != nil {
		return err
	}
	if mtu > 0 {
		if err := h.nl.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("MTU %d: %w", mtu, err)
		}
	}
	if err := h.nl.LinkSetTxQLen(link, tunQueue); err != nil {
		h.log.Debug("txqueuelen not set", "index", index, "err", err)
	}
	if err := h.nl.LinkSetGSOMaxSegs(link, conn.IdealBatchSize); err != nil {
		h.log.Debug("gso_max_segs not set", "index", index, "err", err)
	}
	// Without IPv6 there is nothing to set.
	if err := h.nl.LinkSetIP6AddrGenMode(link, addrGenModeNone); err != nil {
		h.log.Debug("IPv6 address generation stays on", "index", index, "err", err)
	}
	if err := h.reverseFilter(index, looseFilter); err != nil {
		h.log.Debug("rp_filter of our device not set", "index", index, "err", err)
	}
	return nil
}

// dummyAddress is the IPv4 address that a device has for the kernel alone: a loopback address, which no packet on a wire can have, out
// of 127.64.0.0/10. Each device has its own, for the kernel keeps the local routes to one address in a list, and walks it whenever
// another device gets that address or comes up.
func dummyAddress(index int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 64 | byte(index>>16)&63, byte(index >> 8), byte(index)})
}

// reverseFilter sets a device's rp_filter. By netlink it works where /proc/sys is read-only, as in containers.
func (h *Host) reverseFilter(index int, value uint32) error {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(inetConf, nil).AddRtAttr(rpFilter, nl.Uint32Attr(value))
	return h.setLink(index, spec)
}

// deviceSysctl sets a knob of IPv6, which netlink does not set, of one of our own devices. /proc/sys may be read-only.
func (h *Host) deviceSysctl(device, knob, value string) {
	path := "/proc/sys/net/ipv6/conf/" + device + "/" + knob
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		h.log.Debug("sysctl of our device not set", "path", path, "err", err)
	}
}

// ours reports whether this or an earlier vpngw made a device.
func ours(l netlink.Link) bool {
	a := l.Attrs()
	return (l.Type() == "tun" || l.Type() == "tuntap") && a.Alias == Alias && a.Group == Group
}

// Name is the device's name.
func (t *TUN) Name() string { return t.name }

// Close removes the device, and with it the kernel removes its addresses and routes. That takes the kernel some 20 ms, mostly of
// waiting, so who closes many does so at once.
func (t *TUN) Close() error {
	h := t.host
	h.mu.Lock()
	if h.tuns[t.name] != t || h.closing[t.index] {
		h.mu.Unlock()
		return nil
	}
	h.readEvents(h.apply)
	h.closing[t.index] = true
	h.mu.Unlock()
	err := t.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readEvents(h.apply)
	h.unbind(t.name)
	delete(h.have.links, t.index)
	delete(h.tuns, t.name)
	delete(h.owned, t.index)
	return err
}
