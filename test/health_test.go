package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// The peer's pings to this end's address of the health check, and to its address in the tunnel, are answered whatever the
// host's addresses and firewall are: no interface has the address that the body names, rp_filter is strict, and the
// firewall lets nothing in, through or out. Other pings are the host's: here the firewall drops them.
func TestTheCloudsHealthChecksAreAnswered(t *testing.T) {
	const (
		dip, sip  = "192.168.3.77", "10.10.0.1"
		near, far = "169.254.30.2", "169.254.30.1"
	)
	body := alibaba("row")
	body.HealthCheckConfig = `{"enable":"true","dip":"` + dip + `","sip":"` + sip + `","interval":"3","retry":"3"}`
	inTunnel, theirs := native("row", natSuites), strongswan("row", natSuites)
	inTunnel.Native.Local.Subnets = append(inTunnel.Native.Local.Subnets, near+"/32")
	inTunnel.Native.Remote.Subnets = append(inTunnel.Native.Remote.Subnets, far+"/32")
	inTunnel.Native.Inside = map[string]string{"local": near + "/30", "remote": far}
	child := theirs.Children["row"]
	child.LocalTS, child.RemoteTS = append(child.LocalTS, far+"/32"), append(child.RemoteTS, near+"/32")
	theirs.Children["row"] = child
	for _, tt := range []struct {
		name     string
		ours     lab.Config
		theirs   func(*lab.Charon)
		from, to string
	}{
		{"alibaba", bodies("customer", lab.Connection{Alibaba: body, Partial: true}), func(c *lab.Charon) {
			c.Cloud(body, lab.CloudAddr, lab.CustomerAddr)
		}, sip, dip},
		{"the address in the tunnel", lab.Config{Connections: []lab.Connection{inTunnel}}, func(c *lab.Charon) {
			c.PSK(psk)
			c.Load(theirs)
		}, far, near},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, append(lab.CharonTools, "nft")...)
			for _, device := range []string{"all", "default", "wan", "lan"} {
				n.Customer.Sysctl("net.ipv4.conf."+device+".rp_filter", "1")
			}
			n.Cloud.Address("lo", far+"/32")
			cloud := n.Cloud.Charon()
			tt.theirs(cloud)
			gw := n.Customer.Vpngw(tt.ours)
			gw.AwaitUp("row")
			cloud.AwaitUp("row", lab.Patience)

			seen := n.Customer.Filter("prerouting", `iifname "vpngw0" icmp type echo-request`, "")
			n.Customer.Filter("input", `iifname != "lo" udp dport != { 500, 4500 }`, "drop")
			n.Customer.Filter("input", `iifname != "lo" meta l4proto != udp`, "drop")
			n.Customer.Filter("forward", "meta l4proto { icmp, udp, tcp }", "drop")
			n.Customer.Filter("output", "meta l4proto icmp", "drop")
			if p := n.Cloud.Ping(tt.to, 20, lab.Echo{Source: tt.from}); p.Received != 20 || p.Duplicates > 0 {
				t.Errorf("from %s to %s: %v, %d twice", tt.from, tt.to, p, p.Duplicates)
			}
			if got := seen.Packets(); got > 0 {
				t.Errorf("the kernel got %d requests of health checks", got)
			}
			if p := n.Cloud.Ping(lab.CustomerHost, 3, lab.Echo{Source: tt.from, Wait: 100 * time.Millisecond}); p.Received > 0 || seen.Packets() != 3 {
				t.Errorf("another address: %v, and the kernel got %d of 3", p, seen.Packets())
			}
			gw.Stop()
		})
	}
}
