package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// obstacles finds what of this host is in the way of packets that a tunnel carries: p is one of them on its way into the
// tunnel's device. It changes nothing.
func (x *Examination) obstacles(p Passage) (out []diag.Cause) {
	lan, v6 := x.towards(p), p.From.Addr().Is6()
	add := func(c diag.Cause) {
		if !slices.ContainsFunc(out, c.Equal) {
			out = append(out, c)
		}
	}
	for _, device := range []string{lan, p.Out} {
		if device == "" {
			continue
		}
		knob, which := "net/ipv4/conf/"+device+"/forwarding", device
		if v6 { // it has one for all
			knob, which = "net/ipv6/conf/all/forwarding", "every device"
		}
		if x.sysctl(knob) == "0" && (v6 || x.sysctl("net/ipv4/ip_forward") != "0") { // else IPForward tells
			add(diag.Cause{Code: diag.ForwardOff, Device: which, Name: knob})
		}
		if v6 && x.sysctl("net/ipv6/conf/"+device+"/disable_ipv6") == "1" {
			add(diag.Cause{Code: diag.IPv6Off, Device: device})
		}
	}
	p.In = lan
	if ch := x.filter.translates(p); ch != nil {
		add(diag.Cause{Code: diag.SNAT, Device: p.Out, Name: chainText(ch), Ours: natAround(ch, p.Out)})
	} else if n := x.oldFlows(p); n > 0 { // with such a rule, they are no old ones
		add(diag.Cause{Code: diag.OldFlows, Device: p.Out, Count: n, Ours: fmt.Sprintf("conntrack -D -s %v -d %v", p.Sources, p.Targets)})
	}
	if policy := x.foreignPolicy(p); policy != "" {
		add(diag.Cause{Code: diag.ForeignPolicy, Name: policy})
	}
	return out
}

// towards is the device of the route to where a passage comes from; empty: it is not one to forward by.
func (x *Examination) towards(p Passage) string {
	a := p.From.Addr()
	for range 4 { // the first may be this host's own
		r, err := x.h.nl.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{})
		switch {
		case err != nil || len(r) == 0:
			return ""
		case r[0].Type == unix.RTN_UNICAST && !x.h.owns(r[0].LinkIndex):
			return x.name(r[0].LinkIndex)
		case r[0].Type != unix.RTN_LOCAL || !p.Sources.Contains(a.Next()):
			return ""
		}
		a = a.Next()
	}
	return ""
}

// translates is the chain of NAT that gives a packet another source for sure; nil: there is none.
func (f *packetFilter) translates(p Passage) *nftables.Chain {
	r := filterReader{packetFilter: f, header: p.header(), passage: p}
	for _, ch := range f.nat {
		if !p.concerns(ch.Table.Family) {
			continue
		}
		r.doubt = false
		switch kind := r.run(ch, 0); {
		case kind == translated && !r.doubt:
			return ch
		case kind != fellThrough: // accepted, and no other chain of NAT is asked
			return nil
		}
	}
	return nil
}

func chainText(ch *nftables.Chain) string {
	return "table " + familyName(ch.Table.Family) + " " + ch.Table.Name + ", chain " + ch.Name
}

// natAround is the command that keeps packets into a tunnel out of NAT.
func natAround(ch *nftables.Chain, device string) string {
	devices, wild := device, device
	if strings.HasPrefix(device, Alias) {
		devices, wild = Alias+"*", Alias+"+"
	}
	if ch.Table.Name == "nat" && ch.Name == "POSTROUTING" {
		return program(ch.Table.Family) + " -t nat -I POSTROUTING -o " + wild + " -j ACCEPT"
	}
	return fmt.Sprintf(`nft insert rule %s %s %s oifname "%s" accept`, familyName(ch.Table.Family), ch.Table.Name, ch.Name, devices)
}

