package test

import (
	"testing"

	"vpngw/test/lab"
)

// The local network, 10.66.0.0/16, lies in the remote one, 10.0.0.0/8. What is local stays local, and the rest goes into the tunnel.
func TestALocalNetworkInsideTheRemoteOne(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Customer.Address("lan", "10.66.0.1/17")
	n.Host.Address("eth0", "10.66.0.10/17")
	n.Host.Run("ip", "route", "replace", "default", "via", "10.66.0.1")
	other := n.Namespace("host2")
	n.Link(n.Customer, "lan2", other, "eth0")
	n.Customer.Address("lan2", "10.66.128.1/17")
	other.Address("eth0", "10.66.128.10/17")
	other.Route("default", "10.66.128.1")

	row := native("row", natSuites)
	row.Native.Local.Subnets, row.Native.Remote.Subnets = []string{"10.66.0.0/16"}, []string{"10.0.0.0/8"}
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{row}})
	gw.AwaitUp("row")
	esp := n.Internet.Filter("forward", "ip protocol esp", "")
	for _, w := range []struct {
		from *lab.Namespace
		to   string
		esp  bool
	}{
		{n.Host, "10.66.128.10", false},
		{other, "10.66.0.10", false},
		{n.Customer, "10.66.0.10", false},
		{n.Customer, "10.66.128.10", false},
		{n.Host, lab.CloudHost, true},
		{other, lab.CloudHost, true},
		{n.Customer, lab.CloudHost, true},
		{n.CloudHost, "10.66.0.10", true},
		{n.CloudHost, "10.66.128.10", true},
	} {
		before := esp.Packets()
		if p := w.from.Ping(w.to, 10, lab.Echo{}); p.Lost() > 0 {
			t.Errorf("ping %s: %v", w.to, p)
		}
		if through := esp.Packets() > before; through != w.esp {
			t.Errorf("packets to %s through the tunnel: %v, want %v", w.to, through, w.esp)
		}
	}
}
