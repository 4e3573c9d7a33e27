package explain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/config/load"
	"vpngw/config/tree"
)

const everyKind = `version: 1
# not-a-real-comment
side: customer
vpn_gateways:
  vpn-1: {address: 198.51.100.1}
  "a: b": {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}
customer_gateways: {cgw-1: {address: 203.0.113.9}}
connections:
  - alibaba:
      RegionId: r
      Signature: not-a-real-signature
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-1
      LocalSubnet: 10.10.0.0/16,10.11.0.0/16
      RemoteSubnet: 192.168.3.0/24
      IkeConfig: '{"Psk":"not-a-real-Secret.1","IkeVersion":"ikev2"}'
      Tags: [{Key: a, Value: b}]
    name: hq
    dpd: {interval: 10s}
    device: vpngw7
  - native:
      local:  {address: 203.0.113.9, id: a.example, asn: 65001, subnets: [0.0.0.0/0]}
      remote: {address: 198.51.100.9, id: b.example, asn: 65002, subnets: [0.0.0.0/0]}
      inside: {local: 169.254.1.1/30, remote: 169.254.1.2}
      psk: not-a-real-Secret.2
    name: lab
    dpd: off
    bgp: {key: not-a-real-Secret.3, announce: [10.0.0.0/8]}
    routes: []
`

// The text of a file says what it says, and no key.
func TestTextHasNoKeys(t *testing.T) {
	r, ps := load.Text("vpngw.yaml", []byte(everyKind), read, load.Options{})
	if r == nil {
		t.Fatal(ps)
	}
	got := Text(r)
	for _, want := range []string{
		"      Psk: \"[redacted]\"\n", "      psk: \"[redacted]\"\n", "      key: \"[redacted]\"\n", "  \"a: b\":\n", "LocalSubnet: [10.10.0.0/16, 10.11.0.0/16]",
		"    dpd:\n      interval: 10s\n", "    dpd: off\n", "    device: vpngw7\n", "routes: []", "      # not shown: Signature\n", "  - name: hq\n",
		"announce:\n        - 10.0.0.0/8\n", "        - Key: a\n          Value: b\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(got, "not-a-real") || t.Failed() {
		t.Errorf("got\n%s", got)
	}
	if _, errs := tree.Read("text", []byte(got), tree.NewBudget()); len(errs) > 0 {
		t.Errorf("it is no YAML: %v", errs)
	}
	keys := map[string]bool{}
	for _, k := range Keys(r) {
		keys[string(k)] = true
	}
	for _, want := range []string{"not-a-real-Secret.1", "not-a-real-Secret.2", "not-a-real-Secret.3"} {
		if !keys[want] {
			t.Errorf("Keys lacks %s of %d", want, len(keys))
		}
	}
}

// A text with characters that no file may hold as they are is written so that it can be read again.
func TestTextOfAnyCharacter(t *testing.T) {
	r, ps := load.Text("vpngw.yaml", []byte(strings.ReplaceAll(everyKind, "Value: b", `Value: "b\x7f\tä<"`)), read, load.Options{})
	if r == nil {
		t.Fatal(ps)
	}
	got := Text(r)
	if _, errs := tree.Read("text", []byte(got), tree.NewBudget()); len(errs) > 0 || !strings.Contains(got, "ä<") {
		t.Errorf("it is no YAML: %v\n%s", errs, got)
	}
}

// The text of each file that loads is YAML and has no key.
func TestTextOfEachFile(t *testing.T) {
	mine, _ := filepath.Glob("testdata/*.yaml")
	others, _ := filepath.Glob("../load/testdata/*.yaml")
	texts := 0
	for _, name := range append(mine, others...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := load.Text(name, data, read, load.Options{})
		if r == nil {
			continue
		}
		texts++
		got := Text(r)
		if _, errs := tree.Read(name, []byte(got), tree.NewBudget()); len(errs) > 0 {
			t.Errorf("%s: %v\n%s", name, errs, got)
		}
		for _, k := range Keys(r) {
			if len(k) > 3 && strings.Contains(got, string(k)) {
				t.Errorf("%s shows a key:\n%s", name, got)
			}
		}
	}
	if texts == 0 {
		t.Error("no file loads")
	}
}

// Of several bodies in one request each is shown, and no key of theirs.
func TestTextOfABatch(t *testing.T) {
	batch, err := os.ReadFile("../load/testdata/shapes/huawei-batch.json")
	if err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nconnections:\n  - huawei: '" + strings.ReplaceAll(string(batch), "\n", "") + "'\n    routes: [172.20.0.0/16]\n"
	r, ps := load.Text("vpngw.yaml", []byte(text), read, load.Options{})
	if r == nil {
		t.Fatal(ps)
	}
	got := Text(r)
	root, errs := tree.Read("text", []byte(got), tree.NewBudget())
	if len(errs) > 0 || root == nil || strings.Count(got, "ha_role: ") != 2 || strings.Contains(got, "real-secret") || len(Keys(r)) < 2 {
		t.Errorf("%v, %d keys, got\n%s", errs, len(Keys(r)), got)
	}
	again, ps := load.Text("vpngw.yaml", []byte(strings.ReplaceAll(got, Redacted, `"Not-a-real-secret"`)), read, load.Options{})
	if again == nil || len(again.Connections) != 2 {
		t.Errorf("it does not load again: %v\n%s", ps, got)
	}
}
