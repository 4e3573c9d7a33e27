package export

import (
	"slices"
	"strings"
	"testing"

	"vpngw/config"
)

// That two tunnels share the traffic comes back from each format of ours, for both ends, whether `balance:` says it or the gateway's
// ha_mode. The formats of other programs say that they cannot.
func TestSharedTrafficInEachFormat(t *testing.T) {
	native := func(name, address, beside string) string {
		return `{name: ` + name + `, pair: hq, ` + beside + ` native: {ike_version: 2, psk: 7p5!rKQw-2vN8zXd4,
			local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: ` + address + `, subnets: [10.10.0.0/16]},
			ike: {proposals: [aes128-sha1-modp1024], lifetime: 24h}, esp: {proposals: [aes128-sha1-modp1024-noesn], lifetime: 1h}}}`
	}
	pair := func(beside string) string {
		return `{version: 1, connections: [` + native("a", "198.51.100.1", beside) + `, ` + native("b", "198.51.100.2", "") + `]}`
	}
	half := func(name, role, inside string) string {
		return `{routes: [10.10.0.0/16], huawei: {vpn_connection: {name: ` + name + `, vgw_id: vgw-1, vgw_ip: eip-` + role + `, cgw_id: 203.0.113.9, ha_role: ` + role + `, style: static, peer_subnets: [192.168.3.0/24],
			tunnel_local_address: ` + inside + `.1/30, tunnel_peer_address: ` + inside + `.2/30, psk: 7p5!rKQw-2vN8zXd4}}}`
	}
	huawei := func(mode string) string {
		return `{version: 1, vpn_gateways: {vgw-1: {addresses: {eip-master: 198.51.100.1, eip-slave: 198.51.100.2}` + mode + `}}, connections: [` +
			half("a", "master", "169.254.56") + `, ` + half("b", "slave", "169.254.57") + `]}`
	}
	tunnel := func(role string) string {
		return `{Role: ` + role + `, CustomerGatewayId: 203.0.113.9, TunnelIkeConfig: {Psk: 7p5!rKQw-2vN8zXd4}}`
	}
	alibaba := func(mode, beside string) string {
		return `{version: 1, vpn_gateways: {vpn-1: {addresses: {master: 198.51.100.1, slave: 198.51.100.2}` + mode + `}}, connections: [{name: hq, ` + beside + ` alibaba: {RegionId: r, VpnGatewayId: vpn-1,
			LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, TunnelOptionsSpecification: [` + tunnel("master") + `, ` + tunnel("slave") + `]}}]}`
	}
	const active = ", ha_mode: active-active"
	for what, tt := range map[string]struct {
		file   string
		shared bool
	}{
		"a pair":                     {pair("balance: true,"), true},
		"a pair that does not":       {pair(""), false},
		"a pair with a hold":         {pair("balance: true, failover: {hold: 10s, switch_back: manual},"), true},
		"Huawei's gateway":           {huawei(active), true},
		"Huawei's other gateway":     {huawei(""), false},
		"Alibaba's gateway":          {alibaba(active, ""), true},
		"Alibaba's, and balance: no": {alibaba(active, "balance: no,"), false},
		"Alibaba's, and balance":     {alibaba("", "balance: true,"), true},
	} {
		c := loaded(t, tt.file)
		for _, format := range Formats() {
			for _, side := range []config.Side{config.Customer, config.Cloud} {
				e := write(c, Options{Format: format, Side: side, Reveal: true})
				cannot := slices.ContainsFunc(e.Lost, func(s string) bool { return strings.Contains(s, "both tunnels carry traffic at once") })
				if format == "swanctl" || format == "libreswan" {
					if cannot != tt.shared {
						t.Errorf("%s in %s for the %v: lost is %q", what, format, side, e.Lost)
					}
					continue
				}
				if strings.Contains(e.Text, "balance: true") != tt.shared || cannot {
					t.Errorf("%s in %s for the %v: got\n%s", what, format, side, e.Text)
				}
				for _, back := range loaded(t, e.Text).Connections {
					if back.Switching != c.Connections[0].Switching {
						t.Errorf("%s in %s for the %v came back as %+v, was %+v", what, format, side, back.Switching, c.Connections[0].Switching)
					}
				}
			}
		}
	}
}
