package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the clouds send about connections, in the shapes of their SDKs, loads at both ends and as its golden file says,
// with members newer than the tables.
func TestShapesOfRequestsAndAnswers(t *testing.T) {
	paths, err := filepath.Glob("testdata/shapes/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".golden" {
			continue
		}
		d, _, _ := strings.Cut(name, "-")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			beside := ""
			if d == "huawei" && !strings.Contains(string(body), `"psk"`) {
				beside = "psk_file: key"
			}
			var out strings.Builder
			for _, side := range []string{"customer", "cloud"} {
				text := fmt.Sprintf("version: 1\nside: %s\ncustomer_gateways: {203.0.113.9: {address: 203.0.113.9, asn: 65010}}\nconnections:\n  - %s: %s\n    routes: [172.20.0.0/16]\n    %s\n", side, d, name, beside)
				r, ps := parseText(files{name: string(body), "key": "Not-a-real-secret"}.read, "vpngw.yaml", []byte(text))
				if r == nil {
					t.Fatalf("refused:\n%s", lines(ps))
				}
				for _, d := range r.Drafts {
					fmt.Fprintf(&out, "%spair %q\n", described(d), d.Pair)
				}
				fmt.Fprintf(&out, "%s\n", lines(ps))
			}
			compare(t, path+".golden", out.String())
		})
	}
}
