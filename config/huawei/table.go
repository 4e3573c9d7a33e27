// Package huawei reads the body of Huawei Cloud's CreateVpnConnection request (POST
// /v5/{project_id}/vpn-connection), or the answer to it, into a connection. Enumerations
// and defaults that the page lacks come from the cloud's SDK.
package huawei

import (
	"time"

	"vpngw/config/dialect"
	"vpngw/config/tree"
)

const name = "huawei"

// Dialect reads the bodies of this cloud.
var Dialect = &dialect.Dialect{
	Name:  name,
	Page:  "Huawei Cloud, Creating a VPN Connection (v5)",
	Words: words,
	Body:  body,
	Build: build,

	Wrappers: []string{"vpn_connection", "vpn_connections"},
	Other:    other,

	BGP: &dialect.BGPRules{Most: 100, Write: "style: bgp, with tunnel_local_address and tunnel_peer_address"},
}

// The messages for parameters that are recognised and not served.
const (
	noShangMi  = "ShangMi (GM) gateways are not served: vpngw has neither SM4 nor SM3 nor certificates"
	noTemplate = "a policy template has its settings on the gateway and not in this body, and takes any peer; give the connection in the style policy, static or bgp"
	noAH       = "AH is not served; only ESP is"
	noIPv6     = "IPv6 inside is not on the page of this API and not served; give the connection as native"
	noHub      = "enable_hub joins the cloud's branches to each other in the cloud, and is not served"
	noHealth   = "enable_health_check is newer than the page of this API, and is not served; enable_nqa is its older form"
)

// body is the page's tables 3 to 8, and the further parameters of its answers (table 10).
// The page has no error codes.
var body = &dialect.Object{Loose: true, Answer: "id", Unused: unused, Rows: []dialect.Row{
	{Name: "name", Type: dialect.Text{Min: 1, Max: 64, Check: nameCharacters}, Goes: "name", Doc: "the connection's name"},
	{Name: "vgw_id", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "cloud AS", Doc: "the cloud's gateway"},
	{Name: "vgw_ip", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "cloud address", Doc: "id of the EIP, or private address, of the cloud's end"},
	{
		Name: "style", Default: "static", Goes: "routing", Doc: "how traffic finds the tunnel: by policy rules, static routes or BGP (default: SDK)",
		Type: dialect.Enum{Words: []string{"static", "policy", "bgp"}, Later: map[string]string{"policy-template": noTemplate}},
	},
	{Name: "cgw_id", Type: dialect.Text{Min: 1, Max: 200}, Required: true, Goes: "customer address, customer AS", Doc: "the customer's gateway"},
	{Name: "peer_subnets", Type: dialect.Prefixes{Max: 50, Empty: true}, Goes: "cloud routes, customer BGP announces", Doc: "the customer's subnets"},
	{Name: "tunnel_local_address", Type: inside, Goes: "cloud inside address", Doc: "the cloud's end in the tunnel"},
	{Name: "tunnel_peer_address", Type: inside, Goes: "customer inside address", Doc: "the customer's end in the tunnel"},
	{Name: "enable_nqa", Type: dialect.Bool{}, Default: "false", Goes: "health check", Doc: "the cloud pings the customer's end through the tunnel"},
	{Name: "psk", Type: dialect.Secret{Text: dialect.Text{Min: 8, Max: 128, Check: pskCharacters}}, Goes: "pre-shared key", Doc: "pre-shared key"},
	{Name: "policy_rules", Type: dialect.List{Of: rule, Name: "policy_rules", Max: 250}, Doc: "pairs of subnets; at most 5 in a request"},
	{Name: "ikepolicy", Type: ike, Default: "{}", Doc: "IKE SA"},
	{Name: "ipsecpolicy", Type: ipsecPolicy, Default: "{}", Doc: "Child SAs"},
	{Name: "ha_role", Type: dialect.Enum{Words: []string{"master", "slave"}}, Default: "master", Goes: "role", Doc: "part in a pair, which is the master and the slave of one vgw_id and cgw_id, or has pair: beside it; with ha_mode: active-active at the gateway both may be master"},
	{Name: "tags", Type: dialect.List{Of: tag, Name: "tags", Max: 20}, Doc: "no meaning here"},

	// Newer than the page.
	{Name: "enable_hub", Type: dialect.Bool{}, Later: noHub, Goes: "-", Doc: "refused when true"},
	{Name: "enable_health_check", Type: dialect.Bool{}, Later: noHealth, Goes: "-", Doc: "refused when true"},
	{Name: "peer_subnets_v6", Type: nil, Later: noIPv6, Doc: "refused"},
	{Name: "policy_rules_v6", Type: nil, Later: noIPv6, Doc: "refused"},
	{Name: "tunnel_local_address_v6", Type: nil, Later: noIPv6, Doc: "refused"},
	{Name: "tunnel_peer_address_v6", Type: nil, Later: noIPv6, Doc: "refused"},
}}

