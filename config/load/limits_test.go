package load

import (
	"strings"
	"testing"
)

// What a tunnel can carry nothing with is refused, beside every kind of body and in it.
func TestLimitsThatCarryNothing(t *testing.T) {
	for _, tt := range []struct{ native, beside, want string }{
		{"esp: {bytes: 65535}", "", "native.esp.bytes: with 65535 bytes"},
		{"esp: {bytes: 1}", "", "native.esp.bytes: with 1 bytes"},
		{"esp: {bytes: 65536, packets: 64, lifetime: 5s}", "", ""},
		{"esp: {packets: 63}", "", "native.esp.packets: with 63 packets"},
		{"esp: {lifetime: 1ns}", "", "native.esp.lifetime: a Child SA of 1ns"},
		{"esp: {lifetime: 4}", "", "native.esp.lifetime: a Child SA of 4s"},
		{"esp: {lifetime: 0, bytes: 0, packets: 0}", "", ""},
		{"ike: {lifetime: 4999ms}", "", "native.ike.lifetime: an IKE SA of 4.999s"},
		{"ike: {lifetime: 5}", "", ""},
		{"esp: {bytes: 1}", "lifetime: {bytes: 100000}", ""},
		{"", "lifetime: {bytes: 500}", "].lifetime.bytes: with 500 bytes"},
		{"", "lifetime: {packets: 1}", "].lifetime.packets: with 1 packets"},
		{"", "lifetime: {esp: 1s}", "].lifetime.esp: a Child SA of 1s"},
		{"", "lifetime: {ike: 1ms}", "].lifetime.ike: an IKE SA of 1ms"},
	} {
		r, ps := parseText(nil, "f", []byte(lab(key+"\n      "+tt.native, tt.beside)))
		if s := lines(ps); (r == nil) != (tt.want != "") || !strings.Contains(s, tt.want) {
			t.Errorf("%s; %s: got\n%s", tt.native, tt.beside, s)
		}
	}
	for _, body := range []string{"IkeConfig.IkeLifetime", "IpsecConfig.IpsecLifetime"} {
		r, ps := parseText(nil, "f", alibabaFile(t, bodyWith(map[string]any{body: 4}), ""))
		if s := lines(ps); r != nil || !strings.Contains(s, body+": ") {
			t.Errorf("%s: got\n%s", body, s)
		}
	}
}

// The shared address space behind the customer's end is a warning there, whatever the dialect; at the cloud's end, or
// behind it, it is none.
func TestSharedAddressSpaceInTheCustomersNetworks(t *testing.T) {
	for _, tt := range []struct {
		file string
		want bool
	}{
		{"native: {psk: not-a-real-secret, local: {address: 203.0.113.9, subnets: [192.168.3.0/24, 100.65.0.0/24]}, remote: {address: 198.51.100.9, subnets: [10.0.0.0/8]}}", true},
		{"native: {psk: not-a-real-secret, local: {address: 203.0.113.9, subnets: [96.0.0.0/3]}, remote: {address: 198.51.100.9, subnets: [10.0.0.0/8]}}", true},
		{"native: {psk: not-a-real-secret, local: {address: 203.0.113.9, subnets: [0.0.0.0/0]}, remote: {address: 198.51.100.9, subnets: [100.64.0.0/10]}}", false},
		{"side: cloud\n    native: {psk: not-a-real-secret, local: {address: 203.0.113.9, subnets: [100.64.0.0/10]}, remote: {address: 198.51.100.9, subnets: [10.0.0.0/8]}}", false},
		{"alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 10.0.0.0/8, RemoteSubnet: 100.100.0.0/16, IkeConfig: {Psk: Not-a-real-secret}}", true},
		{"alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 100.64.0.0/10, RemoteSubnet: 192.168.0.0/16, IkeConfig: {Psk: Not-a-real-secret}}", false},
		{"side: cloud\n    alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 10.0.0.0/8, RemoteSubnet: 100.100.0.0/16, IkeConfig: {Psk: Not-a-real-secret}}", false},
		{"huawei: {vgw_id: 198.51.100.1, vgw_ip: 198.51.100.1, cgw_id: 203.0.113.9, psk: Not-a-real-secret, style: policy, policy_rules: [{source: 10.0.0.0/8, destination: [100.64.1.0/24]}]}", true},
		{"tencent: {VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, VpnConnectionName: n, PreShareKey: Not-a-real-secret, SecurityPolicyDatabases: [{LocalCidrBlock: 10.0.0.0/8, RemoteCidrBlock: [100.127.0.0/16]}]}", true},
	} {
		r, ps := parseText(nil, "f", []byte("version: 1\nconnections:\n  - "+tt.file+"\n"))
		if s := lines(ps); r == nil || strings.Contains(s, "carriers use") != tt.want {
			t.Errorf("%s: got\n%s", tt.file, s)
		}
	}
}

// A tunnel between networks that hold no host which could be reached is refused; such a network beside others is not.
func TestNetworksOfWhichNoPacketIsRouted(t *testing.T) {
	for _, tt := range []struct {
		local, remote string
		refused       bool
	}{
		{"10.0.0.0/8", "127.0.0.0/8", true},
		{"224.0.0.0/4", "10.0.0.0/8", true},
		{"10.0.0.0/8", "127.0.1.0/24, 239.0.0.0/8", true},
		{"'ff02::/16'", "'2001:db8::/32'", true},
		{"10.0.0.0/8", "127.0.0.0/8, 172.16.0.0/12", false},
		{"0.0.0.0/0", "0.0.0.0/0", false},
		{"10.0.0.0/8", "169.254.0.0/16", false},
	} {
		r, ps := parseText(nil, "f", []byte("version: 1\nconnections:\n  - {routes: [], native: {psk: not-a-real-secret, local: {address: 203.0.113.9, subnets: ["+tt.local+"]}, remote: {address: 198.51.100.9, subnets: ["+tt.remote+"]}}}\n"))
		if s := lines(ps); (r == nil) != tt.refused || strings.Contains(s, "goes through a tunnel") != tt.refused {
			t.Errorf("%+v: got\n%s", tt, s)
		}
	}
}
