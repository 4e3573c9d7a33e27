package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config/huawei"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// huaweiBody is a valid body; with style policy, policyBody.
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

func subnetsOf(n int) []any {
	return times(n, func(i int) any { return fmt.Sprintf("192.168.%d.0/24", i) })
}

func tagsOf(n int, key string) []any {
	return times(n, func(i int) any { return map[string]any{key: fmt.Sprint("k", i)} })
}

var (
	policyStyle = map[string]any{"style": "policy", "policy_rules": []any{ruleOf("10.0.0.0/24", "192.168.3.0/24")}}
	twoRules    = map[string]any{"style": "policy", "policy_rules": []any{
		map[string]any{"rule_index": 0, "source": "10.0.0.0/24", "destination": []any{"192.168.3.0/24"}},
		map[string]any{"rule_index": 50, "source": "10.0.1.0/24", "destination": []any{"192.168.3.0/24"}},
	}}
	bgpStyle = map[string]any{"style": "bgp", "tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30"}
	oneTag   = map[string]any{"tags": []any{map[string]any{"key": "city", "value": "x"}}}
	ikeV1    = map[string]any{"ikepolicy": map[string]any{"ike_version": "v1"}}
)

var groupWords = []any{"group1", "group2", "group5", "group14", "group15", "group16", "group19", "group20", "group21"}

