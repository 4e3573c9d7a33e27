package alibaba

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// The page gives no numbers for dead peer detection. These find a dead peer
// within a minute and ask only one that is silent.
var liveness = dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}

// build makes a connection of a body. The body's "local" is the cloud, so the
// customer's side is the mirror of it.
func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	refuse(c, v)
	tags(c, v.Field("Tags"))
	tunnelAddresses(c, v.Field("BgpConfig"))

	ike := v.Field("IkeConfig")
	cloud := end(c, v.Field("VpnGatewayId"), env.VPN, v.Field("LocalSubnet"), ike.Field("LocalId"))
	customer := end(c, v.Field("CustomerGatewayId"), env.Cust, v.Field("RemoteSubnet"), ike.Field("RemoteId"))
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
		t.DPD = liveness
	}
	algorithms(c, v, &t)

	psk := ike.Field("Psk")
	t.PSK = psk.Secret()
	missing := noPSK[env.Side]
	if !ike.OK() { // it cannot be read, so nobody knows
		missing = ""
	}
	return &dialect.Draft{
		Connection: &dialect.Connection{Dialect: name, Side: env.Side, Tunnels: []dialect.Tunnel{t}, Notes: notes(v)},
		Name:       v.Field("Name"),
		IKE:        ike,
		ESP:        v.Field("IpsecConfig"),
		Subnets:    v.Field("LocalSubnet"),
		PSK:        psk,
		PSKWant:    pskWant,
		NoPSK:      missing,
	}
}

var noPSK = map[dialect.Side]string{
	dialect.Customer: "the body has no Psk, so the cloud chose one: copy it from DescribeVpnConnection's answer into IkeConfig.Psk, or into a file named by psk_file beside the body",
	dialect.Cloud:    "the body has no Psk: write one into IkeConfig.Psk, or into a file named by psk_file beside the body",
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

// end is one end of the connection. Its identity is its address unless one is given.
func end(c *dialect.Check, gateway *dialect.Value, known dialect.Gateways, subnets, id *dialect.Value) dialect.End {
	g, _ := known.Find(c, gateway)
	e := dialect.End{Address: g.Address, ASN: g.ASN, Subnets: subnets.Prefixes()}
	switch {
	case id.Text() != "":
		e.ID = ipsec.ParseIdentity(id.Text())
	case g.Address.IsValid():
		e.ID = ipsec.IdentityOf(g.Address)
	}
	return e
}

// What the page's words mean; the words of ciphers and hashes that are not here are ours too.
var (
	versions = map[string]int{"ikev1": 1, "ikev2": 2}
	ciphers  = map[string]string{"aes": "aes128"}
	groups   = map[string]string{"group1": "modp768", "group2": "modp1024", "group5": "modp1536", "group14": "modp2048", "group24": "modp2048s256"}
)

// algorithms sets proposals and lifetimes: the cloud wants exactly one value of
// each kind. The hash is that of the PRF too. Extended sequence numbers have no
// parameter, and are not proposed.
func algorithms(c *dialect.Check, v *dialect.Value, t *dialect.Tunnel) {
	var weak dialect.Weaknesses
	ike, esp := v.Field("IkeConfig"), v.Field("IpsecConfig")
	propose := func(proto ipsec.Protocol, parts ...*dialect.Value) []ipsec.Proposal {
		var names []string
		for _, part := range parts {
			word := part.Text()
			name := ciphers[word] + groups[word]
			if name == "" {
				name = word
			}
			if word == "disabled" {
				continue
			}
			a := ipsec.ByName(name)
			if a == nil { // not valid, and said so already
				return nil
			}
			weak.Tell(c, part, a.Transform)
			names = append(names, name)
		}
		p, err := ipsec.ParseProposal(proto, strings.Join(names, "-"))
		if err != nil {
			return nil
		}
		return []ipsec.Proposal{p}
	}
	t.IKEVersion = versions[ike.Field("IkeVersion").Text()]
	if t.IKEVersion == 1 {
		t.Aggressive = ike.Field("IkeMode").Text() == "aggressive"
		dialect.WarnAggressive(c, ike.Field("IkeMode"), t.Aggressive)
		if len(t.Local.Subnets)*len(t.Remote.Subnets) > 1 {
			c.Warn(v.Field("LocalSubnet"), dialect.Conflict, "with ikev1 the cloud takes one CIDR block at each end: write ikev2, or 0.0.0.0/0, or a connection for each pair; this end asks for each pair by itself")
		}
	}
	t.IKEProposals = propose(ipsec.ProtoIKE, ike.Field("IkeEncAlg"), ike.Field("IkeAuthAlg"), ike.Field("IkePfs"))
	t.ESPProposals = propose(ipsec.ProtoESP, esp.Field("IpsecEncAlg"), esp.Field("IpsecAuthAlg"), esp.Field("IpsecPfs"))
	t.IKELifetime = ike.Field("IkeLifetime").Duration()
	t.ESPLifetime.Time = esp.Field("IpsecLifetime").Duration()
	for _, l := range []*dialect.Value{ike.Field("IkeLifetime"), esp.Field("IpsecLifetime")} {
		if l.OK() && l.Duration() == 0 {
			c.Warn(l, dialect.Weak, "0 means that the SA is never rekeyed because of its age")
		}
	}
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

// tags checks what is between the tags; the table checks each.
func tags(c *dialect.Check, v *dialect.Value) {
	seen := map[string]bool{}
	for _, t := range v.Items() {
		key := t.Field("Key")
		if key.OK() && seen[key.Text()] {
			c.Fail(key, dialect.Twice, "the tag key %q stands here twice", key.Text())
		}
		seen[key.Text()] = true
	}
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
