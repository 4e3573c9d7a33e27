package load

import (
	"strings"
	"testing"
)

// A tunnel for everything that nothing is routed into would be up, and everything leave in clear.
func TestEverythingWithoutRoutesIsRefused(t *testing.T) {
	for _, tt := range []struct {
		subnets, beside string
		refused         bool
	}{
		{"[0.0.0.0/0]", "", true},
		{"['::/0']", "", true},
		{"[0.0.0.0/0]", "routes: [10.0.0.0/8]", false},
		{"[0.0.0.0/0]", "routes: [0.0.0.0/0]", false},
		{"[0.0.0.0/0]", "routes: []", false},
		{"[0.0.0.0/0, 10.0.0.0/8]", "", false},
	} {
		local := "192.168.3.0/24"
		if strings.Contains(tt.subnets, ":") {
			local = "fd00:3::/64"
		}
		text := "version: 1\nconnections:\n  - native: {local: {address: 203.0.113.9, subnets: ['" + local + "']}, remote: {address: 198.51.100.9, subnets: " + tt.subnets +
			"}, psk: not-a-real-secret-not-a-real-secret}\n"
		if tt.beside != "" {
			text += "    " + tt.beside + "\n"
		}
		c, ps := parseText(nil, "f", []byte(text))
		if c == nil || ps.Refused() != tt.refused || tt.refused != strings.Contains(lines(ps), "write beside the body routes: [") {
			t.Errorf("%s, %q: got\n%s", tt.subnets, tt.beside, lines(ps))
		}
	}
}