func program(f nftables.TableFamily) string {
	if f == nftables.TableFamilyIPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// maxFlows is how many flows of connection tracking are looked through.
const maxFlows = 20_000

// flow is a flow of connection tracking: the addresses of its first packet.
type flow struct{ from, to netip.Addr }

// oldFlows counts the flows into the tunnel's networks whose source was changed, as by masquerading before the tunnel was
// up: connection tracking goes on with that while they last.
func (x *Examination) oldFlows(p Passage) (n int) {
	if !p.Sources.IsValid() || !p.Targets.IsValid() {
		return 0
	}
	family := familyOf(p)
	flows, read := x.flows[family]
	if !read {
		flows = x.h.translated(family)
		x.flows[family] = flows
	}
	for _, f := range flows {
		if p.covers(f.from, f.to) {
			n++
		}
	}
	return n
}

func familyOf(p Passage) int {
	if p.From.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// translated are the flows that have another source than their first packet.
func (h *Host) translated(family int) (out []flow) {
	count, err := strconv.Atoi(sysctl("net/netfilter/nf_conntrack_count"))
	if err != nil || count == 0 || count > maxFlows {
		return nil
	}
	flows, err := h.nl.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(family))
	if err != nil {
		return nil
	}
	for _, f := range flows {
		if !f.Reverse.DstIP.Equal(f.Forward.SrcIP) {
			out = append(out, flow{addrOf(f.Forward.SrcIP), addrOf(f.Forward.DstIP)})
		}
	}
	return out
}

// foreignPolicy is an IPsec policy of the kernel, which another IKE daemon has made, that takes the packet on its way
// out; empty: there is none.
func (x *Examination) foreignPolicy(p Passage) string {
	family := familyOf(p)
	policies, read := x.policies[family]
	if !read {
		if xfrmInUse() {
			policies, _ = x.h.nl.XfrmPolicyList(family)
		}
		x.policies[family] = policies
	}
	for _, y := range policies {
		has := func(n *net.IPNet, a netip.Addr) bool { return n == nil || n.Contains(a.AsSlice()) }
		if y.Dir == netlink.XFRM_DIR_OUT && y.Ifid == 0 && y.Mark == nil && has(y.Src, p.From.Addr()) && has(y.Dst, p.To.Addr()) {
			return fmt.Sprintf("src %v dst %v", y.Src, y.Dst)
		}
	}
	return ""
}

// xfrmInUse reports whether the kernel's module for IPsec policies is there: to ask it would load it.
func xfrmInUse() bool {
	b, _ := os.ReadFile("/proc/thread-self/net/netlink")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == strconv.Itoa(unix.NETLINK_XFRM) {
			return true
		}
	}
	return false
}

// remedy is the command that lets a passage through a chain that drops it, in the words of the program that has made the chain.
func (f *packetFilter) remedy(p Passage, ch *nftables.Chain) string {
	device := p.Out + p.In
	switch {
	case ch.Table.Name == "firewalld" && p.Hook == HookForward:
		return "firewall-cmd --permanent --zone=trusted --add-interface=" + device + "; firewall-cmd --reload"
	case ch.Table.Name == "firewalld":
		return "firewall-cmd --permanent --add-service=ipsec; firewall-cmd --reload"
	case f.isUFW(ch) && p.Hook == HookForward:
		return "ufw route allow in on " + device + "; ufw route allow out on " + device
	case f.isUFW(ch):
		way, peer := "in", "from "+p.From.Addr().String()
		if p.Hook == HookOutput {
			way, peer = "out", "to "+p.To.Addr().String()
		}
		if p.Proto == unix.IPPROTO_ESP {
			return fmt.Sprintf("ufw allow %s proto esp %s", way, peer)
		}
		if way == "in" {
			return fmt.Sprintf("ufw allow in proto udp %s to any port 500,4500", peer)
		}
		return fmt.Sprintf("ufw allow out proto udp %s port 500,4500", peer)
	}
	return accept(p, ch)
}

// accept is the command that lets a passage through a chain of nobody in particular.
func accept(p Passage, ch *nftables.Chain) string {
	family := map[nftables.TableFamily]uint8{nftables.TableFamilyINet: unix.NFPROTO_INET, nftables.TableFamilyIPv4: unix.NFPROTO_IPV4, nftables.TableFamilyIPv6: unix.NFPROTO_IPV6}[ch.Table.Family]
	proto := map[uint8]string{unix.IPPROTO_UDP: "udp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_ESP: "esp"}[p.Proto]
	switch {
	case p.Hook == HookForward:
		return letThrough(family, ch.Table.Name, ch.Name)
	case proto == "":
		return ""
	}
	short, side, peer := "-s", "saddr", p.From.Addr()
	if p.Hook == HookOutput {
		short, side, peer = "-d", "daddr", p.To.Addr()
	}
	if ch.Table.Name == "filter" && (ch.Name == "INPUT" || ch.Name == "OUTPUT") {
		ports := ""
		if port := p.To.Port(); port != 0 {
			ports = fmt.Sprintf(" --dport %d", port)
		}
		return fmt.Sprintf("%s -I %s -p %s %s %v%s -j ACCEPT", program(ch.Table.Family), ch.Name, proto, short, peer, ports)
	}
	ip, match := "ip", "meta l4proto esp"
	if peer.Is6() {
		ip = "ip6"
	}
	if port := p.To.Port(); port != 0 {
		match = fmt.Sprintf("%s dport %d", proto, port)
	}
	return fmt.Sprintf("nft insert rule %s %s %s %s %s %v %s accept", familyName(ch.Table.Family), ch.Table.Name, ch.Name, ip, side, peer, match)
}

// isUFW reports whether ufw has made the rules of a chain.
func (f *packetFilter) isUFW(ch *nftables.Chain) bool {
	for _, c := range f.chains {
		if c.Table.Name == ch.Table.Name && c.Table.Family == ch.Table.Family && (strings.HasPrefix(c.Name, "ufw-") || strings.HasPrefix(c.Name, "ufw6-")) {
			return true
		}
	}
	return false
}
