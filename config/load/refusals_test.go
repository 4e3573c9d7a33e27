package load

import (
	"fmt"
	"strings"
	"testing"
)

// Other requests and answers of the clouds are refused by their names, each with what to take in its place.
func TestOtherRequestsAndAnswersAreRefusedByName(t *testing.T) {
	for _, tt := range []struct{ d, body, want, take string }{
		{"alibaba", `Action=ModifyVpnConnectionAttribute&RegionId=x&VpnConnectionId=vco-1&Name=n&LocalSubnet=10.0.0.0/8&RemoteSubnet=192.168.0.0/16`, "a request to modify", "DescribeVpnConnection"},
		{"alibaba", `{"RegionId":"x","VpnConnectionId":"vco-1","Name":"n","IkeConfig":"{}"}`, "a request to modify", "DescribeVpnConnection"},
		{"alibaba", `{"RegionId":"x","VpnConnectionId":"vco-1","TunnelId":"tun-1","TunnelOptionsSpecification":{"EnableDpd":true}}`, "a request to modify", "DescribeVpnConnection"},
		{"alibaba", `Action=CreateVpnAttachment&RegionId=x&CustomerGatewayId=203.0.113.9&NetworkType=public&LocalSubnet=10.0.0.0/8&RemoteSubnet=192.168.0.0/16`, "a request of CreateVpnAttachment", "DescribeVpnConnection"},
		{"alibaba", `{"RequestId":"x","VpnConnectionId":"vco-1","Name":"n","CreateTime":1,"Code":"200","Message":"ok","Success":true}`, "says nothing of the connection", "DescribeVpnConnection"},
		{"alibaba", `{"VpnAttachments":[{"InstanceId":"vco-1"}],"TotalCount":1}`, "DescribeVpnAttachments", "DescribeVpnConnection"},
		{"alibaba", `{"VpnConnections":[{"FailedReason":"x","VpnConnectionId":"vco-1"}],"TotalCount":1}`, "DiagnoseVpnConnections", "DescribeVpnConnection"},
		{"alibaba", `{"CustomerGatewayId":"cgw-1","IpAddress":"203.0.113.9","Asn":65010}`, "DescribeCustomerGateway", "customer_gateways"},
		{"alibaba", `{"VpnGatewayId":"vpn-1","VpcId":"vpc-1","InternetIp":"198.51.100.1"}`, "DescribeVpnGateway", "vpn_gateways"},
		{"huawei", `{"vpn_connection":{"name":"n","psk":"Not-a-real-secret"}}`, "a request to update", "ShowVpnConnection"},
		{"huawei", `{"customer_gateway":{"id":"1","id_value":"203.0.113.9"}}`, "about customer gateways", "customer_gateways"},
		{"huawei", `{"vpn_gateway":{"id":"1"}}`, "about VPN gateways", "vpn_gateways"},
		{"huawei", `{"sa_infos":[]}`, "ListConnectionIpsecSa", "ShowVpnConnection"},
		{"tencent", `Action=ModifyVpnConnectionAttribute&VpnConnectionId=vpnx-1&VpnConnectionName=n`, "a request to modify", "DescribeVpnConnections"},
		{"tencent", `{"VpnConnectionId":"vpnx-1","PreShareKey":"Not-a-real-secret"}`, "a request to modify", "DescribeVpnConnections"},
		{"tencent", `{"Response":{"CustomerGatewayConfiguration":"crypto isakmp","RequestId":"x"}}`, "a router's configuration", "DescribeVpnConnections"},
		{"tencent", `{"Response":{"CustomerGatewaySet":[],"RequestId":"x"}}`, "about customer gateways", "customer_gateways"},
		{"huawei", `{"vpn_connection":{"vgw_id":"198.51.100.1","vgw_ip":"198.51.100.1","cgw_id":"203.0.113.9","peer_subnets":["192.168.3.0/24"],"psk":"Not-a-real-secret","style":"policy-template"}}`, "a policy template", "policy, static or bgp"},
		{"huawei", `{"vpn_connection":{"vgw_id":"198.51.100.1","vgw_ip":"198.51.100.1","cgw_id":"203.0.113.9","peer_subnets":["192.168.3.0/24"],"psk":"Not-a-real-secret","peer_subnets_v6":["2001:db8::/32"]}}`, "IPv6 inside", "native"},
		{"huawei", `{"vpn_connection":{"vgw_id":"198.51.100.1","vgw_ip":"198.51.100.1","cgw_id":"203.0.113.9","peer_subnets":["192.168.3.0/24"],"psk":"Not-a-real-secret","ikepolicy":{"encryption_algorithm":"sm4"}}}`, "ShangMi", ""},
	} {
		for _, side := range []string{"customer", "cloud"} {
			for _, body := range []string{"body", "'" + tt.body + "'"} {
				r, ps := parseText(files{"body": tt.body}.read, "f", []byte(fmt.Sprintf("version: 1\nside: %s\nconnections:\n  - %s: %s\n", side, tt.d, body)))
				s := lines(ps)
				if r != nil || !strings.Contains(s, tt.want) || !strings.Contains(s, tt.take) || strings.Count(s, "error:") != 1 {
					t.Errorf("%s at the %s's: %.90s: got\n%s", tt.d, side, tt.body, s)
				}
			}
		}
	}
}

