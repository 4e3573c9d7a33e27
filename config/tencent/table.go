// Package tencent reads the body of Tencent Cloud's CreateVpnConnection request, or an
// answer that describes a connection, into a connection. The API page does not say what is
// inside its two Specifications: their parameters and defaults come from the cloud's SDK.
package tencent

import (
	"strings"
	"time"

	"vpngw/config/dialect"
	"vpngw/config/tree"
)

const name = "tencent"

// Dialect reads the bodies of this cloud.
var Dialect = &dialect.Dialect{
	Name:  name,
	Page:  "Tencent Cloud, CreateVpnConnection, 13 Nov 2025",
	Words: words,
	Body:  body,
	Build: build,

	Wrappers: []string{"Response", "VpnConnection", "VpnConnectionSet"},
	Other:    other,

	Same: &dialect.SameGateways{
		Overlap: "InvalidParameterValue.VpnConnCidrConflict",
		Inside:  "InvalidParameterValue.VpnConnBgpTunnelCidrConflict",
	},
	BGP: &dialect.BGPRules{Write: "RouteType: Bgp, and BgpConfig: {TunnelCidr: 169.254.64.44/30, LocalBgpIp: 169.254.64.45, RemoteBgpIp: 169.254.64.46}, without SecurityPolicyDatabases"},
}

// The messages for parameters that are recognised and not served.
const (
	noShangMi = "ShangMi is not served: vpngw has neither SM4 nor SM3"
	noAH      = "only ESP in tunnel mode is served"
)

// The page's codes for parameters of any kind.
const (
	empty     = "InvalidParameterValue.Empty"
	malformed = "InvalidParameterValue.Malformed"
	tooLong   = "InvalidParameterValue.TooLong"
)

// codes are the codes of a parameter whose form can be wrong.
var codes = dialect.Codes{dialect.Missing: empty, dialect.Malformed: malformed, dialect.WrongType: malformed}

