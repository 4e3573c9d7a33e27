// Package native is vpngw's own way to write a connection down, seen from this host. It
// can say everything that a Connection can be, so it can say what any cloud's body says.
package native

import (
	"math"
	"slices"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// Dialect is vpngw's own way to write a connection down.
var Dialect = &dialect.Dialect{Name: Name, Body: body, Build: build}

// Name is the key that holds a body.
const Name = "native"

// Liveness is dead peer detection by default.
var Liveness = dpd.Config{Interval: 30 * time.Second}

// The types of lifetimes, and of limits to what an SA carries.
var (
	Lifetime = dialect.Duration{Max: 30 * 24 * time.Hour}
	Counter  = dialect.Int{Max: math.MaxInt64}
)

var ikeVersions = map[string]int{"1": 1, "2": 2, "any": 0}

var body = &dialect.Object{Rows: append([]dialect.Row{
	{
		Name: "ike_version", Default: "2", Goes: "IKE version", Doc: "1, 2, or any: this end begins with 2 and answers either",
		Type: dialect.Enum{Words: []string{"1", "2", "any"}},
	},
	{Name: "mode", Type: dialect.Enum{Words: []string{"main", "aggressive"}}, Default: "main", Goes: "IKEv1 mode", Doc: "mode of IKEv1's phase 1"},
	{Name: "local", Type: endObject(false), Required: true, Doc: "this end"},
	{Name: "remote", Type: endObject(true), Required: true, Doc: "the other end"},
	{Name: "psk", Type: dialect.Secret{Text: dialect.Text{Min: 1, Max: 4096}}, Goes: "pre-shared key", Doc: "pre-shared key; or psk_file beside the body"},
	{Name: "ike", Default: "{}", Doc: "IKE SA", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "proposals", Type: dialect.List{Of: dialect.Proposal{Proto: ipsec.ProtoIKE}, Name: "proposals", Max: 32}, Goes: "IKE encryption, IKE integrity, IKE PRF, IKE key exchange", Doc: "the first is preferred"},
		{Name: "lifetime", Type: Lifetime, Default: "24h", Goes: "IKE lifetime", Doc: "0: without end"},
	}}},
	{Name: "esp", Default: "{}", Doc: "Child SAs", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "proposals", Type: dialect.List{Of: dialect.Proposal{Proto: ipsec.ProtoESP}, Name: "proposals", Max: 32}, Goes: "ESP encryption, ESP integrity, PFS, sequence numbers", Doc: "the first is preferred; a group in them is PFS"},
		{Name: "lifetime", Type: Lifetime, Default: "1h", Goes: "ESP lifetime", Doc: "0: without end"},
		{Name: "bytes", Type: Counter, Default: "0", Goes: "ESP bytes", Doc: "0: no limit"},
		{Name: "packets", Type: Counter, Default: "0", Goes: "ESP packets", Doc: "0: no limit"},
		{Name: "esn", Type: dialect.Enum{Words: []string{"auto", "yes", "no"}}, Default: "auto", Goes: "sequence numbers", Doc: "extended sequence numbers; auto: if the peer has them"},
	}}},
	{
		Name: "children", Default: "lists", Goes: "Child SAs, pairs of networks", Doc: "one Child SA for all subnets, or one for each pair, or one for each of the pairs listed here",
		Type: dialect.Or{Scalar: dialect.Enum{Words: []string{"lists", "pairs"}}, Other: dialect.List{Of: pair, Name: "children", Max: 1024}},
	},
	{Name: "natt", Type: dialect.Bool{}, Default: "true", Goes: "NAT traversal", Doc: "detect NAT and encapsulate ESP in UDP"},
	{Name: "initiate", Type: dialect.Bool{}, Goes: "initiation", Doc: "true: as start: active; false: as start: passive"},
}, inTunnel...)}

// anyID is the identity of a peer that may have any.
const anyID = "%any"