// A member that no table has is a note in an answer, and an error with the nearest name in a request.
func TestUnknownMembers(t *testing.T) {
	for d, body := range map[string]string{
		"alibaba": `{"RegionId":"x","VpnGatewayId":"198.51.100.1","CustomerGatewayId":"203.0.113.9","LocalSubnet":"10.0.0.0/8","RemoteSubnet":"192.168.0.0/16","IkeConfig":{"Psk":"Not-a-real-secret","IkeVersoin":"ikev2"},"EnableDpt":true}`,
		"huawei":  `{"vpn_connection":{"vgw_id":"198.51.100.1","vgw_ip":"198.51.100.1","cgw_id":"203.0.113.9","peer_subnets":["192.168.3.0/24"],"psk":"Not-a-real-secret","ikepolicy":{"ike_versoin":"v2"},"enable_nqq":true}}`,
		"tencent": `{"VpnGatewayId":"198.51.100.1","CustomerGatewayId":"203.0.113.9","VpnConnectionName":"n","PreShareKey":"Not-a-real-secret","RouteType":"StaticRoute","IKEOptionsSpecification":{"IKEVersoin":"IKEV2"},"DpdEnabel":1}`,
	} {
		read := func(body string) (*Result, string) {
			r, ps := parseText(nil, "f", []byte("version: 1\nconnections:\n  - "+d+": '"+body+"'\n    routes: [10.0.0.0/8]\n"))
			return r, lines(ps)
		}
		if r, s := read(body); r != nil || strings.Count(s, "did you mean") != 2 {
			t.Errorf("%s, a request: got\n%s", d, s)
		}
		answer := strings.Replace(body, `"RegionId":"x",`, "", 1)
		i := strings.LastIndex(answer, `"VpnGatewayId"`) + strings.LastIndex(answer, `"vgw_id"`) + 1
		answer = answer[:i] + map[string]string{"huawei": `"id":"1",`, "alibaba": `"VpnConnectionId":"1",`, "tencent": `"VpnConnectionId":"1","State":"AVAILABLE",`}[d] + answer[i:]
		r, s := read(answer)
		if r == nil {
			t.Errorf("%s, an answer: refused\n%s", d, s)
			continue
		}
		if notes := strings.Join(r.Drafts[0].Notes, "\n"); strings.Count(strings.ToLower(notes), "versoin") != 1 || !strings.Contains(notes, "newer than what vpngw knows") {
			t.Errorf("%s, an answer: got\n%s\n%s", d, s, notes)
		}
	}
}

