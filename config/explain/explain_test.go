package explain

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/ipsec"
)

var update = flag.Bool("update", false, "write the golden files")

const secret = "not-a-real-Secret.1"

func read(name string, _ int) ([]byte, fs.FileMode, error) {
	if filepath.Ext(name) == ".psk" {
		return []byte(secret), 0o600, nil
	}
	data, err := os.ReadFile(name)
	return data, 0o600, err
}

// said is every tunnel of a file explained, one parameter on a line.
func said(s *load.Result) string {
	var b strings.Builder
	for _, tun := range Of(s, "") {
		fmt.Fprintf(&b, "%s (%s, side %s)\n", tun.Name, tun.Dialect, tun.Side)
		for _, p := range tun.Parameters {
			fmt.Fprintf(&b, "%s: %s | %s | %s | %s\n", p.Name, p.Value, p.Wire, p.From(), p.Weak)
		}
	}
	return b.String()
}

// compare holds a text against a golden file, or writes it.
func compare(t *testing.T, name, got string) {
	t.Helper()
	if strings.Contains(got, secret) || strings.Contains(got, "not-a-real") {
		t.Error("it shows the pre-shared key")
	}
	golden := filepath.Join("testdata", name+".explained")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// pagesFile has the gateways of the pages' examples.
const pagesFile = `version: 1
vpn_gateways:
  vpn-bp1q8bgx4xnkm0001: {address: 198.51.100.1}
  vpn-bp1q8bgx4xnkm00000001: {address: 198.51.100.1}
  vpn-dual: {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}
  b32d91a4-demo-a8df-va86-e907174eb11d: {addresses: {0c464dad-demo-a8df-va86-c22bb0eb0bde: 198.51.100.1}}
  vpngw-1w9tue3d: {address: 58.211.2.5}
  vpngw-ecvft20x: {address: 122.152.199.99}
customer_gateways:
  vpn-bp1q8bgx4xnk0001: {address: 203.0.113.9}
  vpn-bp1q8bgx4xnk00000001: {address: 203.0.113.9}
  cgw-p0w2jemrcj5u61un80001: {address: 203.0.113.9, asn: 65010}
  cgw-p0wy363lucf1uyae80001: {address: 203.0.113.10, asn: 65011}
  5247ae10-demo-a8df-va86-dd36659a7f5d: {address: 203.0.113.9, asn: 65010}
  cgw-qa9sxpy7: {address: 203.0.113.9}
  cgw-7lhl5331: {address: 39.97.38.104}
connections:
  - %s: ../load/testdata/pages/%s
    %s
`

// Every request and answer on the pages is explained.
func TestPages(t *testing.T) {
	paths, err := filepath.Glob("../load/testdata/pages/*.*")
	if err != nil {
		t.Fatal(err)
	}
	explained := 0
	for _, path := range paths {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".golden" || strings.Contains(name, "created") { // these answers do not describe the connection
			continue
		}
		explained++
		t.Run(name, func(t *testing.T) {
			cloud, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "-")
			beside := ""
			if cloud == "huawei" && strings.Contains(name, "answer") {
				beside = "psk_file: hq.psk"
			}
			s, ps := load.Text("vpngw.yaml", fmt.Appendf(nil, pagesFile, cloud, name, beside), read, load.Options{Unserved: (*config.Connection).Features})
			if s == nil {
				t.Fatal(ps)
			}
			compare(t, "pages/"+name, said(s))
		})
	}
	if explained != 14 {
		t.Errorf("%d pages, want 14", explained)
	}
}

// Each file that loads is explained in a golden file of its name.
func TestGolden(t *testing.T) {
	mine, _ := filepath.Glob("testdata/*.yaml")
	others, _ := filepath.Glob("../load/testdata/*.yaml")
	explained := 0
	for _, name := range slices.Concat(mine, others) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, ps := load.Text(name, data, read, load.Options{Unserved: (*config.Connection).Features})
			if s == nil {
				if slices.Contains(mine, name) {
					t.Errorf("it does not load: %v", ps)
				}
				return
			}
			explained++
			compare(t, strings.TrimSuffix(filepath.Base(name), ".yaml"), said(s))
		})
	}
	if explained < 3 {
		t.Errorf("only %d files were explained", explained)
	}
}

// Every row of every table says what it decides, in a word that is explained, or that
// it decides nothing.
func TestEveryRowSaysWhatItDecides(t *testing.T) {
	known := append(Words(), "-", "")
	var look func(path string, typ dialect.Type)
	look = func(path string, typ dialect.Type) {
		var rows []dialect.Row
		switch typ := typ.(type) {
		case dialect.List:
			look(path, typ.Of)
		case dialect.Or:
			look(path, typ.Other)
		case interface{ Table() *dialect.Object }:
			rows = typ.Table().Rows
		}
		for _, r := range rows {
			path := path + "." + r.Name
			for word := range strings.SplitSeq(r.Goes, ", ") {
				if !slices.Contains(known, word) {
					t.Errorf("%s goes to %q, which is not explained", path, word)
				}
			}
			switch r.Type.(type) {
			case nil, *dialect.Object, dialect.Request, dialect.List: // not served, or their parts say it
			default:
				if r.Goes == "" {
					t.Errorf("%s does not say what it goes to", path)
				}
			}
			look(path, r.Type)
		}
	}
	for _, r := range load.Table().Type.(*dialect.Object).Rows {
		if r.Name == "connections" {
			look(r.Name, r.Type)
		}
	}
}

