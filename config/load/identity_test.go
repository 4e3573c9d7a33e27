package load

import (
	"strings"
	"testing"

	"vpngw/diag"
)

// Each is a body whose ends have one identity, with the parameter that is marked and the
// parameters that the message names.
func TestEqualIdentitiesOfBothEndsAreAnError(t *testing.T) {
	for _, tt := range []struct{ body, at, change string }{
		{
			"native: {local: {address: 203.0.113.9, id: gw.example.net, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, id: gw.example.net, subnets: [10.20.0.0/16]}, psk: a-secret-of-the-tests}",
			"native.remote.id", "native.local.id or native.remote.id",
		},
		{ // the default of the other end
			"native: {local: {address: 203.0.113.9, id: 198.51.100.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]}, psk: a-secret-of-the-tests}",
			"native.local.id", "native.local.id or native.remote.id",
		},
		{ // an address of ours that the route chooses
			"native: {local: {id: 198.51.100.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]}, psk: a-secret-of-the-tests}",
			"native.local.id", "native.local.id or native.remote.id",
		},
		{
			"alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, IkeConfig: {Psk: a-secret-of-the-tests, LocalId: 203.0.113.9}}",
			"alibaba.IkeConfig.LocalId", "alibaba.IkeConfig.LocalId or alibaba.IkeConfig.RemoteId",
		},
		{
			"huawei: {vgw_id: 198.51.100.1, vgw_ip: 198.51.100.1, cgw_id: 203.0.113.9, style: static, peer_subnets: [192.168.3.0/24], tunnel_local_address: 169.254.70.1/30, tunnel_peer_address: 169.254.70.2/30, psk: A-secret-of-the-tests-1, ikepolicy: {local_id_type: fqdn, local_id: vpn, peer_id_type: fqdn, peer_id: vpn}}",
			"huawei.ikepolicy.peer_id", "huawei.ikepolicy.local_id or huawei.ikepolicy.peer_id",
		},
		{
			"tencent: {VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, VpnConnectionName: x, RouteType: StaticRoute, PreShareKey: a-secret-of-the-tests, IKEOptionsSpecification: {LocalIdentity: FQDN, LocalFqdnName: vpn, RemoteIdentity: FQDN, RemoteFqdnName: vpn}}",
			"tencent.IKEOptionsSpecification.RemoteFqdnName", "tencent.IKEOptionsSpecification.LocalFqdnName or tencent.IKEOptionsSpecification.RemoteFqdnName",
		},
	} {
		for _, side := range []string{"customer", "cloud"} {
			_, ps := parseText(nil, "f", []byte("version: 1\nside: "+side+"\nconnections:\n  - "+tt.body+"\n    name: hq\n"))
			var found []diag.Problem
			for _, p := range ps {
				if p.Severity == diag.Error {
					found = append(found, p)
				}
			}
			if len(found) != 1 || found[0].Path != "connections[0]."+tt.at || !strings.Contains(found[0].Message, `"hq"`) || !strings.Contains(found[0].Message, "change "+tt.change+",") {
				t.Errorf("%s, side %s: got\n%s", tt.at, side, lines(ps))
			}
		}
	}
	// Equal addresses, whose identities are equal by default, are one error.
	_, ps := parseText(nil, "f", []byte(lab("psk: a-secret-of-the-tests\n      role: single", "")))
	if ps.Failed() {
		t.Errorf("different identities are refused:\n%s", lines(ps))
	}
	_, ps = parseText(nil, "f", []byte("version: 1\nconnections:\n  - native: {local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 203.0.113.9, subnets: [10.20.0.0/16]}, psk: a-secret-of-the-tests}\n"))
	if len(ps) != 1 || !strings.Contains(ps[0].Message, "both ends have this address") {
		t.Errorf("got\n%s", lines(ps))
	}
}