// A text that is something else is named, in one sentence, as a body, as a file that a body names, and as the file itself.
func TestSomethingElseAltogether(t *testing.T) {
	for text, want := range map[string]string{
		"# a comment\nconnections {\n  hq {\n    version = 2\n  }\n}\n":           "swanctl.conf",
		"config setup\n    uniqueids=no\n\nconn hq\n    left=192.0.2.1\n":         "ipsec.conf",
		"conn hq\n    left=192.0.2.1\n":                                           "ipsec.conf",
		"192.0.2.1 198.51.100.1 : PSK \"not-a-real-secret\"\n":                    "ipsec.secrets",
		"resource \"alicloud_vpn_connection\" \"default\" {\n  name = \"x\"\n}\n": "Terraform",
		"terraform {\n}\n": "Terraform",
		`{"resource": {"tencentcloud_vpn_connection": {"c": {"name": "x"}}}}`:                                          "Terraform",
		`{"terraform_version": "1.5", "resources": []}`:                                                                "Terraform",
		"ROSTemplateFormatVersion: '2015-09-01'\nResources:\n  VpnConnection:\n    Type: ALIYUN::VPC::VpnConnection\n": "ROS",
		`{"Resources": {"c": {"Type": "ALIYUN::VPC::VpnConnection", "Properties": {"LocalSubnet": "10.0.0.0/8"}}}}`:    "ROS",
		"VPN网关：vpn-1\n用户网关：cgw-1\n预共享密钥：not-a-real-secret\n":                                                           "console",
		"Name\nhq\nVPN Gateway\nvpn-1\nCustomer Gateway\ncgw-1\nRouting Mode\nProtected data flows\n":                  "console",
		"VPN Gateway: vpn-1\nCustomer Gateway: cgw-1\nPre-Shared Key: not-a-real-secret\n":                             "console",
		"crypto isakmp policy 10\n encr aes\n":                                                                         "router",
		"aliyun vpc CreateVpnConnection --RegionId cn-shanghai --Name x\n":                                             "command line",
		"[Interface]\nPrivateKey = x\n[Peer]\n":                                                                        "WireGuard",
		`{"format_version":"1.2","planned_values":{"root_module":{}}}`:                                                 "Terraform",
		`{"version":4,"terraform_version":"1.5.0","resources":[]}`:                                                     "Terraform",
		`{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","resources":[]}`: "Azure",
		"- hosts: all\n  tasks:\n    - name: x\n":                                                                      "Ansible",
		"runtime: yaml\nname: x\nresources:\n  c:\n    type: alicloud:vpn:Connection\n":                                "Pulumi",
		"apiVersion: v1\nkind: Secret\n":                                                                               "Kubernetes",
		"version: '3'\nservices:\n  vpn:\n    image: x\n":                                                              "Compose",
		"openstack vpn ipsec site connection create\n":                                                                 "command line",
		"/ip ipsec peer\nadd address=192.0.2.1\n":                                                                      "router",
		"ike local-name x\nipsec proposal tran1\n":                                                                     "router",
		"client\ndev tun\nremote 192.0.2.1 1194\n":                                                                     "OpenVPN",
		"<!DOCTYPE html>\n<html><body>x</body></html>\n":                                                               "page of the web",
		`{"error_code":"VPN.0001","error_msg":"x"}`:                                                                    "an error that the cloud",
		`{"Response":{"Error":{"Code":"AuthFailure","Message":"x"},"RequestId":"y"}}`:                                  "an error that the cloud",
		`{"RequestId":"x","Message":"The specified VpnConnectionId does not exist.","HostId":"vpc.aliyuncs.com","Code":"InvalidVpnConnectionInstanceId.NotFound","Recommend":"x"}`: "an error that the cloud",
	} {
		for what, file := range map[string]string{
			"a file":   "version: 1\nconnections: [{alibaba: body}]",
			"in it":    fmt.Sprintf("version: 1\nconnections: [{huawei: %q}]", text),
			"the file": text,
		} {
			r, ps := parseText(files{"body": text}.read, "f", []byte(file))
			s := lines(ps)
			if r != nil || len(ps) != 1 || !strings.Contains(s, want) || strings.Contains(s, "real-secret") || !strings.Contains(s, "take") && !strings.Contains(s, "psk_file") {
				t.Errorf("%s: %.40q: got\n%s", what, text, s)
			}
		}
	}
	if _, ps := parseText(nil, "f", []byte(bodyText)); len(ps) != 1 || !strings.Contains(lines(ps), "a request or an answer of alibaba's API") {
		t.Errorf("a body in the place of the file: got\n%s", lines(ps))
	}
}
