package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// bodyWith is a valid body with some parameters changed; nil takes one out. "IkeConfig.Psk" is inside IkeConfig.
func bodyWith(change map[string]any) map[string]any {
	b := map[string]any{
		"RegionId": "cn-shanghai", "VpnGatewayId": "198.51.100.1", "CustomerGatewayId": "203.0.113.9",
		"LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24",
		"IkeConfig":   map[string]any{"Psk": "not-a-real-secret", "IkeVersion": "ikev2", "IkeAuthAlg": "sha256", "IkePfs": "group14"},
		"IpsecConfig": map[string]any{"IpsecAuthAlg": "sha256", "IpsecPfs": "group14"},
	}
	for path, v := range change {
		m, name := b, path
		if outer, inner, ok := strings.Cut(path, "."); ok {
			if b[outer] == nil {
				b[outer] = map[string]any{}
			}
			m, name = b[outer].(map[string]any), inner
		}
		if m[name] = v; v == nil {
			delete(m, name)
		}
	}
	return b
}

// alibabaFile is a file with one body.
func alibabaFile(t *testing.T, body map[string]any, beside string) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "version: 1\nconnections:\n  - alibaba: %s\n    %s\n", text, beside)
}

func tagged(n int) (out []any) {
	for i := range n {
		out = append(out, map[string]any{"Key": fmt.Sprint("k", i), "Value": ""})
	}
	return out
}

