package drift

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vpngw/config/load"
)

const secret = "Not-a-real-Secret.1"

// pair is a connection here and the cloud's answer that says the same.
type pair struct{ name, here, answer string }

const head = `version: 1
side: %s
vpn_gateways:
  vpn-1: {address: 198.51.100.1}
  vpn-2: {addresses: {master: 198.51.100.2, slave: 198.51.100.3}}
  vgw-3: {addresses: {eip-1: 198.51.100.4}, asn: 64512}
customer_gateways:
  cgw-1: {address: 203.0.113.9, asn: 65010}
  cgw-2: {address: 203.0.113.10, asn: 65011}
  cgw-3: {id_type: fqdn, id_value: branch.example}
  cgw-4: {address: any}
connections:
`

var pairs = []pair{
	{"alibaba", `
  - alibaba:
      RegionId: r
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-1
      Name: hq
      LocalSubnet: 10.10.0.0/16,10.11.0.0/16
      RemoteSubnet: 192.168.3.0/24
      HealthCheckConfig: {enable: true, dip: 192.168.3.1, sip: 10.10.0.1}
      IkeConfig: {Psk: Not-a-real-Secret.1, IkeVersion: ikev2, IkeEncAlg: aes256, IkePfs: group14}
      IpsecConfig: {IpsecEncAlg: aes256, IpsecAuthAlg: sha256}
`, `{"VpnConnectionId": "vco-1", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "Name": "hq", "CreateTime": 1544666102000,
  "Status": "ipsec_sa_established", "State": "active", "LocalSubnet": "10.11.0.0/16,10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24",
  "EffectImmediately": false, "EnableDpd": true, "EnableNatTraversal": true, "InternetIp": "198.51.100.1", "EnableTunnelsBgp": false,
  "IkeConfig": {"RemoteId": "203.0.113.9", "IkeLifetime": 86400, "IkeEncAlg": "aes256", "LocalId": "198.51.100.1", "IkeMode": "main", "IkeVersion": "ikev2", "IkePfs": "group14", "Psk": "Not-a-real-Secret.1", "IkeAuthAlg": "md5"},
  "IpsecConfig": {"IpsecAuthAlg": "sha256", "IpsecLifetime": 86400, "IpsecEncAlg": "aes256", "IpsecPfs": "group2"},
  "VcoHealthCheck": {"Status": "success", "Dip": "192.168.3.1", "Interval": 3, "Retry": 3, "Sip": "10.10.0.1", "Enable": "true", "Policy": "revoke_route"},
  "VpnBgpConfig": {"Status": "false", "EnableBgp": "false", "TunnelCidr": "", "LocalBgpIp": "", "PeerBgpIp": "", "AuthKey": "", "LocalAsn": 45104},
  "TunnelOptionsSpecification": {"TunnelOptions": []}, "Tags": {"Tag": []}, "RequestId": "082AD562"}`},
	{"alibaba with BGP", `
  - alibaba:
      RegionId: r
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-1
      LocalSubnet: 0.0.0.0/0
      RemoteSubnet: 0.0.0.0/0
      BgpConfig: {EnableBgp: true, TunnelCidr: 169.254.11.0/30, LocalBgpIp: 169.254.11.1}
      IkeConfig: {Psk: Not-a-real-Secret.1, IkeVersion: ikev2, LocalId: cloud.example, RemoteId: hq.example}
    name: hq
    bgp: {key: Not-a-real-Secret.2}
    lifetime: {esp: 1h}
`, `{"VpnConnectionId": "vco-1", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "Name": "made in the console", "LocalSubnet": "0.0.0.0/0", "RemoteSubnet": "0.0.0.0/0",
  "EffectImmediately": false, "EnableDpd": true, "EnableNatTraversal": true,
  "IkeConfig": {"IkeVersion": "ikev2", "LocalId": "cloud.example", "RemoteId": "hq.example", "Psk": "******"}, "IpsecConfig": {"IpsecLifetime": 3600},
  "VcoHealthCheck": {"Enable": "false", "Interval": 0, "Retry": 0},
  "VpnBgpConfig": {"EnableBgp": "true", "TunnelCidr": "169.254.11.0/30", "LocalBgpIp": "169.254.11.1", "PeerBgpIp": "169.254.11.2", "AuthKey": "Not-a-real-Secret.2", "LocalAsn": 45104, "PeerAsn": 65010}}`},
	{"alibaba with two tunnels", `
  - alibaba:
      RegionId: r
      VpnGatewayId: vpn-2
      Name: dual
      LocalSubnet: 10.10.0.0/16
      RemoteSubnet: 192.168.3.0/24
      EnableTunnelsBgp: false
      TunnelOptionsSpecification:
        - {Role: master, CustomerGatewayId: cgw-1, TunnelIkeConfig: {Psk: Not-a-real-Secret.1, IkeVersion: ikev2}, TunnelIpsecConfig: {IpsecPfs: disabled}}
        - {Role: slave, CustomerGatewayId: cgw-2, EnableDpd: false, TunnelIkeConfig: {Psk: Not-a-real-Secret.2, IkeVersion: ikev2, IkeEncAlg: aes256}}
`, `{"TotalCount": 2, "PageNumber": 1, "VpnConnections": {"VpnConnection": [
  {"VpnConnectionId": "vco-9", "VpnGatewayId": "vpn-9", "CustomerGatewayId": "cgw-9", "Name": "another", "LocalSubnet": "10.0.0.0/8", "RemoteSubnet": "172.16.0.0/12"},
  {"VpnConnectionId": "vco-2", "VpnGatewayId": "vpn-2", "CustomerGatewayId": "", "Name": "dual", "LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24", "EnableTunnelsBgp": false,
   "IkeConfig": {"IkeEncAlg": "des", "Psk": "of-no-meaning"}, "EnableDpd": false,
   "TunnelOptionsSpecification": {"TunnelOptions": [
    {"TunnelId": "tun-2", "Role": "slave", "CustomerGatewayId": "cgw-2", "EnableDpd": "false", "EnableNatTraversal": "true", "InternetIp": "198.51.100.3", "TunnelIkeConfig": {"IkeVersion": "ikev2", "Psk": "Not-a-real-Secret.2", "IkeEncAlg": "aes256"}, "TunnelIpsecConfig": {}},
    {"TunnelId": "tun-1", "Role": "master", "CustomerGatewayId": "cgw-1", "EnableDpd": "true", "EnableNatTraversal": "true", "InternetIp": "198.51.100.2", "TunnelIkeConfig": {"IkeVersion": "ikev2", "Psk": "Not-a-real-Secret.1", "LocalId": "198.51.100.2"}, "TunnelIpsecConfig": {"IpsecPfs": "disabled"}}
   ]}}]}}`},
	{"huawei by policy", `
  - huawei:
      name: hq
      vgw_id: vgw-3
      vgw_ip: eip-1
      cgw_id: cgw-1
      style: policy
      psk: Not-a-real-Secret.1
      policy_rules: [{rule_index: 1, source: 10.10.0.0/16, destination: [192.168.3.0/24, 192.168.4.0/24]}]
      ikepolicy: {encryption_algorithm: aes-128-gcm-16, dh_group: group14}
      ipsecpolicy: {encryption_algorithm: aes-256, pfs: disable}
`, `{"vpn_connection": {"id": "98c5", "name": "hq", "status": "ACTIVE", "vgw_id": "vgw-3", "vgw_ip": "198.51.100.4", "style": "POLICY", "cgw_id": "cgw-1", "enable_nqa": false,
  "policy_rules": [{"rule_index": 7, "source": "10.10.0.0/16", "destination": ["192.168.4.0/24"]}, {"rule_index": 8, "source": "10.10.0.0/16", "destination": ["192.168.3.0/24"]}],
  "ikepolicy": {"ike_version": "v2", "phase1_negotiation_mode": "main", "authentication_algorithm": "sha2-256", "encryption_algorithm": "aes-128-gcm-128", "dh_group": "group14", "authentication_method": "pre-share", "lifetime_seconds": 86400, "local_id_type": "ip", "local_id": "198.51.100.4", "peer_id_type": "ip", "peer_id": "203.0.113.9", "dpd": {"timeout": 15, "interval": 30, "msg": "seq-hash-notify"}},
  "ipsecpolicy": {"authentication_algorithm": "sha2-256", "encryption_algorithm": "aes-256", "pfs": "disable", "transform_protocol": "esp", "lifetime_seconds": 3600, "encapsulation_mode": "tunnel"},
  "created_at": "2022-11-26T13:41:34.626Z", "updated_at": "2022-11-26T13:41:34.626Z", "enterprise_project_id": "0", "ha_role": "master", "connection_monitor_id": "x"}, "request_id": "f910"}`},
	{"huawei with BGP", `
  - huawei:
      name: hq
      vgw_id: vgw-3
      vgw_ip: eip-1
      cgw_id: cgw-1
      style: bgp
      peer_subnets: [192.168.3.0/24, 192.168.4.0/24]
      tunnel_local_address: 169.254.56.225/30
      tunnel_peer_address: 169.254.56.226/30
      ikepolicy: {local_id_type: fqdn, local_id: cloud, peer_id_type: any}
    psk_file: hq.psk
`, `{"vpn_connections": [{"id": "98c5", "name": "hq", "vgw_id": "vgw-3", "vgw_ip": "eip-1", "style": "BGP", "cgw_id": "cgw-1", "peer_subnets": ["192.168.4.0/24", "192.168.3.0/24"],
  "tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30", "enable_nqa": false,
  "ikepolicy": {"local_id_type": "fqdn", "local_id": "cloud", "peer_id_type": "any"}, "ipsecpolicy": {}, "ha_role": "master",
  "bgp_peer": {"peer_asn": 65010, "state": "ESTABLISHED"}}], "page_info": {"current_count": 1}, "total_count": 1}`},
	{"huawei by routes, with a health check", `
  - huawei:
      name: hq
      vgw_id: vgw-3
      vgw_ip: eip-1
      cgw_id: cgw-1
      peer_subnets: [192.168.3.0/24]
      tunnel_local_address: 169.254.56.225/30
      tunnel_peer_address: 169.254.56.226/30
      enable_nqa: true
      psk: Not-a-real-Secret.1
      ikepolicy: {ike_version: v1}
    routes: [10.10.0.0/16]
`, `{"vpn_connection": {"id": "98c5", "name": "hq", "vgw_id": "vgw-3", "vgw_ip": "eip-1", "style": "static", "cgw_id": "cgw-1", "peer_subnets": ["192.168.3.0/24"],
  "tunnel_local_address": "169.254.56.225/30", "tunnel_peer_address": "169.254.56.226/30", "enable_nqa": true, "ikepolicy": {"ike_version": "v1"}}}`},
	{"huawei with a customer from anywhere", `
  - huawei:
      name: hq
      vgw_id: vgw-3
      vgw_ip: eip-1
      cgw_id: cgw-3
      style: policy
      psk: Not-a-real-Secret.1
      policy_rules: [{source: 10.10.0.0/16, destination: [192.168.3.0/24]}]
`, `{"vpn_connection": {"id": "98c5", "name": "hq", "vgw_id": "vgw-3", "vgw_ip": "198.51.100.4", "style": "POLICY", "cgw_id": "cgw-3", "enable_nqa": false,
  "policy_rules": [{"rule_index": 7, "source": "10.10.0.0/16", "destination": ["192.168.3.0/24"]}],
  "ikepolicy": {"peer_id_type": "fqdn", "peer_id": "branch.example"}}}`},
	{"alibaba with a customer from anywhere", `
  - alibaba:
      RegionId: r
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-4
      LocalSubnet: 10.10.0.0/16
      RemoteSubnet: 192.168.3.0/24
      IkeConfig: {Psk: Not-a-real-Secret.1, RemoteId: branch.example}
    name: hq
`, `{"VpnConnectionId": "vco-1", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-4", "LocalSubnet": "10.10.0.0/16", "RemoteSubnet": "192.168.3.0/24",
  "EffectImmediately": false, "EnableDpd": true, "EnableNatTraversal": true, "IkeConfig": {"RemoteId": "branch.example", "Psk": "Not-a-real-Secret.1"}}`},
	{"tencent", `
  - tencent:
      VpnConnectionName: hq
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-1
      PreShareKey: Not-a-real-Secret.1
      SecurityPolicyDatabases: [{LocalCidrBlock: 10.10.0.0/16, RemoteCidrBlock: [192.168.3.0/24, 192.168.4.0/24]}, {LocalCidrBlock: 10.11.0.0/16, RemoteCidrBlock: [192.168.3.0/24]}]
      IKEOptionsSpecification: {IKEVersion: IKEV2, PropoEncryAlgorithm: AES-CBC-256, PropoAuthenAlgorithm: SHA, DhGroupName: GROUP14, RemoteIdentity: FQDN, RemoteFqdnName: hq.example}
      IPSECOptionsSpecification: {EncryptAlgorithm: AES-CBC-256, IntegrityAlgorith: SHA1, IPSECSaLifetimeSeconds: 3600}
      EnableHealthCheck: true
      HealthCheckLocalIp: 10.10.0.1
      HealthCheckRemoteIp: 192.168.3.1
      DpdEnable: 1
      DpdTimeout: "30"
`, `{"Response": {"TotalCount": 1, "VpnConnectionSet": [{"VpcId": "vpc-1", "VpnConnectionId": "vpnx-1", "VpnConnectionName": "hq", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1",
  "State": "AVAILABLE", "PreShareKey": "Not-a-real-Secret.1", "NegotiationType": "active", "DpdEnable": 1, "DpdTimeout": "30", "DpdAction": "restart", "VpnProto": "IPSEC", "EncryptProto": "IKE", "RouteType": "STATIC",
  "CreatedTime": "2026-01-01 00:00:00", "NetStatus": "AVAILABLE",
  "SecurityPolicyDatabaseSet": [{"LocalCidrBlock": "10.11.0.0/16", "RemoteCidrBlock": ["192.168.3.0/24"]}, {"LocalCidrBlock": "10.10.0.0/16", "RemoteCidrBlock": ["192.168.4.0/24", "192.168.3.0/24"]}],
  "IKEOptionsSpecification": {"PropoEncryAlgorithm": "AES-CBC-256", "PropoAuthenAlgorithm": "SHA1", "ExchangeMode": "MAIN", "LocalIdentity": "ADDRESS", "RemoteIdentity": "FQDN", "LocalAddress": "198.51.100.1", "RemoteAddress": "", "LocalFqdnName": "", "RemoteFqdnName": "hq.example", "DhGroupName": "GROUP14", "IKESaLifetimeSeconds": 86400, "IKEVersion": "IKEV2"},
  "IPSECOptionsSpecification": {"EncryptAlgorithm": "AES-CBC-256", "IntegrityAlgorithm": "SHA", "IPSECSaLifetimeSeconds": 3600, "IPSECSaLifetimeTraffic": 4096000000, "PfsDhGroup": "NULL"},
  "EnableHealthCheck": true, "HealthCheckLocalIp": "10.10.0.1", "HealthCheckRemoteIp": "192.168.3.1", "HealthCheckStatus": "OK", "HealthCheckConfig": {"ProbeType": "NQA", "ProbeInterval": 5000, "ProbeThreshold": 3, "ProbeTimeout": 150}, "TagSet": []}], "RequestId": "4b71"}}`},
	{"tencent with BGP", `
  - tencent:
      VpnConnectionName: hq
      VpnGatewayId: vpn-1
      CustomerGatewayId: cgw-1
      RouteType: Bgp
      BgpConfig: {TunnelCidr: 169.254.64.44/30, LocalBgpIp: 169.254.64.45, RemoteBgpIp: 169.254.64.46}
      NegotiationType: passive
    psk_file: hq.psk
`, `{"Response": {"VpnConnection": {"VpnConnectionId": "vpnx-1", "VpnConnectionName": "hq", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "PreShareKey": "Not-a-real-Secret.1", "RouteType": "Bgp", "NegotiationType": "passive", "DpdEnable": -1, "DpdTimeout": "", "DpdAction": "",
  "BgpConfig": {"TunnelCidr": "169.254.64.44/30", "LocalBgpIp": "169.254.64.45", "RemoteBgpIp": "169.254.64.46", "LocalBgpAsn": "64551", "RemoteBgpAsn": "65010"}}}}`},
}

