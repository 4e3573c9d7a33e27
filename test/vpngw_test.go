package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// mirror returns the connection of the other end, in which the initiator is the responder.
func mirror(c lab.Connection) lab.Connection {
	n := *c.Native
	n.Local, n.Remote = n.Remote, n.Local
	if n.Initiate != nil { // else start says it
		initiate := !*n.Initiate
		n.Initiate = &initiate
	}
	if in := n.Inside; in != nil {
		local, bits, _ := strings.Cut(in["local"], "/")
		n.Inside = map[string]string{"local": in["remote"] + "/" + bits, "remote": local}
	}
	c.Native = &n
	return c
}

// joined starts both ends of the connection "row", and waits until they are up.
func joined(n *lab.Net, c lab.Connection) (gw, cloud *lab.Vpngw) {
	n.Helper()
	cloud = n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(c)}})
	gw = n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
	gw.AwaitUp("row")
	cloud.AwaitUp("row")
	return gw, cloud
}

// row is a row of the matrix between two vpngw.
type row struct {
	suites
	encap, esn string
	v6         bool // outside
}

func vpngwMatrix() []row {
	encaps, esns := []string{"never", "auto", "always"}, []string{"no", "yes", "auto"}
	pfs := append([]string{""}, groups...)
	sizes := []int{len(groups), len(pfs), len(ciphers), len(ciphers), len(hashes), len(hashes), len(encaps), len(esns), 2}
	rows := covering(sizes)
	if !soak {
		rows = sampled(sizes, rows)
	}
	var out []row
	for _, r := range rows {
		out = append(out, row{suites{
			ikeGroup: groups[r[0]], espGroup: pfs[r[1]], ikeEncr: ciphers[r[2]], espEncr: ciphers[r[3]],
			ikeHash: hashes[r[4]], espHash: hashes[r[5]], initiate: true,
		}, encaps[r[6]], esns[r[7]], r[8] == 1})
	}
	return out
}

// connection carries IPv4 and IPv6 inside, over the family that the row says.
func (r row) connection() lab.Connection {
	c := native("row", r.suites)
	c.Encap, c.Native.ESP.ESN = r.encap, r.esn
	if r.v6 {
		c.Native.Local.Address, c.Native.Remote.Address = lab.CustomerAddr6, lab.CloudAddr6
	}
	c.Native.Local.Subnets = append(c.Native.Local.Subnets, lab.CustomerLAN6)
	c.Native.Remote.Subnets = append(c.Native.Remote.Subnets, lab.CloudLAN6)
	return c
}