// body is the page's table of input parameters, and the further parameters of its
// answers. Defaults that the page lacks come from the SDK.
var body = &dialect.Object{Loose: true, Answer: "VpnConnectionId", Asks: []string{"Action", "Region", "Version"}, Unused: unused, Rows: []dialect.Row{
	{
		Name: "VpnGatewayId", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "cloud address, cloud AS", Doc: "the cloud's end",
		Codes: dialect.Codes{dialect.Missing: empty, dialect.WrongType: malformed, dialect.NotFound: "ResourceNotFound"},
	},
	{
		Name: "CustomerGatewayId", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "customer address, customer AS", Doc: "the customer's end",
		Codes: dialect.Codes{dialect.Missing: empty, dialect.WrongType: malformed, dialect.NotFound: "ResourceNotFound"},
	},
	{
		Name: "VpnConnectionName", Type: dialect.Text{Min: 1, Max: 60}, Required: true, Goes: "name", Doc: "the connection's name",
		Codes: dialect.Codes{dialect.Missing: empty, dialect.WrongType: malformed, dialect.Illegal: tooLong},
	},
	{
		Name: "PreShareKey", Type: dialect.Secret{Text: dialect.Text{Min: 1, Max: maxPSK}}, Goes: "pre-shared key", Doc: "pre-shared key",
		Codes: dialect.Codes{dialect.Missing: empty, dialect.WrongType: malformed, dialect.Illegal: tooLong},
	},
	{Name: "VpcId", Type: dialect.Text{Max: 200}, Codes: codes, Goes: "-", Doc: "no meaning here"},
	{
		Name: "SecurityPolicyDatabases", Also: []string{"SecurityPolicyDatabaseSet"}, Type: policies{}, Codes: policyCodes,
		Goes: "cloud networks, customer networks, pairs of networks", Doc: "the pairs of subnets that the tunnel protects",
	},
	{Name: "IKEOptionsSpecification", Type: ike, Default: "{}", Codes: codes, Doc: "IKE SA"},
	{Name: "IPSECOptionsSpecification", Type: ipsecOptions, Default: "{}", Codes: codes, Doc: "Child SAs"},
	{Name: "Tags", Also: []string{"TagSet"}, Type: tags, Codes: tagsCodes, Doc: "no meaning here"},
	{Name: "EnableHealthCheck", Type: dialect.Bool{}, Default: "false", Codes: codes, Goes: "health check", Doc: "the cloud pings through the tunnel"},
	{Name: "HealthCheckLocalIp", Type: dialect.Addr{}, Codes: codes, Goes: "health check source", Doc: "the address that pings, at the cloud's end"},
	{
		Name: "HealthCheckRemoteIp", Type: dialect.Addr{}, Goes: "health check target", Doc: "the address that is pinged, at the customer's end",
		Codes: dialect.Codes{dialect.Malformed: malformed, dialect.WrongType: malformed, dialect.Conflict: "InvalidParameterValue.VpnConnHealthCheckIpConflict"},
	},
	{Name: "HealthCheckConfig", Type: healthCheck, Default: "{}", Codes: codes, Doc: "how it pings"},
	{
		Name: "RouteType", Type: dialect.Enum{Words: []string{"STATIC", "StaticRoute", "Policy", "Bgp"}}, Default: "STATIC", Codes: codes,
		Goes: "routing", Doc: "what decides which packets go into the tunnel: STATIC and Policy the pairs of subnets, StaticRoute routes, Bgp BGP (default: SDK)",
	},
	{Name: "NegotiationType", Type: dialect.Enum{Words: []string{"active", "passive", "flowTrigger"}}, Default: "active", Codes: codes, Goes: "cloud initiation", Doc: "how the cloud's end starts: at once, never, or on traffic"},
	{Name: "DpdEnable", Type: dialect.Enum{Words: []string{"0", "1", "-1"}}, Default: "0", Codes: codes, Goes: "dead peer detection", Doc: "dead peer detection; -1, in answers: the default (default: SDK)"},
	{
		Name: "DpdTimeout", Type: dialect.Duration{Min: time.Second, Max: time.Hour, Seconds: true}, Default: "30", Codes: codes,
		Goes: "DPD timeout", Doc: "seconds without an answer after which the peer is dead",
	},
	{Name: "DpdAction", Type: dialect.Enum{Words: []string{"clear", "restart"}}, Default: "restart", Codes: codes, Goes: "cloud DPD action", Doc: "what the cloud does with a dead peer: clear waits for it, restart tries again (default: SDK)"},
	{Name: "BgpConfig", Type: bgp, Codes: codes, Doc: "BGP in the tunnel"},
	{Name: "Route", Type: route, Codes: codes, Doc: "what the cloud routes into the tunnel; newer than the page"},

	// In answers only.
	{Name: "VpnProto", Type: dialect.Enum{Words: []string{"IPSEC"}}, Goes: "-", Doc: "in answers: IPSEC"},
	{Name: "EncryptProto", Type: dialect.Enum{Words: []string{"IKE"}}, Goes: "-", Doc: "in answers: IKE"},
}}

// other names requests and answers of this API that are about something else than a connection, or tell too little.
func other(n *tree.Node) string {
	const describe = "take DescribeVpnConnections' answer"
	has := func(name string) bool { return dialect.Member(n, name) != "" }
	modifies := strings.HasPrefix(dialect.Member(n, "Action"), "Modify") || has("VpnConnectionId") && !has("State") && !has("CreatedTime")
	if modifies && !has("VpnGatewayId") {
		return "this is a request to modify a connection, which says what changes and not what it is between: " + describe
	}
	for key, v := range n.Pairs() {
		switch key.Text {
		case "Response":
			if v.Kind == tree.Map {
				return other(v)
			}
		case "CustomerGatewayConfiguration":
			return "this is DownloadCustomerGatewayConfiguration's answer, which holds a router's configuration: " + describe
		case "CustomerGatewaySet":
			return "this is an answer about customer gateways: write IpAddress and BgpAsn into customer_gateways, and " + describe + " for the connection"
		case "VpnGatewaySet":
			return "this is an answer about VPN gateways: write PublicIpAddress and BgpAsn into vpn_gateways, and " + describe + " for the connection"
		}
	}
	return ""
}