func pairOf(t *testing.T, name string) pair {
	t.Helper()
	for _, p := range pairs {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("no pair %q", name)
	return pair{}
}

// view is what is here, as -c FILE knows it, or as the daemon tells it.
func view(t *testing.T, text, side string, asDaemon bool) View {
	t.Helper()
	r, ps := load.Text("vpngw.yaml", fmt.Appendf(nil, head+text, side), func(string, int) ([]byte, fs.FileMode, error) { return []byte(secret), 0o600, nil }, load.Options{})
	if r == nil {
		t.Fatal(ps)
	}
	name := r.Connections[0].Name
	v, ok := Of(r, name)
	if !ok {
		t.Fatalf("no %q", name)
	}
	if asDaemon {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "Not-a-real") {
			t.Fatalf("the daemon's view shows a key: %s", data)
		}
		v = View{}
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func compared(t *testing.T, here View, answer string) Result {
	t.Helper()
	there, notes, err := Answer(here, "answer.json", []byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	r := Compare(here, there, notes)
	if text := fmt.Sprintf("%+v", r); strings.Contains(text, "Not-a-real") {
		t.Errorf("it shows a key: %s", text)
	}
	return r
}

// An answer that says the same has no drift, at either end, from the file and from the daemon.
func TestTheSameIsNoDrift(t *testing.T) {
	for _, p := range pairs {
		for _, side := range []string{"customer", "cloud"} {
			for _, daemon := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/daemon %v", p.name, side, daemon), func(t *testing.T) {
					r := compared(t, view(t, p.here, side, daemon), p.answer)
					for _, d := range r.Drifts {
						t.Errorf("%+v", d)
					}
					for _, n := range r.Notes {
						if !strings.Contains(n, "VcoHealthCheck") && !strings.Contains(n, "HealthCheckConfig") { // its zeros when it is off
							t.Errorf("note: %s", n)
						}
					}
					for _, n := range r.NotCompared {
						if !strings.Contains(n, "key") {
							t.Errorf("not compared: %s", n)
						}
					}
					if daemon == (len(r.NotCompared) == 0) && p.name != "alibaba with BGP" && !strings.HasPrefix(p.name, "huawei") {
						t.Errorf("not compared: %q", r.NotCompared)
					}
				})
			}
		}
	}
}

