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

// tencentBody is a valid body of IKEv2.
func tencentBody() map[string]any {
	return map[string]any{
		"VpnGatewayId": "vpn-of-a-cloud", "CustomerGatewayId": "customer-with-asn", "VpnConnectionName": "hq", "PreShareKey": "not-a-real-secret",
		"SecurityPolicyDatabases":   []any{spdOf("10.8.4.0/24", "192.168.3.0/24")},
		"IKEOptionsSpecification":   map[string]any{"IKEVersion": "IKEV2", "PropoEncryAlgorithm": "AES-CBC-256", "PropoAuthenAlgorithm": "SHA-256", "DhGroupName": "GROUP14"},
		"IPSECOptionsSpecification": map[string]any{"EncryptAlgorithm": "AES-CBC-256", "IntegrityAlgorithm": "SHA-256"},
	}
}

func spdOf(local string, remotes ...any) map[string]any {
	return map[string]any{"LocalCidrBlock": local, "RemoteCidrBlock": remotes}
}

var (
	withHealth = map[string]any{"EnableHealthCheck": true, "HealthCheckLocalIp": "169.254.128.1", "HealthCheckRemoteIp": "169.254.128.2"}
	withBGP    = map[string]any{"RouteType": "Bgp", "SecurityPolicyDatabases": nil, "BgpConfig": map[string]any{"TunnelCidr": "169.254.64.44/30", "LocalBgpIp": "169.254.64.45", "RemoteBgpIp": "169.254.64.46"}}
	withRoute  = map[string]any{"RouteType": "StaticRoute", "SecurityPolicyDatabases": nil, "Route": map[string]any{"DestinationCidrBlock": "192.168.3.0/24"}}
)

// nullAllowed is beside every body, so that NULL is a good value.
const nullAllowed = "allow: [null-encryption]"

func tencentTunnel(t *testing.T, with map[string]any, beside string) (*config.Connection, config.Tunnel) {
	t.Helper()
	body := changed(t, tencentBody(), with)
	c := parse(t, string(cloudFile(t, "tencent", body, beside)), nil).Connections[0]
	return c, c.Tunnels[0]
}

func TestTencentDefaultsAreTheClouds(t *testing.T) {
	conn, tun := tencentTunnel(t, map[string]any{"IKEOptionsSpecification": nil, "IPSECOptionsSpecification": nil}, "")
	if got, want := fmt.Sprint(tun.IKEProposals, tun.ESPProposals), "[3des-sha1-prfsha1-modp768] [aes128-sha1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if tun.IKEVersion != 1 || tun.Aggressive || tun.IKELifetime != 24*time.Hour || tun.ESPLifetime != (ipsec.Lifetime{Time: 4 * time.Hour, Bytes: 4096000000 * 1024}) {
		t.Errorf("got %+v", tun)
	}
	if tun.DPD != (dpd.Config{}) || tun.Health != nil || tun.BGP != nil || conn.Routing != config.RouteFlows {
		t.Errorf("got %+v", conn)
	}
}