// Every algorithm carries IPv4 and IPv6 between two vpngw, over IPv4 and IPv6,
// as raw ESP and in UDP, with extended sequence numbers and without.
func TestEveryAlgorithmBetweenTwoVpngw(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "iperf3")
	for i, r := range vpngwMatrix() {
		outer := "v4"
		if r.v6 {
			outer = "v6"
		}
		t.Run(fmt.Sprintf("%03d/%s/encap=%s/esn=%s/ike=%s/esp=%s", i+1, outer, r.encap, r.esn, r.ike(), r.esp()), func(t *testing.T) {
			n.Use(t)
			c := r.connection()
			customer, cloud := joined(n, c)
			up := customer.Tunnel("row")

			udp := n.Internet.Filter("forward", "udp dport 4500 udp length > 200", "")
			raw := n.Internet.Filter("forward", "meta l4proto esp", "")
			if p := n.Host.Ping(lab.CloudHost, 100, lab.Echo{Size: 300}); p.Lost() != 0 {
				t.Errorf("ping over IPv4: %v", p)
			}
			if p := n.CloudHost.Ping(lab.CustomerHost6, 100, lab.Echo{Size: 300}); p.Lost() != 0 {
				t.Errorf("ping over IPv6: %v", p)
			}
			inUDP := r.encap == "always"
			if up.IKE.Encap != inUDP || (udp.Packets() > 0) != inUDP || (raw.Packets() > 0) == inUDP {
				t.Errorf("encap %s: status says %v, %d packets in UDP, %d raw", r.encap, up.IKE.Encap, udp.Packets(), raw.Packets())
			}
			udp.Remove()
			raw.Remove()
			if esn := strings.Contains(up.Children[0].Proposal, "esn") && !strings.Contains(up.Children[0].Proposal, "noesn"); esn != (r.esn != "no") {
				t.Errorf("esn: %s gives the proposal %s", r.esn, up.Children[0].Proposal)
			}
			stream(t, n.Host, n.CloudHost, lab.CloudHost)
			stream(t, n.CloudHost, n.Host, lab.CustomerHost6)
			if t.Failed() {
				drops(t, customer, cloud)
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}

// stream sends 4 MB over TCP, all of which must arrive; in a soak it sends at full speed for 5 s.
func stream(t *testing.T, from, to *lab.Namespace, address string) {
	t.Helper()
	const bytes = 4 << 20
	if got := from.Transfer(to, address, bytes); got != bytes {
		t.Errorf("%d of %d bytes arrive at %s", got, bytes, address)
	}
	if soak {
		t.Logf("%v", from.IPerf(to, address, 5*time.Second))
	}
}

// drops prints what the daemons and their kernels have dropped.
func drops(t *testing.T, gws ...*lab.Vpngw) {
	t.Helper()
	for _, gw := range gws {
		for _, c := range gw.Tunnel("row").Children {
			t.Logf("%s, SPI %s: drops %v", gw.Name, c.SPIIn, c.Drops)
		}
		t.Logf("%s:\n%s", gw.Name, gw.Host().Run("sh", "-c",
			`grep -E '(Discards|NoRoutes|Errors|Fails) ' /proc/net/snmp6 | awk '$2'; ip -s link show type tun; ip -6 neigh`))
	}
}

// alibaba is a body for the standard networks, IKEv2 with AES-256 and SHA-256.
func alibaba(name string) lab.AlibabaBody {
	return lab.AlibabaBody{
		RegionID: "cn-shanghai", VPNGatewayID: "vpn-1", CustomerGatewayID: "cgw-1", Name: name,
		LocalSubnet: lab.CloudLAN, RemoteSubnet: lab.CustomerLAN,
		EffectImmediately: false, EnableDpd: true, EnableNatTraversal: true,
	}.Strings(
		lab.AlibabaIke{Psk: psk, IkeVersion: "ikev2", IkeMode: "main", IkeEncAlg: "aes256", IkeAuthAlg: "sha256", IkePfs: "group14", IkeLifetime: 86400},
		lab.AlibabaIpsec{IpsecEncAlg: "aes256", IpsecAuthAlg: "sha256", IpsecPfs: "group14", IpsecLifetime: 86400},
	)
}

// bodies returns a configuration with the gateways that alibaba names.
func bodies(side string, cs ...lab.Connection) lab.Config {
	return lab.Config{
		Side:             side,
		VPNGateways:      map[string]lab.Entry{"vpn-1": {Address: lab.CloudAddr}},
		CustomerGateways: map[string]lab.Entry{"cgw-1": {Address: lab.CustomerAddr}},
		Connections:      cs,
	}
}

// Both hosts load one body, as the two sides, and make a tunnel. Without NAT
// traversal it uses raw ESP, and no end sends NAT detection.
func TestOneBodyOnBothHosts(t *testing.T) {
	t.Parallel()
	for _, natt := range []bool{true, false} {
		t.Run(fmt.Sprintf("EnableNatTraversal=%v", natt), func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, "tcpdump", "tshark")
			body := alibaba("hq")
			body.EnableNatTraversal = natt
			wire := n.Internet.Capture("cloud", "udp port 500 or udp port 4500 or proto 50")
			cloud := n.Cloud.Vpngw(bodies("cloud", lab.Connection{Alibaba: body}))
			cloud.AwaitState("hq", "waiting", lab.Patience)
			customer := n.Customer.Vpngw(bodies("", lab.Connection{Alibaba: body}))
			customer.AwaitUp("hq")
			cloud.AwaitUp("hq")
			if p := n.Host.Ping(lab.CloudHost, 200); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			pcap := wire.Stop()
			detection := n.Tshark(pcap, "-Y", "isakmp.notify.msgtype == 16388 || isakmp.notify.msgtype == 16389")
			if got := detection != ""; got != natt {
				t.Errorf("NAT detection on the wire: %v, want %v\n%s", got, natt, detection)
			}
			if got := strings.Count(n.Tshark(pcap, "-Y", "esp && !udp"), "\n"); got < 400 {
				t.Errorf("%d raw ESP packets on the wire, want at least 400", got)
			}
		})
	}
}
