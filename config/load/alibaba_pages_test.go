package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// alibabaPages names the gateways of the pages' examples.
const alibabaPages = `version: 1
side: %s
vpn_gateways:
  vpn-bp1q8bgx4xnkm0001: {address: 198.51.100.1}
  vpn-bp1q8bgx4xnkm00000001: {address: 198.51.100.1}
  vpn-dual: {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}
customer_gateways:
  vpn-bp1q8bgx4xnk0001: {address: 203.0.113.9}
  vpn-bp1q8bgx4xnk00000001: {address: 203.0.113.9}
  cgw-p0w2jemrcj5u61un80001: {address: 203.0.113.9, asn: 65010}
  cgw-p0wy363lucf1uyae80001: {address: 203.0.113.10, asn: 65011}
connections:
  - alibaba: %s
`

// Each request on Alibaba's pages, and each answer of DescribeVpnConnection, becomes at
// both ends the connection of its golden file. An answer of CreateVpnConnection is refused.
func TestPagesOfAlibaba(t *testing.T) {
	paths, err := filepath.Glob("testdata/pages/alibaba-*.*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range paths {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".golden" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, side := range []string{"customer", "cloud"} {
				c, ps := parseText(files{name: string(page)}.read, "vpngw.yaml", fmt.Appendf(nil, alibabaPages, side, name))
				if (c == nil) != strings.Contains(name, "created") {
					t.Fatalf("refused, or not:\n%s", lines(ps))
				}
				if c == nil {
					fmt.Fprintf(&out, "%s\n", lines(ps))
					continue
				}
				fmt.Fprintf(&out, "%s\n%s\n", described(c.Drafts[0]), lines(ps))
				// The request stands in the file itself, too, in each way to write a text.
				block := "|\n      " + strings.ReplaceAll(strings.TrimSpace(string(page)), "\n", "\n      ")
				for _, text := range []string{block, fmt.Sprintf("%q", page)} {
					again, ps := parseText(nil, "vpngw.yaml", fmt.Appendf(nil, alibabaPages, side, text))
					if again == nil || described(again.Drafts[0]) != described(c.Drafts[0]) {
						t.Errorf("written out in the file it is not the same:\n%s", lines(ps))
					}
				}
			}
			compare(t, path+".golden", out.String())
		})
	}
	if seen != 9 {
		t.Errorf("%d pages, want 9", seen)
	}
}
