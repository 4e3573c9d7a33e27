package load

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vpngw/config/dialect"
	"vpngw/diag"
)

// fuzzBody reads a body of a dialect at both ends: no panic; a Config if and only if no
// problem is an error; every problem has its place; the same text gives an equal Config,
// which the daemon can use; and the two ends mirror each other.
func fuzzBody(f *testing.F, d string) {
	addPages(f, d)
	f.Fuzz(func(t *testing.T, in []byte) {
		read := files{"body": string(in), "key": "Not-a-real-secret"}.read
		var ends []*dialect.Draft
		for _, side := range []string{"customer", "cloud"} {
			for _, beside := range []string{"", "psk_file: key"} { // Huawei's answers have no key
				text := []byte(fmt.Sprintf(pagesFile, side, d, "body", beside))
				c, ps := parseText(read, "f", text)
				if (c == nil) != ps.Failed() {
					t.Fatalf("Config is nil: %v, problems:\n%s", c == nil, lines(ps))
				}
				for _, p := range ps {
					if p.File == "" || p.Code == "" || p.Message == "" || p.Line < 1 {
						t.Fatalf("incomplete: %+v", p)
					}
				}
				if c == nil {
					continue
				}
				if again, _ := parseText(read, "f", text); !same(c, again) {
					t.Fatal("read twice, the Configs differ")
				}
				usable(t, c.Drafts[0], ps)
				ends = append(ends, c.Drafts[0])
				break
			}
		}
		if len(ends) != 2 {
			return
		}
		customer, cloud := &ends[0].Tunnels[0], &ends[1].Tunnels[0]
		if !reflect.DeepEqual(customer.Local.Subnets, cloud.Remote.Subnets) || len(customer.Pairs) != len(cloud.Pairs) || customer.Local.Address != cloud.Remote.Address || customer.Remote.ID != cloud.Local.ID {
			t.Fatalf("no mirror:\n%s%s", described(ends[0]), described(ends[1]))
		}
		for i, p := range customer.Pairs {
			if q := cloud.Pairs[i]; p.Local != q.Remote || p.Remote != q.Local {
				t.Fatalf("no mirror: %v and %v", p, q)
			}
		}
	})
}

// addPages has a fuzzer begin with the requests and answers on a cloud's pages.
func addPages(f *testing.F, d string) {
	paths, err := filepath.Glob("testdata/pages/" + d + "*[nt]")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if filepath.Ext(path) != ".golden" {
			f.Add(data)
		}
	}
}

// usable checks that a connection has everything that the daemon needs.
func usable(t *testing.T, c *dialect.Draft, ps diag.Problems) {
	t.Helper()
	tun := &c.Tunnels[0]
	switch {
	case c.Connection.Name == "" || tun.Name != c.Connection.Name,
		len(tun.PSK) == 0,
		len(tun.IKEProposals) != 1 || len(tun.ESPProposals) != 1,
		tun.IKEVersion != 1 && tun.IKEVersion != 2,
		tun.IKELifetime <= 0 || tun.ESPLifetime.Time <= 0,
		len(tun.Local.Subnets) == 0 || len(tun.Remote.Subnets) == 0,
		!tun.Local.Address.IsValid() || !tun.Remote.Address.IsValid(),
		tun.Local.ID.Type == 0 || tun.Remote.ID.Type == 0,
		tun.Inside.IsValid() != tun.Peer.IsValid(),
		tun.BGP != nil && !tun.Inside.IsValid() && len(c.Choices) == 0 && !ps.Refused(),
		!sound(tun),
		strings.Contains(described(c), "Not-a-real-secret"):
		t.Fatalf("incomplete:\n%s%s", described(c), lines(ps))
	}
}

func FuzzHuaweiBody(f *testing.F) { fuzzBody(f, "huawei") }

func FuzzTencentBody(f *testing.F) { fuzzBody(f, "tencent") }
