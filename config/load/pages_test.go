package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/diag"
)

// pagesFile names the gateways of the pages' examples.
const pagesFile = `version: 1
side: %s
vpn_gateways:
  b32d91a4-demo-a8df-va86-e907174eb11d: {addresses: {0c464dad-demo-a8df-va86-c22bb0eb0bde: 198.51.100.1}}
  vpngw-1w9tue3d: {address: 58.211.2.5}
  vpngw-ecvft20x: {address: 122.152.199.99}
customer_gateways:
  5247ae10-demo-a8df-va86-dd36659a7f5d: {address: 203.0.113.9, asn: 65010}
  cgw-qa9sxpy7: {address: 203.0.113.9}
  cgw-7lhl5331: {address: 39.97.38.104}
connections:
  - %s: %s
    %s
`

// Each request and answer on the pages of Huawei and Tencent becomes, at both ends, the
// connection and the problems of its golden file.
func TestPagesOfHuaweiAndTencent(t *testing.T) {
	paths, err := filepath.Glob("testdata/pages/*.*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range paths {
		name := filepath.Base(path)
		d, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "-")
		if filepath.Ext(name) == ".golden" || d != "huawei" && d != "tencent" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			beside := ""
			if d == "huawei" && strings.Contains(name, "answer") {
				beside = "psk_file: key" // Huawei's answers have none
			}
			var out strings.Builder
			for _, side := range []string{"customer", "cloud"} {
				text := fmt.Sprintf(pagesFile, side, d, name, beside)
				c, ps := parseText(files{name: string(page), "key": "Not-a-real-secret"}.read, "vpngw.yaml", []byte(text))
				if c == nil {
					t.Fatalf("refused:\n%s", lines(ps))
				}
				fmt.Fprintf(&out, "%s\n%s\n", described(c.Drafts[0]), lines(ps))
				// The request stands in the file itself, too.
				inline := fmt.Sprintf(pagesFile, side, d, fmt.Sprintf("%q", page), beside)
				again, ps := parseText(files{"key": "Not-a-real-secret"}.read, "vpngw.yaml", []byte(inline))
				if again == nil || described(again.Drafts[0]) != described(c.Drafts[0]) {
					t.Errorf("written out in the file it is not the same:\n%s", lines(ps))
				}
			}
			compare(t, path+".golden", out.String())
		})
	}
	if seen != 8 {
		t.Errorf("%d pages, want 8", seen)
	}
}

// The answers that list connections are read when they list one.
func TestAnswersOfOneConnectionAmongALayerOrTwo(t *testing.T) {
	huawei, err := os.ReadFile("testdata/pages/huawei-static-answer.json")
	if err != nil {
		t.Fatal(err)
	}
	tencent, err := os.ReadFile("testdata/pages/tencent-answer.json")
	if err != nil {
		t.Fatal(err)
	}
	_, one, _ := strings.Cut(string(huawei), `"vpn_connection": `)
	one, _, _ = strings.Cut(one, `, "request_id"`)
	_, vpnx, _ := strings.Cut(string(tencent), `"VpnConnection": `)
	vpnx, _, _ = strings.Cut(vpnx, `,
        "RequestId"`)
	for _, tt := range []struct{ d, list, page, want string }{
		{"huawei", `{"vpn_connections": [` + one + `], "total_count": 1, "page_info": {"current_count": 1}, "request_id": "x"}`, string(huawei), ""},
		{"huawei", `{"vpn_connections": [` + one + `, ` + one + `], "total_count": 2}`, "", "is called"},
		{"huawei", one, string(huawei), ""},
		{"tencent", `{"Response": {"TotalCount": 1, "VpnConnectionSet": [` + vpnx + `], "RequestId": "x"}}`, string(tencent), ""},
		{"tencent", `{"Response": {"TotalCount": 0, "VpnConnectionSet": [], "RequestId": "x"}}`, "", "holds 0 connections"},
		{"tencent", vpnx, string(tencent), ""},
	} {
		read := func(body string) (*Result, diag.Problems) {
			beside := map[string]string{"huawei": "psk_file: key"}[tt.d]
			return parseText(files{"body": body, "key": "Not-a-real-secret"}.read, "f", []byte(fmt.Sprintf(pagesFile, "customer", tt.d, "body", beside)))
		}
		c, ps := read(tt.list)
		if tt.want != "" {
			if c != nil || !strings.Contains(lines(ps), tt.want) {
				t.Errorf("%.80s: got\n%swant %s", tt.list, lines(ps), tt.want)
			}
			continue
		}
		if c == nil {
			t.Errorf("%.80s was refused:\n%s", tt.list, lines(ps))
			continue
		}
		page, _ := read(tt.page)
		if !sameTunnels(c, page) {
			t.Errorf("%.80s is not what stands on the page", tt.list)
		}
	}
}

// compare holds a text against a golden file, or writes it.
func compare(t *testing.T, golden, got string) {
	t.Helper()
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
		t.Errorf("%s is not what it was (-update writes it):\ngot\n%swant\n%s", golden, got, want)
	}
}

// described is a connection in lines.
func described(c *dialect.Draft) string {
	var b strings.Builder
	fmt.Fprintf(&b, "connection %s, %s, side %s, routing %s, not served: %v\n", c.Connection.Name, c.Dialect, c.Side, c.Routing, []config.Feature(c.Features()))
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, ch := range c.Choices {
		fmt.Fprintf(&b, "to choose: %s in %v\n", ch.What, ch.Within)
	}
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		fmt.Fprintf(&b, "tunnel %s, %s\n", t.Name, t.Role)
		for _, e := range []struct {
			name string
			config.End
		}{{"local", t.Local}, {"remote", t.Remote}} {
			fmt.Fprintf(&b, "  %s %v, id %v (%v), asn %d, subnets %v\n", e.name, e.Address, e.ID, e.ID.Type, e.ASN, e.Subnets)
		}
		fmt.Fprintf(&b, "  children %s, pairs %v, routes %v, inside %v %v\n", t.Children, t.Pairs, t.Routes, t.Inside, t.Peer)
		fmt.Fprintf(&b, "  IKEv%d, aggressive %v, %v, %v\n", t.IKEVersion, t.Aggressive, t.IKEProposals, t.IKELifetime)
		fmt.Fprintf(&b, "  ESP %v, %v, %d bytes, NAT traversal %v, encap %s\n", t.ESPProposals, t.ESPLifetime.Time, t.ESPLifetime.Bytes, t.NATT, t.Encap)
		fmt.Fprintf(&b, "  DPD %v, %v, %v; initiates %s; a key of %d bytes\n", t.DPD.Interval, t.DPD.Timeout, t.DPD.Order, map[config.Start]string{config.StartActive: "true", config.StartPassive: "false", config.StartOnTraffic: "on traffic"}[t.Start], len(t.PSK))
		if t.Health != nil {
			fmt.Fprintf(&b, "  health %+v\n", *t.Health)
		}
	}
	return b.String()
}