func endObject(remote bool) *dialect.Object {
	which := map[bool]string{false: "local ", true: "remote "}[remote]
	o := &dialect.Object{Rows: []dialect.Row{
		{Name: "address", Type: dialect.Addr{}, Required: remote, Goes: which + "address", Doc: "public address; this end's default is the one that the route chooses"},
		{Name: "id", Type: dialect.Text{Min: 1, Max: 255}, Goes: which + "identity", Doc: "identity; the address by default; %any for the other end: anyone who has the key"},
		{Name: "subnets", Type: dialect.Prefixes{Max: 255}, Required: true, Goes: which + "networks", Doc: "the subnets behind the end"},
		{Name: "asn", Type: dialect.ASN{}, Goes: which + "AS", Doc: "AS number"},
	}}
	if remote {
		o.Rows[0] = dialect.Row{Name: "address", Type: dialect.Host{}, Required: true, Goes: "remote address", Doc: "public address, or a name that DNS knows: it is looked up again and again, and a change is followed; or any: the peer may come from anywhere, and its id tells who it is"}
		o.Rows = slices.Insert(o.Rows, 1, dialect.Row{Name: "port", Type: dialect.Port, Goes: "remote port", Doc: dialect.PortDoc})
	}
	return o
}

// defaultProposals are the algorithms that RFC 8247 and RFC 8221 say MUST or SHOULD be
// there, in vpngw's order of preference. ESP has no PFS by default, which every peer takes.
var defaultProposals = map[ipsec.Protocol][]ipsec.Proposal{
	ipsec.ProtoIKE: mustParse(ipsec.ProtoIKE,
		"aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048-modp3072",
		"aes256-aes128-sha256-sha384-sha512-x25519-ecp256-ecp384-modp2048-modp3072"),
	ipsec.ProtoESP: mustParse(ipsec.ProtoESP,
		"aes256gcm16-aes128gcm16-chacha20poly1305",
		"aes256-aes128-sha256-sha384-sha512"),
}

func build(c *dialect.Check, v *dialect.Value, env dialect.Env) *dialect.Draft {
	ike, esp := v.Field("ike"), v.Field("esp")
	local, remote := v.Field("local"), v.Field("remote")
	if local.OK() && !local.Field("address").Given && !local.Field("id").Given {
		c.Fail(local.Field("id"), dialect.Missing, "give this end an address or an id, so that it has an identity")
	}
	if id := local.Field("id"); id.Text() == anyID {
		c.Fail(id, dialect.Illegal, "this end must say who it is")
	}
	if a := remote.Field("address"); a.Addr().IsValid() && a.Addr() == local.Field("address").Addr() {
		c.Fail(a, dialect.Conflict, "both ends have this address")
	}
	t := config.Tunnel{
		Role:         config.Single,
		Local:        end(local),
		Remote:       end(remote),
		IKEVersion:   ikeVersions[v.Field("ike_version").Text()],
		Aggressive:   v.Field("mode").Text() == "aggressive",
		PSK:          v.Field("psk").Secret(),
		IKEProposals: proposals(c, ike.Field("proposals"), ipsec.ProtoIKE),
		IKELifetime:  ike.Field("lifetime").Duration(),
		ESPProposals: proposals(c, esp.Field("proposals"), ipsec.ProtoESP),
		ESPLifetime: ipsec.Lifetime{
			Time:    esp.Field("lifetime").Duration(),
			Bytes:   uint64(esp.Field("bytes").Int()),
			Packets: uint64(esp.Field("packets").Int()),
		},
		Children: config.Children(v.Field("children").Text()),
		NATT:     v.Field("natt").Bool(),
		Encap:    config.EncapAuto,
		DPD:      Liveness,
		Start:    env.Side.ByDefault(),
	}
	t.Remote.Port = uint16(remote.Field("port").Int())
	if i := v.Field("initiate"); i.OK() {
		t.Start = map[bool]config.Start{true: config.StartActive, false: config.StartPassive}[i.Bool()]
	}
	listedPairs(c, v.Field("children"), &t)
	withinTunnel(c, v, &t)
	sequenceNumbers(c, esp, t.ESPProposals)
	version1(c, v, &t)
	warnWeak(c, ike.Field("proposals"), esp.Field("proposals"))
	return &dialect.Draft{
		Connection: &config.Connection{
			Dialect: Name, Side: env.Side, Tunnels: []config.Tunnel{t},
			Routing: config.RoutingOf(t.BGP != nil, t.Local.Subnets, t.Remote.Subnets),
		},
		Places: []dialect.Place{{
			IDs:     [2]*dialect.Value{local.Field("id"), remote.Field("id")},
			IKE:     ike,
			ESP:     esp.Field("proposals"),
			Subnets: local.Field("subnets"),
			Role:    v.Field("role"),
			Part:    part(v.Field("role")),
			PSK:     v.Field("psk"),
			NoPSK:   "a pre-shared key is missing: psk in the body, or psk_file beside it",
		}},
	}
}

