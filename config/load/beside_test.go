package load

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/config/native"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// lab is a file with one native connection, with more lines in its body and beside it.
func lab(body, beside string) string {
	return `version: 1
connections:
  - native:
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24, "fc00::/16"]}
      remote: {address: 198.51.100.9, subnets: [10.20.0.0/16, "fd00::/8", 0.0.0.0/0]}
      ` + body + `
    ` + beside + "\n"
}

const key = "psk: not-a-real-secret"

func tunnel(t *testing.T, body, beside string) config.Tunnel {
	t.Helper()
	return parse(t, lab(key+"\n      "+body, beside), nil).Connections[0].Tunnels[0]
}

func TestDefaultsOfNativeAreStrong(t *testing.T) {
	c, ps := parseText(nil, "f", []byte(lab(key, "")))
	if len(ps) != 0 {
		t.Errorf("got problems\n%s", lines(ps))
	}
	tun := c.Connections[0].Tunnels[0]
	for _, p := range append(tun.IKEProposals, tun.ESPProposals...) {
		for _, tr := range p.Transforms {
			if tr.Weak() != "" {
				t.Errorf("%v is proposed by default", tr)
			}
		}
	}
	tun.IKEProposals, tun.ESPProposals = nil, nil
	want := config.Tunnel{
		Name: "native-1", Role: config.Single,
		Local:      config.End{Address: netip.MustParseAddr("203.0.113.9"), ID: ipsec.ParseIdentity("203.0.113.9"), Subnets: []netip.Prefix{netip.MustParsePrefix("192.168.3.0/24"), netip.MustParsePrefix("fc00::/16")}},
		Remote:     config.End{Address: netip.MustParseAddr("198.51.100.9"), ID: ipsec.ParseIdentity("198.51.100.9"), Subnets: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("0.0.0.0/0")}},
		IKEVersion: 2, PSK: ipsec.Secret("not-a-real-secret"), IKELifetime: 24 * time.Hour, ESPLifetime: ipsec.Lifetime{Time: time.Hour},
		Children: config.Lists, NATT: true, Encap: config.EncapAuto, CopyDSCP: true, Metric: 7300, DF: config.DFAuto, DPD: dpd.Config{Interval: 30 * time.Second}, Start: config.StartActive,
		Routes: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00::/8")},
	}
	if !reflect.DeepEqual(tun, want) {
		t.Errorf("got  %+v\nwant %+v", tun, want)
	}
}

