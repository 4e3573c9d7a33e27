package host

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// plain reports whether nothing inspects, changes or routes by their protocol, TOS or flow the packets
// that this host sends. If it cannot find out, it returns false.
func (h *Host) plain() bool {
	return !h.filtersOutput() && !tracksConnections() && !h.hasPolicies() && h.routesPlainly() && !filtersCgroup()
}

// harmful are the hooks, by family, that the packets of a raw socket pass and frames may not.
// iptables writes such chains of nftables today. A chain elsewhere concerns received packets.
var harmful = map[uint8][]uint32{
	unix.NFPROTO_INET:   {unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING},
	unix.NFPROTO_IPV4:   {unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING},
	unix.NFPROTO_IPV6:   {unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING},
	unix.NFPROTO_NETDEV: {unix.NF_NETDEV_EGRESS},
}

// filtersOutput reports whether netfilter has rules for packets that this host sends.
func (h *Host) filtersOutput() bool {
	for family, hooks := range harmful {
		chains, err := h.filters.nft(unix.NFT_MSG_GETCHAIN, family)
		if err != nil && !lacks(err) {
			return true
		}
		for _, c := range chains {
			if hook, ok := hookOf(c); ok && slices.Contains(hooks, hook) {
				return true
			}
		}
	}
	return len(unread()) > 0
}

// lacks reports whether an error says that the kernel lacks a packet filter.
func lacks(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// hookOf returns the hook of a chain; false: the chain has none.
func hookOf(chain []byte) (uint32, bool) {
	number := attribute(attribute(chain, nl.SizeofNfgenmsg, unix.NFTA_CHAIN_HOOK), 0, unix.NFTA_HOOK_HOOKNUM)
	if len(number) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(number), true
}

// tracksConnections reports whether the kernel tracks connections here. A firewall may then admit the
// peer's packets only because it saw ours, and it does not see frames.
func tracksConnections() bool {
	n := sysctl("net/netfilter/nf_conntrack_count")
	return n != "" && n != "0"
}

func (h *Host) hasPolicies() bool {
	policies, err := h.filters.dump(unix.NETLINK_XFRM, nl.XFRM_MSG_GETPOLICY, make([]byte, unix.SizeofIfInfomsg))
	return len(policies) > 0 || err != nil && !errors.Is(err, unix.EPROTONOSUPPORT)
}

// routesPlainly reports whether routing looks at nothing that a framePath does not know, the
// protocol and each packet's TOS.
func (h *Host) routesPlainly() bool {
	rules, err := h.filters.dump(unix.NETLINK_ROUTE, unix.RTM_GETRULE, make([]byte, unix.SizeofRtMsg))
	if err != nil {
		return false
	}
	for _, r := range rules {
		if len(r) < unix.SizeofRtMsg || nl.DeserializeRtMsg(r).Tos != 0 {
			return false
		}
		for _, a := range attributes(r, unix.SizeofRtMsg) { // the newest select by DSCP and flow label
			if a.Attr.Type == nl.FRA_IP_PROTO || a.Attr.Type > nl.FRA_DPORT_RANGE {
				return false
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readEvents(h.apply)
	return !h.have.byTOS
}

// filtersCgroup reports whether a BPF program sees what this process's control group sends, as IPAddressDeny=
// or IPAccounting= in a unit of systemd has it. Where the process may not ask, it returns false: a
// framePath is used only while the socket's packets are not refused.
func filtersCgroup() bool {
	dir := cgroup()
	if dir == "" {
		return false
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const inetEgress = 1 // BPF_CGROUP_INET_EGRESS
	query := struct {
		target, kind, flags, attached uint32
		programs                      uint64
		count                         uint32
		_                             [5]uint64 // the kernel may ask for more
	}{target: uint32(fd), kind: inetEgress, flags: unix.BPF_F_QUERY_EFFECTIVE}
	_, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	return e == 0 && query.count > 0 // EINVAL, ENOSYS: a kernel without such programs
}

// cgroup returns the directory of this process's control group; empty: it is not mounted.
func cgroup() string {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	groups, _ := os.ReadFile("/proc/self/cgroup")
	_, path, _ := strings.Cut("\n"+string(groups), "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	for line := range strings.Lines(string(mounts)) {
		// id parent major:minor root mountpoint options … - type source options
		where, what, _ := strings.Cut(line, " - ")
		if f := strings.Fields(where); len(f) > 4 && strings.HasPrefix(what, "cgroup2 ") {
			if within, err := filepath.Rel(f[3], path); err == nil && !strings.HasPrefix(within, "..") {
				return filepath.Join(f[4], within)
			}
		}
	}
	return ""
}

// filters are netlink sockets to the packet filters and routing rules of the kernel, by protocol. A
// kernel may lack any of the filters.
type filters map[int]*nl.SocketHandle

func openFilters() (filters, error) {
	f := make(filters)
	for _, protocol := range []int{unix.NETLINK_NETFILTER, unix.NETLINK_XFRM, unix.NETLINK_ROUTE} {
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

// nft asks for all objects of a kind in the tables of a family.
func (f filters) nft(kind int, family uint8) ([][]byte, error) {
	return f.dump(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|kind, []byte{family, unix.NFNETLINK_V0, 0, 0})
}

// dump asks for everything of a kind.
func (f filters) dump(protocol, kind int, request []byte) (out [][]byte, err error) {
	err = f.each(protocol, kind, request, func(b []byte) { out = append(out, b) })
	return out, err
}

// each is dump for what there may be ten thousand of, such as devices.
func (f filters) each(protocol, kind int, request []byte, do func([]byte)) error {
	if f[protocol] == nil {
		return unix.EPROTONOSUPPORT
	}
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	req.Sockets = f
	req.AddRawData(request)
	return req.ExecuteIter(protocol, 0, func(b []byte) bool {
		do(b)
		return true
	})
}