// other names answers of this API that are about something else than a connection.
func other(n *tree.Node) string {
	for key, v := range n.Pairs() {
		switch key.Text {
		case "customer_gateway", "customer_gateways":
			return "this is an answer about customer gateways: write the address and bgp_asn into customer_gateways, and take ShowVpnConnection's answer for the connection"
		case "vpn_gateway", "vpn_gateways":
			return "this is an answer about VPN gateways: write the addresses and bgp_asn into vpn_gateways, and take ShowVpnConnection's answer for the connection"
		case "sa_infos":
			return "this is ListConnectionIpsecSa's answer, which says what a connection carries and not what it is: take ShowVpnConnection's answer"
		case "vpn_connection":
			if v.Kind == tree.Map && v.Len() > 0 && dialect.Member(v, "vgw_id") == "" && dialect.Member(v, "vgw_ip") == "" && dialect.Member(v, "id") == "" {
				return "this is a request to update a connection, which says what changes and not what it is between: take ShowVpnConnection's answer"
			}
		}
	}
	return ""
}

// unused are further parameters of the answers (table 10) and of the request's URL.
var unused = []string{
	"project_id", "request_id", "page_info", "total_count", "header-response-token",
	"id", "status", "created_at", "updated_at", "enterprise_project_id", "connection_monitor_id", "bgp_peer",
}

var inside = dialect.Inside{Bits: 30, Except: tunnelAddress}

// rule is table 4, seen from the cloud: the source is behind its gateway.
var rule = &dialect.Object{Rows: []dialect.Row{
	{Name: "rule_index", Type: dialect.Int{Min: 0, Max: 50}, Goes: "-", Doc: "place among the rules"},
	{Name: "source", Type: dialect.Block{}, Goes: "cloud networks, pairs of networks", Doc: "a subnet behind the cloud's gateway"},
	{Name: "destination", Type: dialect.Prefixes{Max: 50}, Goes: "customer networks, pairs of networks", Doc: "subnets behind the customer's gateway"},
}}

// ike is table 5.
var ike = &dialect.Object{Rows: []dialect.Row{
	{Name: "ike_version", Type: dialect.Enum{Words: []string{"v1", "v2"}}, Default: "v2", Goes: "IKE version", Doc: "the version of IKE (default: SDK)"},
	{Name: "phase1_negotiation_mode", Type: dialect.Enum{Words: []string{"main", "aggressive"}}, Default: "main", Goes: "IKEv1 mode", Doc: "IKEv1 only (default: SDK)"},
	{Name: "authentication_algorithm", Type: authentication, Default: "sha2-256", Goes: "IKE integrity, IKE PRF", Doc: "integrity and PRF (default: SDK)"},
	{Name: "encryption_algorithm", Type: encryption, Default: "aes-128", Goes: "IKE encryption", Doc: "encryption (default: SDK)"},
	{Name: "dh_group", Type: dialect.Enum{Words: groups}, Default: "group15", Goes: "IKE key exchange", Doc: "key exchange"},
	{
		Name: "authentication_method", Default: "pre-share", Goes: "authentication", Doc: "how the two ends authenticate (default: SDK)",
		Type: dialect.Enum{Words: []string{"pre-share"}, Later: map[string]string{"digital-envelope-v2": noShangMi}},
	},
	{Name: "lifetime_seconds", Type: dialect.Duration{Min: 60 * time.Second, Max: 604800 * time.Second, Seconds: true}, Default: "86400", Goes: "IKE lifetime", Doc: "seconds"},
	{Name: "local_id_type", Type: dialect.Enum{Words: []string{"ip", "fqdn"}}, Default: "ip", Goes: "cloud identity", Doc: "type of the cloud's identity"},
	{Name: "local_id", Type: identity, Goes: "cloud identity", Doc: "the cloud's identity; by default its address"},
	{Name: "peer_id_type", Type: dialect.Enum{Words: []string{"ip", "fqdn", "any"}}, Default: "ip", Goes: "customer identity", Doc: "type of the customer's identity; any: the cloud takes every identity"},
	{Name: "peer_id", Type: identity, Goes: "customer identity", Doc: "the customer's identity; by default its address"},
	{Name: "dpd", Type: liveness, Default: "{}", Goes: "dead peer detection", Doc: "dead peer detection"},
}}