var huaweiRows = []rowCase{
	{path: "name", good: []any{nil, "", "a", strings.Repeat("a", 64), "aZ09_-."}, bad: []any{strings.Repeat("a", 65), "a b", "é", "a/b"}, code: "vpngw.name.illegal"},
	{path: "vgw_id", good: []any{"198.51.100.1"}, bad: []any{nil, ""}, code: "vpngw.vgw_id.missing"},
	{path: "vgw_id", bad: []any{"b32d91a4-demo-a8df-va86-e907174eb11d"}, code: "vpngw.vgw_id.not-found", with: map[string]any{"vgw_ip": "0c464dad-demo-a8df-va86-c22bb0eb0bde"}},
	{path: "vgw_ip", good: []any{"192.168.45.7", "0c464dad-demo-a8df-va86-c22bb0eb0bde"}, bad: []any{nil, ""}, code: "vpngw.vgw_ip.missing"},
	{path: "style", good: []any{nil, "static", "STATIC"}, bad: []any{"route"}, code: "vpngw.style.illegal"},
	{path: "style", good: []any{"policy", "POLICY"}, with: policyStyle},
	{path: "style", good: []any{"bgp", "BGP"}, with: bgpStyle},
	{path: "style", bad: []any{"policy-template"}, code: "vpngw.style.unsupported"},
	{path: "cgw_id", good: []any{"203.0.113.9"}, bad: []any{nil, ""}, code: "vpngw.cgw_id.missing"},
	{path: "cgw_id", bad: []any{"5247ae10-demo-a8df-va86-dd36659a7f5d"}, code: "vpngw.cgw_id.not-found"},
	{path: "cgw_id", bad: []any{"198.51.100.1"}, code: "vpngw.cgw_id.conflict"},
	{path: "peer_subnets", good: []any{subnetsOf(1), subnetsOf(50), []any{"192.168.3.7/24"}}, bad: []any{subnetsOf(51)}, code: "vpngw.peer_subnets.too-many"},
	{path: "peer_subnets", bad: []any{nil, []any{}}, code: "vpngw.peer_subnets.missing"},
	{path: "peer_subnets", good: []any{nil, []any{}}, with: policyStyle},
	{path: "peer_subnets", good: []any{nil, []any{}}, with: bgpStyle},
	{path: "peer_subnets", good: []any{[]any{"100.63.255.0/24", "100.128.0.0/24", "213.0.0.0/8", "215.0.0.0/8"}}, bad: []any{[]any{"100.64.0.0/10"}, []any{"100.100.0.0/24"}, []any{"100.0.0.0/8"}, []any{"214.0.0.0/8"}, []any{"214.1.0.0/16"}}, code: "vpngw.peer_subnets.illegal"},
	{path: "peer_subnets", bad: []any{[]any{"192.168.3.0"}, []any{"192.168.3.0/33"}, []any{"x"}}, code: "vpngw.peer_subnets.malformed"},
	{path: "peer_subnets", bad: []any{"192.168.3.0/24", []any{[]any{}}}, code: "vpngw.peer_subnets.type"},
	{path: "tunnel_local_address", good: []any{nil, "169.254.76.1/30", "169.254.76.2/30", "169.254.194.1/30", "169.254.196.1/30", "169.254.0.1/30", "169.254.255.254/30"}, bad: []any{"169.254.76.0/30", "169.254.76.3/30", "169.254.76.1/29", "169.254.76.1/31", "169.253.76.1/30", "169.255.0.1/30", "169.254.195.1/30", "169.254.195.254/30"}, code: "vpngw.tunnel_local_address.illegal"},
	{path: "tunnel_local_address", bad: []any{"169.254.76.1", "x", "fe80::1/64"}, code: "vpngw.tunnel_local_address.malformed"},
	{path: "tunnel_peer_address", good: []any{nil, "169.254.56.226/30"}, bad: []any{"169.254.56.225/30", "169.254.56.229/30"}, code: "vpngw.tunnel_peer_address.conflict", with: map[string]any{"tunnel_local_address": "169.254.56.225/30"}},
	{path: "tunnel_peer_address", good: []any{"169.254.76.2/30"}, bad: []any{"169.254.76.0/30", "169.254.76.3/30", "169.254.195.2/30", "10.0.0.1/30"}, code: "vpngw.tunnel_peer_address.illegal"},
	{path: "enable_nqa", good: []any{nil, true, false, "true"}, bad: []any{"2", []any{}}, code: "vpngw.enable_nqa.type", with: map[string]any{"tunnel_local_address": "169.254.56.225/30"}},
	{path: "enable_nqa", good: []any{false}, bad: []any{true}, code: "vpngw.enable_nqa.conflict", with: policyStyle},
	{path: "enable_nqa", good: []any{false}, bad: []any{true}, code: "vpngw.enable_nqa.conflict", with: bgpStyle},
	{path: "psk", good: []any{"aB3defgh", strings.Repeat("aB3-", 32), "abcd1234~!@#$%^()-_+={ },./:;", "ABCD1234!", "abcdEFGH!"}, bad: []any{"aB3defg", strings.Repeat("aB3-", 32) + "a", "abcdefgh", "abcd1234", "ABCD1234", "abcd!@#$", "aB3defgh*", "aB3defgh&", "aB3défgh"}, code: "vpngw.psk.illegal"},
	{path: "psk", bad: []any{nil, ""}, code: "vpngw.psk.missing"},
	{path: "policy_rules", good: []any{[]any{ruleOf("10.0.0.0/24", subnetsOf(50)...)}, times(5, func(i int) any { return ruleOf(fmt.Sprintf("10.0.%d.0/24", i), "192.168.3.0/24") })}, bad: []any{times(6, func(i int) any { return ruleOf(fmt.Sprintf("10.0.%d.0/24", i), "192.168.3.0/24") })}, code: "vpngw.policy_rules.too-many", with: policyStyle},
	{path: "policy_rules", bad: []any{nil, []any{}}, code: "vpngw.policy_rules.missing", with: policyStyle},
	{path: "policy_rules", good: []any{nil, []any{}}, bad: []any{policyStyle["policy_rules"]}, code: "vpngw.policy_rules.conflict"},
	{path: "policy_rules", bad: []any{policyStyle["policy_rules"]}, code: "vpngw.policy_rules.conflict", with: bgpStyle},
	{path: "policy_rules.0.rule_index", good: []any{nil, 0, "50", 50}, bad: []any{-1, 51}, code: "vpngw.rule_index.illegal", with: policyStyle},
	{path: "policy_rules.0.rule_index", good: []any{49}, bad: []any{50}, code: "vpngw.rule_index.twice", with: twoRules},
	{path: "policy_rules.0.source", good: []any{"10.0.0.0/24", "10.0.0.9/24"}, bad: []any{"10.0.0.0", "x"}, code: "vpngw.source.malformed", with: policyStyle},
	{path: "policy_rules.0.source", bad: []any{nil}, code: "vpngw.source.missing", with: policyStyle},
	{path: "policy_rules.0.source", bad: []any{"10.0.1.0/24", "10.0.1.1/24"}, code: "vpngw.source.twice", with: twoRules},
	{path: "policy_rules.0.destination", good: []any{subnetsOf(1), subnetsOf(50)}, bad: []any{subnetsOf(51)}, code: "vpngw.destination.too-many", with: policyStyle},
	{path: "policy_rules.0.destination", bad: []any{nil, []any{}}, code: "vpngw.destination.missing", with: policyStyle},
	{path: "ikepolicy", good: []any{nil, map[string]any{}, `{"ike_version":"v2"}`}, bad: []any{"v2", []any{}}, code: "vpngw.ikepolicy.type"},
	{path: "ikepolicy.ike_version", good: []any{nil, "v1", "v2", "V2"}, bad: []any{"v3", "2"}, code: "vpngw.ike_version.illegal"},
	{path: "ikepolicy.phase1_negotiation_mode", good: []any{nil, "main", "aggressive"}, bad: []any{"quick"}, code: "vpngw.phase1_negotiation_mode.illegal", with: ikeV1},
	{path: "ikepolicy.authentication_algorithm", good: []any{nil, "md5", "sha1", "sha2-256", "sha2-384", "sha2-512"}, bad: []any{"sha256", "sha"}, code: "vpngw.authentication_algorithm.illegal"},
	{path: "ikepolicy.authentication_algorithm", bad: []any{"sm3"}, code: "vpngw.authentication_algorithm.unsupported"},
	{path: "ikepolicy.encryption_algorithm", good: []any{nil, "3des", "aes-128", "aes-192", "aes-256", "aes-128-gcm-16", "aes-256-gcm-16", "aes-128-gcm-128", "aes-256-gcm-128"}, bad: []any{"des", "aes128", "aes-192-gcm-16"}, code: "vpngw.encryption_algorithm.illegal"},
	{path: "ikepolicy.encryption_algorithm", bad: []any{"sm4"}, code: "vpngw.encryption_algorithm.unsupported"},
	{path: "ikepolicy.encryption_algorithm", good: []any{"aes-256"}, bad: []any{"aes-128-gcm-16"}, code: "vpngw.encryption_algorithm.conflict", with: ikeV1},
	{path: "ikepolicy.dh_group", good: append([]any{nil}, groupWords...), bad: []any{"group24", "group18", "15", "disable"}, code: "vpngw.dh_group.illegal"},
	{path: "ikepolicy.authentication_method", good: []any{nil, "pre-share"}, bad: []any{"rsa"}, code: "vpngw.authentication_method.illegal"},
	{path: "ikepolicy.authentication_method", bad: []any{"digital-envelope-v2"}, code: "vpngw.authentication_method.unsupported"},
	{path: "ikepolicy.lifetime_seconds", good: []any{nil, 60, "86400", 604800}, bad: []any{59, 604801, 0, -1, "99999999999999999999"}, code: "vpngw.lifetime_seconds.illegal"},
	{path: "ikepolicy.lifetime_seconds", bad: []any{"24h", true, 1.5}, code: "vpngw.lifetime_seconds.type"},
	{path: "ikepolicy.local_id_type", good: []any{nil, "ip"}, bad: []any{"any", "dn"}, code: "vpngw.local_id_type.illegal"},
	{path: "ikepolicy.local_id_type", good: []any{"fqdn"}, with: map[string]any{"ikepolicy.local_id": "a"}},
	{path: "ikepolicy.local_id_type", bad: []any{"fqdn"}, code: "vpngw.local_id.missing"},
	{path: "ikepolicy.local_id", good: []any{"a", "A.b-c_d@e", strings.Repeat("a", 255)}, bad: []any{strings.Repeat("a", 256), "a b", "a&b", "a<b", "a>b", "a[b", "a]b", `a\b`}, code: "vpngw.local_id.illegal", with: map[string]any{"ikepolicy.local_id_type": "fqdn"}},
	{path: "ikepolicy.local_id", good: []any{nil, "198.51.100.1", "10.0.0.134"}, bad: []any{"gw.example.org", "10.***.***.134"}, code: "vpngw.local_id.illegal"},
	{path: "ikepolicy.peer_id_type", good: []any{nil, "ip", "any"}, bad: []any{"dn"}, code: "vpngw.peer_id_type.illegal"},
	{path: "ikepolicy.peer_id_type", good: []any{"fqdn"}, with: map[string]any{"ikepolicy.peer_id": "a"}},
	{path: "ikepolicy.peer_id_type", bad: []any{"fqdn"}, code: "vpngw.peer_id.missing"},
	{path: "ikepolicy.peer_id", good: []any{"a", strings.Repeat("a", 255)}, bad: []any{strings.Repeat("a", 256), "a b", "a<b"}, code: "vpngw.peer_id.illegal", with: map[string]any{"ikepolicy.peer_id_type": "fqdn"}},
	{path: "ikepolicy.dpd", good: []any{nil, map[string]any{}}, bad: []any{true}, code: "vpngw.dpd.type"},
	{path: "ikepolicy.dpd.timeout", good: []any{nil, 2, 60}, bad: []any{1, 61}, code: "vpngw.timeout.illegal"},
	{path: "ikepolicy.dpd.interval", good: []any{nil, 10, 3600}, bad: []any{9, 3601}, code: "vpngw.interval.illegal"},
	{path: "ikepolicy.dpd.msg", good: []any{nil, "seq-hash-notify", "seq-notify-hash"}, bad: []any{"notify"}, code: "vpngw.msg.illegal", with: ikeV1},
	{path: "ipsecpolicy", good: []any{nil, map[string]any{}}, bad: []any{"esp"}, code: "vpngw.ipsecpolicy.type"},
	{path: "ipsecpolicy.authentication_algorithm", good: []any{nil, "md5", "sha1", "sha2-256", "sha2-384", "sha2-512"}, bad: []any{"sha2"}, code: "vpngw.authentication_algorithm.illegal"},
	{path: "ipsecpolicy.encryption_algorithm", good: []any{nil, "3des", "aes-128", "aes-192", "aes-256", "aes-128-gcm-16", "aes-256-gcm-16", "aes-128-gcm-128", "aes-256-gcm-128"}, bad: []any{"null"}, code: "vpngw.encryption_algorithm.illegal"},
	{path: "ipsecpolicy.pfs", good: append([]any{nil, "disable"}, groupWords...), bad: []any{"disabled", "group24"}, code: "vpngw.pfs.illegal"},
	{path: "ipsecpolicy.transform_protocol", good: []any{nil, "esp"}, bad: []any{"ike"}, code: "vpngw.transform_protocol.illegal"},
	{path: "ipsecpolicy.transform_protocol", bad: []any{"ah", "ah-esp"}, code: "vpngw.transform_protocol.unsupported"},
	{path: "ipsecpolicy.lifetime_seconds", good: []any{nil, 30, 604800}, bad: []any{29, 604801}, code: "vpngw.lifetime_seconds.illegal"},
	{path: "ipsecpolicy.encapsulation_mode", good: []any{nil, "tunnel"}, bad: []any{"transport"}, code: "vpngw.encapsulation_mode.illegal"},
	{path: "ha_role", good: []any{nil, "master", "slave"}, bad: []any{"standby"}, code: "vpngw.ha_role.illegal"},
	{path: "tags", good: []any{nil, []any{}, tagsOf(20, "key")}, bad: []any{tagsOf(21, "key")}, code: "vpngw.tags.too-many"},
	{path: "tags.0.key", good: []any{"k", strings.Repeat("k", 128), "ñ õ_.:=+-@9"}, bad: []any{strings.Repeat("k", 129), "a/b", "a*"}, code: "vpngw.key.illegal", with: oneTag},
	{path: "tags.0.key", bad: []any{nil, ""}, code: "vpngw.key.missing", with: oneTag},
	{path: "tags", bad: []any{[]any{map[string]any{"key": "a"}, map[string]any{"key": "a"}}}, code: "vpngw.key.twice"},
	{path: "tags.0.value", good: []any{nil, "", strings.Repeat("v", 255)}, bad: []any{strings.Repeat("v", 256), "a/b"}, code: "vpngw.value.illegal", with: oneTag},
	{path: "enable_hub", good: []any{nil, false}, bad: []any{true}, code: "vpngw.enable_hub.unsupported"},
	{path: "enable_health_check", good: []any{nil, false}, bad: []any{true}, code: "vpngw.enable_health_check.unsupported"},
	{path: "peer_subnets_v6", good: []any{nil, []any{}}, bad: []any{[]any{"fd00::/64"}}, code: "vpngw.peer_subnets_v6.unsupported"},
	{path: "policy_rules_v6", good: []any{nil, []any{}}, bad: []any{[]any{map[string]any{}}}, code: "vpngw.policy_rules_v6.unsupported"},
	{path: "tunnel_local_address_v6", good: []any{nil, ""}, bad: []any{"fd00::1/126"}, code: "vpngw.tunnel_local_address_v6.unsupported"},
	{path: "tunnel_peer_address_v6", good: []any{nil, ""}, bad: []any{"fd00::2/126"}, code: "vpngw.tunnel_peer_address_v6.unsupported"},
	{path: "project_id", good: []any{nil, "0605768a3300d5762f78c01d5a1c4e1e"}},
	{path: "request_id", good: []any{nil, "f91082d4-6d49-479c-ad1d-4e552a9f5cae"}},
	{path: "page_info", good: []any{nil, map[string]any{"next_marker": "x"}}},
	{path: "total_count", good: []any{nil, 1}},
	{path: "id", good: []any{nil, "98c5af8a-6ee2-4482-99a2-ae2280a6f4c3"}},
	{path: "status", good: []any{nil, "ACTIVE"}},
	{path: "created_at", good: []any{nil, "2022-11-26T13:41:34.626Z"}},
	{path: "updated_at", good: []any{nil, "2022-11-26T13:41:34.626Z"}},
	{path: "enterprise_project_id", good: []any{nil, "0"}},
	{path: "connection_monitor_id", good: []any{nil, "98c5af8a-6ee2-4482-99a2-ae2280a6f4c3"}},
}

