package export

import (
	"net/netip"
	"strings"
	"time"
	"unicode"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// huawei writes bodies of Huawei's CreateVpnConnection, one for each tunnel.
func huawei(w *writer, c *config.Connection) {
	b := newCloud(w, c, "huawei")
	for i := range c.Tunnels {
		b.huawei(&c.Tunnels[i])
	}
	b.finish()
}

// asked is how many times this cloud asks a silent peer.
const asked = 3

// huaweiName reports whether Huawei takes a name: 1 to 64 letters of any script, digits, and the signs "-", "_" and ".".
func huaweiName(name string) bool {
	n := 0
	for _, r := range name {
		if n++; !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Nd, r) && !strings.ContainsRune("-_.", r) {
			return false
		}
	}
	return 1 <= n && n <= 64
}

func (b *cloud) huawei(t *config.Tunnel) {
	cloud, customer := b.ends(t)
	m := mapping{}
	if huaweiName(t.Name) {
		m.add("name", t.Name)
	}
	m.comment("The ids are not known here: write your own.")
	vpn := flow{{"addresses", flow{{"eip-" + t.Name, cloud.Address.String()}}}}
	if cloud.Host != "" || cloud.Any {
		vpn = flow{{"address", cloud.Where()}}
	}
	if cloud.ASN > 0 {
		vpn.add("asn", whole(cloud.ASN))
	}
	m.add("vgw_id", gateway(&b.vpn, "vgw-"+t.Name, vpn))
	if cloud.Host == "" && !cloud.Any {
		m.add("vgw_ip", "eip-"+t.Name)
	}
	m.add("cgw_id", gateway(&b.cust, "cgw-"+t.Name, customerOf(customer)))
	b.huaweiTraffic(&m, t)
	if b.Reveal && len(t.PSK) > 0 {
		m.add("psk", string(t.PSK))
	}
	if t.Role == config.Standby {
		m.add("ha_role", "slave")
	}

	table := b.part("ikepolicy")
	ike := mapping{{"ike_version", map[int]string{0: "v2", 1: "v1", 2: "v2"}[t.IKEVersion]}}
	if t.Aggressive {
		ike.add("phase1_negotiation_mode", "aggressive")
	}
	ike.addWord("encryption_algorithm", b.algorithm(table, "encryption_algorithm", t.IKEProposals, ipsec.Encr, ""))
	ike.addWord("authentication_algorithm", b.algorithm(table, "authentication_algorithm", t.IKEProposals, hash(t.IKEProposals), ""))
	ike.addWord("dh_group", b.algorithm(table, "dh_group", t.IKEProposals, ipsec.KE, ""))
	lifetime(&ike, "lifetime_seconds", t.IKELifetime, time.Minute, 7*day)
	huaweiID(&ike, "local_id", cloud)
	huaweiID(&ike, "peer_id", customer)
	if customer.ID == ipsec.AnyIdentity {
		ike.add("peer_id_type", "any")
	}
	alive := dpd.Config{Interval: 30 * time.Second, Timeout: asked * 15 * time.Second, Order: dpd.HashNotify}
	if d := t.DPD; d.Interval >= 10*time.Second && d.Interval%time.Second == 0 && d.Timeout%(asked*time.Second) == 0 && d.Timeout >= asked*2*time.Second && d.Timeout <= asked*time.Minute && d.Order != dpd.Mirror {
		ike.add("dpd", flow{
			{"timeout", whole(int64(d.Timeout / time.Second / asked))},
			{"interval", whole(int64(d.Interval / time.Second))},
			{"msg", d.Order.String()},
		})
		alive = d
		alive.Clear = false // the body has no word for it
	}
	m.add("ikepolicy", ike)

	table = b.part("ipsecpolicy")
	esp := mapping{}
	esp.addWord("encryption_algorithm", b.algorithm(table, "encryption_algorithm", t.ESPProposals, ipsec.Encr, ""))
	esp.addWord("authentication_algorithm", b.algorithm(table, "authentication_algorithm", t.ESPProposals, ipsec.Integ, ""))
	esp.addWord("pfs", b.algorithm(table, "pfs", t.ESPProposals, ipsec.KE, "disable"))
	lifetime(&esp, "lifetime_seconds", t.ESPLifetime.Time, 30*time.Second, 7*day)
	m.add("ipsecpolicy", esp)
	b.bodies = append(b.bodies, body{mapping: m, t: t, alive: alive, name: t.Name})
}

func huaweiID(m *mapping, key string, e config.End) {
	if !ofItsOwn(e) {
		return
	}
	switch e.ID.Type {
	case ipsec.IDFQDN:
		m.add(key+"_type", "fqdn")
		m.add(key, e.ID.Data)
	case ipsec.IDIPv4, ipsec.IDIPv6:
		m.add(key, e.ID.String())
	}
}

// huaweiTraffic writes the style and its parameters, seen from the cloud.
func (b *cloud) huaweiTraffic(m *mapping, t *config.Tunnel) {
	cloud, customer := b.ends(t)
	if !config.CarriesAll(cloud.Subnets, customer.Subnets) {
		m.add("style", "policy")
		var rules []mapping
		for _, p := range b.rules(t) {
			rules = append(rules, mapping{{"source", p.local}, {"destination", p.remotes}})
		}
		m.add("policy_rules", rules)
		return
	}
	style := "static"
	if t.BGP != nil {
		style = "bgp"
	}
	m.add("style", style)
	switch {
	case b.c.Side == config.Cloud && len(t.Routes) > 0:
		m.add("peer_subnets", prefixTexts(t.Routes))
	case style == "static":
		m.comment("What the cloud routes into the tunnel is not known here: write the customer's networks.")
		m.add("peer_subnets", []string{"192.0.2.0/24"})
	}
	if inside, peer := b.inside(t); inside.IsValid() && peer.IsValid() {
		m.add("tunnel_local_address", netip.PrefixFrom(inside, t.Inside.Bits()).String())
		m.add("tunnel_peer_address", netip.PrefixFrom(peer, t.Inside.Bits()).String())
	}
	if t.Health != nil {
		m.add("enable_nqa", yesNo(true))
	}
}

// rule is a network of the cloud with the customer's networks that it is paired with.
type rule struct {
	local   string
	remotes []string
}

// rules are the pairs of a tunnel, seen from the cloud.
func (b *cloud) rules(t *config.Tunnel) []rule {
	var out []rule
	at := map[string]int{}
	for _, p := range t.EachPair() {
		local, remote := p.Local.String(), p.Remote.String()
		if b.c.Side == config.Customer {
			local, remote = remote, local
		}
		i, ok := at[local]
		if !ok {
			i = len(out)
			at[local] = i
			out = append(out, rule{local: local})
		}
		out[i].remotes = append(out[i].remotes, remote)
	}
	return out
}