// unused are the common parameters of requests, and the state in answers.
var unused = []string{
	"Action", "Version", "Region", "Language", "Timestamp", "Nonce", "SecretId", "Signature", "SignatureMethod", "Token", "RequestClient", "X-TC-*",
	"RequestId", "TotalCount", "VpnConnectionId", "State", "NetStatus", "HealthCheckStatus", "CreatedTime",
}

const maxPSK = 4096 // our bound; the page has none

var ike = &dialect.Object{Rows: []dialect.Row{
	{Name: "IKEVersion", Type: dialect.Enum{Words: []string{"IKEV1", "IKEV2"}}, Default: "IKEV1", Codes: codes, Goes: "IKE version", Doc: "the version of IKE (default: SDK)"},
	{Name: "ExchangeMode", Type: dialect.Enum{Words: []string{"MAIN", "AGGRESSIVE"}}, Default: "MAIN", Codes: codes, Goes: "IKEv1 mode", Doc: "IKEV1 only (default: SDK)"},
	{
		Name: "PropoEncryAlgorithm", Default: "3DES-CBC", Codes: codes, Goes: "IKE encryption", Doc: "encryption (default: SDK)",
		Type: dialect.Enum{Words: ciphers, Later: map[string]string{"SM4": noShangMi}},
	},
	{
		Name: "PropoAuthenAlgorithm", Default: "SHA", Codes: codes, Goes: "IKE integrity, IKE PRF", Doc: "integrity and PRF (default: SDK)",
		Type: dialect.Enum{Words: []string{"MD5", "SHA", "SHA1", "SHA-256", "SHA-384", "SHA-512"}, Later: map[string]string{"SM3": noShangMi}},
	},
	{
		Name: "DhGroupName", Default: "GROUP1", Codes: codes, Goes: "IKE key exchange", Doc: "key exchange (default: SDK)",
		Type: dialect.Enum{Words: []string{"GROUP1", "GROUP2", "GROUP5", "GROUP14", "GROUP15", "GROUP16", "GROUP19", "GROUP20", "GROUP21", "GROUP24"}},
	},
	{
		Name: "IKESaLifetimeSeconds", Type: dialect.Duration{Min: 60 * time.Second, Max: 604800 * time.Second, Seconds: true}, Default: "86400", Codes: codes,
		Goes: "IKE lifetime", Doc: "seconds (default: SDK)",
	},
	{Name: "LocalIdentity", Type: dialect.Enum{Words: []string{"ADDRESS", "FQDN"}}, Default: "ADDRESS", Codes: codes, Goes: "cloud identity", Doc: "type of the cloud's identity (default: SDK)"},
	{Name: "RemoteIdentity", Type: dialect.Enum{Words: []string{"ADDRESS", "FQDN"}}, Default: "ADDRESS", Codes: codes, Goes: "customer identity", Doc: "type of the customer's identity (default: SDK)"},
	{Name: "LocalAddress", Type: dialect.Addr{}, Codes: codes, Goes: "cloud identity", Doc: "the cloud's identity; by default its gateway's address"},
	{Name: "RemoteAddress", Type: dialect.Addr{}, Codes: codes, Goes: "customer identity", Doc: "the customer's identity; by default its gateway's address"},
	{Name: "LocalFqdnName", Type: dialect.Text{Max: 255}, Codes: codes, Goes: "cloud identity", Doc: "the cloud's identity"},
	{Name: "RemoteFqdnName", Type: dialect.Text{Max: 255}, Codes: codes, Goes: "customer identity", Doc: "the customer's identity"},
}}