// seeded are drifts: where in the answer, what it is changed to, and the parameters that are reported.
var seeded = []struct {
	pair, path string
	to         any
	want       string // parameter: there | here
}{
	{"alibaba", "LocalSubnet", "10.10.0.0/16", "LocalSubnet: 10.10.0.0/16 | 10.10.0.0/16,10.11.0.0/16"},
	{"alibaba", "RemoteSubnet", "192.168.3.0/24,192.168.4.0/24", "RemoteSubnet: 192.168.3.0/24,192.168.4.0/24 | 192.168.3.0/24"},
	{"alibaba", "Name", "branch", "Name: branch | hq"},
	{"alibaba", "EffectImmediately", true, "EffectImmediately: true | false (default)"},
	{"alibaba", "EnableDpd", false, "EnableDpd: false | true (default)"},
	{"alibaba", "EnableNatTraversal", "false", "EnableNatTraversal: false | true (default)"},
	{"alibaba", "InternetIp", "198.51.100.77", "InternetIp: 198.51.100.77 | 198.51.100.1 (default)"},
	{"alibaba", "VpnGatewayId", "vpn-7", "VpnGatewayId: vpn-7 | vpn-1"},
	{"alibaba", "CustomerGatewayId", "cgw-2", "CustomerGatewayId: cgw-2 | cgw-1"},
	{"alibaba", "IkeConfig.Psk", "another", "IkeConfig.Psk: a key (not shown) | another key (not shown)"},
	{"alibaba", "IkeConfig.IkeVersion", "ikev1", "IkeConfig.IkeVersion: ikev1 | ikev2"},
	{"alibaba", "IkeConfig.IkeEncAlg", "aes", "IkeConfig.IkeEncAlg: aes | aes256"},
	{"alibaba", "IkeConfig.IkeEncAlg", "sm4", "IkeConfig.IkeEncAlg: sm4 | aes256"},
	{"alibaba", "IkeConfig.IkeAuthAlg", "sha256", "IkeConfig.IkeAuthAlg: sha256 | md5 (default)"},
	{"alibaba", "IkeConfig.IkePfs", "group2", "IkeConfig.IkePfs: group2 | group14"},
	{"alibaba", "IkeConfig.IkeLifetime", 3600, "IkeConfig.IkeLifetime: 3600 | 86400 (default)"},
	{"alibaba", "IkeConfig.LocalId", "cloud.example", "IkeConfig.LocalId: cloud.example | 198.51.100.1 (default)"},
	{"alibaba", "IkeConfig.RemoteId", "hq.example", "IkeConfig.RemoteId: hq.example | 203.0.113.9 (default)"},
	{"alibaba", "IpsecConfig.IpsecEncAlg", "3des", "IpsecConfig.IpsecEncAlg: 3des | aes256"},
	{"alibaba", "IpsecConfig.IpsecAuthAlg", "sha1", "IpsecConfig.IpsecAuthAlg: sha1 | sha256"},
	{"alibaba", "IpsecConfig.IpsecPfs", "disabled", "IpsecConfig.IpsecPfs: disabled | group2 (default)"},
	{"alibaba", "IpsecConfig.IpsecLifetime", 7200, "IpsecConfig.IpsecLifetime: 7200 | 86400 (default)"},
	{"alibaba", "VcoHealthCheck.Dip", "192.168.3.2", "HealthCheckConfig.dip: 192.168.3.2 | 192.168.3.1"},
	{"alibaba", "VcoHealthCheck.Interval", 10, "HealthCheckConfig.interval: 10 | 3 (default)"},
	{"alibaba", "VcoHealthCheck.Enable", "false", "HealthCheckConfig.enable: false | true"},
	{"alibaba", "VcoHealthCheck", map[string]any{"Enable": "false", "Dip": "", "Sip": "", "Interval": 0, "Retry": 0}, "HealthCheckConfig.enable: false | true"},
	{"alibaba with BGP", "VpnBgpConfig", map[string]any{"EnableBgp": "false", "LocalAsn": 0, "TunnelCidr": ""}, "BgpConfig.EnableBgp: false | true"},
	{"tencent", "Response.VpnConnectionSet.0.DpdEnable", 0, "DpdEnable: 0 | 1"},
	{"alibaba with BGP", "VpnBgpConfig.TunnelCidr", "169.254.12.0/30", "BgpConfig.TunnelCidr: 169.254.12.0/30 | 169.254.11.0/30"},
	{"alibaba with BGP", "VpnBgpConfig.LocalBgpIp", "169.254.11.2", "BgpConfig.LocalBgpIp: 169.254.11.2 | 169.254.11.1"},
	{"alibaba with BGP", "VpnBgpConfig.PeerAsn", 65099, "BgpConfig.PeerAsn: 65099 | 65010 (default)"},
	{"alibaba with BGP", "VpnBgpConfig.LocalAsn", 45105, "BgpConfig.LocalAsn: 45105 | 45104 (default)"},
	{"alibaba with BGP", "VpnBgpConfig.AuthKey", "other", "BgpConfig.AuthKey: a key (not shown) | another key (not shown)"},
	{"alibaba with BGP", "IpsecConfig.IpsecLifetime", 86400, "IpsecConfig.IpsecLifetime: 24h | 1h"},
	{"alibaba with two tunnels", "VpnConnections.VpnConnection.1.TunnelOptionsSpecification.TunnelOptions.0.TunnelIkeConfig.IkeEncAlg", "aes192", "TunnelOptionsSpecification[slave].TunnelIkeConfig.IkeEncAlg: aes192 | aes256"},
	{"alibaba with two tunnels", "VpnConnections.VpnConnection.1.TunnelOptionsSpecification.TunnelOptions.1.CustomerGatewayId", "cgw-2", "TunnelOptionsSpecification[master].CustomerGatewayId: cgw-2 | cgw-1"},
	{"alibaba with two tunnels", "VpnConnections.VpnConnection.1.TunnelOptionsSpecification.TunnelOptions.1.EnableDpd", "false", "TunnelOptionsSpecification[master].EnableDpd: false | true (default)"},
	{"alibaba with two tunnels", "VpnConnections.VpnConnection.1.TunnelOptionsSpecification.TunnelOptions.0.TunnelIkeConfig.Psk", "x-other", "TunnelOptionsSpecification[slave].TunnelIkeConfig.Psk: a key (not shown) | another key (not shown)"},
	{"huawei by policy", "vpn_connection.policy_rules.1.destination", []any{"192.168.5.0/24"}, "policy_rules: 10.10.0.0/16 - 192.168.4.0/24, 10.10.0.0/16 - 192.168.5.0/24 | 10.10.0.0/16 - 192.168.3.0/24, 10.10.0.0/16 - 192.168.4.0/24"},
	{"huawei by policy", "vpn_connection.ikepolicy.dh_group", "group19", "ikepolicy.dh_group: group19 | group14"},
	{"huawei by policy", "vpn_connection.ikepolicy.encryption_algorithm", "aes-256", "ikepolicy.encryption_algorithm: aes-256 | aes-128-gcm-16"},
	{"huawei by policy", "vpn_connection.ipsecpolicy.pfs", "group14", "ipsecpolicy.pfs: group14 | disable"},
	{"huawei by policy", "vpn_connection.ipsecpolicy.lifetime_seconds", 7200, "ipsecpolicy.lifetime_seconds: 7200 | 3600 (default)"},
	{"huawei by policy", "vpn_connection.ikepolicy.dpd.interval", 60, "ikepolicy.dpd.interval: 60 | 30 (default)"},
	{"huawei by policy", "vpn_connection.vgw_ip", "198.51.100.99", "vgw_ip: 198.51.100.99 | eip-1"},
	{"huawei by policy", "vpn_connection.ha_role", "slave", "ha_role: slave | master (default)"},
	{"huawei with BGP", "vpn_connections.0.peer_subnets", []any{"192.168.3.0/24"}, "peer_subnets: 192.168.3.0/24 | 192.168.3.0/24,192.168.4.0/24"},
	{"huawei with BGP", "vpn_connections.0.ikepolicy.local_id", "other", "ikepolicy.local_id: other | cloud"},
	{"huawei with BGP", "vpn_connections.0.style", "static", "style: static | bgp"},
	{"huawei by routes, with a health check", "vpn_connection.enable_nqa", false, "enable_nqa: false | true"},
	{"huawei by routes, with a health check", "vpn_connection.ikepolicy.phase1_negotiation_mode", "aggressive", "ikepolicy.phase1_negotiation_mode: aggressive | main (default)"},
	{"tencent", "Response.VpnConnectionSet.0.IKEOptionsSpecification.IKEVersion", "IKEV1", "IKEOptionsSpecification.IKEVersion: IKEV1 | IKEV2"},
	{"tencent", "Response.VpnConnectionSet.0.IKEOptionsSpecification.DhGroupName", "GROUP2", "IKEOptionsSpecification.DhGroupName: GROUP2 | GROUP14"},
	{"tencent", "Response.VpnConnectionSet.0.IKEOptionsSpecification.RemoteFqdnName", "b.example", "IKEOptionsSpecification.RemoteFqdnName: b.example | hq.example"},
	{"tencent", "Response.VpnConnectionSet.0.IPSECOptionsSpecification.IntegrityAlgorithm", "SHA-256", "IPSECOptionsSpecification.IntegrityAlgorithm: SHA-256 | SHA1"},
	{"tencent", "Response.VpnConnectionSet.0.IPSECOptionsSpecification.IPSECSaLifetimeTraffic", 1843200, "IPSECOptionsSpecification.IPSECSaLifetimeTraffic: 1843200 | 4096000000 (default)"},
	{"tencent", "Response.VpnConnectionSet.0.IPSECOptionsSpecification.PfsDhGroup", "DH-GROUP14", "IPSECOptionsSpecification.PfsDhGroup: DH-GROUP14 | NULL (default)"},
	{"tencent", "Response.VpnConnectionSet.0.SecurityPolicyDatabaseSet.0.LocalCidrBlock", "10.12.0.0/16", "SecurityPolicyDatabases: 10.10.0.0/16 - 192.168.3.0/24, 10.10.0.0/16 - 192.168.4.0/24, 10.12.0.0/16 - 192.168.3.0/24 | 10.10.0.0/16 - 192.168.3.0/24, 10.10.0.0/16 - 192.168.4.0/24, 10.11.0.0/16 - 192.168.3.0/24"},
	{"tencent", "Response.VpnConnectionSet.0.DpdTimeout", "60", "DpdTimeout: 60 | 30"},
	{"tencent", "Response.VpnConnectionSet.0.DpdAction", "clear", "DpdAction: clear | restart (default)"},
	{"tencent", "Response.VpnConnectionSet.0.HealthCheckRemoteIp", "192.168.3.9", "HealthCheckRemoteIp: 192.168.3.9 | 192.168.3.1"},
	{"tencent", "Response.VpnConnectionSet.0.HealthCheckConfig.ProbeThreshold", 5, "HealthCheckConfig.ProbeThreshold: 5 | 3 (default)"},
	{"tencent", "Response.VpnConnectionSet.0.PreShareKey", "other", "PreShareKey: a key (not shown) | another key (not shown)"},
	{"tencent with BGP", "Response.VpnConnection.NegotiationType", "active", "NegotiationType: active | passive"},
	{"tencent with BGP", "Response.VpnConnection.BgpConfig.RemoteBgpAsn", "65099", "BgpConfig.RemoteBgpAsn: 65099 | 65010 (default)"},
}

