package huawei

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// asked is how many times the cloud asks a silent peer whether it is there.
const asked = 3

// gatewayASN is the AS number of a VPN gateway that was given none.
const gatewayASN = 64512

// build makes a Draft of a body. The body's "local" is the cloud, so the customer's side
// is the mirror image.
func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	dialect.TagsTwice(c, v.Field("tags"), "key")
	t := config.Tunnel{
		Role:     config.Single,
		Children: config.Lists,
		NATT:     true,
		Encap:    config.EncapAuto,
		CopyDSCP: true,
		Start:    env.Side.ByDefault(),
		PSK:      v.Field("psk").Secret(),
	}
	if v.Field("ha_role").Text() == "slave" {
		t.Role = config.Standby
	}
	ends(c, v, env, &t)
	d := &dialect.Draft{
		Connection: &config.Connection{Dialect: name, Side: env.Side},
		Notes:      notes(v), Name: v.Field("name"), PSKWant: pskWant,
		PSKLimit: "Huawei takes 8 to 128 characters, with three of these: upper case, lower case, digits, special characters",
		Ends:     gateways(v),
	}
	insideAddresses(c, v, d, &t)
	d.Routing = traffic(c, v, &t)
	behind := t.Routes // the customer
	if env.Side == config.Customer {
		t.Mirror()
		t.Routes = nil
	}
	d.NoteRoutes()
	services(c, v, env, d.Routing, &t)
	if t.BGP != nil && env.Side == config.Customer {
		t.BGP.Announce = behind
	}
	algorithms(c, v, &t)
	d.Tunnels = []config.Tunnel{t}

	place := dialect.Place{
		Gateway: v.Field("vgw_id"), IKE: v.Field("ikepolicy"), ESP: v.Field("ipsecpolicy"), Subnets: v.Field("peer_subnets"), Inside: v.Field("tunnel_local_address"),
		IDs:  [2]*dialect.Value{v.Field("ikepolicy").Field("local_id"), v.Field("ikepolicy").Field("peer_id")},
		Role: v.Field("ha_role"),
		PSK:  v.Field("psk"), NoPSK: "a pre-shared key is missing, and the cloud's answers never hold it: psk in the body, or psk_file beside it",
	}
	if place.Role.Given {
		place.Part = roles[place.Role.Text()]
	}
	if d.Routing == config.RouteFlows {
		place.Subnets = v.Field("policy_rules")
	}
	d.Places = []dialect.Place{place}
	return d
}

var roles = map[string]config.Role{"master": config.Active, "slave": config.Standby}

// gateways are the ids of the VPN gateway and the customer gateway, which master and slave
// of a pair have in common: "master indicates the active connection, and slave indicates
// the standby connection" of one VPN gateway, and each connects it "to a customer gateway".
// What differs is vgw_ip, because each of the two has an EIP of the VPN gateway for itself.
// vgw_id alone would not do: at the cloud's end one VPN gateway has a master and a slave for
// each of many customers. Where the two have customer gateways of their own, nothing in the
// bodies joins them, and pair: beside them must.
func gateways(v *dialect.Value) string {
	vgw, cgw := v.Field("vgw_id"), v.Field("cgw_id")
	if !vgw.OK() || !cgw.OK() {
		return ""
	}
	return vgw.Text() + " " + cgw.Text()
}

// ends sets the addresses and identities: Local is the cloud's.
func ends(c *dialect.Check, v *dialect.Value, env dialect.Env, t *config.Tunnel) {
	ike := v.Field("ikepolicy")
	cloud := cloudGateway(c, v, env)
	customer, _ := env.Customer(c, v.Field("cgw_id"), ike.Field("peer_id"), ike.Field("peer_id_type").Text() == "fqdn" && ike.Field("peer_id").Text() != "")
	dialect.Apart(c, v.Field("cgw_id"), cloud.Address, customer.Address)
	if cloud.ASN == 0 && v.Field("style").Text() == "bgp" {
		cloud.ASN = gatewayASN
	}
	for _, id := range []string{"vgw_id", "cgw_id"} {
		if f := v.Field(id); f.OK() && len(f.Text()) != 36 && !isAddress(f.Text()) {
			c.Warn(f, dialect.Illegal, "the cloud's ids have 36 characters; this one has %d", len(f.Text()))
		}
	}
	t.Local, t.Remote = cloud.End(), customer.End()
	t.Local.ID = identityOf(c, ike.Field("local_id_type"), ike.Field("local_id"), cloud)
	t.Remote.ID = identityOf(c, ike.Field("peer_id_type"), ike.Field("peer_id"), customer)
	if env.Side == config.Cloud && ike.Field("peer_id_type").Text() == "any" {
		t.Remote.ID = ipsec.AnyIdentity
	}
}

