package load

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sort"
	"strings"
	"testing"
)

// maker makes bodies of a cloud.
type maker struct{ *rand.Rand }

func (m maker) of(words ...string) string { return words[m.IntN(len(words))] }

// some puts a value into a body, in one of two cases.
func (m maker) some(body map[string]any, key string, v any) {
	if m.IntN(2) == 0 {
		body[key] = v
	}
}

func (m maker) blocks(third, most int) (out []any) {
	for i := range 1 + m.IntN(most) {
		out = append(out, fmt.Sprintf("10.%d.%d.0/24", third+i, m.IntN(256)))
	}
	return out
}

func (m maker) psk() string {
	return "Aa1" + m.of("~", "!", "+", "=", "%", "$", " ", ",", ".", "/", ":", ";", "{", "}", "#", "^")[:1] + fmt.Sprintf("real-%d-secret", m.IntN(1e6))
}

func (m maker) name() string {
	return m.of("北京-办公室.1", "hq", "a_b", "Zürich", "上海", "branch.2") + fmt.Sprint(m.IntN(100))
}

func (m maker) alibaba() map[string]any {
	ike := func() map[string]any {
		b := map[string]any{"Psk": strings.NewReplacer(" ", "_").Replace(m.psk()), "IkeVersion": m.of("ikev1", "ikev2"), "IkePfs": m.of("group2", "group14")}
		m.some(b, "IkeMode", m.of("main", "aggressive"))
		m.some(b, "IkeEncAlg", m.of("aes", "aes192", "aes256", "3des"))
		m.some(b, "IkeAuthAlg", m.of("sha1", "sha256", "sha512"))
		m.some(b, "IkeLifetime", 600+m.IntN(80000))
		m.some(b, "LocalId", m.of("198.51.100.1", "cloud.example"))
		m.some(b, "RemoteId", m.of("203.0.113.9", "branch@example"))
		return b
	}
	esp := func() map[string]any {
		b := map[string]any{"IpsecEncAlg": m.of("aes", "aes256")}
		m.some(b, "IpsecAuthAlg", m.of("sha1", "sha256", "sha384"))
		m.some(b, "IpsecPfs", m.of("disabled", "group5", "group14"))
		m.some(b, "IpsecLifetime", 600+m.IntN(80000))
		return b
	}
	join := func(list []any) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]") }
	body := map[string]any{
		"RegionId": "cn-shanghai", "VpnGatewayId": "198.51.100.1", "LocalSubnet": join(m.blocks(0, 3)), "RemoteSubnet": join(m.blocks(100, 3)),
		"AutoConfigRoute": m.IntN(2) == 0, "EffectImmediately": m.IntN(2) == 0,
	}
	m.some(body, "Name", m.name())
	m.some(body, "Tags", []any{map[string]any{"Key": "团队", "Value": "a=b&c"}, map[string]any{"Key": "b", "Value": ""}})
	if m.IntN(3) == 0 {
		body["VpnGatewayId"] = "vpn-dual"
		var tunnels []any
		for i, role := range []string{"master", "slave"} {
			t := map[string]any{"Role": role, "CustomerGatewayId": fmt.Sprintf("203.0.113.%d", 9+i), "TunnelIkeConfig": ike(), "TunnelIpsecConfig": esp()}
			m.some(t, "EnableDpd", m.IntN(2) == 0)
			m.some(t, "EnableNatTraversal", m.IntN(2) == 0)
			m.some(t, "TunnelBgpConfig", map[string]any{"LocalAsn": 65000 + m.IntN(9), "TunnelCidr": fmt.Sprintf("169.254.%d.0/30", 10+i), "LocalBgpIp": fmt.Sprintf("169.254.%d.1", 10+i)})
			tunnels = append(tunnels, t)
		}
		body["TunnelOptionsSpecification"] = tunnels
		return body
	}
	body["CustomerGatewayId"], body["IkeConfig"], body["IpsecConfig"] = "203.0.113.9", ike(), esp()
	m.some(body, "EnableDpd", m.IntN(2) == 0)
	m.some(body, "HealthCheckConfig", map[string]any{"enable": m.IntN(2) == 0, "dip": "10.100.0.1", "sip": "10.0.0.1", "interval": 3 + m.IntN(9), "retry": 1 + m.IntN(9)})
	m.some(body, "BgpConfig", map[string]any{"EnableBgp": m.IntN(2) == 0, "LocalAsn": 65001, "TunnelCidr": "169.254.11.0/30", "LocalBgpIp": "169.254.11.1"})
	return body
}

