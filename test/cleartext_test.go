package test

import (
	"net"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// A neighbour on the WAN sends cleartext in the name of the network behind the tunnel. Neither the LAN
// nor the gateway itself gets it (RFC 4301 section 5.2), whatever rp_filter is, also after somebody flushed the
// rules for it; what comes through the tunnel arrives. With `discard_cleartext: no` the neighbour gets through.
func TestCleartextInTheNameOfTheFarEndIsDiscarded(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "nft")
	row := native("row", natSuites)
	row.Native.Local.Subnets = append(row.Native.Local.Subnets, lab.CustomerLAN6)
	row.Native.Remote.Subnets = append(row.Native.Remote.Subnets, lab.CloudLAN6)
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{row}})
	gw.AwaitUp("row")

	const forged, forged6 = "10.10.0.66", "fd00:10::66"
	n.Internet.Address("customer", forged+"/32", forged6+"/128")
	n.Internet.Route(lab.CustomerLAN, lab.CustomerAddr)
	n.Internet.Route(lab.CustomerLAN6, lab.CustomerAddr6)
	send := func(from, to string) {
		t.Helper()
		n.Internet.Do(func() {
			c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(to), Port: 9})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("cleartext")); err != nil {
				t.Fatal(err)
			}
		})
	}
	// attack counts the forged packets that arrive, of one to each place. The honest packet behind each
	// comes by the same wires, so none is under way once that is there.
	attack := func() (arrived int) {
		t.Helper()
		for _, c := range []struct {
			at                   *lab.Namespace
			family, to           string
			forged, honest, name string
		}{
			{n.Host, "ip", lab.CustomerHost, forged, "203.0.113.254", "LAN"},
			{n.Customer, "ip", lab.CustomerAddr, forged, "203.0.113.254", "gateway"},
			{n.Host, "ip6", lab.CustomerHost6, forged6, "2001:db8:c::fe", "LAN, IPv6"},
			{n.Customer, "ip6", lab.CustomerAddr6, forged6, "2001:db8:c::fe", "gateway, IPv6"},
		} {
			bad := c.at.Filter("input", "udp dport 9 "+c.family+" saddr "+c.forged, "")
			good := c.at.Filter("input", "udp dport 9 "+c.family+" saddr "+c.honest, "")
			send(c.forged, c.to)
			send(c.honest, c.to)
			n.Await(lab.Patience, c.name+" has the honest packet", func() (bool, string) { return good.Packets() > 0, "" })
			if bad.Packets() > 0 {
				t.Logf("%s got cleartext from %s", c.name, c.forged)
				arrived += bad.Packets()
			}
			bad.Remove()
			good.Remove()
		}
		return arrived
	}
	tunnel := func() {
		t.Helper()
		n.Host.Reaches(lab.CloudHost)
		n.Host.Reaches(lab.CloudHost6)
		n.CloudHost.Reaches("192.168.3.1") // the gateway itself
	}
	check := func(what string) {
		t.Helper()
		for _, filter := range []string{"0", "2"} {
			for _, device := range []string{"all", "wan", "lan"} {
				n.Customer.Sysctl("net.ipv4.conf."+device+".rp_filter", filter)
			}
			if got := attack(); got > 0 {
				t.Errorf("%s, rp_filter %s: %d of 4 forged packets arrived", what, filter, got)
			}
			tunnel()
		}
	}
	tunnel()
	check("up")
	if out := gw.Command("status", "--drops"); !strings.Contains(out, "cleartext") {
		t.Errorf("no drop is counted:\n%s", out)
	}

	n.Customer.Run("nft", "flush", "ruleset")
	table := func() (bool, string) {
		out, err := n.Customer.Try("nft", "list", "table", "inet", "vpngw_cleartext")
		return err == nil && strings.Contains(out, "10.10.0.0"), out
	}
	n.Await(lab.Patience, "the rules are back", table)
	check("after a flush")

	gw.Stop()
	if out := n.Customer.Run("nft", "list", "ruleset"); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
	no := false
	gw = n.Customer.Vpngw(lab.Config{Discard: &no, Connections: []lab.Connection{row}})
	gw.AwaitUp("row")
	tunnel()
	if got := attack(); got != 4 {
		t.Errorf("with `discard_cleartext: no` %d of 4 forged packets arrived", got)
	}
	gw.Kill()
}
