package load

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// huaweiBody is a valid body, of the style static.
func huaweiBody() map[string]any {
	return map[string]any{
		"vgw_id": "vpn-of-a-cloud", "vgw_ip": "198.51.100.1", "cgw_id": "customer-with-asn",
		"peer_subnets": []any{"192.168.3.0/24"}, "psk": "Not-a-real-secret",
	}
}

func ruleOf(source string, destinations ...any) map[string]any {
	return map[string]any{"source": source, "destination": destinations}
}

func times(n int, f func(int) any) (out []any) {
	for i := range n {
		out = append(out, f(i))
	}
	return out
}

var (
	policyStyle = map[string]any{"style": "policy", "policy_rules": []any{ruleOf("10.0.0.0/24", "192.168.3.0/24")}}
	bgpStyle    = map[string]any{"style": "bgp", "tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30"}
)

// huaweiTunnel is the tunnel of the valid body with some parameters set.
func huaweiTunnel(t *testing.T, with map[string]any, beside string) (*config.Connection, config.Tunnel) {
	t.Helper()
	body := changed(t, huaweiBody(), with)
	c := parse(t, string(cloudFile(t, "huawei", body, beside)), nil).Connections[0]
	return c, c.Tunnels[0]
}

func TestHuaweiDefaultsAreTheClouds(t *testing.T) {
	conn, tun := huaweiTunnel(t, nil, "")
	if got, want := fmt.Sprint(tun.IKEProposals, tun.ESPProposals), "[aes128-sha256-prfsha256-modp3072] [aes128-sha256-modp3072]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if tun.IKEVersion != 2 || tun.IKELifetime != 24*time.Hour || tun.ESPLifetime != (ipsec.Lifetime{Time: time.Hour}) || !tun.NATT {
		t.Errorf("got %+v", tun)
	}
	if want := (dpd.Config{Interval: 30 * time.Second, Timeout: 45 * time.Second, Order: dpd.HashNotify}); tun.DPD != want {
		t.Errorf("got %+v, want %+v", tun.DPD, want)
	}
	if conn.Routing != config.RouteDestination || fmt.Sprint(tun.Local.Subnets, tun.Remote.Subnets) != "[0.0.0.0/0] [0.0.0.0/0]" || tun.Local.ASN != 65010 || tun.Remote.ASN != 0 {
		t.Errorf("got %+v", conn)
	}
}

// The cloud routes peer_subnets into the tunnel; the body does not say what the customer routes.
func TestHuaweiRoutes(t *testing.T) {
	for beside, want := range map[string]string{
		"side: customer":                           "[]",
		"side: cloud":                              "[192.168.3.0/24]",
		"{side: customer, routes: [10.0.0.0/8]}":   "[10.0.0.0/8]",
		"{side: cloud, routes: [192.168.0.0/16]}":  "[192.168.0.0/16]",
		"{side: cloud, routes: []}":                "[]",
		"{side: customer, routes: [10.0.0.0/8], }": "[10.0.0.0/8]",
	} {
		_, tun := huaweiTunnel(t, nil, strings.NewReplacer("{", "", "}", "", ", routes", "\n    routes", ", ", "").Replace(beside))
		if got := fmt.Sprint(tun.Routes); got != want {
			t.Errorf("%s: got %s, want %s", beside, got, want)
		}
	}
}

// Each destination of each rule is a pair of its own, in the order of the indexes.
func TestHuaweiPolicyRulesAreAFullMeshInTheirOrder(t *testing.T) {
	with := map[string]any{"style": "policy", "peer_subnets": []any{"192.168.0.0/16"}, "policy_rules": []any{
		map[string]any{"source": "10.3.0.0/24", "destination": []any{"192.168.5.0/24"}},
		map[string]any{"rule_index": 7, "source": "10.2.0.0/24", "destination": []any{"192.168.4.0/24", "192.168.3.0/24"}},
		map[string]any{"rule_index": 2, "source": "10.1.0.0/24", "destination": []any{"192.168.3.0/24"}},
	}}
	conn, tun := huaweiTunnel(t, with, "side: cloud")
	if got, want := fmt.Sprint(tun.Pairs), "[{10.1.0.0/24 192.168.3.0/24} {10.2.0.0/24 192.168.4.0/24} {10.2.0.0/24 192.168.3.0/24} {10.3.0.0/24 192.168.5.0/24}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if conn.Routing != config.RouteFlows || tun.Children != config.Pairs || fmt.Sprint(tun.Routes) != "[192.168.3.0/24 192.168.4.0/24 192.168.5.0/24]" {
		t.Errorf("got %+v", conn)
	}
	_, tun = huaweiTunnel(t, with, "side: customer")
	if got, want := fmt.Sprint(tun.Pairs[1:3], tun.Routes), "[{192.168.4.0/24 10.2.0.0/24} {192.168.3.0/24 10.2.0.0/24}] [10.1.0.0/24 10.2.0.0/24 10.3.0.0/24]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// In its answers the cloud has made a rule of each destination: more than five, with equal sources.
