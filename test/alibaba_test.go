package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// alibabaGateways is a configuration with the gateways that Alibaba's examples name; the
// cloud's has an address for each of two tunnels.
func alibabaGateways(side string, c lab.Connection) lab.Config {
	return lab.Config{
		Side:        side,
		VPNGateways: map[string]lab.Entry{"vpn-dual": {Addresses: map[string]string{"master": lab.CloudAddr, "slave": cloudAddr2}}},
		CustomerGateways: map[string]lab.Entry{
			"cgw-p0w2jemrcj5u61un80001": {Address: lab.CustomerAddr, ASN: 65010},
			"cgw-p0wy363lucf1uyae80001": {Address: lab.CustomerAddr, ASN: 65011},
		},
		Connections: []lab.Connection{c},
	}
}

const cloudAddr2 = "198.51.100.2" // the cloud's second address

// Alibaba's dual-tunnel example, as a form with flattened names, at both ends: both tunnels
// are up, one with IKEv1 and one with IKEv2, and the active one carries all traffic.
func TestAlibabasDualTunnelOnBothHosts(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Cloud.Address("wan", cloudAddr2+"/24")
	customers, clouds := []string{"192.168.5.0/24", "192.168.6.0/24"}, []string{"10.10.1.0/24", "10.10.2.0/24"}
	behind(n, customers, clouds)
	// The hosts of these networks are all of 10.10.0.0/16 in the cloud.
	body := strings.NewReplacer("10.10.3.0", "192.168.5.0", "10.10.4.0", "192.168.6.0").Replace(page(t, "alibaba-dual.txt"))
	c := lab.Connection{Alibaba: body}
	cloud := n.Cloud.Vpngw(alibabaGateways("cloud", c))
	customer := n.Customer.Vpngw(alibabaGateways("customer", c))
	for _, name := range []string{"IPsec-1", "IPsec-2"} {
		customer.AwaitUp(name)
		cloud.AwaitUp(name)
	}
	for i := range customers {
		if p := n.Host.Ping(hostIn(clouds[i], 10), 50, lab.Echo{Source: hostIn(customers[1-i], 10)}); p.Lost() != 0 {
			t.Errorf("ping: %v", p)
		}
	}
	for name, want := range map[string]uint64{"IPsec-1": 100, "IPsec-2": 0} {
		got := uint64(0)
		for _, ch := range customer.Tunnel(name).Children {
			got += ch.PacketsOut
		}
		if got != want {
			t.Errorf("%s carried %d packets, want %d", name, got, want)
		}
	}
	customer.Stop()
	cloud.Stop()
}

// A body without a key: the cloud's end generates a key and keeps it over a restart. The
// customer's end comes up with that key in its body.
func TestAlibabasKeyIsTheClouds(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	body := func(ike string) lab.Connection {
		return lab.Connection{Name: "hq", Alibaba: "Action=CreateVpnConnection&RegionId=cn-shanghai&VpnGatewayId=" + lab.CloudAddr + "&CustomerGatewayId=" + lab.CustomerAddr +
			"&LocalSubnet=" + lab.CloudLAN + "&RemoteSubnet=" + lab.CustomerLAN + "&IkeConfig={" + ike + "}"}
	}
	cloud := n.Cloud.Vpngw(lab.Config{Side: "cloud", Connections: []lab.Connection{body("")}})
	kept := func() string {
		text, err := os.ReadFile(filepath.Join(n.Dir, "cloud-state", "chosen", "psk-hq"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	key := kept()
	if strings.Contains(cloud.Log(), key) {
		t.Error("the log has the key")
	}
	cloud.Restart()
	if kept() != key {
		t.Error("after a restart it is another key")
	}
	customer := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{body(`"Psk":"` + key + `"`)}})
	customer.AwaitUp("hq")
	if p := n.Host.Ping(lab.CloudHost, 20); p.Lost() != 0 {
		t.Errorf("ping: %v", p)
	}
	customer.Stop()
	cloud.Stop()
}
