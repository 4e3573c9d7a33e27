package load

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/diag"
)

// A list of pairs is complete: no other pair of the same subnets is protected.
func TestNativeListsPairs(t *testing.T) {
	const subnets = `version: 1
connections:
  - native:
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24, 192.168.4.0/24]}
      remote: {address: 198.51.100.9, subnets: [10.20.0.0/16, 10.21.0.0/16]}
      psk: not-a-real-secret
      children: `
	tun := parse(t, subnets+"[{local: 192.168.4.0/24, remote: 10.20.0.0/16}, {local: 192.168.3.0/24, remote: 10.21.0.0/16}]", nil).Connections[0].Tunnels[0]
	if got, want := fmt.Sprint(tun.Pairs), "[{192.168.4.0/24 10.20.0.0/16} {192.168.3.0/24 10.21.0.0/16}]"; got != want || tun.Children != config.Pairs {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, tt := range []struct{ children, code string }{
		{"[]", "vpngw.children.missing"},
		{"[{local: 192.168.3.0/24}]", "vpngw.remote.missing"},
		{"[{local: 192.168.5.0/24, remote: 10.20.0.0/16}]", "vpngw.local.conflict"},
		{"[{local: 192.168.3.0/24, remote: 10.22.0.0/16}]", "vpngw.remote.conflict"},
		{"[{local: 192.168.3.0/24, remote: 10.20.0.0/16}, {local: 192.168.3.0/24, remote: 10.20.0.0/16}]", "vpngw.children.twice"},
		{"[{local: 192.168.3.1/24, remote: 10.20.0.0/16}]", "vpngw.local.illegal"},
		{"all", "vpngw.children.illegal"},
	} {
		c, ps := parseText(nil, "f", []byte(subnets+tt.children))
		if c != nil || !slices.ContainsFunc(ps, func(p diag.Problem) bool { return p.Code == tt.code }) {
			t.Errorf("%s: got\n%swant %s", tt.children, lines(ps), tt.code)
		}
	}
	_, ps := parseText(nil, "f", []byte(subnets+"[{local: 192.168.3.0/24, remote: 10.20.0.0/16}]"))
	if got := lines(ps); !strings.Contains(got, "leave out a subnet of local") || !strings.Contains(got, "leave out a subnet of remote") {
		t.Errorf("a subnet that is in no pair: got\n%s", got)
	}
}
