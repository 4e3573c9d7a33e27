package load

import (
	"strings"
	"testing"
)

// gatewaysFile is a file with one body, and lines of gateways.
func gatewaysFile(t *testing.T, change map[string]any, gateways string) string {
	t.Helper()
	return strings.Replace(string(alibabaFile(t, bodyWith(change), "")), "connections:", gateways+"\nconnections:", 1)
}

func TestWhatIdsOfGatewaysStandFor(t *testing.T) {
	for _, tt := range []struct{ gateways, vpn, why, code string }{
		{"vpn_gateways: {v: {address: 198.51.100.7}}", "v", "", ""},
		{"vpn_gateways: {v: {address: 198.51.100.7, asn: 64512, name: Shanghai}}", "v", "", ""},
		{"vpn_gateways: {v: {address: 198.51.100.7}}", "198.51.100.8", "", ""},
		{"vpn_gateways: {v: {address: gw.example.net}}", "v", "", ""},
		{"vpn_gateways: {v: {address: 198.51.100}}", "v", "an IP address is expected here", "vpngw.address.malformed"},
		{"vpn_gateways: {v: {address: gw_.-x.}}", "v", "or a name such as gw.example.net, is expected here", "vpngw.address.malformed"},
		{"vpn_gateways: {vpn-a: {address: 198.51.100.7}}", "vpn-b", `vpn_gateways has no such entry; add to it the line  vpn-b: {address: A.B.C.D}; did you mean "vpn-a"?`, "InvalidVpnGatewayInstanceId.NotFound"},
		{"vpn_gateways: {v: {addresses: {master: 198.51.100.7, slave: 198.51.100.8}}}", "v", "this gateway has several addresses in vpn_gateways (master, slave)", "vpngw.VpnGatewayId.ambiguous"},
		{"vpn_gateways: {v: {address: 198.51.100.7, addresses: {master: 198.51.100.7}}}", "v", "give one of the two", "vpngw.addresses.conflict"},
		{"vpn_gateways: {v: {addresses: {}}}", "v", "at least one address is needed", "vpngw.addresses.missing"},
		{"vpn_gateways: {v: {asn: 1}}", "v", "address is missing", "vpngw.address.missing"},
		{"vpn_gateways: {v: {addresses: {master: x}}}", "v", "an IP address is expected here", "vpngw.addresses.malformed"},
		{"customer_gateways: {v: {addresses: {a: 198.51.100.7}}}", "198.51.100.8", `there is no key "addresses" here; did you mean "address"?`, "vpngw.customer_gateways.unknown"},
	} {
		text := gatewaysFile(t, map[string]any{"VpnGatewayId": tt.vpn}, tt.gateways)
		if tt.why == "" {
			parse(t, text, nil)
			continue
		}
		_, ps := parseText(nil, "f", []byte(text))
		if got := lines(ps); !strings.Contains(got, tt.why) || !strings.Contains(got, "["+tt.code+"]") {
			t.Errorf("%s: got\n%swant %s [%s]", tt.gateways, got, tt.why, tt.code)
		}
	}
}
