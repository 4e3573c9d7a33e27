package load

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// said checks that a file has one problem with these words in it.
func said(t *testing.T, text string, s diag.Severity, words ...string) {
	t.Helper()
	_, ps := parseText(nil, "f", []byte(text))
	for _, p := range ps {
		all := p.Severity == s
		for _, w := range words {
			all = all && strings.Contains(p.Message+" ["+p.Code+"]", w)
		}
		if all {
			return
		}
	}
	t.Errorf("nobody says %q (%v):\n%s", words, s, lines(ps))
}

func TestNativeIKEv1(t *testing.T) {
	tun := tunnel(t, `ike_version: 1
      mode: aggressive
      ike: {proposals: [aes128-md5-modp1024], lifetime: 8h}
      esp: {proposals: [aes128gcm16-modp2048s256, "null-sha1"], bytes: 1887436800}`, "allow: [null-encryption]\n    dpd: {interval: 10s, timeout: 30s, message: seq-notify-hash}")
	if tun.IKEVersion != 1 || !tun.Aggressive || tun.ESPLifetime.Bytes != 1887436800 {
		t.Errorf("got %+v", tun)
	}
	if tun.DPD.Order != dpd.NotifyHash {
		t.Errorf("liveness checks have order %v", tun.DPD.Order)
	}
	for _, p := range tun.ESPProposals {
		if slices.Contains(p.Transforms, ipsec.Transform{Type: ipsec.ESN, ID: ipsec.ESNYes}) {
			t.Errorf("%v has extended sequence numbers", p)
		}
	}
}

func TestNativeIKEv1Defaults(t *testing.T) {
	tun := tunnel(t, "ike_version: 1", "")
	if tun.Aggressive || len(tun.IKEProposals) == 0 || len(tun.ESPProposals) == 0 {
		t.Errorf("got %+v", tun)
	}
	for _, p := range tun.IKEProposals {
		parse(t, lab(fmt.Sprintf("%s\n      ike_version: 1\n      ike: {proposals: [%v]}", key, p), ""), nil)
	}
	for _, p := range tun.ESPProposals {
		parse(t, lab(fmt.Sprintf("%s\n      ike_version: 1\n      esp: {proposals: [%v]}", key, p), ""), nil)
	}
	for _, p := range append(tun.IKEProposals, tun.ESPProposals...) {
		for _, tr := range p.Transforms {
			if tr.Weak() != "" {
				t.Errorf("%v is proposed by default", tr)
			}
		}
	}
}

func TestNativeAnyTakesBothVersions(t *testing.T) {
	if tun := tunnel(t, "ike_version: any", ""); tun.IKEVersion != 0 || len(tun.IKEProposals) != 2 {
		t.Errorf("got IKEv%d, %v", tun.IKEVersion, tun.IKEProposals)
	}
	said(t, lab(key+"\n      ike_version: any\n      ike: {proposals: [aes128gcm16-prfsha256-modp2048]}", ""), diag.Error, "none of the proposals can be said in IKEv1", "aes128gcm16")
}

func TestNativeIKEv1RefusesWhatItDoesNotHave(t *testing.T) {
	one := func(body, beside string) string { return lab(key+"\n      ike_version: 1\n      "+body, beside) }
	said(t, one("ike: {proposals: [aes256gcm16-prfsha384-ecp384]}", ""), diag.Error, "aes256gcm16", "AES-GCM")
	said(t, one("ike: {proposals: [aes128-sha256-x25519]}", ""), diag.Error, "x25519")
	said(t, one("ike: {proposals: [aes128-sha1-prfsha256-modp2048]}", ""), diag.Error, "one hash")
	said(t, one("esp: {proposals: [chacha20poly1305]}", ""), diag.Error, "ChaCha20")
	said(t, one("esp: {esn: yes}", ""), diag.Error, "extended sequence numbers")
	said(t, one("esp: {proposals: [aes128-sha256-esn]}", ""), diag.Error, "extended sequence numbers")
	said(t, one("mode: aggressive", ""), diag.Warning, "aggressive mode is weak", "[vpngw.mode.weak]")
	said(t, one("ike: {lifetime: 0s}", ""), diag.Warning, "8 hours")
	said(t, one(`esp: {proposals: ["null-sha1"]}`, ""), diag.Error, "allow: [null-encryption]")
	said(t, one("", "allow: [null-encryption]"), diag.Warning, "no ESP proposal")
	said(t, lab(key+"\n      mode: main", ""), diag.Warning, "belongs to IKEv1")
	said(t, lab(key, "dpd: {message: auto}"), diag.Warning, "only IKEv1 has messages of this kind")
}