// Each local block goes with its own remote blocks, and with no others.
func TestTencentPoliciesArePairs(t *testing.T) {
	spd := []any{spdOf("10.8.4.0/24", "192.168.3.0/24", "192.168.4.0/24"), spdOf("10.8.5.0/24", "192.168.5.0/24")}
	for _, form := range []any{spd, map[string]any{"10.8.4.0/24": []any{"192.168.3.0/24", "192.168.4.0/24"}, "10.8.5.0/24": []any{"192.168.5.0/24"}}} {
		_, cloud := tencentTunnel(t, map[string]any{"SecurityPolicyDatabases": form}, "side: cloud")
		if got, want := fmt.Sprint(cloud.Pairs, " ", cloud.Children), "[{10.8.4.0/24 192.168.3.0/24} {10.8.4.0/24 192.168.4.0/24} {10.8.5.0/24 192.168.5.0/24}] pairs"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		_, customer := tencentTunnel(t, map[string]any{"SecurityPolicyDatabases": form}, "side: customer")
		if got, want := fmt.Sprint(customer.Pairs, customer.Routes), "[{192.168.3.0/24 10.8.4.0/24} {192.168.4.0/24 10.8.4.0/24} {192.168.5.0/24 10.8.5.0/24}] [10.8.4.0/24 10.8.5.0/24]"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTencentRouteTypes(t *testing.T) {
	for _, tt := range []struct {
		with    map[string]any
		routing config.Routing
		subnets string
	}{
		{nil, config.RouteFlows, "[10.8.4.0/24]"},
		{map[string]any{"RouteType": "Policy"}, config.RouteFlows, "[10.8.4.0/24]"},
		{map[string]any{"SecurityPolicyDatabases": []any{}}, config.RouteDestination, "[0.0.0.0/0]"},
		{map[string]any{"SecurityPolicyDatabases": nil}, config.RouteDestination, "[0.0.0.0/0]"},
		{map[string]any{"SecurityPolicyDatabases": []any{spdOf("0.0.0.0/0", "0.0.0.0/0")}}, config.RouteDestination, "[0.0.0.0/0]"},
		{map[string]any{"SecurityPolicyDatabases": []any{spdOf("10.8.4.0/24", "192.168.3.0/24"), spdOf("0.0.0.0/0", "0.0.0.0/0")}}, config.RouteFlows, "[10.8.4.0/24 0.0.0.0/0]"},
		{withRoute, config.RouteDestination, "[0.0.0.0/0]"},
		{withBGP, config.RouteBGP, "[0.0.0.0/0]"},
	} {
		conn, tun := tencentTunnel(t, tt.with, "")
		if conn.Routing != tt.routing || fmt.Sprint(tun.Remote.Subnets) != tt.subnets {
			t.Errorf("%v: got %s, %v", tt.with, conn.Routing, tun.Remote.Subnets)
		}
	}
	if _, tun := tencentTunnel(t, withRoute, "side: cloud"); fmt.Sprint(tun.Routes) != "[192.168.3.0/24]" {
		t.Errorf("got routes %v", tun.Routes)
	}
	if _, tun := tencentTunnel(t, withRoute, "side: customer"); len(tun.Routes) != 0 {
		t.Errorf("got routes %v", tun.Routes)
	}
}

func TestTencentSidesAndLiveness(t *testing.T) {
	for kind, start := range map[string]config.Start{
		"active": config.StartActive, "passive": config.StartPassive, "flowTrigger": config.StartOnTraffic, "": config.StartActive,
	} {
		if _, tun := tencentTunnel(t, map[string]any{"NegotiationType": kind}, "side: cloud"); tun.Start != start {
			t.Errorf("%s: the cloud starts %s", kind, tun.Start)
		}
		if _, tun := tencentTunnel(t, map[string]any{"NegotiationType": kind}, "side: customer"); tun.Start != config.StartActive {
			t.Errorf("%s: the customer does not initiate", kind)
		}
	}
	for _, tt := range []struct {
		with map[string]any
		want dpd.Config
	}{
		{map[string]any{"DpdEnable": 1}, dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}},
		{map[string]any{"DpdEnable": "1", "DpdTimeout": "60"}, dpd.Config{Interval: 10 * time.Second, Timeout: time.Minute}},
		{map[string]any{"DpdEnable": 0, "DpdTimeout": 60}, dpd.Config{}},
		{map[string]any{"DpdEnable": -1}, dpd.Config{}},
		{map[string]any{"DpdEnable": 1, "DpdAction": "restart"}, dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}},
		{map[string]any{"DpdEnable": 1, "DpdAction": "clear"}, dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second, Clear: true}},
		{map[string]any{"DpdEnable": 0, "DpdAction": "clear"}, dpd.Config{}},
	} {
		if _, tun := tencentTunnel(t, tt.with, "side: cloud"); tun.DPD != tt.want {
			t.Errorf("%v: got %+v", tt.with, tun.DPD)
		}
		tt.want.Clear = false // the customer's end tries again, whatever the cloud does
		if _, tun := tencentTunnel(t, tt.with, ""); tun.DPD != tt.want {
			t.Errorf("%v, the customer's end: got %+v", tt.with, tun.DPD)
		}
	}
}

