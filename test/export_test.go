package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// exported is a connection of vpngw at the customer's end, for export.
type exported struct {
	name    string // of the connection
	tunnels []string
	config  lab.Config
	prepare func(*lab.Net)
	pings   [][2]string // from behind the customer to behind the cloud
}

// exportedCases are the clouds' defaults and the examples of their pages, with the lab's addresses.
func exportedCases() []exported {
	s := suites{ikeEncr: "aes256gcm16", ikeHash: "sha384", ikeGroup: "ecp384", espEncr: "aes128gcm16", initiate: true}
	odd := native("lab", s)
	odd.PSK = `"odd" key#{with} \everything$`
	odd.Native.Local.ID, odd.Native.Remote.ID = "hq@example.org", "keyid:gw 1"
	odd.DPD = map[string]any{"interval": "5s"}
	odd.Native.ESP.Lifetime, odd.Native.IKE.Lifetime = "20m", "2h"
	simple := [][2]string{{lab.CustomerHost, lab.CloudHost}}
	return []exported{
		{name: "lab", tunnels: []string{"lab"}, config: lab.Config{Connections: []lab.Connection{odd}}, pings: simple},
		{name: "北京-总部.1", tunnels: []string{"北京-总部.1"}, config: bodies("", lab.Connection{Alibaba: map[string]any{ // Alibaba's defaults
			"RegionId": "cn-shanghai", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "Name": "北京-总部.1",
			"LocalSubnet": lab.CloudLAN, "RemoteSubnet": lab.CustomerLAN,
			"IkeConfig": map[string]any{"Psk": psk},
		}}), pings: simple},
		{name: "dual", tunnels: []string{"dual-1", "dual-2"}, config: dualOfAlibaba(), pings: [][2]string{simple[0], {"192.168.3.11", "10.10.0.11"}}, prepare: func(n *lab.Net) {
			n.Cloud.Address("wan", cloudAddr2+"/24")
			n.Host.Address("eth0", "192.168.3.11/24")
			n.CloudHost.Address("eth0", "10.10.0.11/16")
		}},
		{name: "static", tunnels: []string{"static"}, config: huawei("static", nil), pings: simple},
		{name: "bgp", tunnels: []string{"bgp"}, config: huawei("bgp", map[string]any{ // the page's example
			"style":     "bgp",
			"ikepolicy": map[string]any{"ike_version": "v2", "authentication_algorithm": "sha2-512", "encryption_algorithm": "aes-256", "dh_group": "group16", "lifetime_seconds": 172800, "local_id_type": "fqdn", "local_id": "123abc", "peer_id_type": "fqdn", "peer_id": "456def", "dpd": map[string]any{"timeout": 30, "interval": 60, "msg": "seq-notify-hash"}},
			"ipsecpolicy": map[string]any{
				"authentication_algorithm": "sha2-512", "encryption_algorithm": "aes-256", "pfs": "group16", "transform_protocol": "esp", "lifetime_seconds": 7200, "encapsulation_mode": "tunnel",
			},
		}), pings: simple},
		{name: "TEST_CONN", tunnels: []string{"TEST_CONN"}, config: tencent(), pings: [][2]string{
			{"192.168.3.10", "10.10.0.10"},
			{"192.168.3.130", "10.10.0.10"},
			{"192.168.3.200", "10.10.0.10"},
			{"192.168.3.10", "10.10.1.10"},
			{"192.168.3.130", "10.10.1.10"},
			{"192.168.3.200", "10.10.1.10"},
		}, prepare: func(n *lab.Net) {
			n.Host.Address("eth0", "192.168.3.130/24", "192.168.3.200/24")
			n.CloudHost.Address("eth0", "10.10.1.10/16")
			// kernel-libipsec needs an address in each of its networks.
			n.Customer.Address("lan", "192.168.3.129/24", "192.168.3.193/24")
			n.Cloud.Address("lan", "10.10.1.1/16")
		}},
	}
}