// A value of each kind of source names its source.
func TestSources(t *testing.T) {
	const file = `version: 1
vpn_gateways:
  vpn-1: {address: 198.51.100.1}
connections:
  - side: cloud
    alibaba:
      RegionId: cn-shanghai
      VpnGatewayId: vpn-1
      CustomerGatewayId: 203.0.113.9
      LocalSubnet: 10.10.0.0/16
      RemoteSubnet: 192.168.4.0/24
      EffectImmediately: true
      IkeConfig: '{"Psk":"not-a-real-secret",
        "IkeEncAlg":"aes256", "RemoteId": "hq.example.org"}'
    lifetime: {esp: 1h}
`
	s, ps := load.Text("dir/vpngw.yaml", []byte(file), read, load.Options{Unserved: (*config.Connection).Features})
	if s == nil {
		t.Fatal(ps)
	}
	got := map[string]string{}
	for _, p := range Of(s, "alibaba-1")[0].Parameters {
		got[p.Name] = p.Value + ", " + p.From()
	}
	page := "default (Alibaba Cloud, CreateVpnConnection, 13 Nov 2024)"
	for name, want := range map[string]string{
		"local address":   "198.51.100.1, given (vpngw.yaml:3)", // where the id's address stands
		"remote address":  "203.0.113.9, given (vpngw.yaml:9)",
		"local identity":  "198.51.100.1, " + page,
		"remote identity": "hq.example.org, given (vpngw.yaml:14)", // in the JSON text
		"local networks":  "10.10.0.0/16, given (vpngw.yaml:10)",
		"routes":          "192.168.4.0/24, given (vpngw.yaml:11)",
		"IKE encryption":  "aes256, given (vpngw.yaml:14)",
		"IKE version":     "1, " + page,
		"IKE lifetime":    "24h, " + page,
		"ESP lifetime":    "1h, given (vpngw.yaml:15)",
		"DSCP":            "copied to the outer header, ours",
		"DPD interval":    "10s, ours",
		"initiation":      "this end initiates, given (vpngw.yaml:12)",
	} {
		if got[name] != want {
			t.Errorf("%s: got %s, want %s", name, got[name], want)
		}
	}
	for with, want := range map[string]string{
		"start: onTraffic": "this end initiates when it has a packet, given (vpngw.yaml:16)",
		"side: customer":   "this end initiates, ours",
	} {
		text := strings.Replace(file, "  - side: cloud\n", "  - name: alibaba-1\n", 1)
		if with != "side: customer" {
			text = file
		}
		s, ps := load.Text("dir/vpngw.yaml", []byte(text+"    "+with+"\n"), read, load.Options{})
		if s == nil {
			t.Fatal(ps)
		}
		for _, p := range Of(s, "alibaba-1")[0].Parameters {
			if p.Name == "initiation" && p.Value+", "+p.From() != want {
				t.Errorf("%s: got %s, %s, want %s", with, p.Value, p.From(), want)
			}
		}
	}
	if len(Of(s, "nobody")) != 0 {
		t.Error("an unknown name is explained")
	}
}

// The source of a setting that is taken over from another connection is that connection.
func TestTakenFromAnotherConnection(t *testing.T) {
	const body = `
      local: {address: 203.0.113.9, subnets: [192.168.%d.0/24]}
      remote: {address: 198.51.100.9, subnets: [10.2%d.0.0/16]}
      psk: not-a-real-secret
      natt: %v
    name: c%d
`
	text := "version: 1\nconnections:\n"
	for i := range 2 {
		text += "  - native:" + fmt.Sprintf(body, i, i, i == 0, i)
	}
	s, ps := load.Text("f", []byte(text), read, load.Options{Unserved: (*config.Connection).Features})
	if s == nil {
		t.Fatal(ps)
	}
	for _, p := range Of(s, "c1")[0].Parameters {
		if p.Name == "NAT traversal" && (p.Value != "on" || p.From() != "given (connection c0)") {
			t.Errorf("got %s, %s", p.Value, p.From())
		}
	}
}

// Every algorithm has its names on the wire.
func TestEveryAlgorithmHasItsWireName(t *testing.T) {
	for _, a := range ipsec.Algorithms {
		w := wireNames[ipsec.Transform{Type: a.Type, ID: a.ID}]
		if w.ikev2 == "" {
			t.Errorf("%s has no name", a.Name)
		}
		if weak := w.rfc8247 != "" || w.rfc8221 != ""; weak != (a.Weak != "") {
			t.Errorf("%s: it is marked %v, and warned of as %q", a.Name, weak, a.Weak)
		}
	}
}