func TestTencentServices(t *testing.T) {
	conn, tun := tencentTunnel(t, withHealth, "side: customer")
	want := config.Health{Interval: 5 * time.Second, Timeout: 150 * time.Millisecond, Retries: 3}
	if h := tun.Health; h == nil || h.Source.String() != "169.254.128.1" || h.Target.String() != "169.254.128.2" || h.Interval != want.Interval || h.Timeout != want.Timeout || h.Retries != want.Retries || h.Ours {
		t.Errorf("got %+v", h)
	}
	if conn.Features().String() != "health checks" {
		t.Errorf("got %v", conn.Features())
	}
	for _, tt := range []struct {
		spd  []any
		warn bool
	}{
		{[]any{spdOf("10.8.4.0/24", "192.168.3.0/24")}, true},
		{[]any{spdOf("10.8.4.0/24", "192.168.3.0/24"), spdOf("0.0.0.0/0", "0.0.0.0/0")}, false},
		{[]any{spdOf("169.254.128.1/32", "169.254.128.2/32")}, false},
		{[]any{spdOf("169.254.128.1/32", "169.254.128.3/32")}, true},
	} {
		body := changed(t, changed(t, tencentBody(), withHealth), map[string]any{"SecurityPolicyDatabases": tt.spd})
		_, ps := parseText(nil, "f", cloudFile(t, "tencent", body, ""))
		if got := strings.Contains(lines(ps), "no pair of subnets carries its pings"); got != tt.warn {
			t.Errorf("%v: got\n%s", tt.spd, lines(ps))
		}
	}
	for beside, want := range map[string]struct {
		refused bool
		choices int
	}{"side: customer": {true, 0}, "side: cloud": {false, 1}} {
		body := tencentBody()
		body["EnableHealthCheck"] = true
		c, ps := parseText(nil, "f", cloudFile(t, "tencent", body, beside))
		if c == nil {
			t.Fatal(lines(ps))
		}
		if refused := slices.ContainsFunc(ps, func(p diag.Problem) bool { return p.Refused && p.Code == "vpngw.HealthCheckLocalIp.missing" }); refused != want.refused || len(c.Drafts[0].Choices) != want.choices {
			t.Errorf("%s: choices %v, problems\n%s", beside, c.Drafts[0].Choices, lines(ps))
		}
	}
	for beside, want := range map[string]string{"side: cloud": "169.254.64.45/30 169.254.64.46 64551 65010", "side: customer": "169.254.64.46/30 169.254.64.45 65010 64551"} {
		conn, tun := tencentTunnel(t, withBGP, beside)
		if got := fmt.Sprint(tun.Inside, " ", tun.Peer, " ", tun.Local.ASN, " ", tun.Remote.ASN); got != want || tun.BGP == nil || conn.Features().String() != "BGP" {
			t.Errorf("%s: got %s, want %s", beside, got, want)
		}
	}
}

func TestTencentIdentities(t *testing.T) {
	_, tun := tencentTunnel(t, map[string]any{"IKEOptionsSpecification.LocalAddress": "58.211.2.5", "IKEOptionsSpecification.RemoteIdentity": "FQDN", "IKEOptionsSpecification.RemoteFqdnName": "@hq"}, "side: cloud")
	if tun.Local.ID != ipsec.ParseIdentity("58.211.2.5") || tun.Remote.ID != (ipsec.Identity{Type: ipsec.IDFQDN, Data: "@hq"}) {
		t.Errorf("got %v and %v", tun.Local.ID, tun.Remote.ID)
	}
	_, tun = tencentTunnel(t, nil, "side: cloud")
	if tun.Local.ID != ipsec.ParseIdentity("198.51.100.1") || tun.Remote.ID != ipsec.ParseIdentity("203.0.113.9") {
		t.Errorf("got %v and %v", tun.Local.ID, tun.Remote.ID)
	}
}

// NULL is a cipher only where it is allowed, and in YAML no word for nothing.
func TestTencentNullEncryption(t *testing.T) {
	body := tencentBody()
	changed(t, body, map[string]any{"IPSECOptionsSpecification.EncryptAlgorithm": "NULL"})
	if c, ps := parseText(nil, "f", cloudFile(t, "tencent", body, "")); c != nil || !strings.Contains(lines(ps), "allow: [null-encryption]") {
		t.Errorf("got\n%s", lines(ps))
	}
	for _, word := range []string{"NULL", `"NULL"`, "'NULL'"} {
		text := strings.Replace(string(cloudFile(t, "tencent", body, nullAllowed)), `"NULL"`, " "+word, 1)
		if c := parse(t, text, nil); c.Connections[0].Tunnels[0].ESPProposals[0].String() != "null-sha256" {
			t.Errorf("%s: got %v", word, c.Connections[0].Tunnels[0].ESPProposals)
		}
	}
}

// Connections between the same gateways must not overlap, and the page has a code for it.
func TestTencentConnectionsThatOverlap(t *testing.T) {
	two := func(change func(map[string]any)) []byte {
		other := tencentBody()
		other["VpnConnectionName"] = "other"
		change(other)
		first, second := string(cloudFile(t, "tencent", tencentBody(), "")), string(cloudFile(t, "tencent", other, ""))
		return []byte(first + second[strings.Index(second, "  - tencent"):])
	}
	if c, ps := parseText(nil, "f", two(func(map[string]any) {})); c != nil || !strings.Contains(lines(ps), "[InvalidParameterValue.VpnConnCidrConflict]") {
		t.Errorf("got\n%s", lines(ps))
	}
	if c, ps := parseText(nil, "f", two(func(b map[string]any) {
		changed(t, b, map[string]any{"SecurityPolicyDatabases.0.LocalCidrBlock": "10.9.0.0/16"})
	})); c == nil {
		t.Errorf("got\n%s", lines(ps))
	}
}
