package export

import (
	"time"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// tencent writes bodies of Tencent's CreateVpnConnection, one for each tunnel.
func tencent(w *writer, c *config.Connection) {
	b := newCloud(w, c, "tencent")
	for i := range c.Tunnels {
		b.tencent(&c.Tunnels[i])
	}
	b.finish()
}

func (b *cloud) tencent(t *config.Tunnel) {
	cloud, customer := b.ends(t)
	m := mapping{}
	name := []rune(t.Name)
	m.add("VpnConnectionName", string(name[:min(60, len(name))]))
	m.comment("The ids are not known here: write your own.")
	m.add("VpnGatewayId", gateway(&b.vpn, "vpngw-"+t.Name, entryOf(cloud)))
	m.add("CustomerGatewayId", gateway(&b.cust, "cgw-"+t.Name, customerOf(customer)))
	if b.Reveal && len(t.PSK) > 0 {
		m.add("PreShareKey", string(t.PSK))
	}
	b.tencentTraffic(&m, t)
	if b.c.Side == config.Cloud && t.Start != config.StartActive {
		m.add("NegotiationType", map[config.Start]string{config.StartPassive: "passive", config.StartOnTraffic: "flowTrigger"}[t.Start])
	}
	alive := dpd.Config{}
	if d := t.DPD; d.Interval > 0 && d.Timeout%time.Second == 0 && d.Timeout > 0 {
		m.add("DpdEnable", plain("1"))
		lifetime(&m, "DpdTimeout", d.Timeout, time.Second, time.Hour)
		alive = dpd.Config{Interval: 10 * time.Second, Timeout: d.Timeout}
		if b.c.Side == config.Cloud && d.Clear {
			m.add("DpdAction", "clear")
			alive.Clear = true
		}
	}

	table := b.part("IKEOptionsSpecification")
	ike := mapping{{"IKEVersion", map[int]string{0: "IKEV2", 1: "IKEV1", 2: "IKEV2"}[t.IKEVersion]}}
	if t.Aggressive {
		ike.add("ExchangeMode", "AGGRESSIVE")
	}
	ike.addWord("PropoEncryAlgorithm", b.algorithm(table, "PropoEncryAlgorithm", t.IKEProposals, ipsec.Encr, ""))
	ike.addWord("PropoAuthenAlgorithm", b.algorithm(table, "PropoAuthenAlgorithm", t.IKEProposals, hash(t.IKEProposals), ""))
	ike.addWord("DhGroupName", b.algorithm(table, "DhGroupName", t.IKEProposals, ipsec.KE, ""))
	lifetime(&ike, "IKESaLifetimeSeconds", t.IKELifetime, time.Minute, 7*day)
	tencentID(&ike, "Local", cloud)
	tencentID(&ike, "Remote", customer)
	m.add("IKEOptionsSpecification", ike)

	table = b.part("IPSECOptionsSpecification")
	esp := mapping{}
	esp.addWord("EncryptAlgorithm", b.algorithm(table, "EncryptAlgorithm", t.ESPProposals, ipsec.Encr, ""))
	esp.addWord("IntegrityAlgorithm", b.algorithm(table, "IntegrityAlgorithm", t.ESPProposals, ipsec.Integ, ""))
	esp.addWord("PfsDhGroup", b.algorithm(table, "PfsDhGroup", t.ESPProposals, ipsec.KE, "NULL"))
	lifetime(&esp, "IPSECSaLifetimeSeconds", t.ESPLifetime.Time, 3*time.Minute, 7*day)
	if kb := t.ESPLifetime.Bytes >> 10; kb<<10 == t.ESPLifetime.Bytes && kb >= 2560 && kb <= 4294967295 {
		esp.add("IPSECSaLifetimeTraffic", whole(kb))
	}
	m.add("IPSECOptionsSpecification", esp)
	b.bodies = append(b.bodies, body{mapping: m, t: t, alive: alive, start: t.Start, name: t.Name})
}

func tencentID(m *mapping, end string, e config.End) {
	if !ofItsOwn(e) {
		return
	}
	switch e.ID.Type {
	case ipsec.IDFQDN:
		m.add(end+"Identity", "FQDN")
		m.add(end+"FqdnName", e.ID.Data)
	case ipsec.IDIPv4, ipsec.IDIPv6:
		m.add(end+"Address", e.ID.String())
	}
}

// tencentTraffic writes the route type and its parameters, seen from the cloud.
func (b *cloud) tencentTraffic(m *mapping, t *config.Tunnel) {
	cloud, customer := b.ends(t)
	local, remote := b.inside(t)
	switch {
	case !config.CarriesAll(cloud.Subnets, customer.Subnets):
		m.add("RouteType", "Policy")
		var list []mapping
		for _, r := range b.rules(t) {
			list = append(list, mapping{{"LocalCidrBlock", r.local}, {"RemoteCidrBlock", r.remotes}})
		}
		m.add("SecurityPolicyDatabases", list)
	case t.BGP != nil:
		m.add("RouteType", "Bgp")
		m.add("BgpConfig", flow{
			{"TunnelCidr", t.Inside.Masked().String()}, {"LocalBgpIp", local.String()}, {"RemoteBgpIp", remote.String()},
		})
	default:
		m.add("RouteType", "StaticRoute")
		if b.c.Side == config.Cloud && len(t.Routes) == 1 {
			m.add("Route", flow{{"DestinationCidrBlock", t.Routes[0].String()}})
		}
	}
	if h := t.Health; h != nil {
		m.add("EnableHealthCheck", yesNo(true))
		if h.Source.IsValid() {
			m.add("HealthCheckLocalIp", h.Source.String())
		}
		if h.Target.IsValid() {
			m.add("HealthCheckRemoteIp", h.Target.String())
		}
		m.add("HealthCheckConfig", flow{
			{"ProbeInterval", whole(h.Interval.Milliseconds())},
			{"ProbeThreshold", whole(h.Retries)},
			{"ProbeTimeout", whole(h.Timeout.Milliseconds())},
		})
	}
}