var ipsecOptions = &dialect.Object{Rows: []dialect.Row{
	{
		Name: "EncryptAlgorithm", Default: "AES-CBC-128", Codes: codes, Goes: "ESP encryption", Doc: "encryption (default: SDK); NULL only with allow: [null-encryption]",
		Type: dialect.Enum{Words: append([]string{"NULL"}, ciphers...), Later: map[string]string{"SM4": noShangMi}},
	},
	{Name: "IntegrityAlgorith", Type: integrity, Codes: integrityCodes, Goes: "ESP integrity", Doc: "integrity; the page's spelling"},
	{Name: "IntegrityAlgorithm", Type: integrity, Default: "SHA1", Codes: integrityCodes, Goes: "ESP integrity", Doc: "integrity (default: SDK)"},
	{
		Name: "PfsDhGroup", Default: "NULL", Codes: codes, Goes: "PFS", Doc: "key exchange of each Child SA; NULL: none (default: SDK)",
		Type: dialect.Enum{Words: []string{
			"NULL", "DH-GROUP1", "DH-GROUP2", "DH-GROUP5", "DH-GROUP14", "DH-GROUP15", "DH-GROUP16", "DH-GROUP19", "DH-GROUP20", "DH-GROUP21", "DH-GROUP24",
		}},
	},
	{
		Name: "IPSECSaLifetimeSeconds", Type: dialect.Duration{Min: 180 * time.Second, Max: 604800 * time.Second, Seconds: true}, Default: "14400", Codes: codes,
		Goes: "ESP lifetime", Doc: "seconds (default: SDK; the page's example of an answer has 3600)",
	},
	{
		Name: "IPSECSaLifetimeTraffic", Type: dialect.Int{Min: 2560, Max: 4294967295}, Default: "4096000000", Codes: codes,
		Goes: "ESP bytes", Doc: "kilobytes (default: SDK; the page's example of an answer has 1843200)",
	},
	{Name: "SecurityProto", Type: dialect.Enum{Words: []string{"ESP"}, Later: map[string]string{"AH": noAH}}, Codes: codes, Goes: "-", Doc: "in answers: ESP"},
	{Name: "EncapMode", Type: dialect.Enum{Words: []string{"TUNNEL"}, Later: map[string]string{"TRANSPORT": noAH}}, Codes: codes, Goes: "-", Doc: "in answers: TUNNEL"},
}}

var (
	ciphers   = []string{"3DES-CBC", "AES-CBC-128", "AES-CBC-192", "AES-CBC-256", "DES-CBC", "AES128GCM128", "AES192GCM128", "AES256GCM128"}
	integrity = dialect.Enum{
		Words: []string{"MD5", "SHA1", "SHA", "SHA-256", "SHA-384", "SHA-512"},
		Later: map[string]string{"SM3": noShangMi},
	}
	integrityCodes = dialect.Codes{dialect.Malformed: malformed, dialect.WrongType: malformed, dialect.Conflict: "InvalidParameter.Coexist"}
)

// words are the cloud's words for algorithms, to our names.
var words = map[string]string{
	"NULL": "null", "3DES-CBC": "3des", "DES-CBC": "des", "AES-CBC-128": "aes128", "AES-CBC-192": "aes192", "AES-CBC-256": "aes256",
	"AES128GCM128": "aes128gcm16", "AES192GCM128": "aes192gcm16", "AES256GCM128": "aes256gcm16",
	"MD5": "md5", "SHA": "sha1", "SHA1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512",
	"GROUP1": "modp768", "GROUP2": "modp1024", "GROUP5": "modp1536", "GROUP14": "modp2048", "GROUP15": "modp3072",
	"GROUP16": "modp4096", "GROUP19": "ecp256", "GROUP20": "ecp384", "GROUP21": "ecp521", "GROUP24": "modp2048s256",
	"DH-GROUP1": "modp768", "DH-GROUP2": "modp1024", "DH-GROUP5": "modp1536", "DH-GROUP14": "modp2048", "DH-GROUP15": "modp3072",
	"DH-GROUP16": "modp4096", "DH-GROUP19": "ecp256", "DH-GROUP20": "ecp384", "DH-GROUP21": "ecp521", "DH-GROUP24": "modp2048s256",
}

