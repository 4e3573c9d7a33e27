// Package alibaba reads the body of Alibaba Cloud's CreateVpnConnection request, as its
// API page of 13 November 2024 describes it, into a connection with one tunnel or two. It
// takes with a warning what only older versions of the page allow. It also reads the
// answer of DescribeVpnConnection.
package alibaba

import (
	"net/netip"
	"time"

	"vpngw/config/dialect"
)

const name = "alibaba"

// Dialect reads the bodies of this cloud.
var Dialect = &dialect.Dialect{
	Name:     name,
	Page:     "Alibaba Cloud, CreateVpnConnection, 13 Nov 2024",
	Words:    words,
	Body:     body,
	Build:    build,
	Wrappers: []string{"VpnConnections", "VpnConnection", downloaded},
	Turned:   downloaded,
	Turn:     turn,
	Other:    other,
	Receipt:  []string{"RequestId", "VpnConnectionId", "Name", "CreateTime", "Code", "Message", "Success"},
	Tells:    answer,

	OneTunnel: ofOneTunnel, TwoTunnels: []string{"EnableTunnelsBgp"},
	Same: &dialect.SameGateways{
		DifferentIKE: "VpnConnectionParamInvalid.SameVpnAndCgwDifferentIkeConfigs",
		Overlap:      "VpnConnectionParamInvalid.SameVpnAndCgwTrafficSelectorOverlap",
		Inside:       "IllegalParam.TunnelCidr",
	},
	BGP: &dialect.BGPRules{
		Most:  50,
		Never: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("100.64.0.0/10")},
		Write: `BgpConfig: {EnableBgp: true, LocalAsn: 45104, TunnelCidr: 169.254.11.0/30, LocalBgpIp: 169.254.11.1}; or for two tunnels EnableTunnelsBgp: true, and TunnelBgpConfig in each`,
	},
}

// answer is the answer that tells what the cloud chose.
const answer = "DescribeVpnConnection's answer"

// noShangMi is the message for the Chinese standards, which are recognised and not served.
const noShangMi = "ShangMi (SM) gateways are not served: vpngw has neither SM4 nor SM3 nor certificates"

// unused are the common parameters of requests, and the state in answers.
var unused = []string{
	"Version", "Format", "Timestamp", "Signature*", "AccessKeyId", "SecurityToken", "Owner*", "ResourceOwner*", "ResourceGroupId", "DryRun",
	"VpnConnectionId", "RequestId", "Status", "State", "CreateTime", "AttachType", "AttachInstanceId", "NetworkType", "Spec",
	"TransitRouterId", "TransitRouterName", "TunnelBandwidth", "CrossAccountAuthorized", "ZoneNo", "TotalCount", "PageNumber", "PageSize", "Description",
}

// asks are the parameters that only requests have.
var asks = []string{"Action", "RegionId", "ClientToken", "DryRun", "AutoConfigRoute"}

