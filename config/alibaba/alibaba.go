package alibaba

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// build makes a Draft of a body. The body's "local" is the cloud, so the customer's side
// is the mirror image.
func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	dialect.TagsTwice(c, v.Field("Tags"), "Key")
	b := &builder{Check: c, v: v, env: env, Algorithms: dialect.Algorithms{Words: words}}
	b.d = &dialect.Draft{
		Connection: &config.Connection{Dialect: name, Side: env.Side},
		Name:       v.Field("Name"),
		PSKWant:    pskWant, PSKLimit: "Alibaba takes 1 to 100 characters",
	}
	if tunnels := v.Field("TunnelOptionsSpecification"); len(tunnels.Items()) > 0 {
		b.dual(tunnels)
	} else {
		b.single()
	}
	local, remote := v.Field("LocalSubnet").Prefixes(), v.Field("RemoteSubnet").Prefixes()
	b.all = config.CarriesAll(local, remote)
	b.d.Routing = config.RoutingOf(b.bgp, local, remote)
	if b.bgp && !b.all {
		c.Warn(v.Field("LocalSubnet"), dialect.Conflict, "with BGP both subnets should be 0.0.0.0/0: the tunnel carries nothing else that BGP learns")
	}
	b.notes()
	return b.d
}

// builder makes one Draft.
type builder struct {
	*dialect.Check
	dialect.Algorithms
	v   *dialect.Value
	env dialect.Env
	d   *dialect.Draft
	bgp bool
	all bool // the tunnels' selectors are 0.0.0.0/0
}

// options are the parameters of one tunnel.
type options struct {
	role            config.Role
	at              *dialect.Value // the value that has the options
	ike, ipsec, bgp *dialect.Value
	vpn             dialect.Gateway
	bgpOn           bool
}

func (b *builder) single() {
	v := b.v
	if e := v.Field("EnableTunnelsBgp"); e.Bool() {
		b.Fail(e, dialect.Conflict, "it is about the tunnels of a dual-tunnel connection, and there is no TunnelOptionsSpecification; for this one write EnableBgp in BgpConfig")
	}
	if cust := v.Field("CustomerGatewayId"); !cust.Given {
		b.Fail(cust, dialect.Missing, "CustomerGatewayId is missing")
	}
	o := options{
		role: config.Single, at: v,
		ike: v.Field("IkeConfig"), ipsec: v.Field("IpsecConfig"), bgp: v.Field("BgpConfig"),
		bgpOn: Enabled(v.Field("BgpConfig")),
	}
	o.vpn = b.gateway(v.Field("InternetIp"), func() (dialect.Gateway, bool) { return b.env.VPN.One(b.Check, v.Field("VpnGatewayId")) })
	b.tunnel(o)
	b.health(v.Field("HealthCheckConfig"), &b.d.Tunnels[0])
}

// Enabled reports whether a BgpConfig asks for BGP. DescribeVpnConnections' answer has no EnableBgp: there the
// block in the tunnel says it.
func Enabled(bgp *dialect.Value) bool {
	on := bgp.Field("EnableBgp")
	return on.Bool() || bgp.Answer() && !bgp.Names("EnableBgp") && bgp.Field("TunnelCidr").OK()
}

// gateway is the cloud's gateway as find looks it up. One that is unknown has the
// address ip, which answers tell.
func (b *builder) gateway(ip *dialect.Value, find func() (dialect.Gateway, bool)) dialect.Gateway {
	if _, known := b.env.VPN.Lookup(b.v.Field("VpnGatewayId")); !known && ip.OK() {
		return dialect.Gateway{Address: ip.Addr()}
	}
	g, _ := find()
	return g
}

// ofOneTunnel are the parameters of the single-tunnel mode.
var ofOneTunnel = []string{"CustomerGatewayId", "IkeConfig", "IpsecConfig", "HealthCheckConfig", "EnableDpd", "EnableNatTraversal", "BgpConfig"}

