package load

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/diag"
)

// entry is a native connection whose other end has the address 198.51.100.N.
func entry(n int, body, beside string) string {
	return fmt.Sprintf(`  - native:
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}
      remote: {address: 198.51.100.%d, subnets: [10.20.0.0/16]}
      psk: not-a-real-secret
      %s
    name: hq-%d
    %s
`, n, body, n, beside)
}

func fileOf(entries ...string) string {
	return "version: 1\n" + cloudGateways + "connections:\n" + strings.Join(entries, "")
}

// groups are the groups of a file with the tunnels' roles: "pair:hq=hq-1 active+hq-2 standby".
func groups(c *config.Config) string {
	var out []string
	for _, g := range config.Groups(c) {
		var members []string
		for _, conn := range g.Connections {
			members = append(members, conn.Name+" "+string(conn.Tunnels[0].Role))
		}
		out = append(out, g.Name+"="+strings.Join(members, "+"))
	}
	return strings.Join(out, ", ")
}

func TestPairGivesRolesByTheBodiesElseByTheOrder(t *testing.T) {
	for _, tt := range []struct{ first, second, want string }{
		{"", "", "hq-1 active+hq-2 standby"},
		{"role: active", "", "hq-1 active+hq-2 standby"},
		{"role: standby", "", "hq-1 standby+hq-2 active"},
		{"", "role: active", "hq-1 standby+hq-2 active"},
		{"", "role: standby", "hq-1 active+hq-2 standby"},
		{"role: standby", "role: active", "hq-1 standby+hq-2 active"},
	} {
		c := parse(t, fileOf(entry(1, tt.first, "pair: hq"), entry(3, "", ""), entry(2, tt.second, "pair: hq")), nil)
		if got, want := groups(c.Config), "pair:hq="+tt.want+", hq-3=hq-3 single"; got != want {
			t.Errorf("%q and %q: got %s, want %s", tt.first, tt.second, got, want)
		}
	}
}