func TestWhatStandsBesideTheBody(t *testing.T) {
	for _, tt := range []struct {
		beside string
		is     func(config.Tunnel) bool
	}{
		{"remote_port: 14500", func(t config.Tunnel) bool { return t.Remote.Port == 14500 }},
		{"encap: always", func(t config.Tunnel) bool { return t.Encap == config.EncapAlways }},
		{"encap: never", func(t config.Tunnel) bool { return t.Encap == config.EncapNever }},
		{"sha256_96: yes", func(t config.Tunnel) bool { return t.Trunc96 }},
		{"sha256_96: no", func(t config.Tunnel) bool { return !t.Trunc96 }},
		{"copy_dscp: off", func(t config.Tunnel) bool { return !t.CopyDSCP }},
		{"before_up: drop", func(t config.Tunnel) bool { return !t.Pass }},
		{"before_up: pass", func(t config.Tunnel) bool { return t.Pass }},
		{"metric: 1", func(t config.Tunnel) bool { return t.Metric == 1 }},
		{"metric: 2147483600", func(t config.Tunnel) bool { return t.Metric == config.MaxMetric }},
		{"metric: 100", func(t config.Tunnel) bool { return t.Metric == 100 }},
		{"mtu: 1300", func(t config.Tunnel) bool { return t.MTU == 1300 }},
		{"df: clear", func(t config.Tunnel) bool { return t.DF == config.DFClear }},
		{"df: set", func(t config.Tunnel) bool { return t.DF == config.DFSet }},
		{"device: tun7", func(t config.Tunnel) bool { return t.Device == "tun7" }},
		{"name: lab.1_x-y", func(t config.Tunnel) bool { return t.Name == "lab.1_x-y" }},
		{"dpd: off", func(t config.Tunnel) bool { return t.DPD == dpd.Config{} }},
		{"dpd: on", func(t config.Tunnel) bool { return t.DPD == native.Liveness }},
		{"dpd: {interval: 5, timeout: 2m}", func(t config.Tunnel) bool {
			return t.DPD == dpd.Config{Interval: 5 * time.Second, Timeout: 2 * time.Minute}
		}},
		{"dpd: {action: clear}", func(t config.Tunnel) bool {
			return t.DPD == dpd.Config{Interval: native.Liveness.Interval, Clear: true}
		}},
		{"dpd: {action: restart}", func(t config.Tunnel) bool { return t.DPD == native.Liveness }},
		{"early_rekey: yes", func(t config.Tunnel) bool { return t.EarlyRekey }},
		{"dpd: {timeout: 2m}", func(t config.Tunnel) bool {
			return t.DPD == dpd.Config{Interval: native.Liveness.Interval, Timeout: 2 * time.Minute}
		}},
		{"lifetime: {ike: 1h30m, esp: 90, bytes: 100000, packets: 70}", func(t config.Tunnel) bool {
			return t.IKELifetime == 90*time.Minute && t.ESPLifetime == ipsec.Lifetime{Time: 90 * time.Second, Bytes: 100000, Packets: 70}
		}},
		{"lifetime: {esp: 0}", func(t config.Tunnel) bool { return t.IKELifetime == 24*time.Hour && t.ESPLifetime.Time == 0 }},
		{"routes: []", func(t config.Tunnel) bool { return t.Routes == nil }},
		{"routes: [0.0.0.0/0]", func(t config.Tunnel) bool { return fmt.Sprint(t.Routes) == "[0.0.0.0/0]" }},
		{"side: cloud", func(t config.Tunnel) bool {
			return t.Local.Address == netip.MustParseAddr("203.0.113.9") && t.Start == config.StartPassive
		}},
		{"side: cloud\n    start: active", func(t config.Tunnel) bool { return t.Start == config.StartActive }},
		{"start: passive", func(t config.Tunnel) bool { return t.Start == config.StartPassive }},
		{"start: onTraffic", func(t config.Tunnel) bool { return t.Start == config.StartOnTraffic }},
		{"side: customer", func(t config.Tunnel) bool { return t.Start == config.StartActive }},
	} {
		if got := tunnel(t, "", tt.beside); !tt.is(got) {
			t.Errorf("%s: got %+v", tt.beside, got)
		}
	}
}

// The cloud's word holds at the cloud's end only, and start: beside the body before it, at either end.
func TestStartOfEachDialect(t *testing.T) {
	word := map[string]func(t *testing.T, word, beside string) config.Tunnel{
		"native": func(t *testing.T, word, beside string) config.Tunnel { return tunnel(t, word, beside) },
		"huawei": func(t *testing.T, _, beside string) config.Tunnel { _, tun := huaweiTunnel(t, nil, beside); return tun },
		"alibaba": func(t *testing.T, word, beside string) config.Tunnel {
			_, tun := alibabaTunnel(t, map[string]any{"EffectImmediately": word}, beside)
			return tun
		},
		"tencent": func(t *testing.T, word, beside string) config.Tunnel {
			_, tun := tencentTunnel(t, map[string]any{"NegotiationType": word}, beside)
			return tun
		},
	}
	for _, tt := range []struct {
		dialect, word   string
		customer, cloud config.Start
	}{
		{"native", "", config.StartActive, config.StartPassive},
		{"native", "initiate: yes", config.StartActive, config.StartActive},
		{"native", "initiate: no", config.StartPassive, config.StartPassive},
		{"huawei", "", config.StartActive, config.StartPassive},
		{"alibaba", "", config.StartActive, config.StartOnTraffic},
		{"alibaba", "false", config.StartActive, config.StartOnTraffic},
		{"alibaba", "true", config.StartActive, config.StartActive},
		{"tencent", "", config.StartActive, config.StartActive},
		{"tencent", "active", config.StartActive, config.StartActive},
		{"tencent", "passive", config.StartActive, config.StartPassive},
		{"tencent", "flowTrigger", config.StartActive, config.StartOnTraffic},
	} {
		for side, want := range map[string]config.Start{"customer": tt.customer, "cloud": tt.cloud} {
			if got := word[tt.dialect](t, tt.word, "side: "+side); got.Start != want {
				t.Errorf("%s %q, %s: got %s, want %s", tt.dialect, tt.word, side, got.Start, want)
			}
			for _, start := range []config.Start{config.StartActive, config.StartPassive, config.StartOnTraffic} {
				if tt.dialect == "native" && tt.word != "" && start != want {
					continue // a conflict
				}
				if got := word[tt.dialect](t, tt.word, "side: "+side+"\n    start: "+string(start)); got.Start != start {
					t.Errorf("%s %q, %s, start: %s: got %s", tt.dialect, tt.word, side, start, got.Start)
				}
			}
		}
	}
	for _, start := range []string{"active", "onTraffic"} {
		c, ps := parseText(nil, "f", []byte(lab(key+"\n      initiate: no", "start: "+start)))
		want := "connections[0].start: initiate in the body is false, which is start: passive; write one of the two [vpngw.start.conflict]"
		if c != nil || !strings.Contains(lines(ps), want) {
			t.Errorf("initiate: no beside start: %s: got\n%s", start, lines(ps))
		}
	}
}

