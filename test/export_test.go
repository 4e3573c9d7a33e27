package test

import (
	"slices"
	"testing"

	"vpngw/test/lab"
)

// exported is a connection that is exported for strongSwan's end.
type exported struct {
	name    string     // of the connection
	config  lab.Config // of vpngw at the customer's end; the cloud's has it with the other side
}

func defaultsOfAlibaba() lab.Config {
	body := map[string]any{
		"RegionId": "cn-shanghai", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "Name": "hq",
		"LocalSubnet": lab.CloudLAN, "RemoteSubnet": lab.CustomerLAN,
		"IkeConfig": map[string]any{"Psk": psk},
	}
	return bodies("", lab.Connection{Alibaba: body})
}

// cases are the connections, as the pages of the clouds have them where they have some.
func exportedCases() []exported {
	s := suites{ikeEncr: "aes256gcm16", ikeHash: "sha384", ikeGroup: "ecp384", espEncr: "aes128gcm16", initiate: true}
	nat := native("lab", s)
	nat.PSK = `"odd" key#{with} \everything$`
	nat.Native.Local.ID, nat.Native.Remote.ID = "hq@example.org", "keyid:gw 1"
	nat.DPD = map[string]any{"interval": "5s"}
	nat.Native.ESP.Lifetime, nat.Native.IKE.Lifetime = "20m", "2h"
	return []exported{
		{name: "hq", config: defaultsOfAlibaba()},
		{name: "lab", config: lab.Config{Connections: []lab.Connection{nat}}},
	}
}

// What is exported for strongSwan, for either end, loads as it is printed and carries
// traffic against vpngw with the very body.
func TestExportForStrongswanCarriesTraffic(t *testing.T) {
	for _, c := range exportedCases() {
		for _, side := range []string{"customer", "cloud"} { // strongSwan's
			t.Run(c.name+"/strongswan="+side, func(t *testing.T) {
				n := lab.Direct(t, append(lab.CharonTools, "swanctl")...)
				ours, theirs, config := n.Customer, n.Cloud, c.config
				if side == "customer" {
					ours, theirs, config = n.Cloud, n.Customer, turned(c.config)
				}
				gw := ours.Vpngw(config)
				text := gw.Command("export", c.name, "-c", gw.Config, "--format", "swanctl", "--side", side, "--reveal")
				peer := charon1(theirs)
				peer.LoadText(text)
				gw.AwaitUp(c.name)
				if p := n.Host.Ping(lab.CloudHost, 100); p.Lost() != 0 {
					t.Errorf("ping: %v\n%s", p, text)
				}
			})
		}
	}
}

// turned is the configuration of the cloud's end.
func turned(c lab.Config) lab.Config {
	c.Side = "cloud"
	c.Connections = slices.Clone(c.Connections)
	for i := range c.Connections {
		if conn := &c.Connections[i]; conn.Native != nil {
			n := *conn.Native
			n.Local, n.Remote = n.Remote, n.Local
			conn.Native = &n
		}
	}
	return c
}

// The same for both ends by vpngw: the other end's file is exported.
func TestExportedFileIsTheOtherEnd(t *testing.T) {
	for _, c := range exportedCases() {
		t.Run(c.name, func(t *testing.T) {
			n := lab.Direct(t)
			gw := n.Customer.Vpngw(c.config)
			text := gw.Command("export", c.name, "-c", gw.Config, "--format", "native", "--side", "cloud", "--reveal")
			other := n.Cloud.VpngwText(text)
			other.AwaitUp(c.name)
			gw.AwaitUp(c.name)
			if p := n.Host.Ping(lab.CloudHost, 100); p.Lost() != 0 {
				t.Errorf("ping: %v\n%s", p, text)
			}
		})
	}
}