// liveness is table 6. The cloud asks three times.
var liveness = &dialect.Object{Rows: []dialect.Row{
	{Name: "timeout", Type: dialect.Duration{Min: 2 * time.Second, Max: 60 * time.Second, Seconds: true}, Default: "15", Goes: "DPD timeout", Doc: "seconds between two questions without an answer"},
	{Name: "interval", Type: dialect.Duration{Min: 10 * time.Second, Max: 3600 * time.Second, Seconds: true}, Default: "30", Goes: "DPD interval", Doc: "seconds of silence before the first question"},
	{Name: "msg", Type: dialect.Enum{Words: []string{"seq-hash-notify", "seq-notify-hash"}}, Default: "seq-hash-notify", Goes: "DPD messages", Doc: "order of the payloads; IKEv1 only (default: SDK)"},
}}

// ipsecPolicy is table 7.
var ipsecPolicy = &dialect.Object{Rows: []dialect.Row{
	{Name: "authentication_algorithm", Type: authentication, Default: "sha2-256", Goes: "ESP integrity", Doc: "integrity (default: SDK)"},
	{Name: "encryption_algorithm", Type: encryption, Default: "aes-128", Goes: "ESP encryption", Doc: "encryption (default: SDK)"},
	{Name: "pfs", Type: dialect.Enum{Words: append([]string{"disable"}, groups...)}, Default: "group15", Goes: "PFS", Doc: "key exchange of each Child SA"},
	{
		Name: "transform_protocol", Default: "esp", Goes: "-", Doc: "ESP (default: SDK)",
		Type: dialect.Enum{Words: []string{"esp"}, Later: map[string]string{"ah": noAH, "ah-esp": noAH}},
	},
	{Name: "lifetime_seconds", Type: dialect.Duration{Min: 30 * time.Second, Max: 604800 * time.Second, Seconds: true}, Default: "3600", Goes: "ESP lifetime", Doc: "seconds"},
	{Name: "encapsulation_mode", Type: dialect.Enum{Words: []string{"tunnel"}}, Default: "tunnel", Goes: "-", Doc: "tunnel (default: SDK)"},
}}

var (
	authentication = dialect.Enum{
		Words: []string{"md5", "sha1", "sha2-256", "sha2-384", "sha2-512"},
		Later: map[string]string{"sm3": noShangMi},
	}
	encryption = dialect.Enum{
		Words: []string{"3des", "aes-128", "aes-192", "aes-256", "aes-128-gcm-16", "aes-256-gcm-16", "aes-128-gcm-128", "aes-256-gcm-128"},
		Later: map[string]string{"sm4": noShangMi},
	}
	groups   = []string{"group1", "group2", "group5", "group14", "group15", "group16", "group19", "group20", "group21"}
	identity = dialect.Text{Max: 255, Check: idCharacters}
)

// words are the page's words for algorithms, to our names. "128" of a GCM and our "16"
// are the same tag in bits and in bytes.
var words = map[string]string{
	"aes-128": "aes128", "aes-192": "aes192", "aes-256": "aes256",
	"aes-128-gcm-16": "aes128gcm16", "aes-256-gcm-16": "aes256gcm16",
	"aes-128-gcm-128": "aes128gcm16", "aes-256-gcm-128": "aes256gcm16",
	"sha2-256": "sha256", "sha2-384": "sha384", "sha2-512": "sha512",
	"group1": "modp768", "group2": "modp1024", "group5": "modp1536", "group14": "modp2048", "group15": "modp3072",
	"group16": "modp4096", "group19": "ecp256", "group20": "ecp384", "group21": "ecp521", "disable": "",
}

// tag is table 8.
var tag = &dialect.Object{Rows: []dialect.Row{
	{Name: "key", Type: dialect.Text{Min: 1, Max: 128, Check: tagCharacters}, Required: true, Goes: "-", Doc: "no meaning here"},
	{Name: "value", Type: dialect.Text{Max: 255, Check: tagCharacters}, Goes: "-", Doc: "may be empty"},
}}
