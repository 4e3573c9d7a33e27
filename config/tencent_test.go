package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config/tencent"
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

const (
	tEmpty     = "InvalidParameterValue.Empty"
	tMalformed = "InvalidParameterValue.Malformed"
	tTooLong   = "InvalidParameterValue.TooLong"
	tQuota     = "LimitExceeded"
)

var (
	withIKEv1  = map[string]any{"IKEOptionsSpecification.IKEVersion": "IKEV1"}
	withHealth = map[string]any{"EnableHealthCheck": true, "HealthCheckLocalIp": "169.254.128.1", "HealthCheckRemoteIp": "169.254.128.2"}
	withDPD    = map[string]any{"DpdEnable": 1}
	withBGP    = map[string]any{"RouteType": "Bgp", "SecurityPolicyDatabases": nil, "BgpConfig": map[string]any{"TunnelCidr": "169.254.64.44/30", "LocalBgpIp": "169.254.64.45", "RemoteBgpIp": "169.254.64.46"}}
	withTag    = map[string]any{"Tags": []any{map[string]any{"Key": "city", "Value": "shanghai"}}}
	withRoute  = map[string]any{"RouteType": "StaticRoute", "SecurityPolicyDatabases": nil, "Route": map[string]any{"DestinationCidrBlock": "192.168.3.0/24"}}
)

var (
	tencentCiphers = []any{nil, "3DES-CBC", "AES-CBC-128", "AES-CBC-192", "AES-CBC-256", "DES-CBC", "AES128GCM128", "AES192GCM128", "AES256GCM128", "aes-cbc-128"}
	tencentHashes  = []any{nil, "MD5", "SHA", "SHA1", "SHA-256", "SHA-384", "SHA-512"}
)

