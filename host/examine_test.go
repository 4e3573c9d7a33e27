package host

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// What the packet filter of this host does with packets of a tunnel is read from its rules.
func TestExamineReadsThePacketFilter(t *testing.T) {
	s, h := world(t)
	peer, us := netip.MustParseAddrPort("198.51.100.1:500"), netip.MustParseAddrPort("192.0.2.1:500")
	in := Passage{Hook: HookInput, From: peer, To: us, Proto: 17, In: "eth0"}
	answer := in
	answer.Answer = true
	out := Passage{Hook: HookOutput, From: us, To: peer, Proto: 17, Out: "eth0"}
	esp := Passage{Hook: HookInput, From: netip.AddrPortFrom(peer.Addr(), 0), To: netip.AddrPortFrom(us.Addr(), 0), Proto: 50, In: "eth0"}
	forward := Passage{Hook: HookForward, From: netip.MustParseAddrPort("192.168.3.1:0"), To: netip.MustParseAddrPort("10.10.0.1:0"), Proto: 1, Out: "vpngw0"}
	v6 := Passage{Hook: HookInput, From: netip.MustParseAddrPort("[2001:db8::9]:500"), To: netip.MustParseAddrPort("[2001:db8::1]:500"), Proto: 17, In: "eth0"}
	bgp := Passage{Hook: HookInput, From: netip.MustParseAddrPort("169.254.11.1:179"), To: netip.MustParseAddrPort("169.254.11.2:179"), Proto: 6, In: "vpngw0"}
	chain := func(hook, policy, rules string) string {
		return "table inet x { chain c { type filter hook " + hook + " priority 0; policy " + policy + "; " + rules + "\n}\n}"
	}
	for _, c := range []struct {
		name, rules string
		p           Passage
		want        passageVerdict
	}{
		{"no rules", "", in, passes},
		{"a counter", chain("input", "accept", "counter"), in, passes},
		{"a policy", chain("input", "drop", ""), in, drops},
		{"a policy elsewhere", chain("output", "drop", ""), in, passes},
		{"by port", chain("input", "accept", "udp dport 500 drop"), in, drops},
		{"by another port", chain("input", "accept", "udp dport 4500 drop"), in, passes},
		{"by ports", chain("input", "accept", "udp dport { 500, 4500 } drop"), in, drops},
		{"by a range of ports", chain("input", "accept", "udp dport 400-600 drop"), in, drops},
		{"by ranges of ports", chain("input", "accept", "udp dport { 100-200, 400-600 } drop"), in, drops},
		{"between ranges of ports", chain("input", "accept", "udp dport { 100-200, 501-600 } drop"), in, passes},
		{"by address", chain("input", "accept", "ip saddr 198.51.100.0/24 reject"), in, drops},
		{"by another address", chain("input", "accept", "ip saddr 198.51.101.0/24 reject"), in, passes},
		{"by device", chain("input", "accept", `iifname "eth*" drop`), in, drops},
		{"by another device", chain("input", "accept", `iifname "wan" drop`), in, passes},
		{"ESP", chain("input", "accept", "meta l4proto esp drop"), esp, drops},
		{"not ESP", chain("input", "accept", "meta l4proto != esp drop"), esp, passes},
		{"only answers, and it begins", chain("input", "drop", "ct state established,related accept"), in, drops},
		{"only answers", chain("input", "drop", "ct state established,related accept"), answer, passes},
		{"a jump", "table inet x { chain d { udp dport 500 drop; } chain c { type filter hook input priority 0; jump d; } }", in, drops},
		{"a return", "table inet x { chain d { return; } chain c { type filter hook input priority 0; policy drop; jump d; accept; } }", in, passes},
		{"a map of verdicts", chain("input", "drop", "udp dport vmap { 500 : drop, 4500 : accept }"), in, unclear},
		{"the later of two tables", "table ip a { chain c { type filter hook input priority -10; accept; } } table ip b { chain c { type filter hook input priority 10; drop; } }", in, drops},
		{"a table of IPv6", "table ip6 x { chain c { type filter hook input priority 0; drop; } }", in, passes},
		{"a table of IPv6, and IPv6", "table ip6 x { chain c { type filter hook input priority 0; udp sport 500 drop; } }", v6, drops},
		{"prerouting", chain("prerouting", "accept", "udp sport 500 drop"), in, drops},
		{"output", chain("output", "accept", "ip daddr 198.51.100.1 drop"), out, drops},
		{"output by mark", chain("output", "drop", "meta mark 0x76706e67 accept"), out, passes},
		{"forward", chain("forward", "drop", ""), forward, drops},
		{"forward of the tunnel", chain("forward", "drop", `oifname "vpngw*" accept`), forward, passes},
		{"forward by a device that is not known", chain("forward", "drop", `iifname "lan" accept`), forward, unclear},
		{"what cannot be read lets through", chain("input", "drop", "ip ttl 255 meta skuid 0 accept"), in, unclear},
		{"TCP by port", chain("input", "drop", "tcp dport 179 accept"), bgp, passes},
		{"TCP by another port", chain("input", "drop", "tcp dport 22 accept"), bgp, drops},
		{"UDP, and it is TCP", chain("input", "accept", "udp dport 179 drop"), bgp, passes},
		{"what cannot be read drops", chain("input", "accept", "meta skuid 0 drop"), in, passes},
		{"some of the packets", chain("input", "accept", "numgen random mod 10 < 3 drop"), in, passes},
	} {
		if c.rules != "" {
			rules := c.rules
			for _, end := range []string{"; }", "} }", "} chain", "} table"} {
				rules = strings.ReplaceAll(rules, end, strings.Replace(end, " ", "\n", 1))
			}
			s.exec("nft", rules)
		}
		x := h.Examine(time.Now(), peer.Addr(), "none", func(device string, source netip.Addr) []Passage {
			if device != "eth0" || source != us.Addr() {
				t.Errorf("%s: the route is by %s from %v", c.name, device, source)
			}
			return []Passage{c.p}
		})
		got := passes
		if len(x.Filtered) > 0 {
			got = map[bool]passageVerdict{true: drops, false: unclear}[x.Filtered[0].Sure]
		}
		if got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
		s.exec("nft", "flush ruleset")
	}

	// Rules and sets are read once for all passages, and each is judged by itself.
	s.exec("nft", chain("input", "accept", "ip saddr 198.51.100.1 meta skuid 0 accept\nudp dport { 500, 600 } drop"))
	natt := Passage{Hook: HookInput, From: peer, To: netip.MustParseAddrPort("192.0.2.1:4500"), Proto: 17, In: "eth0"}
	got := h.Examine(time.Now(), peer.Addr(), "none", func(string, netip.Addr) []Passage { return []Passage{in, natt, v6, out, in} }).Filtered
	if len(got) != 3 || got[0].Passage != in || got[0].Sure || got[1].Passage != v6 || !got[1].Sure || got[2] != got[0] {
		t.Errorf("got %+v", got)
	}
}

func TestExamineLooksAtTheHost(t *testing.T) {
	s, h := world(t, "vpngw0")
	peer := netip.MustParseAddr("198.51.100.1")
	none := func(string, netip.Addr) []Passage { return nil }
	x := h.Examine(time.Now(), peer, "vpngw0", none)
	if x.NoRoute != nil || x.Device != "eth0" || x.Source.String() != "192.0.2.1" || x.MTU != 1400 || len(x.Addresses) != 2 || len(x.Others) != 0 {
		t.Errorf("got %+v", x)
	}
	// A port of this process is not another program's.
	c, err := net.ListenPacket("udp", "127.0.0.1:4500")
	s.must(err)
	defer c.Close()
	s.ip("route", "del", "default", "via", "192.0.2.254")
	if x := h.Examine(time.Now(), peer, "", none); x.NoRoute == nil || x.Device != "" || x.Source.IsValid() || len(x.Others) != 0 {
		t.Errorf("without a route: %+v", x)
	}
}