// Each row of the page: values that the cloud takes, to the bounds, and values just outside with their code.
var alibabaRows = []struct {
	name string
	good []any
	bad  []any
	code string
}{
	{"RegionId", []any{"cn-shanghai"}, []any{nil, ""}, "vpngw.RegionId.missing"},
	{"ClientToken", []any{"02fb3da4-130e-11e9-8e44-001****", nil}, []any{"é"}, "vpngw.ClientToken.illegal"},
	{"CustomerGatewayId", []any{"203.0.113.9"}, []any{nil}, "vpngw.CustomerGatewayId.missing"},
	{"CustomerGatewayId", nil, []any{"cgw-1"}, "InvalidCustomerGatewayInstanceId.NotFound"},
	{"CustomerGatewayId", nil, []any{"198.51.100.1"}, "CustomerGateway.ConflictVpnIp"},
	{"VpnGatewayId", []any{"198.51.100.1"}, []any{nil}, "vpngw.VpnGatewayId.missing"},
	{"VpnGatewayId", nil, []any{"vpn-1"}, "InvalidVpnGatewayInstanceId.NotFound"},
	{"Name", []any{nil, "a", strings.Repeat("a", 100), "总部", "a b/c"}, []any{strings.Repeat("a", 101), "http://a", "https://a"}, "InvalidParameter.VpnConnectionName"},
	{"LocalSubnet", []any{"10.0.0.0/8", "10.0.0.0/8,172.16.0.0/12", "10.0.0.0/8, 172.16.0.0/12", "0.0.0.0/0"}, []any{"10.0.0.0", "10.0.0.0/33", "x", "10.0.0.0/8,"}, "IllegalParam.LocalSubnet"},
	{"LocalSubnet", nil, []any{nil, ""}, "vpngw.LocalSubnet.missing"},
	{"LocalSubnet", nil, []any{"192.168.0.0/16"}, "vpngw.LocalSubnet.conflict"},
	{"RemoteSubnet", []any{"192.168.3.0/24,192.168.4.0/24", "0.0.0.0/0"}, []any{"192.168.3.0/a"}, "IllegalParam.RemoteSubnet"},
	{"RemoteSubnet", nil, []any{nil}, "vpngw.RemoteSubnet.missing"},
	{"EffectImmediately", []any{true, false, "true", "false", "True", nil}, []any{"2", 2, []any{}}, "vpngw.EffectImmediately.type"},
	{"IkeConfig", []any{`{"Psk":"x","IkeVersion":"ikev2"}`}, []any{"ikev2", []any{}}, "vpngw.IkeConfig.type"},
	{"IkeConfig", nil, []any{`{"Psk":"x"`, `{Psk: x}`}, "vpngw.config.syntax"},
	{"IkeConfig.Psk", []any{"a", strings.Repeat("a", 100), "~!`@#$%^&*()_-+={}[]|;:',.<>/?", 12345678}, []any{strings.Repeat("a", 101), "a b", `a"b`, `a\b`, "é"}, "vpngw.Psk.illegal"},
	{"IkeConfig.IkeVersion", []any{"ikev2", "Ikev2", "ikev1", nil}, []any{"ikev3", "2"}, "vpngw.IkeVersion.illegal"},
	{"IkeConfig.IkeMode", []any{"main", "aggressive", nil}, []any{"quick"}, "vpngw.IkeMode.illegal"},
	{"IkeConfig.IkeEncAlg", []any{"aes", "aes192", "aes256", "des", "3des", nil}, []any{"aes128"}, "vpngw.IkeEncAlg.illegal"},
	{"IkeConfig.IkeEncAlg", nil, []any{"sm4"}, "vpngw.IkeEncAlg.unsupported"},
	{"IkeConfig.IkeAuthAlg", []any{"md5", "sha1", "sha256", "sha384", "sha512", nil}, []any{"sha2"}, "vpngw.IkeAuthAlg.illegal"},
	{"IkeConfig.IkeAuthAlg", nil, []any{"sm3"}, "vpngw.IkeAuthAlg.unsupported"},
	{"IkeConfig.IkePfs", []any{"group1", "group2", "group5", "group14", "group24", nil}, []any{"disabled", "group15"}, "vpngw.IkePfs.illegal"},
	{"IkeConfig.IkeLifetime", []any{0, 86400, "86400", nil}, []any{-1, 86401, "99999999999999999999"}, "vpngw.IkeLifetime.illegal"},
	{"IkeConfig.IkeLifetime", nil, []any{"24h", 1.5, true}, "vpngw.IkeLifetime.type"},
	{"IkeConfig.LocalId", []any{nil, "47.0.0.1", "gw.example.org", strings.Repeat("a", 100)}, []any{strings.Repeat("a", 101)}, "vpngw.LocalId.illegal"},
	{"IkeConfig.RemoteId", []any{nil, "47.0.0.2", strings.Repeat("a", 100)}, []any{strings.Repeat("a", 101)}, "vpngw.RemoteId.illegal"},
	{"IkeConfig.LocalIdIPsec", nil, []any{"x"}, "vpngw.LocalIdIPsec.unsupported"},
	{"IpsecConfig", []any{nil, "{}", `{"IpsecPfs":"disabled"}`}, []any{"aes"}, "vpngw.IpsecConfig.type"},
	{"IpsecConfig.IpsecEncAlg", []any{"aes", "aes192", "aes256", "des", "3des", nil}, []any{"aes128"}, "vpngw.IpsecEncAlg.illegal"},
	{"IpsecConfig.IpsecEncAlg", nil, []any{"sm4"}, "vpngw.IpsecEncAlg.unsupported"},
	{"IpsecConfig.IpsecAuthAlg", []any{"md5", "sha1", "sha256", "sha384", "sha512", nil}, []any{"sha224"}, "NotSupportVpnConnectionParameter.IpsecAuthAlg"},
	{"IpsecConfig.IpsecPfs", []any{"disabled", "group1", "group2", "group5", "group14", "group24", nil}, []any{"group15"}, "NotSupportVpnConnectionParameter.IpsecPfs"},
	{"IpsecConfig.IpsecLifetime", []any{0, 86400, "3600", nil}, []any{86401, -1}, "vpngw.IpsecLifetime.illegal"},
	{"HealthCheckConfig.enable", []any{false, "false", nil}, []any{true, "true"}, "vpngw.enable.unsupported"},
	{"HealthCheckConfig.dip", []any{"192.168.10.1", ""}, []any{"x"}, "vpngw.dip.malformed"},
	{"HealthCheckConfig.sip", []any{"10.10.1.1"}, []any{"10.10.1.0/24"}, "vpngw.sip.malformed"},
	{"HealthCheckConfig.interval", []any{"3", 1, nil}, []any{"0"}, "vpngw.interval.illegal"},
	{"HealthCheckConfig.retry", []any{"3", 1, nil}, []any{"x"}, "vpngw.retry.type"},
	{"BgpConfig", []any{"{}", ""}, []any{"true"}, "IllegalParam.BgpConfig"},
	{"BgpConfig.EnableBgp", []any{"false", false, nil}, []any{"true", true}, "vpngw.EnableBgp.unsupported"},
	{"BgpConfig.LocalAsn", []any{1, "4294967295", "123.456", nil}, []any{0, "4294967296", "0.0", "1.65536", "x"}, "IllegalParam.LocalAsn"},
	{"BgpConfig.TunnelCidr", []any{"169.254.11.0/30", "", nil}, []any{"169.254.11.0/29", "10.0.0.0/30", "169.254.11.1/30", "169.254.6.0/30", "169.254.169.252/30"}, "IllegalParam.TunnelCidr"},
	{"BgpConfig.TunnelCidr", nil, []any{"169.254.11.0"}, "InvalidTunnelCidr.Malformed"},
	{"BgpConfig.LocalBgpIp", []any{"169.254.11.1"}, []any{"x"}, "InvalidLocalBgpIp.Malformed"},
	{"BgpConfig", nil, []any{`{"TunnelCidr":"169.254.11.0/30","LocalBgpIp":"169.254.11.4"}`}, "IllegalParam.LocalBgpIp"},
	{"AutoConfigRoute", []any{true, "false", nil}, []any{"x"}, "vpngw.AutoConfigRoute.type"},
	{"EnableDpd", []any{true, "false", nil}, []any{"x"}, "vpngw.EnableDpd.type"},
	{"EnableNatTraversal", []any{true, "false", nil}, []any{"x"}, "vpngw.EnableNatTraversal.type"},
	{"RemoteCaCertificate", []any{"", nil}, []any{"-----BEGIN CERTIFICATE-----"}, "vpngw.RemoteCaCertificate.unsupported"},
	{"Tags", []any{[]any{}, tagged(20), `[{"Key":"a"}]`}, []any{tagged(21)}, "SizeLimitExceeded.TagNum"},
	{"Tags", []any{[]any{map[string]any{"Key": strings.Repeat("k", 64), "Value": strings.Repeat("v", 128)}}}, []any{
		[]any{map[string]any{"Key": strings.Repeat("k", 65)}},
		[]any{map[string]any{"Key": "aliyun"}},
		[]any{map[string]any{"Key": "acs:"}},
		[]any{map[string]any{"Key": "ahttp://"}},
		[]any{map[string]any{"Key": ""}},
		[]any{map[string]any{"Value": "v"}},
	}, "InvalidParameter.TagKey"},
	{"Tags", nil, []any{[]any{map[string]any{"Key": "k", "Value": strings.Repeat("v", 129)}}, []any{map[string]any{"Key": "k", "Value": "acs:"}}}, "InvalidParameter.TagValue"},
	{"Tags", nil, []any{[]any{map[string]any{"Key": "k"}, map[string]any{"Key": "k"}}}, "Duplicated.TagKey"},
	{"TunnelOptionsSpecification", []any{[]any{}, nil, ""}, []any{[]any{map[string]any{"Role": "master"}}, "[{}]"}, "vpngw.TunnelOptionsSpecification.unsupported"},
	{"EnableTunnelsBgp", []any{false, "false", nil}, []any{true, "true"}, "vpngw.EnableTunnelsBgp.unsupported"},
}

