package export

import (
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/load"
)

// bgpConnection is a native connection with BGP and a key, and settings beside it.
func bgpConnection(t *testing.T, beside string) *config.Connection {
	t.Helper()
	return one(loaded(t, `{version: 1, connections: [{name: hq.a, native: {psk: 7p5!rKQw-2vN8zXd4, inside: {local: 169.254.11.2/30, remote: 169.254.11.1},
		local: {address: 203.0.113.9, subnets: [0.0.0.0/0], asn: 65010}, remote: {address: 198.51.100.1, subnets: [0.0.0.0/0], asn: 4200000001},
		ike: {proposals: [aes128-sha1-modp1024]}, esp: {proposals: [aes128-sha1-noesn]}}, bgp: {key: a-key.of-BGP`+beside+`}}]}`))
}

// In each format: what is said of a session for this end, and for the other; the key only with --reveal.
func TestASessionInEachFormat(t *testing.T) {
	const settings = ", hold: 9s, ttl_security: yes, bfd: {interval: 300ms}, announce: [192.168.3.0/24], med: 7, prepend: 2, communities: [65000:100], max_prefixes: 60"
	const shared = "hold: 9s, keepalive: 3s"
	for _, tt := range []struct {
		format string
		side   config.Side
		reveal bool
		want   []string
		not    []string
	}{
		{"native", config.Customer, true, []string{shared, "bgp: {key: a-key.of-BGP}", "ttl_security: true", "bfd: {interval: 300ms, multiplier: 3}", "announce: [192.168.3.0/24]", "med: 7", "prepend: 2", `communities: ["65000:100"]`, "max_prefixes: 60"}, []string{"passive", "never", "max_announced"}},
		{"native", config.Customer, false, []string{"key_file: hq.a.bgp-key"}, []string{"a-key.of-BGP"}},
		{"native", config.Cloud, true, []string{shared, "bgp: {key: a-key.of-BGP}", "ttl_security: true", "bfd: {interval: 300ms, multiplier: 3}", "max_announced: 60"}, []string{"192.168.3.0/24", "med:", "prepend", "communities", "max_prefixes"}},
		{"alibaba", config.Cloud, true, []string{shared, "AuthKey: a-key.of-BGP", "EnableBgp: true", "LocalAsn: 4200000001", "never: []", "max_announced: 60"}, []string{", key:"}},
		{"alibaba", config.Customer, false, []string{"key_file: hq.a.bgp-key", "never_announce: []", "max_announced: 0"}, []string{"a-key.of-BGP", "AuthKey"}},
		{"huawei", config.Customer, true, []string{"style: bgp", "key: a-key.of-BGP", "asn: 65010"}, nil},
		{"tencent", config.Customer, true, []string{"RouteType: Bgp", "key: a-key.of-BGP"}, nil},
		{"swanctl", config.Customer, true, []string{
			"cannot be said here: BGP", "ip address add 169.254.11.2/30 dev ipsec1",
			"local 169.254.11.2 as 65010;", "neighbor 169.254.11.1 as 4200000001;", "hold time 9;", `password "a-key.of-BGP";`, "ttl security on;", "bfd { interval 300 ms; multiplier 3; };",
			"route 192.168.3.0/24 unreachable;", "bgp_med = 7;", "bgp_path.prepend(65010);", "bgp_community.add((65000,100));",
			"router bgp 65010", "neighbor 169.254.11.1 password a-key.of-BGP", "timers 3 9", "bfd 3 300 300", "network 192.168.3.0/24", "set as-path prepend 65010 65010", "set metric 7",
		}, []string{"passive"}},
		{"libreswan", config.Cloud, false, []string{"local 169.254.11.1 as 4200000001;", "passive on;", "neighbor 169.254.11.2 passive", `password "KEY";`, "# route NETWORK unreachable"}, []string{"a-key.of-BGP", "192.168.3.0"}},
	} {
		text := Write(bgpConnection(t, settings), Options{Format: tt.format, Side: tt.side, Reveal: tt.reveal}).Text
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s, %v: there is no %q in\n%s", tt.format, tt.side, want, text)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(text, not) {
				t.Errorf("%s, %v: there is %q in\n%s", tt.format, tt.side, not, text)
			}
		}
	}
	plain := Write(bgpConnection(t, ", passive: yes"), Options{Format: "native", Side: config.Cloud, Reveal: true}).Text
	if !strings.Contains(plain, "passive: false") {
		t.Errorf("both ends wait:\n%s", plain)
	}
}

// A connection without BGP says nothing of it.
func TestNoSessionInAnyFormat(t *testing.T) {
	c := bgpConnection(t, "")
	c.Tunnels[0].BGP, c.Routing = nil, config.RouteDestination
	for _, format := range Formats() {
		if text := Write(c, Options{Format: format, Side: c.Side}).Text; slices.ContainsFunc([]string{"BIRD", "bgp-key", "bgp:"}, func(s string) bool { return strings.Contains(text, s) }) {
			t.Errorf("%s: got\n%s", format, text)
		}
	}
}

