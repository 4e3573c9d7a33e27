package test

import (
	"fmt"
	"testing"

	"vpngw/test/lab"
)

// Two connections between the same gateways are two tunnels on one IKE SA. Each
// goes up and down independently.
func TestTwoConnectionsShareOneIKESA(t *testing.T) {
	n := lab.Direct(t, lab.CharonTools...)
	n.CloudHost.Address("eth0", "10.10.200.10/16")
	n.Cloud.Address("lan", "10.10.128.1/16") // strongSwan needs an address in each local network
	a, b := alibaba("a"), alibaba("b")
	a.LocalSubnet, b.LocalSubnet = "10.10.0.0/17", "10.10.128.0/17"

	cloud := n.Cloud.Charon()
	conn := cloud.Cloud(a, lab.CloudAddr, lab.CustomerAddr)
	ch := conn.Children["a"]
	ch.LocalTS = []string{b.LocalSubnet}
	conn.Children["b"] = ch
	cloud.Load(conn)

	gw := n.Customer.Vpngw(bodies("", lab.Connection{Alibaba: a}, lab.Connection{Alibaba: b}))
	first, second := gw.AwaitUp("a"), gw.AwaitUp("b")
	if first.Device == second.Device {
		t.Errorf("both are on %s, want a TUN device each", first.Device)
	}
	if first.IKE.SPIi != second.IKE.SPIi {
		t.Errorf("the IKE SAs are %s and %s, want one", first.IKE.SPIi, second.IKE.SPIi)
	}
	one := func(children int) {
		t.Helper()
		n.Await(lab.Patience, fmt.Sprintf("the cloud has one IKE SA with %d Child SAs", children), func() (bool, string) {
			sas := cloud.SAs()
			return len(sas) == 1 && len(sas[0].Children) == children, fmt.Sprintf("%+v", sas)
		})
	}
	one(2)
	hosts := map[string]string{"a": lab.CloudHost, "b": "10.10.200.10"}
	for name, other := range map[string]string{"a": "b", "b": "a"} {
		f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, hosts[other], 1000)
		gw.Command("down", name)
		gw.AwaitState(name, "down", lab.Patience)
		one(1)
		if out, err := n.Host.Try("ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", hosts[name]); err == nil {
			t.Errorf("%s is down and still carries:\n%s", name, out)
		}
		gw.Command("up", name)
		gw.AwaitUp(name)
		one(2)
		ab, ba := f.Stop()
		t.Logf("while %s was down, %s carried:", name, other)
		lossless(t, ab, ba)
		if p := n.Host.Ping(hosts[name], 100); p.Lost() != 0 {
			t.Errorf("%s, up again: %v", name, p)
		}
	}
}

// A connection with two subnets on each side accepts four Child SAs, one for
// each pair, from a peer that asks for them.
func TestPairwiseChildrenAgainstLists(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	n.Customer.Address("lan", "192.168.5.1/24")
	n.Host.Address("eth0", "192.168.5.10/24")
	n.Cloud.Address("lan", "10.11.0.1/16")
	n.CloudHost.Address("eth0", "10.11.0.10/16")
	locals, remotes := []string{lab.CustomerLAN, "192.168.5.0/24"}, []string{lab.CloudLAN, "10.11.0.0/16"}
	s := natSuites
	s.initiate = false
	c := native("row", s)
	c.Native.Local.Subnets, c.Native.Remote.Subnets = locals, remotes

	conn := strongswan("row", s)
	clear(conn.Children)
	for i, r := range remotes {
		for j, l := range locals {
			conn.Children[fmt.Sprintf("c%d%d", i, j)] = lab.Child{LocalTS: []string{r}, RemoteTS: []string{l}, ESPProposals: []string{s.esp()}}
		}
	}
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(conn)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
	for i := range remotes {
		for j := range locals {
			if err := cloud.Initiate(fmt.Sprintf("c%d%d", i, j)); err != nil {
				t.Fatalf("strongSwan initiates: %v; vpngw says: %s", err, gw.Tunnel("row").Why)
			}
			if i+j == 0 {
				gw.AwaitState("row", "degraded", lab.Patience)
			}
		}
	}
	if up := gw.AwaitUp("row"); len(up.Children) != 4 {
		t.Errorf("%d Child SAs, want 4: %+v", len(up.Children), up.Children)
	}
	for _, from := range []string{lab.CustomerHost, "192.168.5.10"} {
		for _, to := range []string{lab.CloudHost, "10.11.0.10"} {
			if p := n.Host.Ping(to, 50, lab.Echo{Source: from}); p.Lost() != 0 {
				t.Errorf("%s to %s: %v", from, to, p)
			}
		}
	}
	for _, c := range gw.Tunnel("row").Children {
		if c.PacketsIn != 50 || c.PacketsOut != 50 {
			t.Errorf("%v === %v carried %d in and %d out, want 50 each", c.LocalTS, c.RemoteTS, c.PacketsIn, c.PacketsOut)
		}
	}
}
