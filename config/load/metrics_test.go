package load

import (
	"net/netip"
	"strings"
	"testing"
)

func TestMetricsAreServedWhereTheFileSays(t *testing.T) {
	for _, tt := range []struct{ text, want, problem string }{
		{"", "", ""},
		{"metrics: {}", "", ""},
		{"metrics: {listen: 9478}", "127.0.0.1:9478", ""},
		{`metrics: {listen: "9000"}`, "127.0.0.1:9000", ""},
		{"metrics: {listen: 127.0.0.1}", "127.0.0.1:9478", ""},
		{`metrics: {listen: "[::1]:9478"}`, "[::1]:9478", ""},
		{"metrics: {listen: 127.8.8.8:80}", "127.8.8.8:80", ""},
		{"metrics: {listen: 0.0.0.0:9478}", "0.0.0.0:9478", "vpngw.listen.exposed"},
		{`metrics: {listen: "::"}`, "[::]:9478", "vpngw.listen.exposed"},
		{"metrics: {listen: 192.168.3.1:9478}", "192.168.3.1:9478", "vpngw.listen.exposed"},
		{"metrics: {listen: 0}", "-", "vpngw.listen.illegal"},
		{"metrics: {listen: 65536}", "-", "vpngw.listen.illegal"},
		{"metrics: {listen: 127.0.0.1:0}", "-", "vpngw.listen.illegal"},
		{"metrics: {listen: 224.0.0.1:9478}", "-", "vpngw.listen.illegal"},
		{`metrics: {listen: "fe80::1%eth0"}`, "-", "vpngw.listen.malformed"},
		{"metrics: {listen: localhost:9478}", "-", "vpngw.listen.malformed"},
		{"metrics: {listen: [9478]}", "-", "vpngw.listen.type"},
		{"metrics: {port: 9478}", "-", "vpngw.metrics.unknown"},
		{"metrics: {listen: 9478, page: yes}", "127.0.0.1:9478", ""},
		{"metrics: {page: yes}", "-", "vpngw.page.missing"},
		{"metrics: {page: no}", "", ""},
		{"metrics: yes", "-", "vpngw.metrics.type"},
	} {
		c, ps := Text("vpngw.yaml", []byte("version: 1\n"+tt.text+"\nconnections: []\n"), nil, Options{})
		var codes []string
		for _, p := range ps {
			codes = append(codes, p.Code)
		}
		if got := strings.Join(codes, " "); got != tt.problem {
			t.Errorf("%s: problems %q, want %q", tt.text, got, tt.problem)
		}
		if c != nil && c.Metrics.Page != strings.Contains(tt.text, "page: yes") {
			t.Errorf("%s: the page is served: %v", tt.text, c.Metrics.Page)
		}
		switch {
		case (c == nil) != (tt.want == "-"):
			t.Errorf("%s: loaded is %v", tt.text, c != nil)
		case c != nil && tt.want == "" && c.Metrics.Listen != netip.AddrPort{}, c != nil && tt.want != "" && c.Metrics.Listen.String() != tt.want:
			t.Errorf("%s: got %v, want %q", tt.text, c.Metrics.Listen, tt.want)
		}
	}
}