func TestExtendedSequenceNumbers(t *testing.T) {
	for _, tt := range []struct{ esp, want string }{
		{"{proposals: [aes128gcm16]}", "aes128gcm16-esn-noesn"},
		{"{proposals: [aes128gcm16], esn: auto}", "aes128gcm16-esn-noesn"},
		{"{proposals: [aes128gcm16], esn: yes}", "aes128gcm16-esn"},
		{"{proposals: [aes128gcm16], esn: no}", "aes128gcm16"},
		{"{proposals: [aes128gcm16-esn]}", "aes128gcm16-esn"},
		{"{proposals: [aes128gcm16-esn], esn: yes}", "aes128gcm16-esn"},
		{"{proposals: [aes128gcm16-noesn]}", "aes128gcm16"},
		{"{proposals: [aes128gcm16-esn-noesn], esn: auto}", "aes128gcm16-esn-noesn"},
	} {
		if got := tunnel(t, "esp: "+tt.esp, "").ESPProposals[0].String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.esp, got, tt.want)
		}
	}
}

func TestNamesAndDevicesOfTheKernelsTaste(t *testing.T) {
	for _, name := range []string{"", "a b", "-a", "../x", "a/b", "a\\x00b", strings.Repeat("a", 101)} {
		if c, _ := parseText(nil, "f", []byte(lab(key, fmt.Sprintf("name: %q", name)))); c != nil {
			t.Errorf("name %q was taken", name)
		}
	}
	for _, device := range []string{"", "sixteen-bytes-xx", "a/b", "a b", "a:1", "tun%d", ".", "..", "lo", "all", "tün"} {
		if c, _ := parseText(nil, "f", []byte(lab(key, fmt.Sprintf("device: %q", device)))); c != nil {
			t.Errorf("device %q was taken", device)
		}
	}
}

// write makes a file in a new folder.
func write(t *testing.T, dir, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPSKFileIsRefusedWhenOthersCanReadOrChangeIt(t *testing.T) {
	for mode, allowed := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o660: true, 0o644: false, 0o604: false, 0o602: false} {
		dir := t.TempDir()
		write(t, dir, "lab.psk", "not-a-real-secret\n", mode)
		c, ps := File(write(t, dir, "vpngw.yaml", lab("", "psk_file: lab.psk"), 0o644), Options{})
		if (c != nil) != allowed {
			t.Errorf("mode %o:\n%s", mode, lines(ps))
		}
		if c != nil && !c.Connections[0].Tunnels[0].PSK.Equal(ipsec.Secret("not-a-real-secret")) {
			t.Error("the key is not the file's first line")
		}
		if c == nil && ps[0].Code != "vpngw.psk_file.exposed" {
			t.Errorf("got %v", ps)
		}
	}
}

