package host

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
)

// What of this host is in the way of packets into a tunnel is found, with the command that helps.
func TestObstaclesAreFound(t *testing.T) {
	s, h := world(t)
	for _, args := range []string{
		"link add lan0 type veth peer name lan1", "link add vpngw9 type veth peer name vpngw8", "link set lan0 up", "link set lan1 up",
		"link set vpngw9 up", "link set vpngw8 up", "addr add 192.168.3.1/24 dev lan0", "addr add fd01::1/64 dev lan0 nodad",
	} {
		s.ip(strings.Fields(args)...)
	}
	set := func(knob, value string) {
		t.Helper()
		s.must(os.WriteFile("/proc/sys/net/"+knob, []byte(value), 0o644))
	}
	for _, dev := range []string{"lan0", "vpngw9"} {
		set("ipv4/conf/"+dev+"/rp_filter", "0")
	}
	set("ipv4/conf/all/rp_filter", "0")
	set("ipv4/conf/eth0/rp_filter", "0")
	set("ipv4/conf/eth1/rp_filter", "0")
	set("ipv4/ip_forward", "1")
	set("ipv6/conf/all/forwarding", "1")
	v4 := Passage{
		Hook: HookForward, From: netip.MustParseAddrPort("192.168.3.1:0"), To: netip.MustParseAddrPort("10.10.0.1:0"), Proto: 1, Out: "vpngw9",
		Sources: netip.MustParsePrefix("192.168.3.0/24"), Targets: netip.MustParsePrefix("10.10.0.0/16"),
	}
	v6 := Passage{Hook: HookForward, From: netip.MustParseAddrPort("[fd01::7]:0"), To: netip.MustParseAddrPort("[fd02::1]:0"), Proto: 58, Out: "vpngw9"}
	nat := func(rules string) string {
		return "table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; policy accept; " + rules + "\n}\n}"
	}
	flow := func(as string) []string {
		return strings.Fields("-I -s 192.168.3.77 -d 10.10.5.5 -p udp --sport 5000 --dport 53 --src-nat " + as + " -t 100")
	}
	for _, c := range []struct {
		name     string
		spoil    func()
		undo     func()
		p        Passage
		code     diag.Code
		says     string
		sayAgain string
	}{
		{"a good host", func() {}, func() {}, v4, "", "", ""},
		{"a good host with IPv6", func() {}, func() {}, v6, "", "", ""},
		{"no forwarding from the LAN", func() { set("ipv4/conf/lan0/forwarding", "0") }, func() { set("ipv4/conf/lan0/forwarding", "1") }, v4, diag.ForwardOff, "by lan0", "sysctl -w net/ipv4/conf/lan0/forwarding=1"},
		{"no forwarding from the tunnel", func() { set("ipv4/conf/vpngw9/forwarding", "0") }, func() { set("ipv4/conf/vpngw9/forwarding", "1") }, v4, diag.ForwardOff, "by vpngw9", "sysctl"},
		{"no forwarding at all", func() { set("ipv4/ip_forward", "0") }, func() { set("ipv4/ip_forward", "1") }, v4, diag.IPForward, "ip_forward is 0", "sysctl"},
		{"no forwarding of IPv6", func() { set("ipv6/conf/all/forwarding", "0") }, func() { set("ipv6/conf/all/forwarding", "1") }, v6, diag.ForwardOff, "every device", "sysctl -w net/ipv6/conf/all/forwarding=1"},
		{"IPv6 is off in the tunnel", func() { set("ipv6/conf/vpngw9/disable_ipv6", "1") }, func() { set("ipv6/conf/vpngw9/disable_ipv6", "0") }, v6, diag.IPv6Off, "vpngw9", "sysctl -w net/ipv6/conf/vpngw9/disable_ipv6=0"},
		{"masquerading of everything", func() { s.exec("nft", nat("ip saddr 192.168.3.0/24 masquerade")) }, func() { s.exec("nft", "flush ruleset") }, v4, diag.SNAT, "table ip nat, chain POSTROUTING", "iptables -t nat -I POSTROUTING -o vpngw+ -j ACCEPT"},
		{"SNAT of everything", func() { s.exec("nft", strings.ReplaceAll(nat("snat to 203.0.113.9"), "POSTROUTING", "out")) }, func() { s.exec("nft", "flush ruleset") }, v4, diag.SNAT, "chain out", `nft insert rule ip nat out oifname "vpngw*" accept`},
		{"masquerading towards the internet", func() { s.exec("nft", nat(`oifname "eth0" masquerade`)) }, func() { s.exec("nft", "flush ruleset") }, v4, "", "", ""},
		{"masquerading, but not of the tunnel", func() { s.exec("nft", nat("oifname \"vpngw*\" accept\nmasquerade")) }, func() { s.exec("nft", "flush ruleset") }, v4, "", "", ""},
		{"a flow from before the tunnel", func() { s.exec("conntrack", flow("192.0.2.1")...) }, func() { s.exec("conntrack", "-F") }, v4, diag.OldFlows, "1 flows", "conntrack -D -s 192.168.3.0/24 -d 10.10.0.0/16"},
		{"a flow that keeps its source", func() { s.exec("conntrack", flow("192.168.3.77")...) }, func() { s.exec("conntrack", "-F") }, v4, "", "", ""},
		{"another IKE daemon's policy", func() {
			s.ip(strings.Fields("xfrm policy add src 192.168.3.0/24 dst 10.0.0.0/8 dir out tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel")...)
		}, func() { s.ip(strings.Fields("xfrm policy flush")...) }, v4, diag.ForeignPolicy, "192.168.3.0/24", "ip xfrm policy flush"},
		{"another IKE daemon's policy for others", func() {
			s.ip(strings.Fields("xfrm policy add src 192.168.4.0/24 dst 10.0.0.0/8 dir out tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel")...)
		}, func() { s.ip(strings.Fields("xfrm policy flush")...) }, v4, "", "", ""},
		{"a chain that drops what is forwarded", func() {
			s.exec("nft", "table inet fw { chain passing { type filter hook forward priority 0; policy drop;\n}\n}")
		}, func() { s.exec("nft", "flush ruleset") }, v4, diag.ForwardDrop, "fw passing", "nft insert rule inet fw passing"},
	} {
		c.spoil()
		got := slices.DeleteFunc(h.Examine(time.Now(), netip.MustParseAddr("198.51.100.1"), "vpngw9", func(string, netip.Addr) []Passage { return []Passage{c.p} }).Findings, func(f Finding) bool {
			return f.Cause.Is(diag.FilterUnread)
		})
		if c.code == "" && len(got) > 0 || c.code != "" && (len(got) != 1 || !got[0].Cause.Is(c.code) || !strings.Contains(got[0].String(), c.says) || !strings.Contains(got[0].String(), c.sayAgain)) {
			t.Errorf("%s: got %v", c.name, got)
		}
		c.undo()
	}
}