// cloudGateway is the cloud's gateway with the address that vgw_ip gives, or with the
// address of the EIP whose id vgw_ip is. A gateway with one address needs no vgw_ip.
func cloudGateway(c *dialect.Check, v *dialect.Value, env dialect.Env) dialect.Gateway {
	id, ip := v.Field("vgw_id"), v.Field("vgw_ip")
	g, known := env.VPN.Lookup(id)
	switch a, err := netip.ParseAddr(ip.Text()); {
	case !ip.OK():
	case err == nil && a.Is4():
		g.Address = a
	case known && g.Addresses == nil:
	default:
		g, _ = env.VPN.At(c, id, ip, ip.Text(), fmt.Sprintf("{addresses: {%s: A.B.C.D}}", ip.Text()))
	}
	return g
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// identityOf is the identity of an end: the id that is given, else its gateway's, else its address.
func identityOf(c *dialect.Check, kind, id *dialect.Value, g dialect.Gateway) ipsec.Identity {
	text, address := id.Text(), g.Address
	if g.ID.Type != 0 && text == "" && (!kind.Given || kind.Text() == "fqdn") {
		return g.ID
	}
	switch kind.Text() {
	case "fqdn":
		if id.OK() && text != "" {
			return ipsec.Identity{Type: ipsec.IDFQDN, Data: text}
		}
		if !id.Given {
			c.Fail(id, dialect.Missing, "with the id type fqdn an id is needed")
		}
		return ipsec.Identity{}
	case "any":
		if text != "" {
			return ipsec.ParseIdentity(text)
		}
	case "ip":
		a, err := netip.ParseAddr(text)
		switch {
		case text == "":
		case err != nil || a.Zone() != "":
			c.Fail(id, dialect.Illegal, "with the id type ip it must be an address; for a name write the id type fqdn")
			return ipsec.Identity{}
		default:
			if address.IsValid() && a != address {
				c.Warn(id, dialect.Conflict, "it is not the address of the gateway, %v; %v goes on the wire", address, a)
			}
			return ipsec.IdentityOf(a)
		}
	}
	if !address.IsValid() {
		return ipsec.Identity{}
	}
	return ipsec.IdentityOf(address)
}

// algorithms sets versions, proposals, lifetimes and liveness.
func algorithms(c *dialect.Check, v *dialect.Value, t *config.Tunnel) {
	ike, esp := v.Field("ikepolicy"), v.Field("ipsecpolicy")
	t.IKEVersion = map[string]int{"v1": 1, "v2": 2}[ike.Field("ike_version").Text()]
	suite := dialect.Algorithms{Words: words}
	suite.IKEv1(c, t, ike.Field("phase1_negotiation_mode"), ike.Field("encryption_algorithm"))
	t.IKEProposals = suite.Propose(c, ipsec.ProtoIKE, ike.Field("encryption_algorithm"), ike.Field("authentication_algorithm"), ike.Field("dh_group"))
	t.ESPProposals = suite.Propose(c, ipsec.ProtoESP, esp.Field("encryption_algorithm"), esp.Field("authentication_algorithm"), esp.Field("pfs"))
	t.IKELifetime = ike.Field("lifetime_seconds").Duration()
	t.ESPLifetime.Time = esp.Field("lifetime_seconds").Duration()
	d := ike.Field("dpd")
	t.DPD = dpd.Config{
		Interval: d.Field("interval").Duration(),
		Timeout:  asked * d.Field("timeout").Duration(),
		Order:    orders[d.Field("msg").Text()],
	}
}

var orders = map[string]dpd.Order{"seq-hash-notify": dpd.HashNotify, "seq-notify-hash": dpd.NotifyHash}

// services sets BGP and the cloud's pings. The page has no numbers for the pings; ours
// find a dead tunnel within 15 seconds.
func services(c *dialect.Check, v *dialect.Value, env dialect.Env, routing config.Routing, t *config.Tunnel) {
	customer := &t.Local
	cloud := &t.Remote
	if env.Side == config.Cloud {
		customer, cloud = cloud, customer
	}
	if routing == config.RouteBGP {
		t.BGP = &config.BGP{}
		switch {
		case !customer.Known():
		case customer.ASN == 0:
			c.WarnRun(v.Field("cgw_id"), dialect.Missing, "the style bgp needs the customer gateway's AS number: write asn: N into its entry of customer_gateways")
		case customer.ASN == cloud.ASN:
			c.Warn(v.Field("cgw_id"), dialect.Conflict, "the customer gateway has the AS number of the VPN gateway, %d", cloud.ASN)
		}
	}
	nqa := v.Field("enable_nqa")
	switch {
	case nqa.Bool() && routing != config.RouteDestination:
		c.Fail(nqa, dialect.Conflict, "it belongs to the style static")
	case nqa.Bool():
		t.Health = &config.Health{Interval: 5 * time.Second, Retries: 3, Ours: env.Side == config.Cloud}
		t.Health.Source, t.Health.Target = t.Peer, t.Inside.Addr()
		if t.Health.Ours {
			t.Health.Source, t.Health.Target = t.Inside.Addr(), t.Peer
		}
	}
}

// notes say what in the body has no effect here.
func notes(v *dialect.Value) []string {
	var out []string
	if v.Field("tags").Given {
		out = append(out, "tags: of meaning to the cloud only")
	}
	if v.Field("ha_role").Given {
		out = append(out, "ha_role: master and slave of one vgw_id and cgw_id are a pair: the traffic is on the master, or on the slave while the master is ill; with balance: true, or ha_mode: active-active at the gateway, it is on both")
	}
	ike, esp := v.Field("ikepolicy"), v.Field("ipsecpolicy")
	for _, f := range []*dialect.Value{ike.Field("phase1_negotiation_mode"), ike.Field("dpd").Field("msg")} {
		if f.Given && ike.Field("ike_version").Text() == "v2" {
			out = append(out, f.Row.Name+" belongs to IKEv1 and has no effect with v2")
		}
	}
	if strings.Contains(esp.Field("encryption_algorithm").Text(), "gcm") && esp.Field("authentication_algorithm").Given {
		out = append(out, "authentication_algorithm of ipsecpolicy has no effect with GCM, which authenticates by itself")
	}
	if v.Field("style").Text() == "policy" && (v.Field("tunnel_local_address").Given || v.Field("tunnel_peer_address").Given) {
		out = append(out, "tunnel addresses belong to the styles static and bgp and have no effect with policy")
	}
	return out
}
