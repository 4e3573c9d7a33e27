package load

import (
	"strings"
	"testing"
)

func TestThePeersAddressMayBeAName(t *testing.T) {
	file := func(local, remote, beside string) string {
		return "version: 1\nconnections:\n  - native:\n      local: {" + local + ", subnets: [10.1.0.0/16]}\n      remote: {" + remote +
			", subnets: [10.2.0.0/16]}\n      psk: 0123456789abcdefghijklmnop\n" + beside
	}
	const here = "address: 203.0.113.9"
	for _, tt := range []struct {
		local, remote, beside string
		host                  string
		port                  uint16
		why                   string
	}{
		{here, "address: gw.example.net", "", "gw.example.net", 0, ""},
		{here, "address: GW.Example.net., port: 14500", "", "gw.example.net", 14500, ""},
		{here, "address: router", "", "router", 0, ""},
		{"id: office.example", "address: gw.example.net", "", "gw.example.net", 0, ""}, // this end's address is the one that the route chooses
		{here, "address: 198.51.100.7, port: 4500", "", "", 4500, ""},
		{here, "address: 198.51.100.7, port: 4500", "    remote_port: 4500\n", "", 4500, ""},
		{here, "address: 198.51.100.7, port: 4500", "    remote_port: 500\n", "", 0, "remote.port in the body is 4500; write one of the two"},
		{here, "address: 198.51.100.7, port: 0", "", "", 0, "it must be 1 to 65535"},
		{here, "address: 198.51.100.7, port: 65536", "", "", 0, "it must be 1 to 65535"},
		{here, "address: 198.51.100.7", "    remote_port: [4500, 500]\n", "", 0, "the connection has 1 tunnels; give one value for each"},
		{here, "address: 198.51.100.256", "", "", 0, "an IP address is expected here"},
		{here, "address: gw..example.net", "", "", 0, "an IP address, or a name such as gw.example.net, is expected here"},
		{here, "address: " + strings.Repeat("a", 64) + ".net", "", "", 0, "or a name such as gw.example.net"},
		{here, "address: 'gw example'", "", "", 0, "or a name such as gw.example.net"},
		{"address: gw.example.net", "address: 198.51.100.7", "", "", 0, "an IP address is expected here"},
		{here + ", port: 4500", "address: 198.51.100.7", "", "", 0, `there is no key "port" here`},
	} {
		text := file(tt.local, tt.remote, tt.beside)
		r, ps := parseText(nil, "f", []byte(text))
		if tt.why != "" {
			if got := lines(ps); !strings.Contains(got, tt.why) {
				t.Errorf("%s: got\n%swant %s", text, got, tt.why)
			}
			continue
		}
		if len(ps) > 0 {
			t.Errorf("%s: got\n%s", text, lines(ps))
			continue
		}
		e := r.Config.Connections[0].Tunnels[0].Remote
		if e.Host != tt.host || e.Port != tt.port || tt.host != "" && e.Address.IsValid() {
			t.Errorf("%s: got %+v", text, e)
		}
	}
}