// body is the page's table of request parameters, with the codes of its table of error
// codes and the cloud's defaults.
var body = &dialect.Object{Loose: true, Answer: "VpnConnectionId", Asks: asks, Unused: unused, Rows: []dialect.Row{
	{Name: "Action", Type: dialect.Enum{Words: []string{"CreateVpnConnection", attach}}, Goes: "-", Doc: "the operation of the API; no meaning here"},
	{Name: "RegionId", Type: dialect.Text{Min: 1, Max: 100}, Required: true, Requests: true, Goes: "-", Doc: "the region; no meaning here"},
	{Name: "ClientToken", Type: dialect.Text{Check: ascii}, Goes: "-", Doc: "makes the request idempotent; no meaning here"},
	{Name: "CustomerGatewayId", Type: gatewayID, Goes: "customer address, customer AS", Doc: "the customer's end", Codes: customerCodes},
	{
		Name: "VpnGatewayId", Type: gatewayID, Required: true, Requests: true, Goes: "cloud address", Doc: "the cloud's end",
		Codes: dialect.Codes{dialect.NotFound: "InvalidVpnGatewayInstanceId.NotFound"},
	},
	{
		Name: "Name", Type: dialect.Text{Min: 1, Max: 100, Older: 128, Check: noURL}, Goes: "name", Doc: "the connection's name",
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
	{Name: "EffectImmediately", Type: dialect.Bool{}, Default: "false", Goes: "cloud initiation", Doc: "true: the cloud's end initiates at once; false: on traffic"},
	{Name: "IkeConfig", Type: ike, Default: "{}", Doc: "IKE SA"},
	{Name: "IpsecConfig", Type: ipsecConfig, Default: "{}", Doc: "Child SAs"},
	{Name: "HealthCheckConfig", Also: []string{"VcoHealthCheck"}, Type: health, Default: "{}", Doc: "the cloud's pings through the tunnel"},
	{Name: "AutoConfigRoute", Type: dialect.Bool{}, Default: "true", Goes: "-", Doc: "the cloud's own route table; no meaning here"},
	{Name: "EnableDpd", Type: dialect.Bool{}, Default: "true", Goes: "dead peer detection", Doc: "ask a silent peer whether it is there"},
	{Name: "EnableNatTraversal", Type: dialect.Bool{}, Default: "true", Goes: "NAT traversal", Doc: "detect NAT and encapsulate ESP in UDP"},
	{
		Name: "BgpConfig", Also: []string{"VpnBgpConfig"}, Type: bgp, Default: "{}", Doc: "BGP in the tunnel",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.BgpConfig"},
	},
	{Name: "RemoteCaCertificate", Also: []string{"RemoteCaCert"}, Type: nil, Later: noShangMi, Goes: "-", Doc: "for ShangMi gateways"},
	{
		Name: "Tags", Also: []string{"Tag"}, Type: dialect.List{Of: tag, Name: "Tags", Max: 20, Within: "Tag"}, Doc: "no meaning here",
		Codes: dialect.Codes{dialect.TooMany: "SizeLimitExceeded.TagNum"},
	},
	{
		Name: "TunnelOptionsSpecification", Type: dialect.List{Of: tunnelOptions, Name: "TunnelOptionsSpecification", Max: 2, Within: "TunnelOptions"},
		Doc: "the two tunnels of a dual-tunnel connection", Codes: missingTunnel,
	},
	{Name: "EnableTunnelsBgp", Type: dialect.Bool{}, Default: "false", Goes: "BGP", Doc: "BGP in the tunnels of a dual-tunnel connection"},
	{Name: "InternetIp", Type: dialect.Addr{}, Goes: "cloud address", Doc: "in answers: the address of the cloud's end"},
}}

var (
	gatewayID     = dialect.Text{Min: 1, Max: 200}
	customerCodes = dialect.Codes{dialect.NotFound: "InvalidCustomerGatewayInstanceId.NotFound", dialect.Conflict: "CustomerGateway.ConflictVpnIp", noASN: "MissingParam.CustomerGatewayAsn"}
	missingTunnel = dialect.Codes{dialect.Missing: "MissingParameter.TunnelOptionsSpecification"}
)

// noASN is the Reason for a customer gateway without the AS number that BGP needs.
const noASN dialect.Reason = "asn"

var tunnelOptions = &dialect.Object{
	Unused: []string{"TunnelId", "State", "Status", "ZoneNo", "TunnelIndex"},
	Rows: []dialect.Row{
		{Name: "Role", Type: dialect.Enum{Words: []string{"master", "slave"}}, Goes: "role", Doc: "the active tunnel, or the standby"},
		{
			Name: "CustomerGatewayId", Type: gatewayID, Required: true, Goes: "customer address, customer AS", Doc: "the customer's end of this tunnel",
			Codes: dialect.Codes{
				dialect.NotFound: customerCodes[dialect.NotFound], dialect.Conflict: customerCodes[dialect.Conflict], noASN: customerCodes[noASN],
				dialect.Missing: missingTunnel[dialect.Missing],
			},
		},
		{Name: "EnableDpd", Type: dialect.Bool{}, Default: "true", Goes: "dead peer detection", Doc: "ask a silent peer whether it is there"},
		{Name: "EnableNatTraversal", Type: dialect.Bool{}, Default: "true", Goes: "NAT traversal", Doc: "detect NAT and encapsulate ESP in UDP"},
		{Name: "RemoteCaCertificate", Type: nil, Later: noShangMi, Goes: "-", Doc: "for ShangMi gateways"},
		{Name: "TunnelBgpConfig", Type: tunnelBGP, Default: "{}", Doc: "BGP in the tunnel, if EnableTunnelsBgp is true"},
		{Name: "TunnelIkeConfig", Type: tunnelIKE, Default: "{}", Doc: "IKE SA"},
		{Name: "TunnelIpsecConfig", Type: ipsecConfig, Default: "{}", Doc: "Child SAs"},
		{Name: "InternetIp", Type: dialect.Addr{}, Goes: "cloud address", Doc: "in answers: the address of the cloud's end"},
	},
}

var subnets = dialect.Prefixes{Comma: true, Max: 255} // as many as a traffic selector payload counts

var ikeRows = []dialect.Row{
	{Name: "Psk", Type: dialect.Secret{Text: dialect.Text{Min: 1, Max: 100, Check: pskCharacters}}, Goes: "pre-shared key", Doc: "pre-shared key"},
	{Name: "IkeVersion", Type: dialect.Enum{Words: []string{"ikev1", "ikev2"}}, Default: "ikev1", Goes: "IKE version", Doc: "the version of IKE"},
	{Name: "IkeMode", Type: dialect.Enum{Words: []string{"main", "aggressive"}}, Default: "main", Goes: "IKEv1 mode", Doc: "IKEv1 only"},
	{Name: "IkeEncAlg", Type: encryption, Default: "aes", Goes: "IKE encryption", Doc: "encryption"},
	{Name: "IkeAuthAlg", Type: authentication, Default: "md5", Goes: "IKE integrity, IKE PRF", Doc: "integrity and PRF"},
	{
		Name: "IkePfs", Default: "group2", Goes: "IKE key exchange", Doc: "key exchange",
		Type: dialect.Enum{Words: []string{"group1", "group2", "group5", "group14"}, Older: []string{"group24"}},
	},
	{Name: "IkeLifetime", Type: lifetime, Default: "86400", Goes: "IKE lifetime", Doc: "seconds; 0: without end"},
	{Name: "LocalId", Type: dialect.Text{Max: 100}, Goes: "cloud identity", Else: "the gateway's address", Doc: "identity of the cloud's end; the gateway's address by default"},
	{Name: "RemoteId", Type: dialect.Text{Max: 100}, Goes: "customer identity", Else: "the gateway's address", Doc: "identity of the customer's end; the gateway's address by default"},
}

var (
	ike       = &dialect.Object{Rows: append(ikeRows[:len(ikeRows):len(ikeRows)], oldID)}
	tunnelIKE = &dialect.Object{Rows: ikeRows}
	oldID     = dialect.Row{Name: "LocalIdIPsec", Type: dialect.Text{Max: 100}, Goes: "cloud identity", Doc: "the name of LocalId on an older version of the page"}
)

var ipsecConfig = &dialect.Object{Rows: []dialect.Row{
	{Name: "IpsecEncAlg", Type: encryption, Default: "aes", Goes: "ESP encryption", Doc: "encryption"},
	{
		Name: "IpsecAuthAlg", Type: authentication, Default: "md5", Goes: "ESP integrity", Doc: "integrity",
		Codes: dialect.Codes{dialect.Illegal: "NotSupportVpnConnectionParameter.IpsecAuthAlg"},
	},
	{
		Name: "IpsecPfs", Default: "group2", Goes: "PFS", Doc: "key exchange of each Child SA",
		Type:  dialect.Enum{Words: []string{"disabled", "group1", "group2", "group5", "group14"}, Older: []string{"group24"}},
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

var health = &dialect.Object{Unused: []string{"Status"}, Rows: []dialect.Row{
	{Name: "enable", Type: dialect.Bool{}, Default: "false", Goes: "health check", Doc: "whether the cloud pings"},
	{Name: "dip", Type: dialect.Addr{}, Goes: "health check target", Doc: "the address that is pinged, at the customer's end"},
	{Name: "sip", Type: dialect.Addr{}, Goes: "health check source", Doc: "the address that pings"},
	{Name: "interval", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "health check interval", Doc: "seconds between pings"},
	{Name: "retry", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "health check retries", Doc: "unanswered pings in a row after which the tunnel is ill"},
	{Name: "Policy", Type: dialect.Enum{Words: []string{"revoke_route", "reserve_route"}}, Default: "revoke_route", Goes: "health check policy", Doc: "in answers and in CreateVpnAttachment: whether the cloud's routes into an ill tunnel are taken away or stay"},
}}

var enableBGP = dialect.Row{Name: "EnableBgp", Type: dialect.Bool{}, Default: "false", Goes: "BGP", Doc: "whether there is BGP"}

var bgpRows = []dialect.Row{
	{
		Name: "LocalAsn", Type: dialect.ASN{}, Default: "45104", Goes: "cloud AS", Doc: "the cloud's AS number",
		Codes: dialect.Codes{dialect.Invalid: "IllegalParam.LocalAsn"},
	},
	{
		Name: "TunnelCidr", Type: dialect.Prefix{}, Goes: "local inside address, remote inside address", Doc: "a /30 in 169.254.0.0/16",
		Codes: dialect.Codes{dialect.Malformed: "InvalidTunnelCidr.Malformed", dialect.Invalid: "IllegalParam.TunnelCidr", dialect.Missing: "MissingParameter.TunnelCidr"},
	},
	{
		Name: "LocalBgpIp", Type: dialect.Addr{}, Goes: "cloud inside address", Doc: "the cloud's address in TunnelCidr",
		Codes: dialect.Codes{dialect.Malformed: "InvalidLocalBgpIp.Malformed", dialect.Invalid: "IllegalParam.LocalBgpIp"},
	},
	{Name: "PeerAsn", Type: dialect.ASN{Zero: true}, Goes: "customer AS", Doc: "in answers: the customer's AS number"},
	{Name: "AuthKey", Type: dialect.Secret{Text: dialect.Text{Max: 80}}, Goes: "BGP key", Doc: "in answers: the key of RFC 2385"},
}

var (
	bgp       = &dialect.Object{Unused: []string{"Status", "PeerBgpIp"}, Rows: append([]dialect.Row{enableBGP}, bgpRows...)}
	tunnelBGP = &dialect.Object{Unused: []string{"Status", "BgpStatus", "PeerBgpIp", "EnableBgp"}, Rows: bgpRows}
)

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