// Each seeded drift is found, with both values, and nothing else is.
func TestSeededDriftsAreFound(t *testing.T) {
	found := 0
	for _, s := range seeded {
		t.Run(s.pair+"/"+s.path, func(t *testing.T) {
			p := pairOf(t, s.pair)
			var answer any
			if err := json.Unmarshal([]byte(p.answer), &answer); err != nil {
				t.Fatal(err)
			}
			put(t, answer, strings.Split(s.path, "."), s.to)
			changed, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			for _, daemon := range []bool{false, true} {
				r := compared(t, view(t, p.here, "customer", daemon), string(changed))
				var got []string
				for _, d := range r.Drifts {
					got = append(got, fmt.Sprintf("%s: %s | %s", d.Parameter, d.There, d.Here))
				}
				want := []string{s.want}
				if daemon && strings.Contains(s.want, "not shown") {
					want = nil
				}
				if !slices.Equal(got, want) {
					t.Errorf("daemon %v: got\n%q\nwant\n%q", daemon, got, want)
				}
			}
			found++
		})
	}
	t.Logf("%d drifts are seeded", found)
}

// put sets a member of an answer.
func put(t *testing.T, in any, path []string, to any) {
	t.Helper()
	key, last := path[0], len(path) == 1
	switch in := in.(type) {
	case map[string]any:
		if last {
			in[key] = to
			return
		}
		put(t, in[key], path[1:], to)
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil || i >= len(in) {
			t.Fatalf("no item %s", key)
		}
		if last {
			in[i] = to
			return
		}
		put(t, in[i], path[1:], to)
	default:
		t.Fatalf("nothing at %q", path)
	}
}
