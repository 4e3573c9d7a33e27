// Package alibaba reads the body of Alibaba Cloud's CreateVpnConnection
// request, as its API page of 13 November 2024 describes it, into a connection.
// Served is the single-tunnel mode; what else the page has is
// recognised, and refused by name where it asks for something.
package alibaba

import (
	"time"

	"vpngw/config/dialect"
)

const name = "alibaba"

// Dialect is how this package's bodies are written and what becomes of them.
var Dialect = &dialect.Dialect{
	Name:  name,
	Page:  "Alibaba Cloud, CreateVpnConnection, 13 Nov 2024",
	Body:  body,
	Build: build,
	Same: &dialect.SameGateways{
		DifferentIKE: "VpnConnectionParamInvalid.SameVpnAndCgwDifferentIkeConfigs",
		Overlap:      "VpnConnectionParamInvalid.SameVpnAndCgwTrafficSelectorOverlap",
	},
}

// answer is the one that tells what the cloud chose.
const answer = "DescribeVpnConnection's answer"

// Sentences for what is recognised and not served.
const (
	noShangMi = "ShangMi (SM) gateways are not served: vpngw has neither SM4 nor SM3 nor certificates"
	noOldID   = "LocalIdIPsec is the name of LocalId on an older version of the API page, and is not read yet; write LocalId"
	noTunnels = "dual-tunnel connections are not served yet; only the single-tunnel mode is"
)

// body is the page's table of request parameters. Codes are those of its table
// of error codes; the defaults are the cloud's.
var body = &dialect.Object{Loose: true, Rows: []dialect.Row{
	{Name: "RegionId", Type: dialect.Text{Min: 1, Max: 100}, Required: true, Goes: "-", Doc: "the region; no meaning here"},
	{Name: "ClientToken", Type: dialect.Text{Check: ascii}, Goes: "-", Doc: "makes the request idempotent; no meaning here"},
	{
		Name: "CustomerGatewayId", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "customer address, customer AS", Doc: "the customer's end",
		Codes: dialect.Codes{dialect.NotFound: "InvalidCustomerGatewayInstanceId.NotFound", dialect.Conflict: "CustomerGateway.ConflictVpnIp"},
	},
	{
		Name: "VpnGatewayId", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "cloud address", Doc: "the cloud's end",
		Codes: dialect.Codes{dialect.NotFound: "InvalidVpnGatewayInstanceId.NotFound"},
	},
	{
		Name: "Name", Type: dialect.Text{Min: 1, Max: 100, Check: noURL}, Goes: "name", Doc: "the connection's name",
		Codes: dialect.Codes{dialect.Invalid: "InvalidParameter.VpnConnectionName"},
	},
	{
		Name: "LocalSubnet", Type: subnets, Required: true, Goes: "cloud networks, routing", Doc: "the cloud's CIDR blocks",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.LocalSubnet"},
	},
	{
		Name: "RemoteSubnet", Type: subnets, Required: true, Goes: "customer networks", Doc: "the customer's CIDR blocks",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.RemoteSubnet"},
	},
	{Name: "EffectImmediately", Type: dialect.Bool{}, Default: "false", Goes: "cloud initiation", Doc: "whether the cloud's end initiates"},
	{Name: "IkeConfig", Type: ike, Default: "{}", Doc: "IKE SA"},
	{Name: "IpsecConfig", Type: ipsecConfig, Default: "{}", Doc: "Child SAs"},
	{Name: "HealthCheckConfig", Type: health, Doc: "probes through the tunnel; refused when enabled"},
	{Name: "AutoConfigRoute", Type: dialect.Bool{}, Default: "true", Goes: "-", Doc: "the cloud's own route table; no meaning here"},
	{Name: "EnableDpd", Type: dialect.Bool{}, Default: "true", Goes: "dead peer detection", Doc: "ask a silent peer whether it is there"},
	{Name: "EnableNatTraversal", Type: dialect.Bool{}, Default: "true", Goes: "NAT traversal", Doc: "detect NAT and encapsulate ESP in UDP"},
	{
		Name: "BgpConfig", Type: bgp, Doc: "BGP in the tunnel; refused when enabled",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.BgpConfig"},
	},
	{Name: "RemoteCaCertificate", Type: nil, Later: noShangMi, Goes: "-", Doc: "for ShangMi gateways"},
	{
		Name: "Tags", Type: dialect.List{Of: tag, Name: "Tags", Max: 20}, Doc: "no meaning here",
		Codes: dialect.Codes{dialect.TooMany: "SizeLimitExceeded.TagNum"},
	},
	{Name: "TunnelOptionsSpecification", Type: nil, Later: noTunnels, Doc: "the tunnels of a dual-tunnel connection"},
	{Name: "EnableTunnelsBgp", Type: dialect.Bool{}, Later: noTunnels, Goes: "BGP", Doc: "BGP in a dual-tunnel connection"},
}}

var subnets = dialect.Prefixes{Comma: true, Max: 255} // as many as a traffic selector payload counts