var tencentRows = []rowCase{
	{path: "VpnGatewayId", good: []any{"198.51.100.1"}, bad: []any{nil, ""}, code: tEmpty},
	{path: "VpnGatewayId", bad: []any{"vpngw-1w9tue3d"}, code: "ResourceNotFound"},
	{path: "CustomerGatewayId", good: []any{"203.0.113.9"}, bad: []any{nil, ""}, code: tEmpty},
	{path: "CustomerGatewayId", bad: []any{"cgw-qa9sxpy7"}, code: "ResourceNotFound"},
	{path: "CustomerGatewayId", bad: []any{"198.51.100.1"}, code: "vpngw.CustomerGatewayId.conflict"},
	{path: "VpnConnectionName", good: []any{"a", strings.Repeat("a", 60), "总部"}, bad: []any{strings.Repeat("a", 61)}, code: tTooLong},
	{path: "VpnConnectionName", bad: []any{nil, ""}, code: tEmpty},
	{path: "PreShareKey", good: []any{"a", "654321", 654321, strings.Repeat("a", 4096)}, bad: []any{strings.Repeat("a", 4097)}, code: tTooLong},
	{path: "PreShareKey", bad: []any{nil, ""}, code: tEmpty},
	{path: "VpcId", good: []any{nil, "vpc-gapcv96p"}, bad: []any{[]any{}}, code: tMalformed},
	{path: "SecurityPolicyDatabases", good: []any{nil, []any{}, []any{spdOf("10.8.0.0/24", subnetsOf(200)...)}, times(200, func(i int) any { return spdOf(fmt.Sprintf("10.8.%d.0/24", i), "192.168.3.0/24") })}, bad: []any{times(201, func(i int) any { return spdOf(fmt.Sprintf("10.8.%d.0/24", i), "192.168.3.0/24") }), []any{spdOf("10.8.0.0/24", subnetsOf(101)...), spdOf("10.8.1.0/24", subnetsOf(100)...)}}, code: tQuota},
	{path: "SecurityPolicyDatabases", good: []any{map[string]any{"10.0.0.5/24": []any{"172.123.10.5/16"}}, `[{"LocalCidrBlock":"10.8.4.0/24","RemoteCidrBlock":["192.168.3.0/24"]}]`}, bad: []any{"10.8.4.0/24", map[string]any{"x": []any{"172.123.0.0/16"}}}, code: tMalformed},
	{path: "SecurityPolicyDatabases", bad: []any{[]any{spdOf("192.168.0.0/16", "192.168.3.0/24")}}, code: "InvalidParameterValue.VpcCidrConflict"},
	{path: "SecurityPolicyDatabases", bad: []any{nil, []any{}}, code: tEmpty, with: map[string]any{"RouteType": "Policy"}},
	{path: "SecurityPolicyDatabases", good: []any{nil, []any{}, []any{spdOf("0.0.0.0/0", "0.0.0.0/0")}}, bad: []any{[]any{spdOf("10.8.4.0/24", "192.168.3.0/24")}}, code: "vpngw.SecurityPolicyDatabases.conflict", with: map[string]any{"RouteType": "StaticRoute"}},
	{path: "SecurityPolicyDatabases.0.LocalCidrBlock", good: []any{"10.8.4.0/24", "10.8.4.7/24", "0.0.0.0/0"}, bad: []any{"10.8.4.0", "x", []any{}}, code: tMalformed},
	{path: "SecurityPolicyDatabases.0.LocalCidrBlock", bad: []any{nil, ""}, code: tEmpty},
	{path: "SecurityPolicyDatabases.0.RemoteCidrBlock", good: []any{subnetsOf(1), subnetsOf(200)}, bad: []any{subnetsOf(201)}, code: tQuota},
	{path: "SecurityPolicyDatabases.0.RemoteCidrBlock", bad: []any{[]any{"x"}, "192.168.3.0/24"}, code: tMalformed},
	{path: "SecurityPolicyDatabases.0.RemoteCidrBlock", bad: []any{nil, []any{}}, code: tEmpty},
	{path: "SecurityPolicyDatabases", bad: []any{[]any{spdOf("10.8.4.0/24", "192.168.3.0/24"), spdOf("10.8.4.0/24", "192.168.3.0/24")}}, code: "InvalidParameterValue.Duplicate"},
	{path: "IKEOptionsSpecification", good: []any{nil, map[string]any{}, `{"IKEVersion":"IKEV2"}`}, bad: []any{"IKEV2", []any{}}, code: tMalformed},
	{path: "IKEOptionsSpecification.IKEVersion", good: []any{nil, "IKEV1", "IKEV2", "ikev2"}, bad: []any{"IKEV3", "2"}, code: "vpngw.IKEVersion.illegal"},
	{path: "IKEOptionsSpecification.ExchangeMode", good: []any{nil, "MAIN", "AGGRESSIVE", "main"}, bad: []any{"QUICK"}, code: "vpngw.ExchangeMode.illegal", with: withIKEv1},
	{path: "IKEOptionsSpecification.PropoEncryAlgorithm", good: tencentCiphers, bad: []any{"NULL", "AES"}, code: "vpngw.PropoEncryAlgorithm.illegal"},
	{path: "IKEOptionsSpecification.PropoEncryAlgorithm", bad: []any{"SM4"}, code: "vpngw.PropoEncryAlgorithm.unsupported"},
	{path: "IKEOptionsSpecification.PropoEncryAlgorithm", good: []any{"AES-CBC-256"}, bad: []any{"AES256GCM128"}, code: "vpngw.PropoEncryAlgorithm.conflict", with: withIKEv1},
	{path: "IKEOptionsSpecification.PropoAuthenAlgorithm", good: tencentHashes, bad: []any{"SHA256"}, code: "vpngw.PropoAuthenAlgorithm.illegal"},
	{path: "IKEOptionsSpecification.PropoAuthenAlgorithm", bad: []any{"SM3"}, code: "vpngw.PropoAuthenAlgorithm.unsupported"},
	{path: "IKEOptionsSpecification.DhGroupName", good: []any{nil, "GROUP1", "GROUP2", "GROUP5", "GROUP14", "GROUP15", "GROUP16", "GROUP19", "GROUP20", "GROUP21", "GROUP24"}, bad: []any{"GROUP18", "14", "NULL"}, code: "vpngw.DhGroupName.illegal"},
	{path: "IKEOptionsSpecification.IKESaLifetimeSeconds", good: []any{nil, 60, "86400", 604800}, bad: []any{59, 604801, 0}, code: "vpngw.IKESaLifetimeSeconds.illegal"},
	{path: "IKEOptionsSpecification.IKESaLifetimeSeconds", bad: []any{"24h", true}, code: tMalformed},
	{path: "IKEOptionsSpecification.LocalIdentity", good: []any{nil, "ADDRESS"}, bad: []any{"DN"}, code: "vpngw.LocalIdentity.illegal"},
	{path: "IKEOptionsSpecification.LocalIdentity", good: []any{"FQDN"}, with: map[string]any{"IKEOptionsSpecification.LocalFqdnName": "a"}},
	{path: "IKEOptionsSpecification.LocalIdentity", bad: []any{"FQDN"}, code: tEmpty},
	{path: "IKEOptionsSpecification.RemoteIdentity", good: []any{nil, "ADDRESS"}, bad: []any{"DN"}, code: "vpngw.RemoteIdentity.illegal"},
	{path: "IKEOptionsSpecification.RemoteIdentity", good: []any{"FQDN"}, with: map[string]any{"IKEOptionsSpecification.RemoteFqdnName": "a"}},
	{path: "IKEOptionsSpecification.RemoteIdentity", bad: []any{"FQDN"}, code: tEmpty},
	{path: "IKEOptionsSpecification.LocalAddress", good: []any{nil, "", "58.211.2.5"}, bad: []any{"x", "58.211.2.0/24"}, code: tMalformed},
	{path: "IKEOptionsSpecification.RemoteAddress", good: []any{nil, "", "1.2.3.4"}, bad: []any{"x"}, code: tMalformed},
	{path: "IKEOptionsSpecification.LocalFqdnName", good: []any{nil, "", "a", strings.Repeat("a", 255)}, bad: []any{strings.Repeat("a", 256)}, code: "vpngw.LocalFqdnName.illegal"},
	{path: "IKEOptionsSpecification.RemoteFqdnName", good: []any{nil, "", "a", strings.Repeat("a", 255)}, bad: []any{strings.Repeat("a", 256)}, code: "vpngw.RemoteFqdnName.illegal"},
	{path: "IPSECOptionsSpecification", good: []any{nil, map[string]any{}}, bad: []any{"ESP"}, code: tMalformed},
	{path: "IPSECOptionsSpecification.EncryptAlgorithm", good: append([]any{"NULL"}, tencentCiphers...), bad: []any{"AES"}, code: "vpngw.EncryptAlgorithm.illegal"},
	{path: "IPSECOptionsSpecification.EncryptAlgorithm", bad: []any{"SM4"}, code: "vpngw.EncryptAlgorithm.unsupported"},
	{path: "IPSECOptionsSpecification.IntegrityAlgorith", good: tencentHashes, bad: []any{"NULL"}, code: "vpngw.IntegrityAlgorith.illegal", with: map[string]any{"IPSECOptionsSpecification.IntegrityAlgorithm": nil}},
	{path: "IPSECOptionsSpecification.IntegrityAlgorith", bad: []any{"SM3"}, code: "vpngw.IntegrityAlgorith.unsupported"},
	{path: "IPSECOptionsSpecification.IntegrityAlgorithm", good: tencentHashes, bad: []any{"NULL"}, code: "vpngw.IntegrityAlgorithm.illegal"},
	{path: "IPSECOptionsSpecification.IntegrityAlgorithm", bad: []any{"SM3"}, code: "vpngw.IntegrityAlgorithm.unsupported"},
	{path: "IPSECOptionsSpecification.IntegrityAlgorithm", good: []any{nil, "SHA", "SHA1"}, bad: []any{"MD5"}, code: "InvalidParameter.Coexist", with: map[string]any{"IPSECOptionsSpecification.IntegrityAlgorith": "SHA1"}},
	{path: "IPSECOptionsSpecification.PfsDhGroup", good: []any{nil, "NULL", "DH-GROUP1", "DH-GROUP2", "DH-GROUP5", "DH-GROUP14", "DH-GROUP15", "DH-GROUP16", "DH-GROUP19", "DH-GROUP20", "DH-GROUP21", "DH-GROUP24"}, bad: []any{"GROUP14", "DH-GROUP18"}, code: "vpngw.PfsDhGroup.illegal"},
	{path: "IPSECOptionsSpecification.IPSECSaLifetimeSeconds", good: []any{nil, 180, 604800}, bad: []any{179, 604801}, code: "vpngw.IPSECSaLifetimeSeconds.illegal"},
	{path: "IPSECOptionsSpecification.IPSECSaLifetimeTraffic", good: []any{nil, 2560, "4294967295"}, bad: []any{2559, "4294967296"}, code: "vpngw.IPSECSaLifetimeTraffic.illegal"},
	{path: "IPSECOptionsSpecification.SecurityProto", good: []any{nil, "ESP"}, bad: []any{"AH"}, code: "vpngw.SecurityProto.unsupported"},
	{path: "IPSECOptionsSpecification.EncapMode", good: []any{nil, "TUNNEL", "Tunnel"}, bad: []any{"TRANSPORT"}, code: "vpngw.EncapMode.unsupported"},
	{path: "Tags", good: []any{nil, []any{}, tagsOf(50, "Key")}, bad: []any{tagsOf(51, "Key")}, code: "LimitExceeded.TagKeyPerResourceExceeded"},
	{path: "Tags", bad: []any{[]any{map[string]any{"Key": "a"}, map[string]any{"Key": "a"}}}, code: "InvalidParameterValue.TagDuplicateKey"},
	{path: "Tags.0.Key", good: []any{"k", strings.Repeat("k", 127)}, bad: []any{strings.Repeat("k", 128)}, code: "InvalidParameterValue.TagInvalidKeyLen", with: withTag},
	{path: "Tags.0.Key", bad: []any{nil, ""}, code: "InvalidParameterValue.TagInvalidKey", with: withTag},
	{path: "Tags.0.Value", good: []any{nil, "", strings.Repeat("v", 255)}, bad: []any{strings.Repeat("v", 256), []any{}}, code: "InvalidParameterValue.TagInvalidVal", with: withTag},
	{path: "EnableHealthCheck", good: []any{nil, true, false, "true"}, bad: []any{"x"}, code: tMalformed},
	{path: "HealthCheckLocalIp", good: []any{nil, "", "169.254.128.1"}, bad: []any{"x"}, code: tMalformed},
	{path: "HealthCheckRemoteIp", good: []any{nil, "", "169.254.128.2", "192.168.3.9"}, bad: []any{"x"}, code: tMalformed},
	{path: "HealthCheckRemoteIp", bad: []any{"10.8.4.9"}, code: "InvalidParameterValue.VpnConnHealthCheckIpConflict"},
	{path: "HealthCheckRemoteIp", bad: []any{"169.254.128.1"}, code: "vpngw.HealthCheckRemoteIp.illegal", with: withHealth},
	{path: "HealthCheckConfig", good: []any{nil, map[string]any{}}, bad: []any{"NQA"}, code: tMalformed, with: withHealth},
	{path: "HealthCheckConfig.ProbeType", good: []any{nil, "NQA"}, bad: []any{"PING"}, code: "vpngw.ProbeType.illegal", with: withHealth},
	{path: "HealthCheckConfig.ProbeInterval", good: []any{nil, 1000, "5000"}, bad: []any{999, 5001}, code: "vpngw.ProbeInterval.illegal", with: withHealth},
	{path: "HealthCheckConfig.ProbeThreshold", good: []any{nil, 3, 8}, bad: []any{2, 9}, code: "vpngw.ProbeThreshold.illegal", with: withHealth},
	{path: "HealthCheckConfig.ProbeTimeout", good: []any{nil, 10, 5000}, bad: []any{9, 5001}, code: "vpngw.ProbeTimeout.illegal", with: withHealth},
	{path: "RouteType", good: []any{nil, "STATIC", "Policy"}, bad: []any{"Dynamic"}, code: "vpngw.RouteType.illegal"},
	{path: "RouteType", good: []any{"StaticRoute", "STATICROUTE"}, with: withRoute},
	{path: "RouteType", good: []any{"Bgp", "BGP"}, with: withBGP},
	{path: "NegotiationType", good: []any{nil, "", "active", "passive", "flowTrigger"}, bad: []any{"trap"}, code: "vpngw.NegotiationType.illegal"},
	{path: "DpdEnable", good: []any{nil, 0, 1, -1, "1"}, bad: []any{2, -2, true}, code: "vpngw.DpdEnable.illegal"},
	{path: "DpdTimeout", good: []any{nil, "", "30", 30, 1, 3600}, bad: []any{0, 3601}, code: "vpngw.DpdTimeout.illegal", with: withDPD},
	{path: "DpdTimeout", bad: []any{"30s"}, code: tMalformed, with: withDPD},
	{path: "DpdAction", good: []any{nil, "", "clear", "restart"}, bad: []any{"hold"}, code: "vpngw.DpdAction.illegal", with: withDPD},
	{path: "BgpConfig", good: []any{nil, "", map[string]any{}, map[string]any{"TunnelCidr": ""}}, bad: []any{withBGP["BgpConfig"]}, code: "vpngw.BgpConfig.conflict"},
	{path: "BgpConfig", bad: []any{nil, map[string]any{}}, code: tEmpty, with: withBGP},
	{path: "BgpConfig.TunnelCidr", good: []any{"169.254.64.44/30"}, bad: []any{"169.254.64.40/29", "169.254.64.44/31"}, code: "InvalidParameterValue.VpnConnBgpTunnelCidrMask", with: withBGP},
	{path: "BgpConfig.TunnelCidr", bad: []any{"169.254.64.44", "x"}, code: tMalformed, with: withBGP},
	{path: "BgpConfig.LocalBgpIp", good: []any{"169.254.64.45"}, bad: []any{"169.254.64.49", "169.254.64.44", "10.0.0.1"}, code: "InvalidParameterValue.VpnConnBgpTunnelCidrNotSupported", with: withBGP},
	{path: "BgpConfig.RemoteBgpIp", good: []any{"169.254.64.46"}, bad: []any{"169.254.64.45", "169.254.64.47", "169.254.64.50"}, code: "InvalidParameterValue.VpnConnBgpTunnelCidrNotSupported", with: withBGP},
	{path: "BgpConfig.LocalBgpAsn", good: []any{nil, 64551, "64551"}, bad: []any{"x"}, code: "vpngw.LocalBgpAsn.illegal", with: withBGP},
	{path: "BgpConfig.RemoteBgpAsn", good: []any{nil, 65010}, bad: []any{"64551"}, code: "UnsupportedOperation.VpnUnsupportedBgpAsnEqual", with: withBGP},
	{path: "CustomerGatewayId", bad: []any{"203.0.113.9"}, code: "UnsupportedOperation.VpnUnsupportedNotExistBgpAsn", with: withBGP},
	{path: "Route", good: []any{nil, map[string]any{}}, bad: []any{"192.168.3.0/24"}, code: tMalformed, with: withRoute},
	{path: "Route.DestinationCidrBlock", good: []any{"192.168.3.0/24"}, bad: []any{"x"}, code: tMalformed, with: withRoute},
	{path: "Route.Priority", good: []any{nil, 0, 100}, bad: []any{50}, code: "vpngw.Priority.illegal", with: withRoute},
	{path: "Route.Description", good: []any{nil, "x"}, with: withRoute},
	{path: "SecurityPolicyDatabaseSet", good: []any{nil, []any{}, []any{spdOf("10.8.4.0/24", "192.168.3.0/24")}}, bad: []any{"x"}, code: tMalformed, with: map[string]any{"SecurityPolicyDatabases": nil}},
	{path: "SecurityPolicyDatabaseSet", bad: []any{[]any{}}, code: "InvalidParameter.Coexist"},
	{path: "TagSet", good: []any{nil, []any{}, tagsOf(50, "Key")}, bad: []any{"x"}, code: tMalformed},
	{path: "Action", good: []any{nil, "CreateVpnConnection"}},
	{path: "Version", good: []any{nil, "2017-03-12"}},
	{path: "Region", good: []any{nil, "ap-guangzhou"}},
	{path: "Language", good: []any{nil, "en-US"}},
	{path: "Timestamp", good: []any{nil, 1465185768}},
	{path: "Nonce", good: []any{nil, 11886}},
	{path: "SecretId", good: []any{nil, "x"}},
	{path: "Signature", good: []any{nil, "x"}},
	{path: "SignatureMethod", good: []any{nil, "HmacSHA256"}},
	{path: "Token", good: []any{nil, "x"}},
	{path: "RequestClient", good: []any{nil, "SDK"}},
	{path: "RequestId", good: []any{nil, "4b71dd4d-a3ee-4ac1-b99a-99d65f6443fd"}},
	{path: "TotalCount", good: []any{nil, 1}},
	{path: "VpnConnectionId", good: []any{nil, "vpnx-p0j11j28"}},
	{path: "State", good: []any{nil, "PENDING", "AVAILABLE"}},
	{path: "NetStatus", good: []any{nil, "", "AVAILABLE"}},
	{path: "HealthCheckStatus", good: []any{nil, ""}},
	{path: "CreatedTime", good: []any{nil, "0000-00-00 00:00:00"}},
	{path: "VpnProto", good: []any{nil, "IPSEC"}, bad: []any{"GRE"}, code: "vpngw.VpnProto.illegal"},
	{path: "EncryptProto", good: []any{nil, "IKE"}, bad: []any{"NONE"}, code: "vpngw.EncryptProto.illegal"},
}

