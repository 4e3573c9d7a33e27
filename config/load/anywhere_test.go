package load

import (
	"fmt"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/ipsec"
)

func TestThePeersAddressMayBeAny(t *testing.T) {
	conn := func(name, keys, local, remote string) string {
		return "  - {name: " + name + keys + ", native: {local: {" + local + ", subnets: [10.1.0.0/16]}, remote: {" + remote + ", subnets: [10.2.0.0/16]}}}\n"
	}
	const here, there = "address: 203.0.113.9", "address: any, id: branch.example"
	one := func(keys, remote string) string {
		return conn("hub", keys, here, remote)
	}
	two := func(a, b, local, remote string) string {
		return conn("hub", a, here, there) + conn("other", b, local, remote)
	}
	with := func(conns, psk, body string) string { // each body gets a key, and what else is said
		return strings.ReplaceAll(strings.ReplaceAll(conns, "native: {", "native: {psk: "+psk+", "+body), "BODY", "")
	}
	const psk = "0123456789abcdefghijklmnop"
	v1 := "ike_version: 1, mode: main, "
	another := func(s string) string { // the second connection has another key
		i := strings.LastIndex(s, psk)
		return s[:i] + "ponmlkjihgfedcba9876543210" + s[i+len(psk):]
	}
	for _, tt := range []struct{ name, conns, why string }{
		{"passive", with(one("", there), psk, ""), ""},
		{"any in capitals", with(one("", "address: ANY, id: branch.example"), psk, ""), ""},
		{"an address for an identity", with(one("", "address: any, id: 10.0.0.7"), psk, ""), ""},
		{"said to be passive", with(one(", start: passive", there), psk, ""), ""},
		{"and initiate: false", with(one("", there), psk, "initiate: false, "), ""},
		{"no identity", with(one("", "address: any"), psk, ""), `the peer of "hub" may come from anywhere (address: any), so its identity must tell who it is, and it is missing: write a name in native.remote.id`},
		{"anybody", with(one("", "address: any, id: '%any'"), psk, ""), "and it is anybody's: write a name in native.remote.id"},
		{"an address that is none", with(one("", "address: any, id: 0.0.0.0"), psk, ""), "and it is 0.0.0.0: write a name in native.remote.id"},
		{"the word itself", with(one("", "address: any, id: any"), psk, ""), "and it is any: write a name in native.remote.id"},
		{"to begin", with(one(", start: active", there), psk, ""), `the peer of "hub" may come from anywhere (address: any), so this end can only answer: write  start: passive, or leave it out`},
		{"on traffic", with(one(", start: onTraffic", there), psk, ""), "so this end can only answer"},
		{"initiate", with(one("", there), psk, "initiate: true, "), "write  initiate: false, or leave it out"},
		{"this end", with(conn("hub", "", "address: any", "address: 198.51.100.7"), psk, ""), "an IP address is expected here"},

		{"two", with(two("", "", here, "address: any, id: other.example"), psk, ""), ""},
		{"two with one identity", with(two("", "", here, there), psk, ""), `connection "hub" has a peer with the identity branch.example too, which may come from anywhere: nothing tells the two apart`},
		{"whatever its letters", with(two("", "", here, "address: any, id: BRANCH.example"), psk, ""), "nothing tells the two apart"},
		{"two people of one host", with(conn("hub", "", here, "address: any, id: ann@branch.example")+conn("other", "", here, "address: any, id: Ann@branch.example"), psk, ""), ""},
		{"one person of one host", with(conn("hub", "", here, "address: any, id: ann@branch.example")+conn("other", "", here, "address: any, id: ann@BRANCH.example"), psk, ""), "nothing tells the two apart"},
		{"where the route chooses", with(two("", "", "id: 203.0.113.9", there), psk, ""), "nothing tells the two apart"},
		{"of another address of ours", with(two("", "", "address: 203.0.113.10", there), psk, ""), ""},
		{"for another identity of ours", with(two("", "", here+", id: second.example", there), psk, ""), ""},
		{"which IKEv1 does not say", with(two("", "", here+", id: second.example", there), psk, "ike_version: any, mode: aggressive, "), "IKEv1 does not say which of this end's identities it wants"},
		{"two keys", another(with(two("", "", here, "address: any, id: other.example"), psk, "")), ""},
		{"two keys in aggressive mode", another(with(two("", "", here, "address: any, id: other.example"), psk, "ike_version: 1, mode: aggressive, ")), ""},
		{"one key in main mode", with(two("", "", here, "address: any, id: other.example"), psk, v1), ""},
		{"two keys in main mode", another(with(two("", "", here, "address: any, id: other.example"), psk, v1)), `connection "hub" has another pre-shared key, and its peer may come from anywhere too: main mode of IKEv1 takes the key before it knows the peer`},
		{"two keys of two addresses", another(with(two("", "", "address: 203.0.113.10", "address: any, id: other.example"), psk, v1)), ""},
	} {
		r, ps := parseText(nil, "f", []byte("version: 1\nconnections:\n"+tt.conns))
		if tt.why != "" {
			if got := lines(ps); r != nil || !strings.Contains(got, tt.why) {
				t.Errorf("%s: got\n%swant %s", tt.name, got, tt.why)
			}
			continue
		}
		if r == nil {
			t.Errorf("%s: got\n%s", tt.name, lines(ps))
			continue
		}
		for _, c := range r.Config.Connections {
			tn := &c.Tunnels[0]
			if e := tn.Remote; !e.Any || e.Host != "" || e.Address.IsValid() || !e.Known() || e.Where() != "any" || tn.Start != config.StartPassive || !tn.PeerKey().Anywhere() {
				t.Errorf("%s: %+v, start %s", tt.name, e, tn.Start)
			}
		}
	}
}