func TestAlibabaRows(t *testing.T) {
	for _, row := range alibabaRows {
		for _, v := range row.good {
			if c, ps := Parse(nil, "f", alibabaFile(t, bodyWith(map[string]any{row.name: v}), "")); c == nil {
				t.Errorf("%s = %.60v was refused:\n%s", row.name, v, lines(ps))
			}
		}
		for _, v := range row.bad {
			c, ps := Parse(nil, "f", alibabaFile(t, bodyWith(map[string]any{row.name: v}), ""))
			if c != nil || !slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error && p.Code == row.code }) {
				t.Errorf("%s = %.60v: got\n%swant %s", row.name, v, lines(ps), row.code)
			}
		}
	}
}

// Every parameter that the page names has a row in the test above.
func TestAlibabaRowsAreAllTested(t *testing.T) {
	tested := map[string]bool{}
	for _, row := range alibabaRows {
		for part := range strings.SplitSeq(row.name, ".") {
			tested[part] = true
		}
	}
	for _, name := range strings.Fields(`RegionId ClientToken CustomerGatewayId VpnGatewayId Name LocalSubnet RemoteSubnet EffectImmediately
		IkeConfig Psk IkeVersion IkeMode IkeEncAlg IkeAuthAlg IkePfs IkeLifetime LocalId RemoteId
		IpsecConfig IpsecEncAlg IpsecAuthAlg IpsecPfs IpsecLifetime HealthCheckConfig enable dip sip interval retry
		AutoConfigRoute EnableDpd EnableNatTraversal BgpConfig EnableBgp LocalAsn TunnelCidr LocalBgpIp
		RemoteCaCertificate Tags TunnelOptionsSpecification EnableTunnelsBgp`) {
		if !tested[name] {
			t.Errorf("%s is not tested", name)
		}
	}
}