func dualOfAlibaba() lab.Config {
	tunnel := func(role string) map[string]any {
		return map[string]any{
			"Role": role, "CustomerGatewayId": "cgw-1",
			"TunnelIkeConfig":   map[string]any{"Psk": psk + role, "IkeVersion": "ikev2", "IkeAuthAlg": "sha256", "IkePfs": "group14"},
			"TunnelIpsecConfig": map[string]any{"IpsecAuthAlg": "sha256", "IpsecPfs": "group14"},
		}
	}
	c := bodies("", lab.Connection{Alibaba: map[string]any{
		"RegionId": "cn-shanghai", "VpnGatewayId": "vpn-2", "Name": "dual", "LocalSubnet": lab.CloudLAN, "RemoteSubnet": lab.CustomerLAN,
		"TunnelOptionsSpecification": []any{tunnel("master"), tunnel("slave")},
	}})
	c.VPNGateways["vpn-2"] = lab.Entry{Addresses: map[string]string{"master": lab.CloudAddr, "slave": cloudAddr2}}
	return c
}

// huawei returns a connection with the defaults and the given parameters.
func huawei(name string, more map[string]any) lab.Config {
	body := map[string]any{
		"name": name, "vgw_id": "vgw-1", "vgw_ip": "eip-1", "cgw_id": "cgw-1", "peer_subnets": []string{lab.CustomerLAN}, "psk": "abcd-EFGH.1234",
		"tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30",
	}
	for k, v := range more {
		body[k] = v
	}
	return lab.Config{
		VPNGateways:      map[string]lab.Entry{"vgw-1": {Addresses: map[string]string{"eip-1": lab.CloudAddr}}},
		CustomerGateways: map[string]lab.Entry{"cgw-1": {Address: lab.CustomerAddr, ASN: 65010}},
		Connections: []lab.Connection{{
			Huawei: map[string]any{"vpn_connection": body}, Routes: []string{lab.CloudLAN},
		}},
	}
}

// tencent is the example of the page with 2 × 3 pairs of networks.
func tencent() lab.Config {
	remotes := []string{"192.168.3.0/25", "192.168.3.128/26", "192.168.3.192/26"}
	body := map[string]any{
		"VpnConnectionName": "TEST_CONN", "PreShareKey": "654321", "VpcId": "vpc-gapcv96p", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1",
		"Tags":                      []any{map[string]any{"Value": "shanghai", "Key": "city"}},
		"IPSECOptionsSpecification": map[string]any{"PfsDhGroup": "NULL", "EncryptAlgorithm": "3DES-CBC", "IntegrityAlgorith": "MD5"},
		"SecurityPolicyDatabases": []any{
			map[string]any{"LocalCidrBlock": "10.10.0.0/24", "RemoteCidrBlock": remotes},
			map[string]any{"LocalCidrBlock": "10.10.1.0/24", "RemoteCidrBlock": remotes},
		},
		"IKEOptionsSpecification": map[string]any{
			"IKEVersion": "IKEV1", "RemoteIdentity": "ADDRESS", "PropoAuthenAlgorithm": "MD5", "RemoteAddress": "1.2.3.4",
			"LocalIdentity": "ADDRESS", "LocalAddress": "58.211.2.5", "ExchangeMode": "MAIN", "PropoEncryAlgorithm": "3DES-CBC", "DhGroupName": "GROUP1",
		},
	}
	return bodies("", lab.Connection{Tencent: body})
}

// turned returns the configuration of the cloud's end.
func turned(c lab.Config) lab.Config {
	c.Side = "cloud"
	c.Connections = slices.Clone(c.Connections)
	for i := range c.Connections {
		conn := &c.Connections[i]
		conn.Routes = nil
		if conn.Native != nil {
			n := *conn.Native
			n.Local, n.Remote = n.Remote, n.Local
			conn.Native = &n
		}
	}
	return c
}

// charonForAll starts a strongSwan for selectors of all addresses. It marks its own
// packets; neither they nor packets to its LAN enter the tunnel.
func charonForAll(ns *lab.Namespace, lan string) *lab.Charon {
	ns.Run("ip", "rule", "add", "to", lan, "lookup", "main", "pref", "100")
	return ns.Charon("delete_rekeyed = yes",
		"plugins {\nkernel-libipsec {\nallow_peer_ts = yes\n}\nkernel-netlink {\nfwmark = !0x42\n}\nsocket-default {\nfwmark = 0x42\n}\n}")
}

