package load

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A configuration can be loaded again after all of its files are gone, from a record too, and equal files are equal
// records.
func TestASourceLoadsAgainWithoutItsFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vpngw.yaml")
	for name, text := range map[string]string{
		"vpngw.yaml": `
version: 1
vpn_gateways: {vpn-1: {address: 198.51.100.1}}
customer_gateways: {cgw-1: {address: 203.0.113.9}}
connections:
  - alibaba: bodies/hq.json
    psk_file: hq.psk
  - native: {ike_version: 2, local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]},
      ike: {proposals: [aes128-sha256-x25519]}, esp: {proposals: [aes128gcm16]}}
    psk_file: ` + dir + `/hq.psk
`,
		"bodies/hq.json": `{"RegionId": "x", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24"}`,
		"hq.psk":         "a-long-key-of-this-test",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (*Result, []byte) {
		r, problems := File(file, Options{})
		if r == nil {
			t.Fatal(problems)
		}
		record, err := json.Marshal(r.Source)
		if err != nil {
			t.Fatal(err)
		}
		return r, record
	}
	first, record := load()
	if _, again := load(); string(again) != string(record) {
		t.Error("the same files are another record")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, first.Source); strings.Contains(text, "a-long") || !strings.Contains(text, "redacted") {
			t.Errorf("%s prints %.40s", verb, text)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "hq.psk"), []byte("another-key-of-this-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, other := load(); string(other) == string(record) {
		t.Error("another key is the same record")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var src Source
	if err := json.Unmarshal(record, &src); err != nil {
		t.Fatal(err)
	}
	second, problems := src.Load(Options{})
	if second == nil || !reflect.DeepEqual(second.Config, first.Config) {
		t.Errorf("got another configuration: %v", problems)
	}
	for _, bad := range []string{`{}`, `{"name": "x", "files": {"y": {}}}`, `{"name": "x", "files": {"x": {"data": "fw=="}}}`} {
		var src Source
		if err := json.Unmarshal([]byte(bad), &src); err != nil {
			t.Fatal(err)
		}
		if r, problems := src.Load(Options{}); r != nil || !problems.Failed() {
			t.Errorf("%s is loaded", bad)
		}
	}
}