// No key that a session can have breaks out of the comments, or of its place in them.
func TestKeysInTheCommentsForBIRDAndFRR(t *testing.T) {
	for _, key := range []string{"a\nb", `a"b`, "a b", "a;b", "ü", "a\\b"} {
		c := bgpConnection(t, "")
		b := *c.Tunnels[0].BGP
		b.AuthKey = []byte(key)
		c.Tunnels[0].BGP = &b
		for _, format := range []string{"swanctl", "libreswan"} {
			text := Write(c, Options{Format: format, Side: c.Side, Reveal: true}).Text
			if strings.Contains(text, key) || !strings.Contains(text, `password "KEY"`) {
				t.Errorf("%s: %q stands in\n%s", format, key, text)
			}
		}
		text := Write(c, Options{Format: "native", Side: c.Side, Reveal: true}).Text
		if got := one(loaded(t, text)).Tunnels[0].BGP.AuthKey; string(got) != key {
			t.Errorf("%q comes back as %q", key, got)
		}
	}
}

// The clouds' limits are written out where the body is another's, so the session stays as it is.
func TestTheCloudsLimitsStay(t *testing.T) {
	text := `{version: 1, customer_gateways: {c: {address: 203.0.113.9, asn: 65010}}, connections: [{name: hq, side: cloud, psk_file: hq.psk, bgp: {announce: [10.0.0.0/8]},
		alibaba: {RegionId: r, VpnGatewayId: 198.51.100.1, CustomerGatewayId: c, LocalSubnet: 0.0.0.0/0, RemoteSubnet: 0.0.0.0/0,
		BgpConfig: {EnableBgp: true, TunnelCidr: 169.254.11.0/30, LocalBgpIp: 169.254.11.1}}}]}`
	c := one(loaded(t, text))
	usual := load.DefaultBGP("alibaba", config.Cloud, &c.Tunnels[0])
	if usual.MaxPrefixes != 50 || len(usual.Never) != 2 {
		t.Fatalf("got %+v", usual)
	}
	native := Write(c, Options{Format: "native", Side: config.Cloud, Reveal: true}).Text
	if !strings.Contains(native, "never: [0.0.0.0/0, 100.64.0.0/10], max_prefixes: 50") {
		t.Errorf("got\n%s", native)
	}
	other := Write(c, Options{Format: "native", Side: config.Customer, Reveal: true}).Text
	if !strings.Contains(other, "never_announce: [0.0.0.0/0, 100.64.0.0/10], max_announced: 50") {
		t.Errorf("the customer's end:\n%s", other)
	}
}

// The rank and the keys of two tunnels come back from the one body that has both, and from a pair.
func TestTwoSessionsInOneBody(t *testing.T) {
	text := `{version: 1, vpn_gateways: {v: {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}},
		customer_gateways: {c: {address: 203.0.113.9, asn: 65010}, d: {address: 203.0.113.10, asn: 65010}},
		connections: [{name: hq, bgp: {announce: [192.168.3.0/24], med: 5, standby: {med: 50, prepend: 2}, key: [one-key, another]},
		alibaba: {RegionId: r, VpnGatewayId: v, LocalSubnet: 0.0.0.0/0, RemoteSubnet: 0.0.0.0/0, EnableTunnelsBgp: true, TunnelOptionsSpecification: [
		{Role: master, CustomerGatewayId: c, TunnelIkeConfig: {Psk: 7p5!rKQw-2vN8zXd4, IkeVersion: ikev2}, TunnelBgpConfig: {LocalAsn: 65530, TunnelCidr: 169.254.10.0/30, LocalBgpIp: 169.254.10.1}},
		{Role: slave, CustomerGatewayId: d, TunnelIkeConfig: {Psk: 7p5!rKQw-2vN8zXd4, IkeVersion: ikev2}, TunnelBgpConfig: {LocalAsn: 65530, TunnelCidr: 169.254.20.0/30, LocalBgpIp: 169.254.20.1}}]}}]}`
	before := one(loaded(t, text))
	for _, format := range []string{"alibaba", "native", "huawei", "tencent"} {
		e := Write(before, Options{Format: format, Side: before.Side, Reveal: true})
		after := one(loaded(t, e.Text))
		for i := range before.Tunnels {
			a, b := after.Tunnels[i].BGP, before.Tunnels[i].BGP
			if a.MED != b.MED || a.Prepend != b.Prepend || !a.AuthKey.Equal(b.AuthKey) || format == "alibaba" && len(e.Lost) > 0 {
				t.Errorf("%s, tunnel %d: got %+v, want %+v; lost %q\n%s", format, i+1, *a, *b, e.Lost, e.Text)
			}
		}
	}
	hidden := Write(before, Options{Format: "alibaba", Side: before.Side}).Text
	if !strings.Contains(hidden, "key_file: [hq-1.bgp-key, hq-2.bgp-key]") {
		t.Errorf("got\n%s", hidden)
	}
}