// An export for strongSwan, for either end, loads unchanged and carries traffic to a
// vpngw with the exported body.
func TestExportForStrongswanCarriesTraffic(t *testing.T) {
	t.Parallel()
	for _, c := range exportedCases() {
		for _, side := range []string{"cloud", "customer"} { // strongSwan's
			t.Run(c.name+"/strongswan="+side, func(t *testing.T) {
				t.Parallel()
				n := lab.Direct(t, append(lab.CharonTools, "swanctl")...)
				if c.prepare != nil {
					c.prepare(n)
				}
				ours, theirs, config, lan := n.Customer, n.Cloud, c.config, lab.CloudLAN
				if side == "customer" {
					ours, theirs, config, lan = n.Cloud, n.Customer, turned(c.config), lab.CustomerLAN
				}
				gw := ours.Vpngw(config)
				text, err := gw.Try("export", c.name, "-c", gw.Config, "--format", "swanctl", "--side", side, "--reveal")
				if lossy := strings.Contains(text, "cannot be said here"); (err != nil) != lossy {
					t.Fatalf("export: %v\n%s", err, text)
				}
				text, _, _ = strings.Cut(text, "vpngw: swanctl cannot say") // standard error, behind it
				peer := charonForAll(theirs, lan)
				peer.LoadText(text)
				children := 0
				for _, tunnel := range c.tunnels {
					children += len(gw.AwaitUp(tunnel).Children)
				}
				n.Await(lab.Patience, "strongSwan has them all", func() (bool, string) {
					installed := 0
					for _, ike := range peer.SAs() {
						for _, sa := range ike.Children {
							if sa.State == "INSTALLED" {
								installed++
							}
						}
					}
					return installed >= children, fmt.Sprintf("%d of %d", installed, children)
				})
				if len(c.tunnels) > 1 {
					second(ours, gw.Tunnel(c.tunnels[0]).Device, gw.Tunnel(c.tunnels[1]).Device, map[string]string{"cloud": "10.10.0.11", "customer": "192.168.3.11"}[side])
				}
				carries(t, n, c)
				for _, tunnel := range c.tunnels {
					out := uint64(0)
					for _, ch := range gw.Tunnel(tunnel).Children {
						out += ch.PacketsOut
					}
					if out < 20 {
						t.Errorf("%s carried %d packets", tunnel, out)
					}
				}
				if t.Failed() {
					t.Log(gw.Command("status", "--drops"))
					t.Log(text)
				}
			})
		}
	}
}

// second routes one host into the second tunnel, which has no routes. strongSwan may choose
// either tunnel for its packets, so the reverse path filter must accept packets by a device
// without an address.
func second(ns *lab.Namespace, one, two, host string) {
	for _, device := range []string{one, two} {
		ns.Sysctl("net.ipv4.conf."+device+".rp_filter", "0")
	}
	ns.Run("ip", "route", "add", host+"/32", "dev", two)
}

// carries pings each target from its source.
func carries(t *testing.T, n *lab.Net, c exported) {
	t.Helper()
	for _, p := range c.pings {
		if got := n.Host.Ping(p[1], 20, lab.Echo{Source: p[0]}); got.Lost() != 0 {
			t.Errorf("ping from %s to %s: %v", p[0], p[1], got)
			for _, ns := range []*lab.Namespace{n.Customer, n.Cloud} {
				t.Log(ns.Run("ip", "route", "show", "table", "all"))
			}
		}
	}
}

// The other end's configuration, exported in vpngw's native dialect, works as the other end.
func TestExportedFileIsTheOtherEnd(t *testing.T) {
	t.Parallel()
	for _, c := range exportedCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			if c.prepare != nil {
				c.prepare(n)
			}
			gw := n.Customer.Vpngw(c.config)
			text, _ := gw.Try("export", c.name, "-c", gw.Config, "--format", "native", "--side", "cloud", "--reveal")
			text, _, _ = strings.Cut(text, "vpngw: native cannot say")
			other := n.Cloud.VpngwText(text)
			for _, tunnel := range c.tunnels {
				other.AwaitUp(tunnel)
				gw.AwaitUp(tunnel)
			}
			if c.name != "static" && c.name != "bgp" { // the customer's body does not say what the cloud routes
				carries(t, n, c)
			}
		})
	}
}