func (b *builder) dual(tunnels *dialect.Value) {
	v := b.v
	for _, name := range ofOneTunnel {
		if f := v.Field(name); f.Given && !v.Answer() {
			b.Warn(f, dialect.NoEffect, "it belongs to the single-tunnel mode, and has no effect beside TunnelOptionsSpecification")
		}
	}
	items := tunnels.Items()
	if len(items) != 2 {
		b.Fail(tunnels, dialect.Missing, "a dual-tunnel connection has two tunnels, an active one (master) and a standby one (slave); here is %d", len(items))
	}
	for i, role := range b.roles(items) {
		t := items[i]
		if !t.OK() {
			continue
		}
		o := options{
			role: config.Active, at: t,
			ike: t.Field("TunnelIkeConfig"), ipsec: t.Field("TunnelIpsecConfig"), bgp: t.Field("TunnelBgpConfig"),
			bgpOn: v.Field("EnableTunnelsBgp").Bool(),
		}
		if role == "slave" {
			o.role = config.Standby
		}
		o.vpn = b.gateway(t.Field("InternetIp"), func() (dialect.Gateway, bool) {
			return b.env.VPN.At(b.Check, v.Field("VpnGatewayId"), v.Field("VpnGatewayId"), role, dialect.TwoAddress)
		})
		if asn := o.bgp.Field("LocalAsn"); o.bgpOn && !asn.Given {
			b.Warn(asn, dialect.Missing, "LocalAsn must be given when EnableTunnelsBgp is true, by one sentence of the page; by another it is 45104, which holds here")
		}
		b.tunnel(o)
	}
}

// roles returns the tunnels' roles. A tunnel without a role gets the opposite of
// the other's; if both lack one, the first is the master.
func (b *builder) roles(items []*dialect.Value) []string {
	out := make([]string, len(items))
	for i, t := range items {
		if t.OK() {
			out[i] = t.Field("Role").Text()
		}
	}
	if len(out) == 1 && out[0] == "" {
		out[0] = "master"
	}
	other := map[string]string{"master": "slave", "slave": "master", "": "slave"}
	if len(out) == 2 {
		switch {
		case out[0] == "" && out[1] == "":
			out[0], out[1] = "master", "slave"
		case out[0] == "":
			out[0] = other[out[1]]
		case out[1] == "":
			out[1] = other[out[0]]
		case out[0] == out[1]:
			b.Fail(items[1].Field("Role"), dialect.Conflict, "both tunnels are %s; one is master and one slave", out[0])
		}
	}
	return out
}

// tunnel makes one tunnel.
func (b *builder) tunnel(o options) {
	v, side := b.v, b.env.Side
	id := o.at.Field("CustomerGatewayId")
	remoteID := o.ike.Field("RemoteId")
	_, err := netip.ParseAddr(remoteID.Text())
	cust, _ := b.env.Customer(b.Check, id, remoteID, remoteID.Text() != "" && err != nil)
	localID := o.ike.Field("LocalId")
	if o.role == config.Single {
		localID = b.oldID(o.ike)
	}
	cloud := dialect.EndOf(o.vpn, v.Field("LocalSubnet"), localID)
	customer := dialect.EndOf(cust, v.Field("RemoteSubnet"), remoteID)
	dialect.Apart(b.Check, id, cloud.Address, customer.Address)
	t := config.Tunnel{
		Role:     o.role,
		Children: config.Lists,
		NATT:     o.at.Field("EnableNatTraversal").Bool(),
		Encap:    config.EncapAuto,
		CopyDSCP: true,
		Start:    start(v, side),
		PSK:      o.ike.Field("Psk").Secret(),
	}
	if o.at.Field("EnableDpd").Bool() {
		t.DPD = dialect.Liveness
	}
	b.insideTunnel(o, id, &t, &cloud, &customer)
	t.Local, t.Remote = cloud, customer
	if side == config.Customer {
		t.Local, t.Remote = customer, cloud
	}
	b.algorithms(o, &t)

	choose := &dialect.Choice{What: dialect.ChoosePSK, Letters: pskLetters, Length: 16}
	if !o.ike.OK() { // an unreadable body may have a key
		choose = nil
	}
	b.d.Tunnels = append(b.d.Tunnels, t)
	b.d.Places = append(b.d.Places, dialect.Place{
		Gateway: v.Field("VpnGatewayId"), IKE: o.ike, ESP: o.ipsec, Subnets: v.Field("LocalSubnet"), Inside: o.bgp.Field("TunnelCidr"),
		IDs: [2]*dialect.Value{localID, remoteID},
		PSK: o.ike.Field("Psk"), ChoosePSK: choose, Answer: answer,
	})
}

// start is how this end starts. The body says it of the cloud's end: "false (default): starts IPsec
// negotiations when inbound traffic is detected."
func start(v *dialect.Value, side config.Side) config.Start {
	if side == config.Customer || v.Field("EffectImmediately").Bool() {
		return config.StartActive
	}
	return config.StartOnTraffic
}