func TestHuaweiAnswersHaveARuleForEachDestination(t *testing.T) {
	_, tun := huaweiTunnel(t, map[string]any{"style": "POLICY", "id": "98c5af8a-demo-a8df-va86-ae2280a6f4c3", "policy_rules": times(8, func(i int) any {
		return map[string]any{"rule_index": i, "source": "10.0.0.0/24", "destination": []any{fmt.Sprintf("192.168.%d.0/24", i)}}
	})}, "")
	if len(tun.Pairs) != 8 {
		t.Errorf("got %v", tun.Pairs)
	}
}

func TestHuaweiInsideAddresses(t *testing.T) {
	const local, peer = "169.254.56.225/30", "169.254.56.226/30"
	for _, tt := range []struct {
		with   map[string]any
		beside string
		want   string
	}{
		{map[string]any{"tunnel_local_address": local, "tunnel_peer_address": peer}, "side: cloud", "169.254.56.225/30 169.254.56.226"},
		{map[string]any{"tunnel_local_address": local, "tunnel_peer_address": peer}, "side: customer", "169.254.56.226/30 169.254.56.225"},
		{map[string]any{"tunnel_local_address": local}, "side: customer", "169.254.56.226/30 169.254.56.225"},
		{map[string]any{"tunnel_peer_address": peer}, "side: customer", "169.254.56.226/30 169.254.56.225"},
		{nil, "side: customer", "invalid Prefix invalid IP"},
	} {
		if _, tun := huaweiTunnel(t, tt.with, tt.beside); fmt.Sprint(tun.Inside, " ", tun.Peer) != tt.want {
			t.Errorf("%v, %s: got %v and %v, want %s", tt.with, tt.beside, tun.Inside, tun.Peer, tt.want)
		}
	}
	// The cloud chose them: that matters where something runs between them.
	for _, tt := range []struct {
		with    map[string]any
		beside  string
		refused bool
		choices int
	}{
		{nil, "side: customer", false, 0},
		{map[string]any{"enable_nqa": true}, "side: customer", true, 0},
		{map[string]any{"style": "bgp"}, "side: customer", true, 0},
		{nil, "side: cloud", false, 1},
		{map[string]any{"style": "bgp"}, "side: cloud", false, 1},
		{policyStyle, "side: cloud", false, 0},
	} {
		body := changed(t, huaweiBody(), tt.with)
		c, ps := parseText(nil, "f", cloudFile(t, "huawei", body, tt.beside))
		if c == nil {
			t.Fatalf("%+v: refused:\n%s", tt, lines(ps))
		}
		refused := slices.ContainsFunc(ps, func(p diag.Problem) bool { return p.Refused && p.Code == "vpngw.tunnel_local_address.missing" })
		if refused != tt.refused || len(c.Drafts[0].Choices) != tt.choices {
			t.Errorf("%+v: %d choices, problems\n%s", tt, len(c.Drafts[0].Choices), lines(ps))
		}
	}
}