func end(v *dialect.Value) config.End {
	e := config.End{
		Address: v.Field("address").Addr(),
		Host:    v.Field("address").Text(),
		ASN:     uint32(v.Field("asn").Int()),
		Subnets: v.Field("subnets").Prefixes(),
	}
	if e.Host == config.Anywhere {
		e.Host, e.Any = "", true
	}
	if id := v.Field("id"); id.OK() {
		if e.ID = ipsec.ParseIdentity(id.Text()); id.Text() == anyID {
			e.ID = ipsec.AnyIdentity
		}
	} else if e.Address.IsValid() {
		e.ID = ipsec.IdentityOf(e.Address)
	}
	return e
}

// proposals are the proposals that v lists, or the defaults.
func proposals(c *dialect.Check, v *dialect.Value, proto ipsec.Protocol) []ipsec.Proposal {
	var out []ipsec.Proposal
	if v.Given {
		for _, item := range v.Items() {
			out = append(out, dialect.Data[ipsec.Proposal](item))
		}
		if v.OK() && len(out) == 0 {
			c.Fail(v, dialect.Missing, "at least one proposal is needed; leave the key out for the defaults")
		}
		return out
	}
	return slices.Clone(defaultProposals[proto])
}

func mustParse(proto ipsec.Protocol, texts ...string) (out []ipsec.Proposal) {
	for _, s := range texts {
		p, err := ipsec.ParseProposal(proto, s)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

// sequenceNumbers adds what esn says to the ESP proposals that do not name sequence
// numbers themselves.
func sequenceNumbers(c *dialect.Check, esp *dialect.Value, ps []ipsec.Proposal) {
	esn := esp.Field("esn")
	want := map[string][]string{"auto": {"esn", "noesn"}, "yes": {"esn"}, "no": {"noesn"}}[esn.Text()]
	items := esp.Field("proposals").Items()
	for i := range ps {
		var own []string
		if i < len(items) && items[i].OK() {
			own = slices.DeleteFunc(strings.Split(items[i].Node.Text, "-"), func(s string) bool { return s != "esn" && s != "noesn" })
		}
		switch {
		case len(own) == 0:
			ps[i].Transforms = slices.DeleteFunc(slices.Clone(ps[i].Transforms), func(t ipsec.Transform) bool { return t.Type == ipsec.ESN })
			for _, name := range want {
				ps[i].Transforms = append(ps[i].Transforms, ipsec.ByName(name).Transform)
			}
		case esn.Text() != "auto" && !slices.Equal(own, want):
			c.Fail(items[i], dialect.Conflict, "it names %s, and esn is %s", strings.Join(own, " and "), esn.Text())
		}
	}
}

func warnWeak(c *dialect.Check, lists ...*dialect.Value) {
	var weak dialect.Weaknesses
	for _, list := range lists {
		for _, item := range list.Items() {
			for _, t := range dialect.Data[ipsec.Proposal](item).Transforms {
				weak.Tell(c, item, t)
			}
		}
	}
}