func (m maker) huawei() map[string]any {
	auth := func() string { return m.of("sha1", "sha2-256", "sha2-384", "sha2-512") }
	enc := func() string { return m.of("aes-128", "aes-256", "3des", "aes-128-gcm-16") }
	ike := map[string]any{"ike_version": "v2", "authentication_algorithm": auth(), "encryption_algorithm": enc()}
	m.some(ike, "dh_group", m.of("group14", "group15", "group21"))
	m.some(ike, "lifetime_seconds", 60+m.IntN(600000))
	m.some(ike, "dpd", map[string]any{"timeout": 2 + m.IntN(50), "interval": 10 + m.IntN(3000)})
	if m.IntN(3) == 0 {
		ike["local_id_type"], ike["local_id"] = "fqdn", "cloud.example"
	}
	esp := map[string]any{"authentication_algorithm": auth(), "encryption_algorithm": enc(), "pfs": m.of("disable", "group14", "group20")}
	m.some(esp, "lifetime_seconds", 30+m.IntN(600000))
	body := map[string]any{"vgw_id": "198.51.100.1", "vgw_ip": "198.51.100.1", "cgw_id": "203.0.113.9", "psk": m.psk(), "ikepolicy": ike, "ipsecpolicy": esp, "style": m.of("static", "policy", "bgp")}
	m.some(body, "name", m.name())
	m.some(body, "ha_role", m.of("master", "slave"))
	m.some(body, "tags", []any{map[string]any{"key": "a", "value": "b c"}})
	switch body["style"] {
	case "policy":
		var rules []any
		for i := range 1 + m.IntN(4) {
			rules = append(rules, map[string]any{"rule_index": i, "source": fmt.Sprintf("10.0.%d.0/24", i), "destination": m.blocks(100, 3)})
		}
		body["policy_rules"] = rules
	default:
		body["peer_subnets"] = m.blocks(100, 4)
		body["tunnel_local_address"], body["tunnel_peer_address"] = "169.254.56.225/30", "169.254.56.226/30"
		if body["style"] == "static" {
			m.some(body, "enable_nqa", m.IntN(2) == 0)
		}
	}
	return map[string]any{"vpn_connection": body}
}

func (m maker) tencent() map[string]any {
	ike := map[string]any{"IKEVersion": m.of("IKEV1", "IKEV2"), "DhGroupName": m.of("GROUP2", "GROUP14"), "PropoEncryAlgorithm": m.of("AES-CBC-128", "AES-CBC-256", "3DES-CBC")}
	m.some(ike, "PropoAuthenAlgorithm", m.of("SHA", "SHA-256"))
	m.some(ike, "IKESaLifetimeSeconds", 60+m.IntN(600000))
	if m.IntN(3) == 0 {
		ike["RemoteIdentity"], ike["RemoteFqdnName"] = "FQDN", "branch.example"
	}
	esp := map[string]any{"EncryptAlgorithm": m.of("AES-CBC-128", "AES-CBC-256")}
	m.some(esp, "IPSECSaLifetimeSeconds", 180+m.IntN(600000))
	body := map[string]any{
		"VpnGatewayId": "198.51.100.1", "CustomerGatewayId": "203.0.113.9", "VpnConnectionName": m.name(), "PreShareKey": m.psk(),
		"RouteType": m.of("StaticRoute", "Policy"), "IKEOptionsSpecification": ike, "IPSECOptionsSpecification": esp,
	}
	m.some(body, "NegotiationType", m.of("active", "passive", "flowTrigger"))
	m.some(body, "Tags", []any{map[string]any{"Key": "a", "Value": "b"}})
	m.some(body, "DpdEnable", m.IntN(2))
	m.some(body, "DpdTimeout", fmt.Sprint(10+m.IntN(100)))
	m.some(body, "DpdAction", m.of("clear", "restart"))
	if body["RouteType"] == "Policy" {
		var list []any
		for i := range 1 + m.IntN(3) {
			list = append(list, map[string]any{"LocalCidrBlock": fmt.Sprintf("10.0.%d.0/24", i), "RemoteCidrBlock": m.blocks(100+10*i, 3)})
		}
		body["SecurityPolicyDatabases"] = list
	}
	return body
}