func TestHuaweiIdentities(t *testing.T) {
	fqdn := func(s string) ipsec.Identity { return ipsec.Identity{Type: ipsec.IDFQDN, Data: s} }
	for _, tt := range []struct {
		with            map[string]any
		cloud, customer ipsec.Identity // as the cloud's end has them
		own             ipsec.Identity // of the customer's end
	}{
		{nil, ipsec.ParseIdentity("198.51.100.1"), ipsec.ParseIdentity("203.0.113.9"), ipsec.ParseIdentity("203.0.113.9")},
		{map[string]any{"ikepolicy": map[string]any{"local_id_type": "fqdn", "local_id": "@a@b", "peer_id_type": "FQDN", "peer_id": "10.0.0.1"}}, fqdn("@a@b"), fqdn("10.0.0.1"), fqdn("10.0.0.1")},
		{map[string]any{"ikepolicy": map[string]any{"local_id": "10.0.0.1", "peer_id": "10.0.0.2"}}, ipsec.ParseIdentity("10.0.0.1"), ipsec.ParseIdentity("10.0.0.2"), ipsec.ParseIdentity("10.0.0.2")},
		{map[string]any{"ikepolicy": map[string]any{"peer_id_type": "any"}}, ipsec.ParseIdentity("198.51.100.1"), ipsec.AnyIdentity, ipsec.ParseIdentity("203.0.113.9")},
		{map[string]any{"ikepolicy": map[string]any{"peer_id_type": "any", "peer_id": "branch"}}, ipsec.ParseIdentity("198.51.100.1"), ipsec.AnyIdentity, fqdn("branch")},
	} {
		_, cloud := huaweiTunnel(t, tt.with, "side: cloud")
		_, customer := huaweiTunnel(t, tt.with, "side: customer")
		if cloud.Local.ID != tt.cloud || cloud.Remote.ID != tt.customer || customer.Local.ID != tt.own || customer.Remote.ID != tt.cloud {
			t.Errorf("%v: the cloud has %v and %v, the customer %v and %v", tt.with, cloud.Local.ID, cloud.Remote.ID, customer.Local.ID, customer.Remote.ID)
		}
	}
}

func TestHuaweiServices(t *testing.T) {
	nqa := map[string]any{"enable_nqa": true, "tunnel_local_address": "169.254.56.225/30"}
	conn, tun := huaweiTunnel(t, nqa, "side: customer")
	if h := tun.Health; h == nil || h.Ours || h.Source.String() != "169.254.56.225" || h.Target.String() != "169.254.56.226" || len(conn.Features()) != 1 {
		t.Errorf("NQA: got %+v, %v", h, conn.Features())
	}
	if _, tun = huaweiTunnel(t, nqa, "side: cloud"); tun.Health == nil || !tun.Health.Ours || tun.Health.Source.String() != "169.254.56.225" {
		t.Errorf("NQA, at the cloud: got %+v", tun.Health)
	}
	conn, tun = huaweiTunnel(t, bgpStyle, "")
	if tun.BGP == nil || tun.Remote.ASN != 64512 || conn.Routing != config.RouteBGP || conn.Features().String() != "BGP" {
		t.Errorf("bgp: got %+v", conn)
	}
	body := huaweiBody()
	for path, v := range bgpStyle {
		body[path] = v
	}
	body["cgw_id"] = "203.0.113.9"
	if c, ps := parseText(nil, "f", cloudFile(t, "huawei", body, "")); c == nil || !ps.Refused() || !strings.Contains(lines(ps), "asn: N") {
		t.Errorf("without the customer's AS number: got\n%s", lines(ps))
	}
}

// The gateway's addresses: vgw_ip is one, or the id of an EIP among several, or what the only one is called.
func TestHuaweiGatewayAddresses(t *testing.T) {
	const eip = "0c464dad-demo-a8df-va86-c22bb0eb0bde"
	for _, tt := range []struct{ entry, ip, want string }{
		{"{address: 198.51.100.7}", eip, "198.51.100.7"},
		{"{address: 198.51.100.7}", "192.168.45.7", "192.168.45.7"},
		{"{addresses: {" + eip + ": 198.51.100.8, other: 198.51.100.9}, asn: 65020}", eip, "198.51.100.8"},
		{"{addresses: {" + eip + ": 198.51.100.8}}", "other", ""},
	} {
		body := huaweiBody()
		body["vgw_id"], body["vgw_ip"] = "b32d91a4-demo-a8df-va86-e907174eb11d", tt.ip
		text := strings.Replace(string(cloudFile(t, "huawei", body, "")), "vpn_gateways:\n", "vpn_gateways:\n  b32d91a4-demo-a8df-va86-e907174eb11d: "+tt.entry+"\n", 1)
		c, ps := parseText(nil, "f", []byte(text))
		if tt.want == "" {
			if c != nil || !strings.Contains(lines(ps), "vpngw.vgw_ip.not-found") {
				t.Errorf("%+v: got\n%s", tt, lines(ps))
			}
			continue
		}
		if c == nil {
			t.Errorf("%+v: refused:\n%s", tt, lines(ps))
		} else if got := c.Connections[0].Tunnels[0].Remote.Address.String(); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}
