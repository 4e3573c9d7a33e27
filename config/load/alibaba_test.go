package load

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
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

func alibabaTunnel(t *testing.T, change map[string]any, beside string) (*dialect.Draft, config.Tunnel) {
	t.Helper()
	c := parse(t, string(alibabaFile(t, bodyWith(change), beside)), nil)
	return c.Drafts[0], c.Connections[0].Tunnels[0]
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
	if !tun.NATT || tun.DPD == (dpd.Config{}) || tun.Children != config.Lists || conn.Connection.Name != "alibaba-1" || len(conn.Notes) == 0 {
		t.Errorf("got %+v", conn)
	}
}

func TestAlibabaSides(t *testing.T) {
	for _, tt := range []struct {
		beside    string
		immediate any
		local     string
		start     config.Start
	}{
		{"side: customer", nil, "203.0.113.9", config.StartActive},
		{"side: customer", "false", "203.0.113.9", config.StartActive},
		{"side: customer", true, "203.0.113.9", config.StartActive},
		{"side: cloud", nil, "198.51.100.1", config.StartOnTraffic},
		{"side: cloud", "false", "198.51.100.1", config.StartOnTraffic},
		{"side: cloud", "true", "198.51.100.1", config.StartActive},
	} {
		_, tun := alibabaTunnel(t, map[string]any{"EffectImmediately": tt.immediate, "IkeConfig.LocalId": "cloud"}, tt.beside)
		cloud := tun.Remote
		if tt.beside == "side: cloud" {
			cloud = tun.Local
		}
		if tun.Local.Address.String() != tt.local || tun.Start != tt.start || cloud.ID.String() != "cloud" || cloud.Subnets[0].String() != "10.10.0.0/16" {
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

func equal(a, b *Result) bool {
	return fmt.Sprintf("%+v", *a.Connections[0]) == fmt.Sprintf("%+v", *b.Connections[0]) && a.Connections[0].Tunnels[0].PSK.Equal(b.Connections[0].Tunnels[0].PSK)
}

func TestTwoTunnelsTakeTwoKeysFromFiles(t *testing.T) {
	f := rowsFiles(t)["alibaba"]
	body := f.body(t, "dual", map[string]any{"TunnelOptionsSpecification.0.TunnelIkeConfig.Psk": nil, "TunnelOptionsSpecification.1.TunnelIkeConfig.Psk": nil})
	for beside, want := range map[string][2]string{"psk_file: [a, b]": {"key-a", "key-b"}, "psk_file: a": {"key-a", "key-a"}} {
		c, ps := parseText(files{"a": "key-a\n", "b": "key-b\n"}.read, "f", f.file(t, "alibaba", body, beside))
		if c == nil {
			t.Fatalf("%s:\n%s", beside, lines(ps))
		}
		for i, tun := range c.Connections[0].Tunnels {
			if !tun.PSK.Equal(ipsec.Secret(want[i])) {
				t.Errorf("%s: tunnel %d has another key", beside, i+1)
			}
		}
	}
	for _, beside := range []string{"psk_file: [a]", "psk_file: [a, b, a]", "psk_file: []"} {
		if c, _ := parseText(files{"a": "key-a\n", "b": "key-b\n"}.read, "f", f.file(t, "alibaba", body, beside)); c != nil {
			t.Errorf("%s was taken", beside)
		}
	}
}

func TestPSKOfAlibabaFromAFileKeepsTheCloudsRule(t *testing.T) {
	text := string(alibabaFile(t, bodyWith(map[string]any{"IkeConfig.Psk": nil}), "psk_file: k"))
	if tun := parse(t, text, files{"k": "not-a-real-secret\r\n"}).Connections[0].Tunnels[0]; !tun.PSK.Equal(ipsec.Secret("not-a-real-secret")) {
		t.Error("the key is not that of the file")
	}
	if c, ps := parseText(files{"k": "a b"}.read, "f", []byte(text)); c != nil || ps[0].Code != "vpngw.psk_file.illegal" {
		t.Errorf("got %v", ps)
	}
}
