package desired

import (
	"errors"
	"testing"

	"vpngw/config/load"
	"vpngw/gateway"
)

// What a cloud has to have alike is told of the connection that is asked for, and of no other.
func TestExplainedByName(t *testing.T) {
	r, ps := load.Text("vpngw.yaml", []byte(`
version: 1
vpn_gateways: {vpn-1: {address: 198.51.100.1}}
customer_gateways: {cgw-1: {address: 203.0.113.9}}
connections:
  - alibaba: {RegionId: r, VpnGatewayId: vpn-1, CustomerGatewayId: cgw-1, Name: hq, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24,
      IkeConfig: {Psk: a-key-of-a-test-1}}

  - native:
      ike_version: 2
      local: {address: 203.0.113.9, id: a, subnets: [192.168.3.0/24]}
      remote: {address: 198.51.100.9, id: b, subnets: [10.20.0.0/16]}
      ike: {proposals: [aes256-sha256-modp2048]}
      esp: {proposals: [aes128gcm16]}
      psk: a-key-of-a-test-2
    name: lab
`), nil, load.Options{})
	if r == nil {
		t.Fatalf("the configuration is refused: %v", ps)
	}
	for _, c := range []struct {
		name                 string
		tunnels, connections int
	}{{"", 2, 0}, {"lab", 1, 1}, {"hq", 1, 1}} {
		e, err := explained(r, c.name)
		if err != nil || len(e.Tunnels) != c.tunnels || len(e.Connections) != c.connections {
			t.Errorf("%q: %d tunnels, %d connections, %v", c.name, len(e.Tunnels), len(e.Connections), err)
		}
		if c.connections == 1 && e.Connections[0].Connection != c.name {
			t.Errorf("%q: got %q", c.name, e.Connections[0].Connection)
		}
	}
	unknown := (*gateway.UnknownNameError)(nil)
	if _, err := explained(r, "nobody"); !errors.As(err, &unknown) || len(unknown.Known) != 2 {
		t.Errorf("nobody: %v", err)
	}
}