// A cloud's body is beside an entry of customer_gateways: any, Huawei's names, or none at all where the body itself names the customer.
func TestACustomerMayComeFromAnywhere(t *testing.T) {
	const (
		alibaba = "alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: branch-1, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, IkeConfig: {IkeVersion: ikev2, Psk: a-secret-of-the-tests%s}}"
		huawei  = "huawei: {vgw_id: 198.51.100.1, vgw_ip: 198.51.100.1, cgw_id: branch-1, style: policy, peer_subnets: [192.168.3.0/24], policy_rules: [{source: 10.10.0.0/16, destination: [192.168.3.0/24]}], psk: A-secret-of-the-tests-1%s}"
		tencent = "tencent: {VpnGatewayId: 198.51.100.1, CustomerGatewayId: branch-1, VpnConnectionName: x, RouteType: StaticRoute, PreShareKey: a-secret-of-the-tests%s}"

		alibabaID = ", RemoteId: branch.example"
		huaweiID  = ", ikepolicy: {peer_id_type: fqdn, peer_id: branch.example}"
		tencentID = ", IKEOptionsSpecification: {RemoteIdentity: FQDN, RemoteFqdnName: branch.example}"
		fqdn      = "{id_type: fqdn, id_value: branch.example}"
		guessed   = "customer_gateways has no such entry, so this peer may come from anywhere, and its identity branch.example tells who it is"
	)
	for _, tt := range []struct{ gateway, body, says string }{
		{"{address: any}", fmt.Sprintf(alibaba, alibabaID), ""},
		{"{address: any}", fmt.Sprintf(huawei, huaweiID), ""},
		{"{address: any}", fmt.Sprintf(tencent, tencentID), ""},
		{fqdn, fmt.Sprintf(alibaba, ""), ""},
		{fqdn, fmt.Sprintf(huawei, ""), ""},
		{fqdn, fmt.Sprintf(huawei, ", ikepolicy: {peer_id_type: fqdn}"), ""},
		{fqdn, fmt.Sprintf(tencent, ""), ""},
		{"", fmt.Sprintf(alibaba, alibabaID), guessed},
		{"", fmt.Sprintf(huawei, huaweiID), guessed},
		{"", fmt.Sprintf(tencent, tencentID), guessed},
	} {
		file := "version: 1\nside: cloud\n"
		if tt.gateway != "" {
			file += "customer_gateways: {branch-1: " + tt.gateway + "}\n"
		}
		file += "connections: [{name: b, routes: [192.168.3.0/24], " + tt.body + "}]\n"
		r, ps := parseText(nil, "f", []byte(file))
		if r == nil || (tt.says == "") == strings.Contains(lines(ps), guessed) {
			t.Errorf("%s: got\n%s", file, lines(ps))
			continue
		}
		tn := &r.Config.Connections[0].Tunnels[0]
		if !tn.Remote.Any || tn.Remote.ID != (ipsec.Identity{Type: ipsec.IDFQDN, Data: "branch.example"}) || tn.Start != config.StartPassive {
			t.Errorf("%s: %+v, start %s", file, tn.Remote, tn.Start)
		}
		// The customer's end itself: its own address is the one that the route chooses.
		r, ps = parseText(nil, "f", []byte(strings.Replace(file, "side: cloud", "side: customer", 1)))
		if tt.gateway == "" {
			if r != nil || !strings.Contains(lines(ps), "customer_gateways has no such entry; add to it the line") {
				t.Errorf("%s at the customer's side: got\n%s", file, lines(ps))
			}
			continue
		}
		if r == nil {
			t.Errorf("%s at the customer's side: got\n%s", file, lines(ps))
			continue
		}
		tn = &r.Config.Connections[0].Tunnels[0]
		if tn.Local.Any || tn.Local.Address.IsValid() || tn.Local.ID.Data != "branch.example" || tn.Remote.Any || tn.Start != config.StartActive {
			t.Errorf("%s at the customer's side: %+v, start %s", file, tn.Local, tn.Start)
		}
	}
	for _, tt := range []struct{ gateways, body, why string }{
		{"branch-1: {id_type: fqdn}", fmt.Sprintf(huawei, ""), "with id_type its id_value is needed"},
		{"branch-1: {id_type: ip, id_value: branch.example}", fmt.Sprintf(huawei, ""), "for a name write id_type: fqdn"},
		{"branch-1: {id_type: ip, id_value: 203.0.113.9, address: 203.0.113.8}", fmt.Sprintf(huawei, ""), "address is another one"},
		{"branch-1: {address: any}", fmt.Sprintf(huawei, ""), "and it is missing: write a name in huawei.ikepolicy.peer_id"},
		{"branch-1: {address: any}", fmt.Sprintf(huawei, ", ikepolicy: {peer_id_type: any}"), "and it is anybody's"},
		{"branch-2: {address: 203.0.113.9}", fmt.Sprintf(huawei, huaweiID), `did you mean "branch-2"?`},
		{"branch-1: {address: any}", fmt.Sprintf(alibaba, ""), "write a name in alibaba.IkeConfig.RemoteId"},
	} {
		_, ps := parseText(nil, "f", []byte("version: 1\nside: cloud\ncustomer_gateways: {"+tt.gateways+"}\nconnections: [{name: b, "+tt.body+"}]\n"))
		if !strings.Contains(lines(ps), tt.why) {
			t.Errorf("%s: got\n%swant %s", tt.gateways, lines(ps), tt.why)
		}
	}
	// Huawei's answer about a customer gateway with an address.
	r, ps := parseText(nil, "f", []byte("version: 1\nside: cloud\ncustomer_gateways: {branch-1: {id_type: ip, id_value: 203.0.113.9}}\nconnections: [{name: b, "+fmt.Sprintf(huawei, "")+"}]\n"))
	if r == nil || r.Config.Connections[0].Tunnels[0].Remote.Where() != "203.0.113.9" {
		t.Errorf("got\n%s", lines(ps))
	}
}