// oldID is LocalId, under its present name or its older one.
func (b *builder) oldID(ike *dialect.Value) *dialect.Value {
	id, old := ike.Field("LocalId"), ike.Field("LocalIdIPsec")
	switch {
	case !old.OK():
		return id
	case id.OK() && id.Text() != old.Text():
		b.Fail(old, dialect.Conflict, "it is the name of LocalId on an older version of the API page, and LocalId says something else")
	default:
		b.Warn(old, dialect.Older, "it is the name of LocalId on an older version of the API page; write LocalId")
	}
	return old
}

// words are the page's words for algorithms, to our names. For hashes and the other
// ciphers the page has our names.
var words = map[string]string{
	"aes": "aes128", "disabled": "",
	"group1": "modp768", "group2": "modp1024", "group5": "modp1536", "group14": "modp2048", "group24": "modp2048s256",
}

var versions = map[string]int{"ikev1": 1, "ikev2": 2}

// algorithms sets proposals and lifetimes. The page has no parameter for extended
// sequence numbers, so they are not proposed.
func (b *builder) algorithms(o options, t *config.Tunnel) {
	ike, esp := o.ike, o.ipsec
	t.IKEVersion = versions[ike.Field("IkeVersion").Text()]
	b.IKEv1(b.Check, t, ike.Field("IkeMode"), ike.Field("IkeEncAlg"))
	if t.IKEVersion == 1 && len(t.Local.Subnets)*len(t.Remote.Subnets) > 1 {
		b.Warn(b.v.Field("LocalSubnet"), dialect.Conflict, "with ikev1 the cloud takes one CIDR block at each end: write ikev2, or 0.0.0.0/0, or a connection for each pair; this end asks for each pair by itself")
	}
	t.IKEProposals = b.Propose(b.Check, ipsec.ProtoIKE, ike.Field("IkeEncAlg"), ike.Field("IkeAuthAlg"), ike.Field("IkePfs"))
	t.ESPProposals = b.Propose(b.Check, ipsec.ProtoESP, esp.Field("IpsecEncAlg"), esp.Field("IpsecAuthAlg"), esp.Field("IpsecPfs"))
	t.IKELifetime = ike.Field("IkeLifetime").Duration()
	t.ESPLifetime.Time = esp.Field("IpsecLifetime").Duration()
	dialect.WarnEndless(b.Check, ike.Field("IkeLifetime"), esp.Field("IpsecLifetime"))
}

// insideTunnel sets the addresses inside the tunnel and the BGP session between them.
func (b *builder) insideTunnel(o options, id *dialect.Value, t *config.Tunnel, cloud, customer *config.End) {
	cidr, ip := o.bgp.Field("TunnelCidr"), o.bgp.Field("LocalBgpIp")
	p := cidr.Prefix()
	low, high := config.Hosts(p)
	switch {
	case !p.IsValid():
	case p.Bits() != 30 || !dialect.LinkLocal.Contains(p.Addr()):
		b.Fail(cidr, dialect.Illegal, "it must be a /30 in %v", dialect.LinkLocal)
	case reserved(p):
		b.Fail(cidr, dialect.Illegal, "the cloud keeps this block for itself")
	case ip.OK() && ip.Addr() != low && ip.Addr() != high:
		b.Fail(ip, dialect.Illegal, "it must be an address of a host in TunnelCidr, %v or %v", low, high)
	}
	if !o.bgpOn {
		return
	}
	b.bgp = true
	asn := o.bgp.Field("LocalAsn")
	t.BGP = &config.BGP{AuthKey: o.bgp.Field("AuthKey").Secret()}
	cloud.ASN = uint32(asn.Int())
	switch peer := o.bgp.Field("PeerAsn"); {
	case !peer.OK():
	case customer.ASN == 0:
		customer.ASN = uint32(peer.Int())
	case customer.ASN != uint32(peer.Int()):
		b.Warn(peer, dialect.Conflict, "%s has asn: %d for this customer gateway, which holds here", b.env.Cust.Section, customer.ASN)
	}
	if customer.ASN == cloud.ASN {
		b.Warn(id, dialect.Conflict, "the customer gateway has the AS number of the cloud's end, %d, so the session is iBGP, of which the cloud's page says nothing", cloud.ASN)
	}
	if customer.ASN == 0 && customer.Known() {
		b.Fail(id, noASN, "with BGP the customer gateway needs an AS number: write in %s  %s: {address: %v, asn: N}", b.env.Cust.Section, id.Text(), customer.Where())
	}
	switch {
	case !cidr.Given:
		b.Fail(cidr, dialect.Missing, "TunnelCidr is needed when BGP is enabled")
	case !p.IsValid():
	case ip.OK():
		t.SetInside(p, ip.Addr(), b.env.Side)
	case !ip.Given:
		if b.env.Side == config.Customer {
			b.Chosen(ip, b.d, dialect.Choice{}, answer)
		}
		t.SetInside(p, low, b.env.Side) // chosen by the cloud's end; on the customer's side a guess
	}
}