var ike = &dialect.Object{Rows: []dialect.Row{
	{Name: "Psk", Type: dialect.Secret{Text: dialect.Text{Min: 1, Max: 100, Check: pskCharacters}}, Goes: "pre-shared key", Doc: "pre-shared key"},
	{Name: "IkeVersion", Type: dialect.Enum{Words: []string{"ikev1", "ikev2"}}, Default: "ikev1", Goes: "IKE version", Doc: "the version of IKE"},
	{Name: "IkeMode", Type: dialect.Enum{Words: []string{"main", "aggressive"}}, Default: "main", Goes: "IKEv1 mode", Doc: "of IKEv1 only"},
	{Name: "IkeEncAlg", Type: encryption, Default: "aes", Goes: "IKE encryption", Doc: "encryption"},
	{Name: "IkeAuthAlg", Type: authentication, Default: "md5", Goes: "IKE integrity, IKE PRF", Doc: "integrity and PRF"},
	{
		Name: "IkePfs", Default: "group2", Goes: "IKE key exchange", Doc: "key exchange",
		Type: dialect.Enum{Words: []string{"group1", "group2", "group5", "group14", "group24"}}, // group24 is on older versions of the page
	},
	{Name: "IkeLifetime", Type: lifetime, Default: "86400", Goes: "IKE lifetime", Doc: "seconds; 0: without end"},
	{Name: "LocalId", Type: dialect.Text{Max: 100}, Goes: "cloud identity", Else: "the gateway's address", Doc: "identity of the cloud's end; the gateway's address by default"},
	{Name: "RemoteId", Type: dialect.Text{Max: 100}, Goes: "customer identity", Else: "the gateway's address", Doc: "identity of the customer's end; the gateway's address by default"},
	{Name: "LocalIdIPsec", Type: nil, Later: noOldID, Goes: "cloud identity", Doc: "older name of LocalId"},
}}

var ipsecConfig = &dialect.Object{Rows: []dialect.Row{
	{Name: "IpsecEncAlg", Type: encryption, Default: "aes", Goes: "ESP encryption", Doc: "encryption"},
	{
		Name: "IpsecAuthAlg", Type: authentication, Default: "md5", Goes: "ESP integrity", Doc: "integrity",
		Codes: dialect.Codes{dialect.Illegal: "NotSupportVpnConnectionParameter.IpsecAuthAlg"},
	},
	{
		Name: "IpsecPfs", Default: "group2", Goes: "PFS", Doc: "key exchange of each Child SA",
		Type:  dialect.Enum{Words: []string{"disabled", "group1", "group2", "group5", "group14", "group24"}},
		Codes: dialect.Codes{dialect.Illegal: "NotSupportVpnConnectionParameter.IpsecPfs"},
	},
	{Name: "IpsecLifetime", Type: lifetime, Default: "86400", Goes: "ESP lifetime", Doc: "seconds; 0: without end"},
}}

var (
	encryption = dialect.Enum{
		Words: []string{"aes", "aes192", "aes256", "des", "3des"},
		Later: map[string]string{"sm4": noShangMi},
	}
	authentication = dialect.Enum{
		Words: []string{"md5", "sha1", "sha256", "sha384", "sha512"},
		Later: map[string]string{"sm3": noShangMi},
	}
	lifetime = dialect.Duration{Max: 86400 * time.Second, Seconds: true}
)

var health = &dialect.Object{Rows: []dialect.Row{
	{Name: "enable", Type: dialect.Bool{}, Default: "false", Goes: "health check", Doc: "refused when true"},
	{Name: "dip", Type: dialect.Addr{}, Goes: "health check target", Doc: "what is probed"},
	{Name: "sip", Type: dialect.Addr{}, Goes: "health check source", Doc: "what it is probed from"},
	{Name: "interval", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "health check interval", Doc: "seconds"},
	{Name: "retry", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "health check retries", Doc: "probes without an answer"},
}}

var bgp = &dialect.Object{Rows: []dialect.Row{
	{Name: "EnableBgp", Type: dialect.Bool{}, Default: "false", Goes: "BGP", Doc: "refused when true"},
	{
		Name: "LocalAsn", Type: dialect.ASN{}, Default: "45104", Goes: "cloud AS", Doc: "the cloud's AS number",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.LocalAsn"},
	},
	{
		Name: "TunnelCidr", Type: dialect.Prefix{}, Goes: "local inside address, remote inside address", Doc: "a /30 in 169.254.0.0/16",
		Codes: dialect.Codes{dialect.Malformed: "InvalidTunnelCidr.Malformed", dialect.Invalid: "IllegalParam.TunnelCidr"},
	},
	{
		Name: "LocalBgpIp", Type: dialect.Addr{}, Goes: "cloud inside address", Doc: "the cloud's address in TunnelCidr",
		Codes: dialect.Codes{dialect.Malformed: "InvalidLocalBgpIp.Malformed", dialect.Invalid: "IllegalParam.LocalBgpIp"},
	},
}}

var tag = &dialect.Object{Rows: []dialect.Row{
	{
		Name: "Key", Type: dialect.Text{Min: 1, Max: 64, Check: tagCharacters}, Required: true, Goes: "-", Doc: "not empty",
		Codes: dialect.Codes{dialect.Invalid: "InvalidParameter.TagKey", dialect.Missing: "InvalidParameter.TagKey", dialect.Twice: "Duplicated.TagKey"},
	},
	{
		Name: "Value", Type: dialect.Text{Max: 128, Check: tagCharacters}, Goes: "-", Doc: "may be empty",
		Codes: dialect.Codes{dialect.Invalid: "InvalidParameter.TagValue"},
	},
}}
