package alibaba

import (
	"fmt"
	"net/netip"
	"strings"

	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// build makes a connection of a body. The body's "local" is the cloud, so the
// customer's side is the mirror of it.
func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	refuse(c, v)
	dialect.TagsTwice(c, v.Field("Tags"), "Key")
	tunnelAddresses(c, v.Field("BgpConfig"))

	ike := v.Field("IkeConfig")
	vpn, _ := env.VPN.One(c, v.Field("VpnGatewayId"))
	cust, _ := env.Cust.One(c, v.Field("CustomerGatewayId"))
	cloud := dialect.EndOf(vpn, v.Field("LocalSubnet"), ike.Field("LocalId"))
	customer := dialect.EndOf(cust, v.Field("RemoteSubnet"), ike.Field("RemoteId"))
	if cloud.Address.IsValid() && cloud.Address == customer.Address {
		c.Fail(v.Field("CustomerGatewayId"), dialect.Conflict, "the customer gateway and the VPN gateway have the same address, %v", cloud.Address)
	}

	t := dialect.Tunnel{
		Role:     dialect.Single,
		Local:    cloud,
		Remote:   customer,
		Children: dialect.Lists,
		NATT:     v.Field("EnableNatTraversal").Bool(),
		Encap:    dialect.EncapAuto,
		CopyDSCP: true,
		Initiate: v.Field("EffectImmediately").Bool(),
	}
	if env.Side == dialect.Customer {
		t.Local, t.Remote, t.Initiate = t.Remote, t.Local, true
	}
	if v.Field("EnableDpd").Bool() {
		t.DPD = dialect.Liveness
	}
	algorithms(c, v, &t)

	psk := ike.Field("Psk")
	t.PSK = psk.Secret()
	choose := &dialect.Choice{What: dialect.ChoosePSK, Letters: pskLetters, Length: 16}
	if !ike.OK() { // it cannot be read, so nobody knows
		choose = nil
	}
	return &dialect.Draft{
		Connection: &dialect.Connection{Dialect: name, Side: env.Side, Tunnels: []dialect.Tunnel{t}, Notes: notes(v)},
		Name:       v.Field("Name"),
		Places: []dialect.Place{{
			IKE:       ike,
			ESP:       v.Field("IpsecConfig"),
			Subnets:   v.Field("LocalSubnet"),
			PSK:       psk,
			ChoosePSK: choose,
			Answer:    answer,
		}},
		PSKWant: pskWant,
	}
}

// refuse names what the body asks for and vpngw does not serve yet.
func refuse(c *dialect.Check, v *dialect.Value) {
	if h := v.Field("HealthCheckConfig").Field("enable"); h.Bool() {
		c.Fail(h, dialect.Unsupported, "health checks are not served yet; they can stand here when enable is false")
	}
	if b := v.Field("BgpConfig").Field("EnableBgp"); b.Bool() {
		c.Fail(b, dialect.Unsupported, "BGP is not served yet; it can stand here when EnableBgp is false")
	}
}

// words are the page's for our names of algorithms; those of hashes and of other ciphers are ours too.
var words = map[string]string{
	"aes": "aes128", "disabled": "",
	"group1": "modp768", "group2": "modp1024", "group5": "modp1536", "group14": "modp2048", "group24": "modp2048s256",
}

var versions = map[string]int{"ikev1": 1, "ikev2": 2}

// algorithms sets proposals and lifetimes. Extended sequence numbers have no
// parameter, and are not proposed.
func algorithms(c *dialect.Check, v *dialect.Value, t *dialect.Tunnel) {
	ike, esp := v.Field("IkeConfig"), v.Field("IpsecConfig")
	t.IKEVersion = versions[ike.Field("IkeVersion").Text()]
	if t.IKEVersion == 1 {
		t.Aggressive = ike.Field("IkeMode").Text() == "aggressive"
		dialect.WarnAggressive(c, ike.Field("IkeMode"), t.Aggressive)
		if len(t.Local.Subnets)*len(t.Remote.Subnets) > 1 {
			c.Warn(v.Field("LocalSubnet"), dialect.Conflict, "with ikev1 the cloud takes one CIDR block at each end: write ikev2, or 0.0.0.0/0, or a connection for each pair; this end asks for each pair by itself")
		}
	}
	a := dialect.Algorithms{Words: words}
	t.IKEProposals = a.Propose(c, ipsec.ProtoIKE, ike.Field("IkeEncAlg"), ike.Field("IkeAuthAlg"), ike.Field("IkePfs"))
	t.ESPProposals = a.Propose(c, ipsec.ProtoESP, esp.Field("IpsecEncAlg"), esp.Field("IpsecAuthAlg"), esp.Field("IpsecPfs"))
	t.IKELifetime = ike.Field("IkeLifetime").Duration()
	t.ESPLifetime.Time = esp.Field("IpsecLifetime").Duration()
	dialect.WarnEndless(c, ike.Field("IkeLifetime"), esp.Field("IpsecLifetime"))
}

// notes say what in the body has no effect here.
func notes(v *dialect.Value) []string {
	var cloudOnly []string
	for _, name := range []string{"RegionId", "ClientToken", "Tags"} {
		if v.Field(name).Given {
			cloudOnly = append(cloudOnly, name)
		}
	}
	out := []string{fmt.Sprintf("AutoConfigRoute (%v) is about the cloud's own route table and has no effect here", v.Field("AutoConfigRoute").Bool())}
	if len(cloudOnly) > 0 {
		out = append(out, strings.Join(cloudOnly, ", ")+": of meaning to the cloud only")
	}
	ike := v.Field("IkeConfig")
	if ike.Field("IkeMode").Given && ike.Field("IkeVersion").Text() == "ikev2" {
		out = append(out, "IkeMode belongs to IKEv1 and has no effect with ikev2")
	}
	return out
}

// tunnelAddresses checks what is between TunnelCidr and LocalBgpIp.
func tunnelAddresses(c *dialect.Check, bgp *dialect.Value) {
	cidr, ip := bgp.Field("TunnelCidr"), bgp.Field("LocalBgpIp")
	if p := cidr.Prefix(); p.IsValid() {
		switch {
		case p.Bits() != 30 || !linkLocal.Contains(p.Addr()):
			c.Fail(cidr, dialect.Illegal, "it must be a /30 in %v", linkLocal)
		case reserved(p):
			c.Fail(cidr, dialect.Illegal, "the cloud keeps this block for itself")
		case ip.OK() && !p.Contains(ip.Addr()):
			c.Fail(ip, dialect.Illegal, "it must be in TunnelCidr, %v", p)
		}
	}
}

var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// reserved: 169.254.0.0/30 to 169.254.6.0/30, and 169.254.169.252/30.
func reserved(p netip.Prefix) bool {
	a := p.Addr().As4()
	return a[2] <= 6 && a[3] == 0 || a[2] == 169 && a[3] == 252
}