func TestPairsThatAreNone(t *testing.T) {
	const dual = `  - alibaba: {RegionId: r, VpnGatewayId: vpn-dual, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, TunnelOptionsSpecification: [
      {Role: master, CustomerGatewayId: 203.0.113.9, TunnelIkeConfig: {Psk: not-a-real-secret}},
      {Role: slave, CustomerGatewayId: 203.0.113.9, TunnelIkeConfig: {Psk: not-a-real-secret}}]}
    pair: hq
`
	pair := "pair: hq"
	for name, tt := range map[string]struct {
		file string
		want []string // each problem, without its line
	}{
		"alone": {fileOf(entry(1, "", pair), entry(2, "", "")), []string{
			`connections[0].pair: no other connection is of the pair "hq"; a pair is two connections, with  pair: hq  beside both [vpngw.pair.missing]`,
		}},
		"three": {fileOf(entry(1, "", pair), entry(2, "", pair), entry(3, "", pair)), []string{
			`connections[2].pair: connections[0] and connections[1] are the pair "hq" already; a pair is two connections [vpngw.pair.too-many]`,
		}},
		"two sides": {fileOf(entry(1, "", pair), entry(2, "", pair+"\n    side: cloud")), []string{
			`connections[1].pair: this end of the connection is the cloud's, and of connection "hq-1" in the same pair the customer's; the sides must agree [vpngw.pair.conflict]`,
		}},
		"two tunnels": {strings.Replace(fileOf(entry(1, "", pair), dual), "vpn_gateways:", "vpn_gateways:\n  vpn-dual: {addresses: {master: 198.51.100.5, slave: 198.51.100.6}}", 1), []string{
			`connections[1].pair: this connection has two tunnels, active and standby; a pair is two connections with one tunnel each [vpngw.pair.conflict]`,
		}},
		"one peer": {fileOf(entry(1, "", pair), strings.Replace(entry(1, "", pair), "name: hq-1", "name: hq-2", 1)), []string{
			`connections[1].pair: connection "hq-1" of the same pair is between the same ends, so one peer would have both tunnels; a pair needs two peers [vpngw.pair.conflict]`,
		}},
		"two active": {fileOf(entry(1, "role: active", pair), entry(2, "role: active", pair)), []string{
			`connections[1].native.role: connection "hq-1" of the same pair is active too; one must be active and one standby [vpngw.role.conflict]`,
		}},
		"two standby": {fileOf(entry(1, "role: standby", pair), entry(2, "role: standby", pair)), []string{
			`connections[1].native.role: connection "hq-1" of the same pair is standby too; one must be active and one standby [vpngw.role.conflict]`,
		}},
		"single": {fileOf(entry(1, "role: single", pair), entry(2, "", pair)), []string{
			`connections[0].native.role: a connection of a pair is active or standby; write one of these, or leave it out [vpngw.role.conflict]`,
		}},
		"a name that a group could not have": {fileOf(entry(1, "", "pair: h:q"), entry(2, "", "pair: h:q")), []string{
			`connections[0].pair: it must hold only letters, digits, dots, hyphens and underscores, and begin with a letter or digit [vpngw.pair.illegal]`,
			`connections[1].pair: it must hold only letters, digits, dots, hyphens and underscores, and begin with a letter or digit [vpngw.pair.illegal]`,
		}},
		// Another error in a connection does not make its pair incomplete.
		"a broken half": {fileOf(entry(1, "", pair), entry(2, "", pair+"\n    devise: x")), []string{
			`connections[1].devise: there is no key "devise" here; did you mean "device"? [vpngw.connection.unknown]`,
		}},
		"a half without a body": {fileOf(entry(1, "", pair), "  - pair: hq\n"), []string{
			`connections[1]: a body is missing: one of native, alibaba, huawei, tencent [vpngw.connection.missing]`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, ps := parseText(nil, "f", []byte(tt.file))
			if c != nil {
				t.Fatal("it was taken")
			}
			var got []string
			for _, p := range ps {
				if p.Severity == diag.Error {
					_, text, _ := strings.Cut(p.String(), "error: ")
					got = append(got, text)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// A pair asks for failover as two tunnels of one connection do.
func TestPairNeedsPartialWhileFailoverIsNotServed(t *testing.T) {
	refused := func(beside string) (out []string) {
		c, ps := parseText(nil, "f", []byte(fileOf(entry(1, "", beside), entry(2, "", beside))))
		if c == nil {
			t.Fatal(lines(ps))
		}
		for _, p := range ps {
			if p.Refused {
				out = append(out, p.Message)
			}
		}
		for _, d := range c.Drafts {
			if d.Unserved.String() != "failover between its tunnels" {
				t.Errorf("%s goes without %q", d.Connection.Name, d.Unserved)
			}
		}
		return out
	}
	const want = "not served yet: failover between its tunnels; to run the connection without, write beside the body  partial: true"
	if got := refused("pair: hq"); !slices.Equal(got, []string{want, want}) {
		t.Errorf("got %q", got)
	}
	if got := refused("pair: hq\n    partial: true"); len(got) != 0 {
		t.Errorf("with partial: got %q", got)
	}
}

// Tencent's bodies have no role, so nothing but the key makes a pair of two.
func TestPairsOfTencentNeedTheKey(t *testing.T) {
	second := tencentBody()
	second["VpnGatewayId"], second["VpnConnectionName"] = "198.51.100.77", "hq-b"
	for beside, want := range map[string]string{
		"":         "hq=hq single, hq-b=hq-b single",
		"pair: hq": "pair:hq=hq active+hq-b standby",
	} {
		first, other := string(cloudFile(t, "tencent", tencentBody(), beside)), string(cloudFile(t, "tencent", second, beside))
		_, more, _ := strings.Cut(other, "connections:\n")
		if got := groups(parse(t, first+more, nil).Config); got != want {
			t.Errorf("%q: got %s, want %s", beside, got, want)
		}
	}
}

// huaweiHalf is a connection of Huawei between the VPN gateway vgw and a customer gateway,
// at the VPN gateway's address ip.
func huaweiHalf(t *testing.T, name, ip, role, beside string, with map[string]any) string {
	t.Helper()
	body := huaweiBody()
	body["name"], body["vgw_ip"] = name, ip
	if role != "" {
		body["ha_role"] = role
	}
	for k, v := range with {
		body[k] = v
	}
	_, entry, _ := strings.Cut(string(cloudFile(t, "huawei", body, beside)), "connections:\n")
	return entry
}

func TestHuaweiMasterAndSlaveOfTheSameGatewaysAreAPair(t *testing.T) {
	const one, two = "198.51.100.1", "198.51.100.2"
	half := func(name, ip, role, beside string) string { return huaweiHalf(t, name, ip, role, beside, nil) }
	other := map[string]any{"cgw_id": "203.0.113.10"}
	policy := func(source string) map[string]any {
		return map[string]any{"style": "policy", "policy_rules": []any{ruleOf(source, "192.168.3.0/24")}}
	}
	active := func(role, second, beside, mode string) string {
		at := map[string]any{"vgw_id": "vgw-1"}
		file := fileOf(huaweiHalf(t, "a", "e1", role, beside, at), huaweiHalf(t, "b", "e2", second, beside, at))
		return strings.Replace(file, "vpn_gateways:\n", "vpn_gateways:\n  vgw-1: {addresses: {e1: "+one+", e2: "+two+"}, ha_mode: "+mode+"}\n", 1)
	}
	const both = "active-active"
	for what, tt := range map[string]struct {
		file string
		want string
	}{
		"active-active":                  {active("master", "slave", "", both), "pair:a+b=a active+b standby"},
		"active-active, two masters":     {active("master", "master", "", both), "pair:a+b=a active+b standby"},
		"active-active, by default":      {active("", "", "", both), "pair:a+b=a active+b standby"},
		"active-active, two slaves":      {active("slave", "slave", "", both), "a=a standby, b=b standby"},
		"active-active, the key":         {active("master", "master", "pair: x", both), "pair:x=a active+b standby"},
		"active-active, but not by flow": {active("master", "master", "balance: no", both), "pair:a+b=a active+b standby"},
		"active-standby, two masters":    {active("master", "master", "", "active-standby"), "a=a single, b=b single"},
		"master and slave":               {fileOf(half("a", one, "master", ""), half("b", two, "slave", "")), "pair:a+b=a active+b standby"},
		"slave and master":               {fileOf(half("b", two, "slave", ""), half("a", one, "master", "")), "pair:a+b=b standby+a active"},
		"master by default":              {fileOf(half("a", one, "", ""), half("b", two, "slave", "")), "pair:a+b=a active+b standby"},
		"two masters":                    {fileOf(half("a", one, "master", ""), half("b", two, "", "")), "a=a single, b=b single"},
		"two slaves":                     {fileOf(half("a", one, "slave", ""), half("b", two, "slave", "")), "a=a standby, b=b standby"},
		"a slave alone":                  {fileOf(half("b", two, "slave", "")), "b=b standby"},
		"three":                          {fileOf(half("a", one, "", ""), half("b", two, "slave", ""), half("c", "198.51.100.3", "slave", "")), "a=a single, b=b standby, c=c standby"},
		"one EIP":                        {fileOf(huaweiHalf(t, "a", one, "", "", policy("10.0.1.0/24")), huaweiHalf(t, "b", one, "slave", "", policy("10.0.2.0/24"))), "a=a single, b=b standby"},
		"another customer gateway":       {fileOf(half("a", one, "", ""), huaweiHalf(t, "b", two, "slave", "", other)), "a=a single, b=b standby"},
		"two customers":                  {fileOf(half("a", one, "", "side: cloud"), huaweiHalf(t, "c", one, "", "side: cloud", other), half("b", two, "slave", "side: cloud"), huaweiHalf(t, "d", two, "slave", "side: cloud", other)), "pair:a+b=a active+b standby, pair:c+d=c active+d standby"},
		"two sides":                      {fileOf(half("a", one, "", ""), half("b", two, "slave", "side: cloud")), "a=a single, b=b standby"},
		"the key in the same place":      {fileOf(half("a", one, "", "pair: x"), half("b", two, "slave", "pair: x")), "pair:x=a active+b standby"},
		"the key over two gateways":      {fileOf(half("a", one, "", "pair: x"), huaweiHalf(t, "b", two, "slave", "pair: x", other)), "pair:x=a active+b standby"},
		"the key and the order":          {fileOf(half("a", one, "", "pair: x"), half("b", two, "", "pair: x")), "pair:x=a active+b standby"},
		"the key and one master":         {fileOf(half("a", one, "", "pair: x"), half("b", two, "master", "pair: x")), "pair:x=a standby+b active"},
		"the key with another":           {fileOf(half("a", one, "", "pair: x"), half("b", two, "slave", ""), half("c", "198.51.100.3", "", "pair: x")), "pair:x=a active+c standby, b=b standby"},
	} {
		t.Run(what, func(t *testing.T) {
			c, ps := parseText(nil, "f", []byte(tt.file))
			if c == nil {
				t.Fatal(lines(ps))
			}
			if got := groups(c.Config); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	slaves := fileOf(half("a", one, "slave", "pair: x"), half("b", two, "slave", "pair: x"))
	if c, ps := parseText(nil, "f", []byte(slaves)); c != nil || !strings.Contains(lines(ps), "connections[1].huawei.ha_role: connection \"a\" of the same pair is standby too") {
		t.Errorf("two slaves with the key: got\n%s", lines(ps))
	}
	if c, ps := parseText(nil, "f", []byte(active("master", "master", "pair: x", "active-standby"))); c != nil || !strings.Contains(lines(ps), "is active too") {
		t.Errorf("two masters of an active-standby gateway with the key: got\n%s", lines(ps))
	}
}

// Connections that ran before vpngw knew of pairs run on without `partial: true`; with it,
// they say what they go without.
func TestHuaweiPairWithoutTheKeyNeedsNoPartial(t *testing.T) {
	for _, beside := range []string{"routes: []", "partial: true, routes: []"} {
		beside = strings.ReplaceAll(beside, ", ", "\n    ")
		c, ps := parseText(nil, "f", []byte(fileOf(huaweiHalf(t, "a", "198.51.100.1", "master", beside, nil), huaweiHalf(t, "b", "198.51.100.2", "slave", beside, nil))))
		if c == nil || ps.Refused() || strings.Contains(lines(ps), "vpngw.partial") {
			t.Fatalf("%q: got\n%s", beside, lines(ps))
		}
		const want = "ha_role: master and slave of one vgw_id and cgw_id are a pair: the traffic is on the master, or on the slave while the master is ill; with balance: true, or ha_mode: active-active at the gateway, it is on both"
		for _, d := range c.Drafts {
			if !slices.Contains(d.Notes, want) || d.Unserved.String() != "failover between its tunnels" {
				t.Errorf("%s: got the notes %q, without %q", d.Connection.Name, d.Notes, d.Unserved)
			}
		}
	}
	// What else is not served is demanded as before.
	nqa := map[string]any{"enable_nqa": true, "tunnel_local_address": "169.254.56.225/30"}
	_, ps := parseText(nil, "f", []byte(fileOf(huaweiHalf(t, "a", "198.51.100.1", "", "", nqa), huaweiHalf(t, "b", "198.51.100.2", "slave", "", nil))))
	if !ps.Refused() || !strings.Contains(lines(ps), "not served yet: health checks; to run") {
		t.Errorf("got\n%s", lines(ps))
	}
}
