package load

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/diag"
)

// bgpBody is a body of each cloud that asks for BGP, of one tunnel or, with dual, of two, with some parameters changed.
func bgpBody(t *testing.T, name, in string, with map[string]any) map[string]any {
	switch name {
	case "alibaba":
		return rowsFiles(t)["alibaba"].body(t, in, with)
	case "huawei":
		body := changed(t, huaweiBody(), bgpStyle)
		return changed(t, body, with)
	}
	return changed(t, changed(t, tencentBody(), withBGP), with)
}

func bgpFile(t *testing.T, name, in string, with map[string]any, beside string) string {
	t.Helper()
	body := bgpBody(t, name, in, with)
	if name == "alibaba" {
		return string(rowsFiles(t)["alibaba"].file(t, name, body, beside))
	}
	return string(cloudFile(t, name, body, beside))
}

// What a session of each cloud's body is, at both ends: who connects, what is announced, and the limits of the cloud.
func TestSessionsOfTheClouds(t *testing.T) {
	route := map[string]any{"Route": map[string]any{"DestinationCidrBlock": "192.168.9.0/24"}}
	peers := map[string]any{"peer_subnets": []string{"192.168.44.0/24", "192.168.45.0/24"}}
	networks := map[string]any{"LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24"}
	for _, tt := range []struct {
		dialect  string
		with     map[string]any
		side     string
		announce string
		in, out  int
		never    string
		asns     string
	}{
		{"alibaba", nil, "customer", "[]", 1000, 50, "[] [0.0.0.0/0 100.64.0.0/10]", "65001 45104"},
		{"alibaba", nil, "cloud", "[]", 50, 0, "[0.0.0.0/0 100.64.0.0/10] []", "45104 65001"},
		{"alibaba", networks, "customer", "[192.168.3.0/24]", 1000, 50, "[] [0.0.0.0/0 100.64.0.0/10]", "65001 45104"},
		{"alibaba", networks, "cloud", "[10.10.0.0/16]", 50, 0, "[0.0.0.0/0 100.64.0.0/10] []", "45104 65001"},
		{"alibaba", map[string]any{"BgpConfig.LocalAsn": "123.456"}, "customer", "[]", 1000, 50, "[] [0.0.0.0/0 100.64.0.0/10]", "65001 8061384"}, // the page's example
		{"huawei", peers, "customer", "[192.168.44.0/24 192.168.45.0/24]", 1000, 100, "[] []", "65010 64512"},
		{"huawei", peers, "cloud", "[]", 100, 0, "[] []", "64512 65010"},
		{"huawei", map[string]any{"peer_subnets": []string{}, "style": "BGP"}, "customer", "[]", 1000, 100, "[] []", "65010 64512"},
		{"tencent", nil, "customer", "[]", 1000, 0, "[] []", "65010 64551"},
		{"tencent", route, "customer", "[192.168.9.0/24]", 1000, 0, "[] []", "65010 64551"},
		{"tencent", route, "cloud", "[]", 1000, 0, "[] []", "64551 65010"},
		{"tencent", map[string]any{"BgpConfig.LocalBgpAsn": "1.5", "BgpConfig.RemoteBgpAsn": 65020}, "cloud", "[]", 1000, 0, "[] []", "65541 65020"},
	} {
		name := fmt.Sprint(tt.dialect, " ", tt.with, " ", tt.side)
		c, ps := served(nil, bgpFile(t, tt.dialect, "bgp", tt.with, "side: "+tt.side))
		if c == nil {
			t.Errorf("%s: got\n%s", name, lines(ps))
			continue
		}
		tun := c.Connections[0].Tunnels[0]
		b := tun.BGP
		if b == nil {
			t.Errorf("%s: there is no session", name)
			continue
		}
		if got := fmt.Sprint(b.Announce); got != tt.announce || b.Passive != (tt.side == "cloud") || b.MaxPrefixes != tt.in || b.MaxTell != tt.out || fmt.Sprint(b.Never, " ", b.NeverTell) != tt.never {
			t.Errorf("%s: got %+v", name, b)
		}
		if got := fmt.Sprint(tun.Local.ASN, " ", tun.Remote.ASN); got != tt.asns {
			t.Errorf("%s: AS numbers %s, want %s", name, got, tt.asns)
		}
		if warned := strings.Contains(lines(ps), "BGP announces nothing"); warned != (tt.announce == "[]") {
			t.Errorf("%s: got\n%s", name, lines(ps))
		}
	}
}