// two is a file with two connections to one peer address.
func two(a, b string) string {
	return `version: 1
connections:
  - native:
      local: {address: 203.0.113.9, id: one.example, subnets: [192.168.3.0/24]}
      remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]}
      ` + a + `
  - native:
      local: {address: 203.0.113.9, id: two.example, subnets: [192.168.4.0/24]}
      remote: {address: 198.51.100.9, subnets: [10.21.0.0/16]}
      ` + b + "\n"
}

func TestTwoKeysForOneAddressInMainMode(t *testing.T) {
	said(t, two("ike_version: 1\n      psk: one", "ike_version: 1\n      psk: two"), diag.Error, "another pre-shared key for the same peer address, 198.51.100.9")
	said(t, two("ike_version: any\n      psk: one", "ike_version: 1\n      psk: two"), diag.Error, "another pre-shared key")
	for _, good := range []string{
		two("ike_version: 1\n      psk: one", "ike_version: 1\n      psk: one"),
		two("ike_version: 1\n      psk: one", "psk: two"),
		two("ike_version: 1\n      mode: aggressive\n      psk: one", "ike_version: 1\n      psk: two"),
		strings.Replace(two("ike_version: 1\n      psk: one", "ike_version: 1\n      psk: two"), "203.0.113.9, id: two", "203.0.113.10, id: two", 1),
	} {
		if c, ps := parseText(nil, "f", []byte(good)); c == nil {
			t.Errorf("refused:\n%s", lines(ps))
		}
	}
}

func TestAlibabaDefaultsAreIKEv1(t *testing.T) {
	body := bodyWith(map[string]any{"IkeConfig": map[string]any{"Psk": "not-a-real-secret"}, "IpsecConfig": nil})
	c, ps := parseText(nil, "f", alibabaFile(t, body, ""))
	if c == nil {
		t.Fatalf("refused:\n%s", lines(ps))
	}
	tun := c.Connections[0].Tunnels[0]
	if tun.IKEVersion != 1 || tun.Aggressive || tun.IKEProposals[0].String() != "aes128-md5-prfmd5-modp1024" || tun.ESPProposals[0].String() != "aes128-md5-modp1024" {
		t.Errorf("got IKEv%d, aggressive %v, %v, %v", tun.IKEVersion, tun.Aggressive, tun.IKEProposals, tun.ESPProposals)
	}
	if tun.Remote.Address != netip.MustParseAddr("198.51.100.1") {
		t.Errorf("the peer is %v", tun.Remote.Address)
	}
	body = bodyWith(map[string]any{"IkeConfig.IkeVersion": "ikev1", "IkeConfig.IkeMode": "aggressive", "IkeConfig.IkePfs": "group24", "RemoteSubnet": "192.168.3.0/24,192.168.5.0/24"})
	c, ps = parseText(nil, "f", alibabaFile(t, body, ""))
	if c == nil || !c.Connections[0].Tunnels[0].Aggressive || c.Connections[0].Tunnels[0].IKEProposals[0].String() != "aes128-sha256-prfsha256-modp2048s256" {
		t.Errorf("got\n%s", lines(ps))
	}
	said(t, string(alibabaFile(t, body, "")), diag.Warning, "aggressive mode is weak")
	said(t, string(alibabaFile(t, body, "")), diag.Warning, "one CIDR block at each end")
}