// nullAllowed is beside every body, so that NULL is a good value.
const nullAllowed = "allow: [null-encryption]"

func TestTencentRows(t *testing.T) {
	checkRows(t, tencent.Dialect, tencentBody(), nullAllowed, tencentRows)
}

func tencentTunnel(t *testing.T, with map[string]any, beside string) (*Connection, Tunnel) {
	t.Helper()
	body := tencentBody()
	for path, v := range with {
		put(t, body, path, v)
	}
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
	if tun.DPD != (dpd.Config{}) || tun.Health != nil || tun.BGP != nil || conn.Routing != RouteFlows {
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
		routing Routing
		subnets string
	}{
		{nil, RouteFlows, "[10.8.4.0/24]"},
		{map[string]any{"RouteType": "Policy"}, RouteFlows, "[10.8.4.0/24]"},
		{map[string]any{"SecurityPolicyDatabases": []any{}}, RouteDestination, "[0.0.0.0/0]"},
		{map[string]any{"SecurityPolicyDatabases": nil}, RouteDestination, "[0.0.0.0/0]"},
		{withRoute, RouteDestination, "[0.0.0.0/0]"},
		{withBGP, RouteBGP, "[0.0.0.0/0]"},
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
	for kind, initiates := range map[string]bool{"active": true, "passive": false, "flowTrigger": true, "": true} {
		if _, tun := tencentTunnel(t, map[string]any{"NegotiationType": kind}, "side: cloud"); tun.Initiate != initiates {
			t.Errorf("%s: the cloud initiates: %v", kind, tun.Initiate)
		}
		if _, tun := tencentTunnel(t, map[string]any{"NegotiationType": kind}, "side: customer"); !tun.Initiate {
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
	} {
		if _, tun := tencentTunnel(t, tt.with, ""); tun.DPD != tt.want {
			t.Errorf("%v: got %+v", tt.with, tun.DPD)
		}
	}
}

func TestTencentServices(t *testing.T) {
	conn, tun := tencentTunnel(t, withHealth, "side: customer")
	want := Health{Interval: 5 * time.Second, Timeout: 150 * time.Millisecond, Retries: 3}
	if h := tun.Health; h == nil || h.Source.String() != "169.254.128.1" || h.Target.String() != "169.254.128.2" || h.Interval != want.Interval || h.Timeout != want.Timeout || h.Retries != want.Retries || h.Ours {
		t.Errorf("got %+v", h)
	}
	if fmt.Sprint(conn.Unserved()) != "[health checks]" {
		t.Errorf("got %v", conn.Unserved())
	}
	for beside, want := range map[string]struct {
		refused bool
		choices int
	}{"side: customer": {true, 0}, "side: cloud": {false, 1}} {
		body := tencentBody()
		body["EnableHealthCheck"] = true
		c, ps := Parse(nil, "f", cloudFile(t, "tencent", body, beside))
		if c == nil {
			t.Fatal(lines(ps))
		}
		if refused := slices.ContainsFunc(ps, func(p Problem) bool { return p.Refused && p.Code == "vpngw.HealthCheckLocalIp.missing" }); refused != want.refused || len(c.Connections[0].Choices) != want.choices {
			t.Errorf("%s: choices %v, problems\n%s", beside, c.Connections[0].Choices, lines(ps))
		}
	}
	for beside, want := range map[string]string{"side: cloud": "169.254.64.45/30 169.254.64.46 64551 65010", "side: customer": "169.254.64.46/30 169.254.64.45 65010 64551"} {
		conn, tun := tencentTunnel(t, withBGP, beside)
		if got := fmt.Sprint(tun.Inside, " ", tun.Peer, " ", tun.Local.ASN, " ", tun.Remote.ASN); got != want || tun.BGP == nil || fmt.Sprint(conn.Unserved()) != "[BGP]" {
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
	put(t, body, "IPSECOptionsSpecification.EncryptAlgorithm", "NULL")
	if c, ps := Parse(nil, "f", cloudFile(t, "tencent", body, "")); c != nil || !strings.Contains(lines(ps), "allow: [null-encryption]") {
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
	if c, ps := Parse(nil, "f", two(func(map[string]any) {})); c != nil || !strings.Contains(lines(ps), "[InvalidParameterValue.VpnConnCidrConflict]") {
		t.Errorf("got\n%s", lines(ps))
	}
	if c, ps := Parse(nil, "f", two(func(b map[string]any) { put(t, b, "SecurityPolicyDatabases.0.LocalCidrBlock", "10.9.0.0/16") })); c == nil {
		t.Errorf("got\n%s", lines(ps))
	}
}