// Of two tunnels the standby is the peer's second choice, and standby: says how.
func TestTheRankOfTwoTunnels(t *testing.T) {
	for _, tt := range []struct {
		beside          string
		active, standby string // MED and prepending
	}{
		{"{}", "0 0", "100 1"},
		{"{med: 5, prepend: 2}", "5 2", "100 1"},
		{"{standby: {med: 7}}", "0 0", "7 1"},
		{"{standby: {med: 0, prepend: 0}}", "0 0", "0 0"},
		{"{med: 5, standby: {prepend: 3}}", "5 0", "100 3"},
	} {
		tuns := parse(t, bgpFile(t, "alibaba", "dual-bgp", nil, "bgp: "+tt.beside), nil).Connections[0].Tunnels
		for i, want := range []string{tt.active, tt.standby} {
			if got := fmt.Sprint(tuns[i].BGP.MED, " ", tuns[i].BGP.Prepend); got != want {
				t.Errorf("%s, tunnel %d: got %s, want %s", tt.beside, i+1, got, want)
			}
		}
	}
	pair := func(beside string) string {
		one := strings.SplitAfter(bgpLab(inside4, "pair: two"), "connections:\n")
		two := strings.NewReplacer("169.254.11.", "169.254.12.", "198.51.100.9", "198.51.100.10").Replace(strings.SplitAfter(bgpLab(inside4, "pair: two\nbgp: "+beside), "connections:\n")[1])
		return one[0] + one[1] + "    bgp: {med: 3}\n" + two
	}
	for beside, want := range map[string]string{"{}": "100 1", "{med: 9}": "9 1", "{med: 9, standby: {med: 8}}": "8 1", "{standby: {prepend: 0}}": "100 0"} {
		c := parse(t, pair(beside), nil).Connections
		a, s := c[0].Tunnels[0], c[1].Tunnels[0]
		if got := fmt.Sprint(s.BGP.MED, " ", s.BGP.Prepend); got != want || s.Role != config.Standby || a.BGP.MED != 3 || a.BGP.Prepend != 0 {
			t.Errorf("%s: got %s, want %s; the active one has %d %d", beside, got, want, a.BGP.MED, a.BGP.Prepend)
		}
	}
}

func TestKeysOfTwoTunnels(t *testing.T) {
	first := "TunnelOptionsSpecification.0.TunnelBgpConfig.AuthKey"
	read := files{"one": "of-one", "two": "of-two"}.read
	for _, tt := range []struct {
		with   map[string]any
		beside string
		want   string // empty: refused
	}{
		{nil, "{}", " "},
		{nil, "{key: abc}", "abc abc"},
		{nil, "{key: [abc, def]}", "abc def"},
		{nil, "{key_file: one}", "of-one of-one"},
		{nil, "{key_file: [one, two]}", "of-one of-two"},
		{map[string]any{first: "of-the-body"}, "{}", "of-the-body "},
		{map[string]any{first: "of-the-body"}, "{key: abc}", ""},
		{nil, "{key: [abc]}", ""},
		{nil, "{key_file: [one]}", ""},
	} {
		c, ps := served(read, bgpFile(t, "alibaba", "dual-bgp", tt.with, "bgp: "+tt.beside))
		switch {
		case c == nil && tt.want == "":
		case c == nil:
			t.Errorf("%v, %s: got\n%s", tt.with, tt.beside, lines(ps))
		default:
			tuns := c.Connections[0].Tunnels
			if got := string(tuns[0].BGP.AuthKey) + " " + string(tuns[1].BGP.AuthKey); got != tt.want {
				t.Errorf("%v, %s: got %q, want %q", tt.with, tt.beside, got, tt.want)
			}
		}
	}
}

