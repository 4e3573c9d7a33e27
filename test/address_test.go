package test

import (
	"fmt"
	"testing"
	"time"

	"vpngw/test/lab"
)

// readdress gives the customer's gateway another address on its outer link, as DHCP does.
func readdress(n *lab.Net, to string) {
	n.Customer.Run("ip", "-4", "addr", "flush", "dev", "wan")
	n.Customer.Address("wan", to+"/24")
	n.Customer.Route("default", "203.0.113.254")
}

// The gateway's own address changes under traffic. The tunnel is back within 2 s, with a strongSwan that takes any address.
func TestOwnAddressMoves(t *testing.T) {
	t.Parallel()
	rounds := counted(3, 20)
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			ours, theirs := versionPair(version)
			ours.DPD = nil
			ours.Native.Local.ID = "hq.example.org"
			theirs.RemoteAddrs, theirs.Remote.ID = []string{"%any"}, "hq.example.org"
			cloud := n.Cloud.Charon()
			cloud.PSK(psk)
			cloud.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
			f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 100)
			addresses := []string{lab.CustomerAddr, "203.0.113.10", "203.0.113.11"}
			var worst time.Duration
			for i := range rounds {
				readdress(n, addresses[(i+1)%len(addresses)])
				start := time.Now()
				ab, ba := f.Received()
				n.Await(lab.Patience, "packets arrive in both directions again", func() (bool, string) {
					a, b := f.Received()
					return a > ab+20 && b > ba+20, fmt.Sprintf("%d and %d: %s", a-ab, b-ba, gw.Tunnel("row").Why)
				})
				took := time.Since(start) - 200*time.Millisecond // of the 20 packets
				worst = max(worst, took)
				if bar := within(2 * time.Second); took > bar {
					t.Errorf("round %d: back after %v, bar %v", i, took, bar)
				}
				time.Sleep(time.Second) // a lease lasts
			}
			ab, ba := f.Stop()
			t.Logf("back after at most %v in %d rounds; there: %v; back: %v", worst.Round(time.Millisecond), rounds, ab, ba)
		})
	}
}

// The address of `listen` comes from VRRP, a while after the start; then it goes to the other router and comes back.
func TestListenAddressComesLater(t *testing.T) {
	t.Parallel()
	wait := time.Duration(counted(3, 60)) * time.Second
	const virtual = "203.0.113.50"
	for _, encap := range []string{"always", "never"} {
		t.Run(encap, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			row := native("row", natSuites)
			row.Encap, row.Native.Local.Address = encap, virtual
			n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
			gw := n.Customer.Vpngw(lab.Config{Listen: []string{virtual}, Connections: []lab.Connection{row}})
			gw.AwaitWhy("row", "has the address "+virtual)
			sent := n.Internet.Filter("forward", "udp dport 500", "")
			time.Sleep(wait)
			if sent.Packets() > 0 {
				t.Errorf("%d packets were sent without the address", sent.Packets())
			}
			start := time.Now()
			n.Customer.Address("wan", virtual+"/32")
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
			t.Logf("up %v after the address came", time.Since(start).Round(time.Millisecond))
			n.Customer.Run("ip", "addr", "del", virtual+"/32", "dev", "wan")
			time.Sleep(2 * time.Second)
			n.Customer.Address("wan", virtual+"/32")
			start = time.Now()
			n.Host.Reaches(lab.CloudHost)
			t.Logf("packets pass %v after it came back", time.Since(start).Round(time.Millisecond))
		})
	}
}

// The outer link goes down and comes back 200 times in 10 s. Each of 12 tunnels is up 5 s later.
func TestStormOfLinkEventsStrandsNoTunnel(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	const tunnels = 12
	var ours, theirs []lab.Connection
	for i := range tunnels {
		c := native(fmt.Sprintf("row%d", i), natSuites)
		c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{fmt.Sprintf("192.168.%d.0/24", 100+i)}, []string{fmt.Sprintf("10.%d.0.0/16", 100+i)}
		c.Native.Local.ID, c.Native.Remote.ID = fmt.Sprintf("a%d.example", i), fmt.Sprintf("b%d.example", i)
		n.Customer.Address("lan", fmt.Sprintf("192.168.%d.1/24", 100+i))
		n.Cloud.Address("lan", fmt.Sprintf("10.%d.0.1/16", 100+i))
		ours, theirs = append(ours, c), append(theirs, mirror(c))
	}
	n.Cloud.Vpngw(lab.Config{Connections: theirs})
	gw := n.Customer.Vpngw(lab.Config{Connections: ours})
	for _, c := range ours {
		gw.AwaitUp(c.Name)
	}
	start := time.Now()
	for i := range 200 {
		n.Customer.Run("ip", "link", "set", "wan", "down")
		n.Customer.Run("ip", "link", "set", "wan", "up")
		n.Customer.Route("default", "203.0.113.254")
		time.Sleep(time.Until(start.Add(time.Duration(i+1) * 50 * time.Millisecond)))
	}
	took := time.Since(start)
	start = time.Now()
	for i, c := range ours {
		gw.AwaitUp(c.Name)
		n.Customer.Reaches(fmt.Sprintf("10.%d.0.1", 100+i))
	}
	up := time.Since(start)
	if bar := within(5 * time.Second); up > bar {
		t.Errorf("all are up after %v, bar %v", up, bar)
	}
	t.Logf("200 flaps in %v; all %d tunnels carry %v later", took.Round(time.Millisecond), tunnels, up.Round(time.Millisecond))
}