// healthCheck takes its bounds and defaults from the SDK and the product's pages. Times
// are in milliseconds.
var healthCheck = &dialect.Object{Rows: []dialect.Row{
	{Name: "ProbeType", Type: dialect.Enum{Words: []string{"NQA"}}, Default: "NQA", Codes: codes, Goes: "-", Doc: "NQA: pings"},
	{Name: "ProbeInterval", Type: dialect.Int{Min: 1000, Max: 5000}, Default: "5000", Codes: codes, Goes: "health check interval", Doc: "milliseconds between two pings"},
	{Name: "ProbeThreshold", Type: dialect.Int{Min: 3, Max: 8}, Default: "3", Codes: codes, Goes: "health check retries", Doc: "unanswered pings in a row after which the tunnel is ill"},
	{Name: "ProbeTimeout", Type: dialect.Int{Min: 10, Max: 5000}, Default: "150", Codes: codes, Goes: "health check timeout", Doc: "milliseconds until a ping counts as unanswered"},
}}

var bgp = &dialect.Object{Rows: []dialect.Row{
	{
		Name: "TunnelCidr", Type: dialect.Prefix{}, Goes: "local inside address, remote inside address", Doc: "the /30 of the two ends' addresses in the tunnel",
		Codes: dialect.Codes{dialect.Missing: empty, dialect.Malformed: malformed, dialect.WrongType: malformed, dialect.Illegal: "InvalidParameterValue.VpnConnBgpTunnelCidrMask"},
	},
	{Name: "LocalBgpIp", Type: dialect.Addr{}, Codes: bgpAddressCodes, Goes: "cloud inside address", Doc: "the cloud's address in TunnelCidr"},
	{Name: "RemoteBgpIp", Type: dialect.Addr{}, Codes: bgpAddressCodes, Goes: "customer inside address", Doc: "the customer's address in TunnelCidr"},
	{Name: "LocalBgpAsn", Type: dialect.ASN{}, Codes: codes, Goes: "cloud AS", Doc: "in answers: the cloud's AS number"},
	{Name: "RemoteBgpAsn", Type: dialect.ASN{}, Codes: codes, Goes: "customer AS", Doc: "in answers: the customer's AS number"},
}}

var bgpAddressCodes = dialect.Codes{
	dialect.Missing: empty, dialect.Malformed: malformed, dialect.WrongType: malformed,
	dialect.Conflict: "InvalidParameterValue.VpnConnBgpTunnelCidrNotSupported",
}

var route = &dialect.Object{Rows: []dialect.Row{
	{Name: "DestinationCidrBlock", Type: dialect.Block{}, Codes: codes, Goes: "cloud routes, customer BGP announces", Doc: "a subnet behind the customer's gateway"},
	{Name: "Priority", Type: dialect.Enum{Words: []string{"0", "100"}}, Codes: codes, Goes: "-", Doc: "priority among the cloud's routes; no meaning here"},
	{Name: "Description", Type: dialect.Text{Max: 200}, Codes: codes, Goes: "-", Doc: "no meaning here"},
}}

var (
	tags      = dialect.List{Of: tag, Name: "Tags", Max: 50} // the bound comes from the pages about tags
	tagsCodes = dialect.Codes{dialect.TooMany: "LimitExceeded.TagKeyPerResourceExceeded", dialect.WrongType: malformed}
)

var tag = &dialect.Object{Rows: []dialect.Row{
	{
		Name: "Key", Type: dialect.Text{Min: 1, Max: 127}, Required: true, Goes: "-", Doc: "no meaning here",
		Codes: dialect.Codes{
			dialect.Missing: "InvalidParameterValue.TagInvalidKey", dialect.WrongType: "InvalidParameterValue.TagInvalidKey",
			dialect.Illegal: "InvalidParameterValue.TagInvalidKeyLen", dialect.Twice: "InvalidParameterValue.TagDuplicateKey",
		},
	},
	{Name: "Value", Type: dialect.Text{Max: 255}, Goes: "-", Doc: "may be empty", Codes: dialect.Codes{dialect.Invalid: "InvalidParameterValue.TagInvalidVal"}},
}}