// reserved reports whether the cloud keeps p for itself: 169.254.0.0/30 to
// 169.254.6.0/30, and 169.254.169.252/30.
func reserved(p netip.Prefix) bool {
	a := p.Addr().As4()
	return a[2] <= 6 && a[3] == 0 || a[2] == 169 && a[3] == 252
}

// health sets the cloud's health check: pings from its side to the customer's.
func (b *builder) health(h *dialect.Value, t *config.Tunnel) {
	dip, sip := h.Field("dip"), h.Field("sip")
	if !h.Field("enable").Bool() {
		return
	}
	for _, a := range []*dialect.Value{dip, sip} {
		if !a.Given {
			b.Fail(a, dialect.Missing, "%s is needed when health checks are enabled", a.Row.Name)
		}
	}
	t.Health = &config.Health{
		Source: sip.Addr(), Target: dip.Addr(),
		Interval: time.Duration(h.Field("interval").Int()) * time.Second,
		Retries:  int(h.Field("retry").Int()),
		Ours:     b.env.Side == config.Cloud,
		Keep:     h.Field("Policy").Text() == "reserve_route",
	}
	within := func(a, subnets *dialect.Value) {
		ps := b.v.Field(subnets.Row.Name).Prefixes()
		for _, p := range ps {
			if p.Contains(a.Addr()) {
				return
			}
		}
		if a.OK() && len(ps) > 0 {
			b.Warn(a, dialect.Conflict, "it is not in %s, so the tunnel does not carry these pings", subnets.Row.Name)
		}
	}
	within(dip, b.v.Field("RemoteSubnet"))
	within(sip, b.v.Field("LocalSubnet"))
}

// notes collects what in the body has no effect here.
func (b *builder) notes() {
	v := b.v
	note := func(format string, args ...any) { b.d.Notes = append(b.d.Notes, fmt.Sprintf(format, args...)) }
	if dialect.Member(v.Node, "VpnConnectionId") == downloaded {
		note("this answer of DownloadVpnConnectionConfig is seen from the customer's gateway: its Local is the customer's end, and its Remote the cloud's")
	}
	note("AutoConfigRoute (%v) is about the cloud's own route table and has no effect here", v.Field("AutoConfigRoute").Bool())
	if b.env.Side == config.Cloud && !v.Field("EffectImmediately").Bool() {
		note("EffectImmediately false: a packet brings the tunnel up, or the peer; to only answer, write beside the body  start: passive")
	}
	note("the cloud's gateway neither fragments nor reassembles: what the tunnel's MTU does not hold is lost, so let path MTU discovery through")
	switch {
	case !b.all || len(b.d.Tunnels) == 0:
	case b.bgp:
		note("with BGP what it learns goes into the tunnel; routes: beside the body adds what it does not tell")
	default:
		note("with 0.0.0.0/0 nothing is routed into the tunnel by itself: what is to go into it stands in routes: beside the body")
	}
	var cloudOnly []string
	for _, name := range []string{"Action", "RegionId", "ClientToken", "Tags"} {
		if v.Field(name).Given {
			cloudOnly = append(cloudOnly, name)
		}
	}
	if len(cloudOnly) > 0 {
		note("%s: of meaning to the cloud only", strings.Join(cloudOnly, ", "))
	}
	for _, p := range b.d.Places {
		if mode := p.IKE.Field("IkeMode"); mode.Given && p.IKE.Field("IkeVersion").Text() == "ikev2" {
			note("IkeMode belongs to IKEv1 and has no effect with ikev2")
			break
		}
	}
	for _, name := range []string{"HealthCheckConfig", "BgpConfig"} {
		off := map[string]string{"HealthCheckConfig": "enable", "BgpConfig": "EnableBgp"}[name]
		if f := v.Field(name); f.Given && f.OK() && !f.Field(off).Bool() && len(b.d.Tunnels) == 1 && !b.bgp {
			note("%s has no effect while its %s is false", name, off)
		}
	}
}
