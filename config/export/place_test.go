package export

import (
	"strings"
	"testing"

	"vpngw/config"
)

// A peer that may come from anywhere is said in every format, and the other end of it is the customer that begins.
func TestAPeerFromAnywhereInEachFormat(t *testing.T) {
	c := one(loaded(t, `{version: 1, side: cloud, connections: [{name: hub, native: {ike_version: 2, psk: 7p5!rKQw-2vN8zXd4,
		local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: any, id: branch.example, subnets: [10.10.0.0/16]},
		ike: {proposals: [aes128-sha1-modp1024]}, esp: {proposals: [aes128-sha1-noesn]}}}]}`))
	for format, want := range map[string][2]string{
		"native":    {"address: any, id: branch.example", "local: {id: branch.example"},
		"alibaba":   {"address: any", "address: any"},
		"huawei":    {"address: any", "address: any"},
		"tencent":   {"address: any", "address: any"},
		"swanctl":   {"remote_addrs = %any", "remote_addrs = 203.0.113.9"},
		"libreswan": {"right=%any", "left=%defaultroute"},
	} {
		for i, side := range []config.Side{config.Cloud, config.Customer} {
			text := Write(c, Options{Format: format, Side: side, Reveal: true}).Text
			if !strings.Contains(text, want[i]) || strings.Contains(text, "cannot be said here: remote") || strings.Contains(text, "is missing") {
				t.Errorf("%s, the %v's end: want %q in\n%s", format, side, want[i], text)
			}
			if format == "swanctl" && strings.Contains(text, "start_action = start") != (side == config.Customer) || format == "libreswan" && strings.Contains(text, "auto=start") != (side == config.Customer) {
				t.Errorf("%s, the %v's end: who begins?\n%s", format, side, text)
			}
		}
	}
}

// Where the peer is, by name and port, is written for this end in every format; how the peer reaches this end is not known.
func TestThePeersNameAndPortInEachFormat(t *testing.T) {
	c := one(loaded(t, `{version: 1, connections: [{name: hq, native: {ike_version: 2, psk: 7p5!rKQw-2vN8zXd4,
		local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: gw.example.net, port: 14500, id: 198.51.100.1, subnets: [10.10.0.0/16]},
		ike: {proposals: [aes128-sha1-modp1024]}, esp: {proposals: [aes128-sha1-noesn]}}}]}`))
	cloud := []string{`address: gw.example.net`, "remote_port: 14500"}
	for format, want := range map[string][]string{
		"native":    {"address: gw.example.net, port: 14500"},
		"alibaba":   cloud,
		"huawei":    cloud,
		"tencent":   cloud,
		"swanctl":   {"remote_addrs = gw.example.net", "remote_port = 14500", "local_port = 4500"},
		"libreswan": {"right=gw.example.net", "rightikeport=14500"},
	} {
		text := Write(c, Options{Format: format, Side: config.Customer, Reveal: true}).Text
		if strings.Contains(text, "cannot be said here: vpn") {
			t.Errorf("%s: it does not load:\n%s", format, text)
		}
		for _, line := range want {
			if !strings.Contains(text, line) {
				t.Errorf("%s: want %q in\n%s", format, line, text)
			}
		}
		other := Write(c, Options{Format: format, Side: config.Cloud, Reveal: true}).Text
		for _, line := range []string{"14500", "local_addrs = gw", "left=gw"} {
			if strings.Contains(other, line) {
				t.Errorf("%s: the other end has %q in\n%s", format, line, other)
			}
		}
	}
}
