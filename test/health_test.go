package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// shut has a gateway's firewall let nothing in but IKE and ESP, nothing through, and no ping out, with a strict rp_filter.
// It counts the pings that come out of tunnels.
func shut(n *lab.Namespace) *lab.Rule {
	for _, device := range []string{"all", "default", "wan", "lan"} {
		n.Sysctl("net.ipv4.conf."+device+".rp_filter", "1")
	}
	n.Filter("input", `iifname != "lo" udp dport != { 500, 4500 }`, "drop")
	n.Filter("input", `iifname != "lo" meta l4proto != { udp, esp }`, "drop")
	n.Filter("forward", "meta l4proto { icmp, udp, tcp }", "drop")
	n.Filter("output", "meta l4proto icmp", "drop")
	return n.Filter("prerouting", `iifname "vpngw*" meta l4proto icmp`, "")
}

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
		{"alibaba", bodies("customer", lab.Connection{Alibaba: body}), func(c *lab.Charon) {
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
			n.Cloud.Address("lo", far+"/32")
			cloud := n.Cloud.Charon()
			tt.theirs(cloud)
			gw := n.Customer.Vpngw(tt.ours)
			gw.AwaitUp("row")
			cloud.AwaitUp("row", lab.Patience)

			seen := shut(n.Customer)
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

// Each dialect's health check between two vpngw that hold one body: the end that the body says asks, and the other
// answers, whatever their addresses and firewalls are.
func TestHealthChecksOfEachDialect(t *testing.T) {
	body := alibaba("row")
	body.HealthCheckConfig = `{"enable":"true","dip":"192.168.3.77","sip":"10.10.0.77","interval":"1","retry":"3"}`
	huawei := strings.Replace(page(t, "huawei-static.txt"), `"psk"`,
		`"style": "static", "enable_nqa": true, "tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30", "psk"`, 1)
	tencent := tencentPage(t, map[string][]string{"0.0.0.0/0": {"0.0.0.0/0"}})
	tencent["EnableHealthCheck"] = true
	tencent["HealthCheckLocalIp"], tencent["HealthCheckRemoteIp"] = "169.254.130.1", "169.254.130.2"
	tencent["HealthCheckConfig"] = map[string]any{"ProbeInterval": 1000, "ProbeTimeout": 1000}
	own := native("row", natSuites)
	own.Native.Inside = map[string]string{"local": "169.254.20.2/30", "remote": "169.254.20.1"}
	own.Native.Local.Subnets, own.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
	back := mirror(own)
	own.Health = map[string]any{"interval": "500ms"}
	back.Health = map[string]any{"interval": "1s", "source": "10.10.0.77", "target": "169.254.20.2"}
	for _, tt := range []struct {
		dialect         string
		customer, cloud lab.Config
		name            string
		asks            [2]string // source and target of the cloud's check
		also            bool      // the customer asks, too
	}{
		{"alibaba", bodies("customer", lab.Connection{Alibaba: body}), bodies("cloud", lab.Connection{Alibaba: body}), "row", [2]string{"10.10.0.77", "192.168.3.77"}, false},
		{
			"huawei", pageGateways("customer", lab.Connection{Huawei: huawei, Name: "row", Routes: []string{lab.CloudLAN}}),
			pageGateways("cloud", lab.Connection{Huawei: huawei, Name: "row"}), "row",
			[2]string{"169.254.56.225", "169.254.56.226"},
			false,
		},
		{
			"tencent", pageGateways("customer", lab.Connection{Tencent: tencent, Name: "row", Routes: []string{lab.CloudLAN}}),
			pageGateways("cloud", lab.Connection{Tencent: tencent, Name: "row", Routes: []string{lab.CustomerLAN}}), "row",
			[2]string{"169.254.130.1", "169.254.130.2"},
			false,
		},
		{
			"native",
			lab.Config{Connections: []lab.Connection{withRoutes(own, lab.CloudLAN)}},
			lab.Config{Connections: []lab.Connection{withRoutes(back, lab.CustomerLAN)}},
			"row",
			[2]string{"10.10.0.77", "169.254.20.2"},
			true,
		},
	} {
		t.Run(tt.dialect, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, "nft")
			seen := []*lab.Rule{shut(n.Cloud), shut(n.Customer)}
			cloud := n.Cloud.Vpngw(tt.cloud)
			customer := n.Customer.Vpngw(tt.customer)
			customer.AwaitUp(tt.name)
			well := func(gw *lab.Vpngw, source, target string) {
				t.Helper()
				var h lab.HealthStatus
				n.Await(lab.Patience, "three answers", func() (bool, string) {
					s := gw.Tunnel(tt.name).Health
					if s == nil {
						return false, "no health check"
					}
					h = *s
					return h.Answered >= 3, fmt.Sprintf("%+v", h)
				})
				if h.State != "healthy" || h.Lost > 0 || h.Source != source || h.Target != target || h.RTTMin <= 0 {
					t.Errorf("health is %+v", h)
				}
				t.Logf("%+v", h)
			}
			well(cloud, tt.asks[0], tt.asks[1])
			if tt.also {
				well(customer, "169.254.20.2", "169.254.20.1")
			} else if h := customer.Tunnel(tt.name).Health; h != nil {
				t.Errorf("the customer asks, too: %+v", h)
			}
			for i, r := range seen {
				if got := r.Packets(); got > 0 {
					t.Errorf("the kernel of end %d got %d pings", i, got)
				}
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}

func withRoutes(c lab.Connection, routes ...string) lab.Connection {
	c.Routes = routes
	return c
}
