package tencent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// gatewayASN is the AS number of a VPN gateway that was given none.
const gatewayASN = 64551

// taken are the AS numbers that the cloud's gateways, and the customer's there, can't have.
var taken = []uint32{139341, 45090, 58835}

// silence is how long a peer may be silent before it is asked. The page has only the time
// for its answer.
const silence = 10 * time.Second

// build makes a Draft of a body. The body's "local" is the cloud, so the customer's side
// is the mirror image.
func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	dialect.TagsTwice(c, v.Field("Tags"), "Key")
	t := config.Tunnel{
		Role:     config.Single,
		Children: config.Lists,
		NATT:     true,
		Encap:    config.EncapAuto,
		CopyDSCP: true,
		Start:    starts[v.Field("NegotiationType").Text()],
		PSK:      v.Field("PreShareKey").Secret(),
	}
	ends(c, v, env, &t)
	policies, ike := v.Field("SecurityPolicyDatabases"), v.Field("IKEOptionsSpecification")
	d := &dialect.Draft{
		Connection: &config.Connection{Dialect: name, Side: env.Side},
		Notes:      notes(v, env),
		Name:       v.Field("VpnConnectionName"),
		Places: []dialect.Place{{
			Gateway: v.Field("VpnGatewayId"), IKE: ike, ESP: v.Field("IPSECOptionsSpecification"), Subnets: policies, Inside: v.Field("BgpConfig"),
			IDs: [2]*dialect.Value{identityField(ike, "Local"), identityField(ike, "Remote")},
			PSK: v.Field("PreShareKey"), NoPSK: "a pre-shared key is missing: PreShareKey in the body, or psk_file beside it",
		}},
		PSKWant: pskWant, PSKLimit: "Tencent's page gives no limit",
	}
	d.Routing = traffic(c, v, policies, &t)
	session(c, v, d.Routing, &t)
	healthChecks(c, v, d, &t)
	if env.Side == config.Customer {
		t.Mirror()
		if t.BGP != nil {
			t.BGP.Announce = t.Routes // what is behind this end
		}
		t.Start, t.Routes = config.StartActive, nil // NegotiationType is about the cloud's end
	}
	d.NoteRoutes()
	algorithms(c, v, &t)
	t.DPD.Clear = env.Side == config.Cloud && t.DPD.Interval > 0 && v.Field("DpdAction").Text() == "clear"
	d.Tunnels = []config.Tunnel{t}
	return d
}

// starts are the words of NegotiationType.
var starts = map[string]config.Start{"active": config.StartActive, "passive": config.StartPassive, "flowTrigger": config.StartOnTraffic}

func pskWant(k ipsec.Secret) string {
	if len(k) < 1 || len(k) > maxPSK {
		return fmt.Sprintf("have 1 to %d characters", maxPSK)
	}
	return ""
}

// ends sets the addresses and identities: Local is the cloud's.
func ends(c *dialect.Check, v *dialect.Value, env dialect.Env, t *config.Tunnel) {
	cloud, _ := env.VPN.One(c, v.Field("VpnGatewayId"))
	ike, bgp := v.Field("IKEOptionsSpecification"), v.Field("BgpConfig")
	customer, _ := env.Customer(c, v.Field("CustomerGatewayId"), ike.Field("RemoteFqdnName"), ike.Field("RemoteIdentity").Text() == "FQDN" && ike.Field("RemoteFqdnName").Text() != "")
	dialect.Apart(c, v.Field("CustomerGatewayId"), cloud.Address, customer.Address)
	if v.Field("RouteType").Text() == "Bgp" {
		cloud.ASN = cmp.Or(cloud.ASN, gatewayASN)
	}
	t.Local, t.Remote = cloud.End(), customer.End()
	t.Local.ASN, t.Remote.ASN = cmp.Or(uint32(bgp.Field("LocalBgpAsn").Int()), cloud.ASN), cmp.Or(uint32(bgp.Field("RemoteBgpAsn").Int()), customer.ASN)
	t.Local.ID, t.Remote.ID = identity(c, ike, "Local", cloud), identity(c, ike, "Remote", customer)
}

// identityField is the parameter that names the identity of an end.
func identityField(ike *dialect.Value, end string) *dialect.Value {
	if ike.Field(end+"Identity").Text() == "FQDN" {
		return ike.Field(end + "FqdnName")
	}
	return ike.Field(end + "Address")
}