func TestPSKInAFileThatOthersCanReadIsAWarning(t *testing.T) {
	for mode, want := range map[fs.FileMode]int{0o644: 1, 0o640: 0} {
		dir := t.TempDir()
		main := write(t, dir, "vpngw.yaml", lab(key, ""), mode)
		_, ps := File(main, Options{})
		got := 0
		for _, p := range ps {
			if p.Code == "vpngw.psk.exposed" && p.File == main && p.Line == 6 && p.Severity == diag.Warning {
				got++
			}
		}
		if got != want {
			t.Errorf("mode %o: got\n%s", mode, lines(ps))
		}
	}
	dir := t.TempDir()
	body := write(t, dir, "body.json", strings.ReplaceAll(bodyText, "\n", ""), 0o644)
	_, ps := File(write(t, dir, "vpngw.yaml", "version: 1\nconnections: [{alibaba: body.json}]", 0o600), Options{})
	if s := lines(ps); !strings.Contains(s, body+":1:") || !strings.Contains(s, "vpngw.Psk.exposed") {
		t.Errorf("got\n%s", s)
	}
}

const bodyText = `{"RegionId": "cn-shanghai", "VpnGatewayId": "198.51.100.1", "CustomerGatewayId": "203.0.113.9",
"LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24",
"IkeConfig": {"Psk": "not-a-real-secret", "IkeVersion": "ikev2", "IkeAuthAlg": "sha256", "IkePfs": "group14"},
"IpsecConfig": {"IpsecAuthAlg": "sha256", "IpsecPfs": "group14"}}`

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ beside, why string }{
		{"psk_file: missing", "no such file"},
		{"psk_file: .", "not a regular file"},
		{"psk_file: /dev/zero", "not a regular file"},
	} {
		c, ps := File(write(t, dir, "vpngw.yaml", lab("", tt.beside), 0o600), Options{})
		if c != nil || !strings.Contains(lines(ps), tt.why) {
			t.Errorf("%s: got\n%s", tt.beside, lines(ps))
		}
	}
	for _, path := range []string{filepath.Join(dir, "missing"), dir} {
		if c, ps := File(path, Options{}); c != nil || len(ps) != 1 || ps[0].File != path {
			t.Errorf("%s: got %v", path, ps)
		}
	}
	write(t, dir, "long.psk", strings.Repeat("x", maxPSKFile+1), 0o600)
	write(t, dir, "empty.psk", "\n", 0o600)
	for _, name := range []string{"long.psk", "empty.psk"} {
		if c, _ := File(write(t, dir, "vpngw.yaml", lab("", "psk_file: "+name), 0o600), Options{}); c != nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// Key reads a key by the rules of psk_file.
func TestKeyOfAFile(t *testing.T) {
	dir := t.TempDir()
	if key, _, err := Key(write(t, dir, "good.psk", "a key\r\n", 0o600)); err != nil || string(key) != "a key" {
		t.Errorf("got %d bytes, %v", len(key), err)
	}
	for name, path := range map[string]string{
		"missing": filepath.Join(dir, "none"), "empty": write(t, dir, "empty.psk", "\n", 0o600), "a folder": dir,
		"long": write(t, dir, "long.psk", strings.Repeat("x", maxPSKFile+1), 0o600), "readable": write(t, dir, "open.psk", "a key", 0o644),
	} {
		if key, _, err := Key(path); err == nil || key != nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %d bytes, %v", name, len(key), err)
		}
	}
}

func TestMetricsThatDoNotFitAreRefused(t *testing.T) {
	for _, metric := range []string{"0", "-1", "2147483601", "4294967295", "99999999999999999999", "low", "1.5", "[100, 200]"} {
		text := "version: 1\nconnections:\n  - {metric: " + metric + ", native: {psk: 7p5!rKQw-2vN8zXd4, local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, " +
			"remote: {address: 198.51.100.1, subnets: [10.10.0.0/16]}, ike: {proposals: [aes128gcm16-prfsha256-ecp256]}, esp: {proposals: [aes128gcm16]}}}\n"
		r, ps := parseText(files{}.read, "test.yaml", []byte(text))
		if r != nil && r.Config != nil && !ps.Failed() || !strings.Contains(lines(ps), "connections[0].metric: ") {
			t.Errorf("metric %s: got %s", metric, lines(ps))
		}
	}
}