// flattened are the parameters of a body as a query or a form names them.
func flattened(out url.Values, name string, v any, first int) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			flattened(out, strings.TrimPrefix(name+"."+key, "."), inner, first)
		}
	case []any:
		for i, inner := range v {
			flattened(out, fmt.Sprintf("%s.%d", name, i+first), inner, first)
		}
	default:
		out.Set(name, fmt.Sprint(v))
	}
}

// asTexts are a body's objects as JSON in texts, as Alibaba's requests have IkeConfig and others.
func asTexts(t *testing.T, body map[string]any) map[string]any {
	out := map[string]any{}
	for key, v := range body {
		if m, ok := v.(map[string]any); ok {
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			v = string(text)
		}
		out[key] = v
	}
	return out
}

// A connection is the same in each encoding of the clouds' SDKs: JSON, form and query, with lists as each cloud counts.
func TestEncodingsOfGeneratedBodies(t *testing.T) {
	for d, first := range map[string]int{"alibaba": 1, "huawei": 1, "tencent": 0} {
		t.Run(d, func(t *testing.T) {
			seen := map[string]bool{}
			for seed := range uint64(300) {
				m := maker{rand.New(rand.NewPCG(seed, 16))}
				body := map[string]func() map[string]any{"alibaba": m.alibaba, "huawei": m.huawei, "tencent": m.tencent}[d]()
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				flat, texts := url.Values{}, url.Values{}
				flattened(flat, "", body, first)
				flattened(texts, "", asTexts(t, body), first)
				flat.Set("Action", "CreateVpnConnection")
				texts.Set("Action", "CreateVpnConnection")
				forms := map[string]string{
					"JSON":              string(text),
					"POST with JSON":    "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n\r\n" + string(text),
					"form":              "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n" + flat.Encode(),
					"query":             "GET https://api.example/?" + flat.Encode() + " HTTP/1.1\r\nHost: api.example\r\n\r\n",
					"query, JSON in it": "https://api.example/?" + texts.Encode(),
					"bare form":         "Action=CreateVpnConnection&" + strings.Replace(flat.Encode(), "Action=CreateVpnConnection&", "", 1),
				}
				if d == "huawei" { // it has no actions
					flat.Del("Action")
					forms["form"] = "POST /v5/x/vpn-connection HTTP/1.1\r\nHost: api.example\r\n\r\n" + flat.Encode()
					forms["query"] = "POST https://api.example/v5/x/vpn-connection?" + flat.Encode()
					delete(forms, "bare form")
					texts.Del("Action")
					forms["query, JSON in it"] = "https://api.example/?" + texts.Encode()
				}
				for _, side := range []string{"customer", "cloud"} {
					file := "version: 1\nside: " + side + "\nvpn_gateways: {vpn-dual: {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}}\ncustomer_gateways: {203.0.113.9: {address: 203.0.113.9, asn: 65010}}\nconnections:\n  - " + d + ": body\n    routes: [172.20.0.0/16]\n"
					results := map[string]string{}
					for name, form := range forms {
						r, ps := parseText(files{"body": form}.read, "f", []byte(file))
						if r == nil {
							t.Fatalf("seed %d, %s: refused:\n%s\n%s", seed, name, lines(ps), form)
						}
						results[name] = plainly(described(r.Drafts[0])) + string(r.Drafts[0].Tunnels[0].PSK) + fmt.Sprint(codesIn(lines(ps)))
					}
					for name, got := range results {
						if got != results["JSON"] {
							t.Errorf("seed %d, %s: got\n%s\nand in JSON\n%s", seed, name, got, results["JSON"])
						}
					}
					seen[results["JSON"]] = true
				}
				if t.Failed() {
					return
				}
			}
			if len(seen) < 500 {
				t.Errorf("only %d different connections", len(seen))
			}
		})
	}
}

// plainly is a description without what is said of the request around the body.
func plainly(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "note: ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// codesIn are the codes of problems.
func codesIn(s string) (out []string) {
	for line := range strings.Lines(s) {
		if i := strings.LastIndexByte(line, '['); i >= 0 {
			out = append(out, line[i:])
		}
	}
	sort.Strings(out)
	return out
}