// The command is in the words of the program that has made the rules, and works.
func TestTheCommandLetsThrough(t *testing.T) {
	s, h := world(t)
	peer, us := netip.MustParseAddrPort("198.51.100.1:500"), netip.MustParseAddrPort("192.0.2.1:500")
	in := Passage{Hook: HookInput, From: peer, To: us, Proto: 17, In: "eth0"}
	out := Passage{Hook: HookOutput, From: us, To: peer, Proto: 17, Out: "eth0"}
	esp := Passage{Hook: HookInput, From: netip.AddrPortFrom(peer.Addr(), 0), To: netip.AddrPortFrom(us.Addr(), 0), Proto: 50, In: "eth0"}
	forward := Passage{Hook: HookForward, From: netip.MustParseAddrPort("192.168.3.1:0"), To: netip.MustParseAddrPort("10.10.0.1:0"), Proto: 1, Out: "vpngw0"}
	chain := func(table, chain, hook string) string {
		return "table " + table + " { chain " + chain + " { type filter hook " + hook + " priority 0; policy drop;\n}\n}"
	}
	for _, c := range []struct {
		rules string
		p     Passage
		want  string // of a program that is not here; empty: the command is run
	}{
		{chain("inet fw", "c", "input"), in, ""},
		{chain("inet fw", "c", "input"), esp, ""},
		{chain("ip fw", "c", "output"), out, ""},
		{chain("ip fw", "c", "forward"), forward, ""},
		{chain("ip filter", "INPUT", "input"), in, ""},
		{chain("ip filter", "INPUT", "input"), esp, ""},
		{chain("ip filter", "OUTPUT", "output"), out, ""},
		{chain("ip filter", "FORWARD", "forward"), forward, ""},
		{chain("inet firewalld", "filter_INPUT", "input"), in, "firewall-cmd --permanent --add-service=ipsec; firewall-cmd --reload"},
		{chain("inet firewalld", "filter_FORWARD", "forward"), forward, "firewall-cmd --permanent --zone=trusted --add-interface=vpngw0; firewall-cmd --reload"},
		{"table ip filter { chain ufw-before-input {\n}\n}\n" + chain("ip filter", "INPUT", "input"), in, "ufw allow in proto udp from 198.51.100.1 to any port 500,4500"},
		{"table ip filter { chain ufw-before-input {\n}\n}\n" + chain("ip filter", "INPUT", "input"), esp, "ufw allow in proto esp from 198.51.100.1"},
		{"table ip filter { chain ufw-before-input {\n}\n}\n" + chain("ip filter", "FORWARD", "forward"), forward, "ufw route allow in on vpngw0; ufw route allow out on vpngw0"},
	} {
		filtered := func() []Filtered {
			return h.Examine(time.Now(), peer.Addr(), "none", func(string, netip.Addr) []Passage { return []Passage{c.p} }).Filtered
		}
		s.exec("nft", c.rules)
		got := filtered()
		switch {
		case len(got) != 1 || !got[0].Sure:
			t.Errorf("%s: got %+v", c.rules, got)
		case c.want != "" && got[0].Do != c.want:
			t.Errorf("%s: got %q, want %q", c.rules, got[0].Do, c.want)
		case c.want == "":
			s.exec("sh", "-c", got[0].Do)
			if left := filtered(); len(left) > 0 && left[0].Sure {
				t.Errorf("%s: after %q it still drops: %+v", c.rules, got[0].Do, left)
			}
		}
		s.exec("nft", "flush ruleset")
	}
}