// identity is the identity of an end: a name, or an address, which by default is its gateway's.
func identity(c *dialect.Check, ike *dialect.Value, end string, g dialect.Gateway) ipsec.Identity {
	id, own := identityField(ike, end), g.Address
	switch {
	case ike.Field(end+"Identity").Text() == "FQDN":
		if id.Text() != "" {
			return ipsec.Identity{Type: ipsec.IDFQDN, Data: id.Text()}
		}
		if !id.Given {
			c.Fail(id, dialect.Missing, "with %sIdentity FQDN a name is needed", end)
		}
		return ipsec.Identity{}
	case id.OK():
		return ipsec.IdentityOf(id.Addr())
	case g.ID.Type != 0:
		return g.ID
	case own.IsValid():
		return ipsec.IdentityOf(own)
	}
	return ipsec.Identity{}
}

// traffic sets what the tunnel carries, seen from the cloud. STATIC is the old name of
// Policy where there are policies, and of StaticRoute where there are none.
func traffic(c *dialect.Check, v, policies *dialect.Value, t *config.Tunnel) config.Routing {
	ps, whole := pairs(c, policies)
	kind := v.Field("RouteType")
	if r := v.Field("Route").Field("DestinationCidrBlock"); r.OK() {
		t.Routes = []netip.Prefix{r.Prefix()}
	}
	byPolicy := kind.Text() == "Policy" || kind.Text() == "STATIC" && (len(ps) > 0 || !whole)
	switch {
	case byPolicy && len(ps) == 0:
		if whole {
			c.Fail(policies, dialect.Missing, "the route type Policy needs pairs of subnets")
		}
		return config.RouteFlows
	case byPolicy:
		t.SetPairs(ps)
		return config.RoutingOf(false, t.Local.Subnets, t.Remote.Subnets)
	}
	for _, p := range ps {
		if p.Local.Bits() > 0 || p.Remote.Bits() > 0 {
			c.Fail(policies, dialect.Conflict, "the route type %s protects everything, and these are pairs of subnets: leave them out, or write the route type Policy", kind.Text())
			break
		}
	}
	t.Local.Subnets, t.Remote.Subnets = []netip.Prefix{dialect.Everything}, []netip.Prefix{dialect.Everything}
	if kind.Text() == "Bgp" {
		return config.RouteBGP
	}
	return config.RouteDestination
}

// session sets the BGP session, seen from the cloud.
func session(c *dialect.Check, v *dialect.Value, routing config.Routing, t *config.Tunnel) {
	bgp := v.Field("BgpConfig")
	cidr, local, remote := bgp.Field("TunnelCidr"), bgp.Field("LocalBgpIp"), bgp.Field("RemoteBgpIp")
	given := cidr.Given || local.Given || remote.Given
	if routing != config.RouteBGP {
		if given {
			c.Fail(bgp, dialect.Conflict, "it belongs to the route type Bgp; this is %s", v.Field("RouteType").Text())
		}
		return
	}
	t.BGP = &config.BGP{}
	for _, f := range []*dialect.Value{cidr, local, remote} {
		if !f.Given && (bgp.OK() || !bgp.Given) {
			c.Fail(f, dialect.Missing, "the route type Bgp needs it")
		}
	}
	if p := cidr.Prefix(); p.IsValid() {
		if p.Bits() != 30 || !p.Addr().Is4() {
			c.Fail(cidr, dialect.Illegal, "it must be a /30")
			return
		}
		low, high := config.Hosts(p)
		for _, a := range []*dialect.Value{local, remote} {
			if a.OK() && a.Addr() != low && a.Addr() != high {
				c.Fail(a, dialect.Conflict, "it must be the address of a host in TunnelCidr, %v or %v", low, high)
			}
		}
		t.SetInside(p, local.Addr(), config.Cloud)
	}
	if local.OK() && remote.OK() && local.Addr() == remote.Addr() {
		c.Fail(remote, dialect.Conflict, "LocalBgpIp is the same")
	}
	asn := v.Field("CustomerGatewayId")
	for _, of := range []struct {
		at  *dialect.Value
		end string
		asn uint32
	}{{asn, "the customer gateway", t.Remote.ASN}, {v.Field("VpnGatewayId"), "the VPN gateway", t.Local.ASN}} {
		if slices.Contains(taken, of.asn) {
			c.Warn(of.at, dialect.Illegal, "%s has the AS number %d, which the cloud takes at neither end (nor the others of %v)", of.end, of.asn, taken)
		}
	}
	switch {
	case !t.Remote.Known():
	case t.Remote.ASN == 0:
		c.FailCode(asn, "UnsupportedOperation.VpnUnsupportedNotExistBgpAsn", "the route type Bgp needs the customer gateway's AS number: write asn: N into its entry of customer_gateways")
	case t.Remote.ASN == t.Local.ASN:
		c.FailCode(asn, "UnsupportedOperation.VpnUnsupportedBgpAsnEqual", "the customer gateway has the AS number of the VPN gateway, %d", t.Local.ASN)
	}
}