func alibabaTunnel(t *testing.T, change map[string]any, beside string) (*Connection, Tunnel) {
	t.Helper()
	c := parse(t, string(alibabaFile(t, bodyWith(change), beside)), nil)
	return c.Connections[0], c.Connections[0].Tunnels[0]
}

func TestAlibabaDefaultsAreTheClouds(t *testing.T) {
	conn, tun := alibabaTunnel(t, map[string]any{
		"IkeConfig": map[string]any{"Psk": "not-a-real-secret", "IkeVersion": "ikev2"}, "IpsecConfig": nil,
	}, "")
	if got, want := fmt.Sprint(tun.IKEProposals, tun.ESPProposals), "[aes128-md5-prfmd5-modp1024] [aes128-md5-modp1024]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if tun.IKELifetime != 24*time.Hour || tun.ESPLifetime != (ipsec.Lifetime{Time: 24 * time.Hour}) {
		t.Errorf("got lifetimes %v, %v", tun.IKELifetime, tun.ESPLifetime)
	}
	if !tun.NATT || tun.DPD == (dpd.Config{}) || tun.Children != Lists || conn.Name != "alibaba-1" || len(conn.Notes) == 0 {
		t.Errorf("got %+v", conn)
	}
}

func TestAlibabaSides(t *testing.T) {
	for _, tt := range []struct {
		beside    string
		immediate any
		local     string
		initiate  bool
	}{
		{"side: customer", nil, "203.0.113.9", true},
		{"side: customer", "false", "203.0.113.9", true},
		{"side: customer", true, "203.0.113.9", true},
		{"side: cloud", nil, "198.51.100.1", false},
		{"side: cloud", "false", "198.51.100.1", false},
		{"side: cloud", "true", "198.51.100.1", true},
	} {
		_, tun := alibabaTunnel(t, map[string]any{"EffectImmediately": tt.immediate, "IkeConfig.LocalId": "cloud"}, tt.beside)
		cloud := tun.Remote
		if tt.beside == "side: cloud" {
			cloud = tun.Local
		}
		if tun.Local.Address.String() != tt.local || tun.Initiate != tt.initiate || cloud.ID.String() != "cloud" || cloud.Subnets[0].String() != "10.10.0.0/16" {
			t.Errorf("%+v: got %+v", tt, tun)
		}
	}
}