func TestHuaweiRows(t *testing.T) { checkRows(t, huawei.Dialect, huaweiBody(), "", huaweiRows) }

// huaweiTunnel is the tunnel of the valid body with some parameters set.
func huaweiTunnel(t *testing.T, with map[string]any, beside string) (*Connection, Tunnel) {
	t.Helper()
	body := huaweiBody()
	for path, v := range with {
		put(t, body, path, v)
	}
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
	if conn.Routing != RouteDestination || fmt.Sprint(tun.Local.Subnets, tun.Remote.Subnets) != "[0.0.0.0/0] [0.0.0.0/0]" || tun.Local.ASN != 65010 || tun.Remote.ASN != 64512 {
		t.Errorf("got %+v", conn)
	}
}

// The cloud routes peer_subnets into the tunnel; what the customer does is not in the body.
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
	if conn.Routing != RouteFlows || tun.Children != Pairs || fmt.Sprint(tun.Routes) != "[192.168.3.0/24 192.168.4.0/24 192.168.5.0/24]" {
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
		body := huaweiBody()
		for path, v := range tt.with {
			put(t, body, path, v)
		}
		c, ps := Parse(nil, "f", cloudFile(t, "huawei", body, tt.beside))
		if c == nil {
			t.Fatalf("%+v: refused:\n%s", tt, lines(ps))
		}
		refused := slices.ContainsFunc(ps, func(p Problem) bool { return p.Refused && p.Code == "vpngw.tunnel_local_address.missing" })
		if refused != tt.refused || len(c.Connections[0].Choices) != tt.choices {
			t.Errorf("%+v: %d choices, problems\n%s", tt, len(c.Connections[0].Choices), lines(ps))
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
	if h := tun.Health; h == nil || h.Ours || h.Source.String() != "169.254.56.225" || h.Target.String() != "169.254.56.226" || len(conn.Unserved()) != 1 {
		t.Errorf("NQA: got %+v, %v", h, conn.Unserved())
	}
	if _, tun = huaweiTunnel(t, nqa, "side: cloud"); tun.Health == nil || !tun.Health.Ours || tun.Health.Source.String() != "169.254.56.225" {
		t.Errorf("NQA, at the cloud: got %+v", tun.Health)
	}
	conn, tun = huaweiTunnel(t, bgpStyle, "")
	if tun.BGP == nil || conn.Routing != RouteBGP || fmt.Sprint(conn.Unserved()) != "[BGP]" {
		t.Errorf("bgp: got %+v", conn)
	}
	body := huaweiBody()
	for path, v := range bgpStyle {
		body[path] = v
	}
	body["cgw_id"] = "203.0.113.9"
	if c, ps := Parse(nil, "f", cloudFile(t, "huawei", body, "")); c == nil || !ps.Refused() || !strings.Contains(lines(ps), "asn: N") {
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
		c, ps := Parse(nil, "f", []byte(text))
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
