package begin

import (
	"fmt"
	"net/netip"
	"slices"

	"vpngw/config"
	"vpngw/config/alibaba"
	"vpngw/config/dialect"
)

// Kind is what is needed.
type Kind int

const (
	Body         Kind = iota
	Address           // of a gateway
	TwoAddresses      // of the master and the slave of a gateway
	ASN               // of the customer's gateway
	PSK
	Routes
	LocalEnd
	RemoteEnd
	LocalNets
	RemoteNets
)

// Need is something that neither the body nor an answer says.
type Need struct {
	Kind  Kind
	ID    string // of the gateway
	Cloud bool   // the gateway is the cloud's
	Count int    // of pre-shared keys
	Flag  string // the flag that says it
}

// Needs are what is missing, in the order in which people know it.
func (a *Answers) Needs() []Need {
	if a.Native != nil {
		return a.ofNative()
	}
	if len(a.Body) == 0 {
		return []Need{{Kind: Body, Flag: "--body FILE (or --native)"}}
	}
	v, _ := a.body()
	if !v.OK() {
		return nil // Check says why
	}
	name := a.dialect().Name
	var out []Need
	add := func(n Need) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	keys, routes := 0, false
	for _, body := range v.Bodies() {
		if !body.OK() {
			continue // Check says why
		}
		o := open(name, body)
		for _, g := range o.gateways {
			a.ofGateway(g, add)
		}
		keys += o.keys
		routes = routes || o.routes && (a.Side == config.Customer || !o.behind)
	}
	if keys > 0 && len(a.PSKs) == 0 && len(a.PSKFiles) == 0 {
		add(Need{Kind: PSK, Count: keys, Flag: "--psk-file FILE (or --psk-stdin)"})
	}
	if routes && a.Routes == nil {
		add(Need{Kind: Routes, Flag: "--route NETWORK"})
	}
	return out
}

// ofGateway adds what is missing of a gateway.
func (a *Answers) ofGateway(g gateway, add func(Need)) {
	section, flag := a.Customer, "--customer-gateway"
	if g.cloud {
		section, flag = a.Gateways, "--gateway"
	}
	have := section[g.id]
	_, err := netip.ParseAddr(g.id)
	switch {
	case g.id == "" || g.known || g.two && have != nil && len(have.Addresses) == 2:
	case g.two:
		add(Need{Kind: TwoAddresses, ID: g.id, Cloud: true, Flag: fmt.Sprintf("%s %s=MASTER,SLAVE", flag, g.id)})
	case err != nil && (have == nil || len(have.Addresses) != 1 && have.Host == ""):
		add(Need{Kind: Address, ID: g.id, Cloud: g.cloud, Flag: fmt.Sprintf("%s %s=ADDRESS", flag, g.id)})
	}
	if g.asn && (have == nil || have.ASN == "") {
		add(Need{Kind: ASN, ID: g.id, Flag: fmt.Sprintf("--asn %s=NUMBER", g.id)})
	}
}

func (a *Answers) ofNative() []Need {
	var out []Need
	n := a.Native
	add := func(missing bool, k Kind, flag string) {
		if missing {
			out = append(out, Need{Kind: k, Count: 1, Flag: flag})
		}
	}
	add(!n.Local.IsValid(), LocalEnd, "--local ADDRESS")
	add(!n.Remote.IsValid() && n.RemoteHost == "", RemoteEnd, "--remote ADDRESS")
	add(len(n.LocalNets) == 0, LocalNets, "--local-network NETWORK")
	add(len(n.RemoteNets) == 0, RemoteNets, "--remote-network NETWORK")
	add(len(a.PSKs) == 0 && len(a.PSKFiles) == 0, PSK, "--psk-file FILE (or --psk-stdin)")
	return out
}

// Fill gives an entry to what has an AS number and an address in place of an id.
func (a *Answers) Fill() {
	for _, section := range []map[string]*Gateway{a.Gateways, a.Customer} {
		for id, g := range section {
			if address, err := netip.ParseAddr(id); err == nil && len(g.Addresses) == 0 && g.Host == "" {
				g.Addresses = []netip.Addr{address}
			}
		}
	}
}

// gateway is a gateway that a body names.
type gateway struct {
	id    string
	cloud bool
	two   bool // it has a master's and a slave's address
	known bool // the body, an answer, tells its address
	asn   bool // BGP needs its AS number
}

// leftOpen is what a body leaves open.
type leftOpen struct {
	gateways []gateway
	keys     int  // pre-shared keys
	routes   bool // the customer's end must say what is behind the cloud's,
	behind   bool // and the body says what is behind the customer's
}

func open(name string, v *dialect.Value) (o leftOpen) {
	switch name {
	case "alibaba":
		o = ofAlibaba(v)
	case "huawei":
		_, err := netip.ParseAddr(v.Field("vgw_ip").Text())
		style := v.Field("style").Text()
		o.gateways = []gateway{
			{id: v.Field("vgw_id").Text(), cloud: true, known: err == nil},
			{id: v.Field("cgw_id").Text(), asn: style == "bgp"},
		}
		o.keys, o.routes, o.behind = missing(v.Field("psk")), style == "static", true
	case "tencent":
		kind := v.Field("RouteType").Text()
		o.gateways = []gateway{
			{id: v.Field("VpnGatewayId").Text(), cloud: true},
			{id: v.Field("CustomerGatewayId").Text(), asn: kind == "Bgp" && v.Field("BgpConfig").Field("RemoteBgpAsn").Int() == 0},
		}
		policies := v.Field("SecurityPolicyDatabases")
		o.keys, o.behind = missing(v.Field("PreShareKey")), v.Field("Route").Field("DestinationCidrBlock").OK()
		o.routes = kind == "StaticRoute" || kind == "STATIC" && len(policies.Items()) == 0 && len(policies.Entries()) == 0
	}
	return o
}

func ofAlibaba(v *dialect.Value) (o leftOpen) {
	bgp := alibaba.Enabled(v.Field("BgpConfig"))
	everything := config.CarriesAll(v.Field("LocalSubnet").Prefixes(), v.Field("RemoteSubnet").Prefixes())
	cloud := gateway{id: v.Field("VpnGatewayId").Text(), cloud: true}
	tunnels := v.Field("TunnelOptionsSpecification").Items()
	if len(tunnels) == 0 {
		cloud.known = v.Field("InternetIp").OK()
		o.gateways = []gateway{cloud, {id: v.Field("CustomerGatewayId").Text(), asn: bgp && v.Field("BgpConfig").Field("PeerAsn").Int() == 0}}
		o.keys, o.routes = missing(v.Field("IkeConfig").Field("Psk")), everything && !bgp
		return o
	}
	bgp = v.Field("EnableTunnelsBgp").Bool()
	cloud.two, cloud.known = true, true
	o.gateways = []gateway{{}}
	for _, t := range tunnels {
		cloud.known = cloud.known && t.Field("InternetIp").OK()
		g := gateway{id: t.Field("CustomerGatewayId").Text(), asn: bgp && t.Field("TunnelBgpConfig").Field("PeerAsn").Int() == 0}
		if !slices.Contains(o.gateways, g) {
			o.gateways = append(o.gateways, g)
		}
		o.keys += missing(t.Field("TunnelIkeConfig").Field("Psk"))
	}
	o.gateways[0] = cloud
	o.routes = everything && !bgp
	return o
}

// missing is 1 where a body has no key.
func missing(v *dialect.Value) int {
	if v.Given {
		return 0
	}
	return 1
}
