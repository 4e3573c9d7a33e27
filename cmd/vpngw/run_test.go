package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Where this host is the cloud, a key that the body leaves out is chosen once, for all
// connections between the same two gateways, and is there after every reload and restart.
func TestRunChoosesTheCloudsKeyOnce(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "vpngw.yaml"), filepath.Join(dir, "state")
	body := func(local string) string {
		return "  - alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: " + local + ", RemoteSubnet: 192.168.3.0/24}\n"
	}
	if err := os.WriteFile(file, []byte("version: 1\nside: cloud\nconnections:\n"+body("10.1.0.0/16")+body("10.2.0.0/16")), 0o600); err != nil {
		t.Fatal(err)
	}
	first, problems := loadToRun(file, state)
	if first == nil {
		t.Fatal(problems)
	}
	a, b := first.Connections[0].Tunnels[0], first.Connections[1].Tunnels[0]
	if len(a.PSK) != 16 || !a.PSK.Equal(b.PSK) {
		t.Errorf("keys of %d and %d bytes; they share an IKE SA and must be the same", len(a.PSK), len(b.PSK))
	}
	again, problems := loadToRun(file, state)
	if !reflect.DeepEqual(first, again) {
		t.Errorf("the next start differs: %v", problems)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, problems := loadToRun(file, state); c != nil || !problems.Failed() {
		t.Error("it runs without the key")
	}
}