func TestAlibabaSwitches(t *testing.T) {
	_, tun := alibabaTunnel(t, map[string]any{"EnableDpd": "false", "EnableNatTraversal": "false", "IpsecConfig.IpsecPfs": "disabled", "IkeConfig.IkeLifetime": 0}, "")
	if tun.NATT || tun.DPD != (dpd.Config{}) || tun.IKELifetime != 0 || tun.ESPProposals[0].String() != "aes128-sha256" {
		t.Errorf("got %+v", tun)
	}
}

// Every form in which a body comes gives the same connection.
func TestAlibabaFormsAreAlike(t *testing.T) {
	want := parse(t, string(alibabaFile(t, bodyWith(nil), "")), nil)
	inner := bodyWith(nil)
	for name, v := range maps.Clone(inner) {
		if m, ok := v.(map[string]any); ok {
			text, _ := json.Marshal(m)
			inner[name] = string(text)
		}
	}
	asText, _ := json.Marshal(inner)
	quoted, _ := json.Marshal(string(asText))
	lower := map[string]any{}
	for name, v := range bodyWith(nil) {
		lower[strings.ToLower(name)] = v
	}
	for form, text := range map[string]string{
		"JSON in texts":      string(alibabaFile(t, inner, "")),
		"all of it a text":   "version: 1\nconnections: [{alibaba: " + string(quoted) + "}]",
		"lower case":         string(alibabaFile(t, lower, "")),
		"a file of its own":  "version: 1\nconnections: [{alibaba: body.json}]",
		"an anchored body":   "version: 1\nconnections:\n  - alibaba: &b " + string(asText) + "\n",
		"null for no answer": string(alibabaFile(t, bodyWith(map[string]any{"Name": "", "BgpConfig": ""}), "")),
	} {
		if got := parse(t, text, files{"body.json": string(asText)}); !equal(got, want) {
			t.Errorf("%s: got %+v", form, got.Connections[0])
		}
	}
}

func equal(a, b *Config) bool {
	return fmt.Sprintf("%+v", *a.Connections[0]) == fmt.Sprintf("%+v", *b.Connections[0]) && a.Connections[0].Tunnels[0].PSK.Equal(b.Connections[0].Tunnels[0].PSK)
}

func TestEveryKeyWithALetterDroppedIsAnsweredWithTheKey(t *testing.T) {
	for _, row := range alibabaRows {
		outer, name, nested := strings.Cut(row.name, ".")
		if !nested {
			outer, name = "", row.name
		}
		for i := range name {
			slip := name[:i] + name[i+1:]
			path := strings.TrimPrefix(outer+"."+slip, ".")
			_, ps := Parse(nil, "f", alibabaFile(t, bodyWith(map[string]any{path: "x"}), ""))
			if name == "sip" && slip == "ip" { // dip is as near
				continue
			}
			if !slices.ContainsFunc(ps, func(p Problem) bool { return p.Nearest == name }) {
				t.Errorf("%s is not answered with %s", slip, name)
			}
		}
	}
}

func TestPSKOfAlibabaFromAFileKeepsTheCloudsRule(t *testing.T) {
	text := string(alibabaFile(t, bodyWith(map[string]any{"IkeConfig.Psk": nil}), "psk_file: k"))
	if tun := parse(t, text, files{"k": "not-a-real-secret\r\n"}).Connections[0].Tunnels[0]; !tun.PSK.Equal(ipsec.Secret("not-a-real-secret")) {
		t.Error("the key is not that of the file")
	}
	if c, ps := Parse(files{"k": "a b"}.read, "f", []byte(text)); c != nil || ps[0].Code != "vpngw.psk_file.illegal" {
		t.Errorf("got %v", ps)
	}
}