// What only the body can ask for is said with what to write into it; bgp: no turns off what it asks for.
func TestTheBodyAsksForBGP(t *testing.T) {
	for name, want := range map[string]string{"alibaba": "BgpConfig: {EnableBgp: true", "huawei": "style: bgp", "tencent": "RouteType: Bgp"} {
		off := map[string]map[string]any{
			"alibaba": {"BgpConfig.EnableBgp": "false"}, "huawei": {"style": "static"}, "tencent": {"RouteType": "StaticRoute", "BgpConfig": nil},
		}[name]
		for _, beside := range []string{"bgp: yes", "bgp: {hold: 9s}"} {
			c, ps := served(nil, bgpFile(t, name, "bgp", off, beside))
			if c != nil || !strings.Contains(lines(ps), "the cloud's end has none: write into the body "+want) {
				t.Errorf("%s: got\n%s", name, lines(ps))
			}
		}
		c, ps := served(nil, bgpFile(t, name, "bgp", nil, "bgp: no"))
		if c == nil {
			t.Errorf("%s: got\n%s", name, lines(ps))
			continue
		}
		tun := c.Connections[0].Tunnels[0]
		if tun.BGP != nil || !tun.Inside.IsValid() || c.Connections[0].Routing != config.RouteDestination || !strings.Contains(strings.Join(c.Drafts[0].Notes, "\n"), "vpngw speaks none") {
			t.Errorf("%s: got %+v, notes %q", name, tun, c.Drafts[0].Notes)
		}
		if !ps.Refused() || !strings.Contains(lines(ps), "write beside the body routes: [") {
			t.Errorf("%s: without BGP and routes run takes it:\n%s", name, lines(ps))
		}
	}
}

// What a cloud refuses is not announced to it.
func TestWhatACloudRefuses(t *testing.T) {
	for _, prefix := range []string{"0.0.0.0/0", "100.64.0.0/10", "100.64.3.0/24", "100.0.0.0/8", "64.0.0.0/2"} {
		said(t, bgpFile(t, "alibaba", "bgp", nil, "bgp: {announce: ["+prefix+"]}"), diag.Error, prefix+" is refused at the other end")
	}
	parse(t, bgpFile(t, "alibaba", "bgp", nil, "bgp: {announce: [100.128.0.0/9, 192.168.0.0/16]}"), nil)
	parse(t, bgpFile(t, "alibaba", "bgp", nil, "bgp: {announce: [0.0.0.0/0], never_announce: []}"), nil)

	var many []string
	for i := range 51 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16).String())
	}
	list := func(n int) string { return "bgp: {announce: [" + strings.Join(many[:n], ", ") + "]}" }
	said(t, bgpFile(t, "alibaba", "bgp", nil, list(51)), diag.Warning, "51 networks; the other end takes 50")
	if _, ps := served(nil, bgpFile(t, "alibaba", "bgp", nil, list(50))); strings.Contains(lines(ps), "the other end takes") {
		t.Errorf("50 are too many:\n%s", lines(ps))
	}
}

// Each cloud's word about AS numbers that are equal, that it has itself, or that answers tell.
func TestASNumbersOfTheClouds(t *testing.T) {
	for _, tt := range []struct {
		dialect string
		with    map[string]any
		s       diag.Severity
		want    string
	}{
		{"alibaba", map[string]any{"BgpConfig.LocalAsn": 65001}, diag.Warning, "so the session is iBGP"},
		{"alibaba", map[string]any{"BgpConfig.PeerAsn": 65009}, diag.Warning, "customer_gateways has asn: 65001 for this customer gateway"},
		{"alibaba", map[string]any{"BgpConfig.LocalAsn": 23456}, diag.Warning, "the AS number 23456 is reserved"},
		{"tencent", map[string]any{"BgpConfig.RemoteBgpAsn": 64551}, diag.Error, "VpnUnsupportedBgpAsnEqual"},
		{"tencent", map[string]any{"BgpConfig.RemoteBgpAsn": 45090}, diag.Warning, "the customer gateway has the AS number 45090"},
		{"tencent", map[string]any{"BgpConfig.LocalBgpAsn": 139341}, diag.Warning, "the VPN gateway has the AS number 139341"},
	} {
		said(t, bgpFile(t, tt.dialect, "bgp", tt.with, ""), tt.s, tt.want)
	}
	text := strings.Replace(bgpFile(t, "huawei", "bgp", nil, ""), "asn: 65010", "asn: 64512", 1)
	said(t, text, diag.Warning, "the customer gateway has the AS number of the VPN gateway, 64512")
}
