package export

import (
	"fmt"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

const day = 24 * time.Hour

// alibaba writes the body of Alibaba's CreateVpnConnection.
func alibaba(w *writer, c *config.Connection) {
	b := newCloud(w, c, "alibaba")
	first := &c.Tunnels[0]
	cloud, customer := b.ends(first)
	m := mapping{}
	m.comment("The ids and the region are not known here: write your own.")
	m.add("RegionId", "region")
	vpn := entryOf(config.End{Address: cloud.Address, Host: cloud.Host, Any: cloud.Any})
	if len(c.Tunnels) > 1 {
		addresses := flow{}
		for i := range c.Tunnels {
			e, _ := b.ends(&c.Tunnels[i])
			addresses.add(roles[c.Tunnels[i].Role], e.Where())
		}
		vpn = flow{{"addresses", addresses}}
	}
	m.add("VpnGatewayId", gateway(&b.vpn, "vpn-"+c.Name, vpn))
	m.add("Name", c.Name)
	m.add("LocalSubnet", joined(cloud.Subnets))
	m.add("RemoteSubnet", joined(customer.Subnets))
	start := config.StartOnTraffic
	if c.Side == config.Cloud && first.Start == config.StartActive {
		start = config.StartActive
	}
	m.add("EffectImmediately", yesNo(start == config.StartActive))
	alive := dpd.Config{}
	if len(c.Tunnels) == 1 {
		m.add("CustomerGatewayId", gateway(&b.cust, "cgw-"+c.Name, customerOf(customer)))
		alive = b.alibabaTunnel(&m, first, "", "IkeConfig", "IpsecConfig", "BgpConfig")
		if h := first.Health; h != nil {
			f := flow{
				{"enable", yesNo(true)},
				{"dip", h.Target.String()},
				{"sip", h.Source.String()},
				{"interval", whole(int64(h.Interval / time.Second))},
				{"retry", whole(h.Retries)},
			}
			if h.Keep {
				f.add("Policy", "reserve_route")
			}
			m.add("HealthCheckConfig", f)
		}
	} else {
		var list []mapping
		bgp := false
		for i := range c.Tunnels {
			t := &c.Tunnels[i]
			_, customer := b.ends(t)
			one := mapping{{"Role", roles[t.Role]}}
			one.add("CustomerGatewayId", gateway(&b.cust, fmt.Sprintf("cgw-%s", t.Name), customerOf(customer)))
			alive = b.alibabaTunnel(&one, t, "Tunnel", "TunnelIkeConfig", "TunnelIpsecConfig", "TunnelBgpConfig")
			bgp = bgp || t.BGP != nil
			list = append(list, one)
		}
		m.add("EnableTunnelsBgp", yesNo(bgp))
		m.add("TunnelOptionsSpecification", list)
	}
	b.bodies = []body{{mapping: m, t: first, alive: alive, start: start, name: c.Name}}
	b.finish()
}

var roles = map[config.Role]string{config.Active: "master", config.Standby: "slave"}

// alibabaTunnel writes the parameters of one tunnel, and returns the dead peer detection
// that they mean.
func (b *cloud) alibabaTunnel(m *mapping, t *config.Tunnel, prefix, ikeKey, espKey, bgpKey string) dpd.Config {
	cloud, customer := b.ends(t)
	ikeTable, espTable := b.part("IkeConfig"), b.part("IpsecConfig")
	m.add("EnableDpd", yesNo(t.DPD.Interval > 0))
	m.add("EnableNatTraversal", yesNo(t.NATT))
	ike := mapping{}
	if b.Reveal && len(t.PSK) > 0 {
		ike.add("Psk", string(t.PSK))
	}
	ike.add("IkeVersion", map[int]string{0: "ikev2", 1: "ikev1", 2: "ikev2"}[t.IKEVersion])
	if t.Aggressive {
		ike.add("IkeMode", "aggressive")
	}
	ike.addWord("IkeEncAlg", b.algorithm(ikeTable, "IkeEncAlg", t.IKEProposals, ipsec.Encr, ""))
	ike.addWord("IkeAuthAlg", b.algorithm(ikeTable, "IkeAuthAlg", t.IKEProposals, hash(t.IKEProposals), ""))
	ike.addWord("IkePfs", b.algorithm(ikeTable, "IkePfs", t.IKEProposals, ipsec.KE, ""))
	lifetime(&ike, "IkeLifetime", t.IKELifetime, 0, day)
	if ofItsOwn(cloud) {
		ike.add("LocalId", identityText(cloud.ID))
	}
	if ofItsOwn(customer) {
		ike.add("RemoteId", identityText(customer.ID))
	}
	m.add(ikeKey, ike)
	esp := mapping{}
	esp.addWord("IpsecEncAlg", b.algorithm(espTable, "IpsecEncAlg", t.ESPProposals, ipsec.Encr, ""))
	esp.addWord("IpsecAuthAlg", b.algorithm(espTable, "IpsecAuthAlg", t.ESPProposals, ipsec.Integ, ""))
	esp.addWord("IpsecPfs", b.algorithm(espTable, "IpsecPfs", t.ESPProposals, ipsec.KE, "disabled"))
	lifetime(&esp, "IpsecLifetime", t.ESPLifetime.Time, 0, day)
	m.add(espKey, esp)
	if t.BGP != nil {
		bgp := flow{}
		if prefix == "" {
			bgp.add("EnableBgp", yesNo(true))
		}
		address, _ := b.inside(t)
		bgp.add("LocalAsn", whole(cloud.ASN))
		bgp.add("TunnelCidr", t.Inside.Masked().String())
		bgp.add("LocalBgpIp", address.String())
		if b.reveals(t.BGP) {
			bgp.add("AuthKey", string(t.BGP.AuthKey))
		}
		m.add(bgpKey, bgp)
	}
	if t.DPD.Interval > 0 {
		return dialect.Liveness
	}
	return dpd.Config{}
}

// addWord adds a word, if there is one.
func (m *mapping) addWord(key, word string) {
	if word != "" {
		m.add(key, word)
	}
}