// healthAddresses is the block from which the cloud chooses addresses for health checks.
var healthAddresses = netip.MustParsePrefix("169.254.128.0/17")

// healthChecks sets the cloud's pings through the tunnel.
func healthChecks(c *dialect.Check, v *dialect.Value, d *dialect.Draft, t *config.Tunnel) {
	local, remote, how := v.Field("HealthCheckLocalIp"), v.Field("HealthCheckRemoteIp"), v.Field("HealthCheckConfig")
	for _, p := range t.Local.Subnets {
		if remote.OK() && p.Bits() > 0 && p.Contains(remote.Addr()) {
			c.Fail(remote, dialect.Conflict, "it is in %v, which is behind the cloud's gateway", p)
		}
	}
	if local.OK() && remote.OK() && local.Addr() == remote.Addr() {
		c.FailCode(remote, "vpngw.HealthCheckRemoteIp.illegal", "HealthCheckLocalIp is the same")
	}
	if !v.Field("EnableHealthCheck").Bool() {
		return
	}
	ms := func(name string) time.Duration { return time.Duration(how.Field(name).Int()) * time.Millisecond }
	t.Health = &config.Health{
		Source: local.Addr(), Target: remote.Addr(),
		Interval: ms("ProbeInterval"), Timeout: ms("ProbeTimeout"), Retries: int(how.Field("ProbeThreshold").Int()),
		Ours: d.Side == config.Cloud,
	}
	if !carried(t, local, remote) {
		c.Warn(v.Field("EnableHealthCheck"), dialect.Conflict, "no pair of subnets carries its pings: have LocalCidrBlock 0.0.0.0/0 with RemoteCidrBlock [0.0.0.0/0] among SecurityPolicyDatabases")
	}
	choice := dialect.Choice{What: dialect.ChooseHealth, Within: healthAddresses}
	for _, a := range []*dialect.Value{local, remote} {
		if a.OK() && a.Addr().Is4() {
			choice.Not = append(choice.Not, netip.PrefixFrom(a.Addr(), 32))
		}
	}
	for _, a := range []*dialect.Value{local, remote} {
		if !a.Given && len(d.Choices) == 0 { // one Choice covers both addresses
			c.Chosen(a, d, choice, "DescribeVpnConnections' answer")
		}
	}
}

// carried reports whether the tunnel protects packets between two addresses, seen from
// the cloud. An unknown address is one of healthAddresses.
func carried(t *config.Tunnel, local, remote *dialect.Value) bool {
	in := func(p netip.Prefix, a *dialect.Value) bool {
		if a.OK() {
			return p.Contains(a.Addr())
		}
		return p.Bits() <= healthAddresses.Bits() && p.Contains(healthAddresses.Addr())
	}
	for _, p := range t.EachPair() {
		if in(p.Local, local) && in(p.Remote, remote) {
			return true
		}
	}
	return false
}

