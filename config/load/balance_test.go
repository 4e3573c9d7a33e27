package load

import (
	"strings"
	"testing"

	"vpngw/config"
)

// balance: beside one connection of a pair holds for both, and goes before ha_mode of their gateways; where both speak they agree.
func TestBalance(t *testing.T) {
	pair := func(first, second string) string {
		beside := func(s string) string { return strings.TrimSuffix("pair: hq\n    "+s, "\n    ") }
		return fileOf(entry(1, "", beside(first)), entry(2, "", beside(second)))
	}
	alone := lab(key, "balance: true")
	mode := func(first, second, beside string) string {
		file := fileOf(huaweiHalf(t, "a", "198.51.100.1", "", strings.ReplaceAll("routes: []"+beside, ", ", "\n    "), map[string]any{"vgw_id": "vgw-1"}),
			huaweiHalf(t, "b", "198.51.100.2", "slave", "routes: []\n    pair: x", map[string]any{"vgw_id": "vgw-2"}))
		return strings.Replace(strings.Replace(file, "    routes: []", "    routes: []\n    pair: x", 1), "vpn_gateways:\n",
			"vpn_gateways:\n  vgw-1: {address: 198.51.100.1"+first+"}\n  vgw-2: {address: 198.51.100.2"+second+"}\n", 1)
	}
	const dual = `version: 1
vpn_gateways: {vpn-dual: {addresses: {master: 198.51.100.5, slave: 198.51.100.6}, ha_mode: active-active}}
connections:
  - alibaba: {RegionId: r, VpnGatewayId: vpn-dual, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, TunnelOptionsSpecification: [
      {Role: master, CustomerGatewayId: 203.0.113.9, TunnelIkeConfig: {Psk: not-a-real-secret}},
      {Role: slave, CustomerGatewayId: 203.0.113.9, TunnelIkeConfig: {Psk: not-a-real-secret}}]}
`
	const both, one = ", ha_mode: active-active", ", ha_mode: active-standby"
	for _, tt := range []struct {
		what, file string
		want       bool
		problem    string
	}{
		{"nothing", pair("", ""), false, ""},
		{"beside the first", pair("balance: true", ""), true, ""},
		{"beside the second", pair("", "balance: yes"), true, ""},
		{"beside both", pair("balance: true", "balance: true"), true, ""},
		{"no", pair("balance: no", "balance: no"), false, ""},
		{"they differ", pair("balance: true", "balance: false"), false, `connections[1].balance: it differs from the balance of connection "hq-1" of the same pair`},
		{"with failover beside the other", pair("balance: true", "failover: {hold: 30s}"), true, ""},
		{"not a truth", pair("balance: flow", ""), false, "balance"},
		{"of one tunnel", alone, false, "there is nothing to share its traffic with"},
		{"two gateways", mode(both, both, ""), true, ""},
		{"of which one speaks", mode("", both, ""), true, ""},
		{"of which neither is active-active", mode(one, "", ""), false, ""},
		{"which differ", mode(one, both, ""), false, "its ha_mode differs from that of the gateway of connection \"a\" in the same pair"},
		{"which differ, and balance", mode(one, both, ", balance: true"), true, ""},
		{"balance against both", mode(both, both, ", balance: no"), false, ""},
		{"another mode", mode(", ha_mode: active", both, ""), false, "ha_mode"},
		{"two tunnels", dual, true, ""},
		{"two tunnels, and not", dual + "    balance: no\n", false, ""},
	} {
		c, ps := parseText(nil, "f", []byte(tt.file))
		if tt.problem != "" && !strings.Contains(lines(ps), tt.problem) || tt.problem == "" && c == nil {
			t.Errorf("%s: got\n%s", tt.what, lines(ps))
		}
		if c == nil {
			continue
		}
		for _, conn := range c.Connections {
			if conn.Switching.Balance != tt.want {
				t.Errorf("%s: %s has %+v", tt.what, conn.Name, conn.Switching)
			}
			if conn.Switching.Balance && conn.Switching.Hold != config.DefaultSwitching.Hold {
				t.Errorf("%s: %s has no hold: %+v", tt.what, conn.Name, conn.Switching)
			}
		}
	}
}