// algorithms sets versions, proposals, lifetimes and liveness.
func algorithms(c *dialect.Check, v *dialect.Value, t *config.Tunnel) {
	ike, esp := v.Field("IKEOptionsSpecification"), v.Field("IPSECOptionsSpecification")
	t.IKEVersion = map[string]int{"IKEV1": 1, "IKEV2": 2}[ike.Field("IKEVersion").Text()]
	suite := dialect.Algorithms{Words: words}
	suite.IKEv1(c, t, ike.Field("ExchangeMode"), ike.Field("PropoEncryAlgorithm"))
	t.IKEProposals = suite.Propose(c, ipsec.ProtoIKE, ike.Field("PropoEncryAlgorithm"), ike.Field("PropoAuthenAlgorithm"), ike.Field("DhGroupName"))
	parts := []*dialect.Value{esp.Field("EncryptAlgorithm"), hash(c, esp)}
	if pfs := esp.Field("PfsDhGroup"); pfs.Text() != "NULL" {
		parts = append(parts, pfs)
	}
	t.ESPProposals = suite.Propose(c, ipsec.ProtoESP, parts...)
	t.IKELifetime = ike.Field("IKESaLifetimeSeconds").Duration()
	t.ESPLifetime = ipsec.Lifetime{
		Time:  esp.Field("IPSECSaLifetimeSeconds").Duration(),
		Bytes: uint64(esp.Field("IPSECSaLifetimeTraffic").Int()) << 10,
	}
	if v.Field("DpdEnable").Text() == "1" {
		t.DPD = dpd.Config{Interval: silence, Timeout: v.Field("DpdTimeout").Duration()}
	}
}

// hash is the integrity algorithm under either spelling of its parameter.
func hash(c *dialect.Check, esp *dialect.Value) *dialect.Value {
	old, now := esp.Field("IntegrityAlgorith"), esp.Field("IntegrityAlgorithm")
	if !old.Given {
		return now
	}
	if now.Given && old.OK() && now.OK() && words[old.Text()] != words[now.Text()] {
		c.Fail(now, dialect.Conflict, "IntegrityAlgorith, its old spelling, stands here too with another value, %s", old.Text())
	}
	return old
}

// notes say what in the body has no effect here.
func notes(v *dialect.Value, env dialect.Env) []string {
	var out []string
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, name := range []string{"VpcId", "Tags"} {
		if v.Field(name).Given {
			note("%s: of meaning to the cloud only", name)
		}
	}
	ike, esp := v.Field("IKEOptionsSpecification"), v.Field("IPSECOptionsSpecification")
	if ike.Field("ExchangeMode").Given && ike.Field("IKEVersion").Text() == "IKEV2" {
		note("ExchangeMode belongs to IKEv1 and has no effect with IKEV2")
	}
	if strings.Contains(esp.Field("EncryptAlgorithm").Text(), "GCM") && (esp.Field("IntegrityAlgorith").Given || esp.Field("IntegrityAlgorithm").Given) {
		note("the integrity algorithm has no effect with GCM, which authenticates by itself")
	}
	for _, end := range []string{"Local", "Remote"} {
		unused := end + "Address"
		if ike.Field(end+"Identity").Text() == "ADDRESS" {
			unused = end + "FqdnName"
		}
		if f := ike.Field(unused); f.Given {
			note("%s has no effect with %sIdentity %s", unused, end, ike.Field(end+"Identity").Text())
		}
	}
	for _, name := range []string{"DpdTimeout", "DpdAction"} {
		if v.Field(name).Given && v.Field("DpdEnable").Text() != "1" {
			note("%s has no effect without DpdEnable 1", name)
		} else if name == "DpdAction" && v.Field(name).Given {
			if env.Side == config.Customer {
				note("DpdAction (%s) is about the cloud's end; the customer's tries again", v.Field(name).Text())
			}
		}
	}
	if n := v.Field("NegotiationType"); n.Given && env.Side == config.Customer {
		note("NegotiationType (%s) is about the cloud's end; the customer's initiates, unless start: beside the body says otherwise", n.Text())
	} else if n.Text() == "flowTrigger" {
		note("NegotiationType flowTrigger: a packet brings the tunnel up, or the peer; to begin at once, write beside the body  start: active")
	}
	if !v.Field("EnableHealthCheck").Bool() {
		for _, name := range []string{"HealthCheckLocalIp", "HealthCheckRemoteIp", "HealthCheckConfig"} {
			if v.Field(name).Given {
				note("%s has no effect without EnableHealthCheck", name)
			}
		}
	}
	switch r := v.Field("Route"); {
	case r.Given && env.Side == config.Customer:
		note("Route is the cloud's own")
	case r.Field("Priority").Given:
		note("Priority of Route is among the cloud's own routes and has no effect here")
	}
	return out
}
