package export

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"vpngw/config"
	"vpngw/config/explain"
	"vpngw/config/native"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// nativeFile writes a connection in vpngw's own words, with every default written out. Two
// tunnels are a pair of connections.
func nativeFile(w *writer, c *config.Connection) {
	var list []mapping
	for i := range c.Tunnels {
		list = append(list, w.native(c, &c.Tunnels[i]))
	}
	file := mapping{}
	file.comment(fmt.Sprintf("Connection %s, the %v's end.", c.Name, c.Side))
	file.add("version", plain("1"))
	file.add("connections", list)
	file.block(&w.text, "")
}

// native is one tunnel as an entry of the list of connections.
func (w *writer) native(c *config.Connection, t *config.Tunnel) mapping {
	var body mapping
	body.add("ike_version", plain(map[int]string{0: "any", 1: "1", 2: "2"}[t.IKEVersion]))
	if t.IKEVersion != 2 {
		body.add("mode", map[bool]string{false: "main", true: "aggressive"}[t.Aggressive])
	}
	if !t.Remote.Known() {
		body.comment(w.cannot("the other end's address, which is not known"))
	}
	body.add("local", w.end(&body, t.Local, false))
	body.add("remote", w.end(&body, t.Remote, true))
	if w.Reveal && utf8.Valid(t.PSK) && len(t.PSK) > 0 {
		body.add("psk", string(t.PSK))
	}
	body.add("ike", flow{{"proposals", proposals(t.IKEProposals)}, {"lifetime", explain.Span(t.IKELifetime)}})
	body.add("esp", flow{
		{"proposals", proposals(t.ESPProposals)},
		{"lifetime", explain.Span(t.ESPLifetime.Time)},
		{"bytes", whole(t.ESPLifetime.Bytes)},
		{"packets", whole(t.ESPLifetime.Packets)},
	})
	switch {
	case len(t.Pairs) > 0:
		var ps []flow
		for _, p := range t.Pairs {
			ps = append(ps, flow{{"local", p.Local.String()}, {"remote", p.Remote.String()}})
		}
		body.add("children", ps)
	default:
		body.add("children", string(t.Children))
	}
	body.add("natt", yesNo(t.NATT))
	if t.Start != config.StartOnTraffic { // which stands beside the body
		body.add("initiate", yesNo(t.Start == config.StartActive))
	}
	w.inTunnel(&body, t)

	m := mapping{{"native", body}}
	m.add("name", t.Name)
	if c.Side == config.Cloud {
		m.add("side", "cloud")
	}
	if _, revealed := body.get("psk"); !revealed {
		m.comment("The pre-shared key: a file that others cannot read.")
		m.add("psk_file", w.keyFile(c, t))
	}
	if c.Partial {
		m.add("partial", yesNo(true))
	}
	if len(c.Tunnels) > 1 {
		m.add("pair", c.Name)
	}
	start := t.Start
	if start == config.StartOnTraffic {
		start = c.Side.ByDefault()
	}
	w.beside(&m, t, start, native.Liveness, false)
	w.session(&m, c.Side, []*config.Tunnel{t}, true)
	failover(&m, c)
	unrouted(&m, t)
	return m
}

// unrouted writes that a tunnel to everything has no routes, without which a file does not run.
func unrouted(m *mapping, t *config.Tunnel) {
	if t.Unrouted() {
		m.comment("What goes into the tunnel is not known here: write the networks behind the other end.")
		m.add("routes", []string{})
	}
}

// inTunnel writes role, inside addresses, BGP and health check.
func (w *writer) inTunnel(body *mapping, t *config.Tunnel) {
	if t.Role != config.Single {
		body.add("role", string(t.Role))
	}
	if t.Inside.IsValid() && t.Peer.IsValid() {
		body.add("inside", flow{{"local", t.Inside.String()}, {"remote", t.Peer.String()}})
	}
	if t.BGP != nil {
		f := flow{}
		if w.reveals(t.BGP) {
			f.add("key", string(t.BGP.AuthKey))
		}
		body.add("bgp", f)
	}
	if h := t.Health; h != nil {
		body.add("health_check", pings(h, flow{{"from", map[bool]string{true: "local", false: "remote"}[h.Ours]}}))
	}
}

// pings writes a health check, behind what f has already.
func pings(h *config.Health, f flow) flow {
	if h.Source.IsValid() {
		f.add("source", h.Source.String())
	}
	if h.Target.IsValid() {
		f.add("target", h.Target.String())
	}
	f.add("interval", explain.Span(h.Interval))
	f.add("timeout", explain.Span(h.Timeout))
	f.add("retries", whole(uint64(h.Retries)))
	if h.Keep {
		f.add("policy", native.Reserve)
	}
	return f
}

// get is the value of a key.
func (m mapping) get(key string) (any, bool) {
	i := slices.IndexFunc(m, func(e entry) bool { return e.key == key })
	if i < 0 {
		return nil, false
	}
	return m[i].value, true
}

func (w *writer) end(around *mapping, e config.End, remote bool) flow {
	var f flow
	if e.Address.IsValid() {
		f.add("address", e.Address.String())
	}
	if (e.Host != "" || e.Any) && remote {
		f = flow{{"address", e.Where()}}
	}
	if e.Port != 0 && remote {
		f.add("port", whole(uint64(e.Port)))
	}
	switch {
	case e.ID == ipsec.AnyIdentity:
		f.add("id", "%any")
	case e.ID.Type == 0 && e.Host != "" && remote: // the address that the name has
	case e.ID.Type == 0:
		around.comment(w.cannot("an identity that is not known"))
	case !e.Address.IsValid() || e.ID != ipsec.IdentityOf(e.Address):
		f.add("id", identityText(e.ID))
	}
	f.add("subnets", prefixTexts(e.Subnets))
	if e.ASN > 0 {
		f.add("asn", whole(e.ASN))
	}
	return f
}

// beside writes the parameters beside a body that differ from the body: start and alive are the
// body's start and dead peer detection; lifetimes says that the body lacks some lifetimes.
func (w *writer) beside(m *mapping, t *config.Tunnel, start config.Start, alive dpd.Config, lifetimes bool) {
	if t.Start != start {
		m.add("start", string(t.Start))
	}
	if t.Encap != config.EncapAuto {
		m.add("encap", string(t.Encap))
	}
	if t.Trunc96 {
		m.add("sha256_96", yesNo(true))
	}
	if !t.CopyDSCP {
		m.add("copy_dscp", yesNo(false))
	}
	if t.MTU > 0 {
		m.add("mtu", whole(uint64(t.MTU)))
	}
	if t.DF != config.DFAuto {
		m.add("df", string(t.DF))
	}
	if t.EarlyRekey {
		m.add("early_rekey", yesNo(true))
	}
	if t.Device != "" {
		m.add("device", t.Device)
	}
	if !slices.Equal(t.Routes, t.DefaultRoutes()) {
		m.add("routes", prefixTexts(t.Routes))
	}
	if t.Pass {
		m.add("before_up", plain("pass"))
	}
	if t.Metric != config.DefaultMetric {
		m.add("metric", whole(uint64(t.Metric)))
	}
	switch {
	case t.DPD == alive, t.IKEVersion == 2 && t.DPD.Interval == alive.Interval && t.DPD.Timeout == alive.Timeout && t.DPD.Clear == alive.Clear:
	case t.DPD.Interval == 0:
		m.add("dpd", plain("off"))
	default:
		f := flow{{"interval", explain.Span(t.DPD.Interval)}}
		if t.DPD.Timeout > 0 {
			f.add("timeout", explain.Span(t.DPD.Timeout))
		}
		if t.DPD.Clear != alive.Clear {
			f.add("action", map[bool]string{true: "clear", false: "restart"}[t.DPD.Clear])
		}
		if t.IKEVersion != 2 { // IKEv2 has no such messages
			f.add("message", t.DPD.Order.String())
		}
		m.add("dpd", f)
	}
	if lifetimes {
		m.add("lifetime", flow{
			{"ike", explain.Span(t.IKELifetime)},
			{"esp", explain.Span(t.ESPLifetime.Time)},
			{"bytes", whole(t.ESPLifetime.Bytes)},
			{"packets", whole(t.ESPLifetime.Packets)},
		})
	}
	if h := t.OwnHealth; h != nil {
		m.add("health", pings(h, flow{}))
	}
	null := ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrNull}
	if slices.ContainsFunc(t.ESPProposals, func(p ipsec.Proposal) bool { return slices.Contains(p.Transforms, null) }) {
		m.add("allow", []string{"null-encryption"})
	}
}

// identityText is the text of which ipsec.ParseIdentity makes id.
func identityText(id ipsec.Identity) string {
	text := id.String()
	if id == ipsec.ParseIdentity("%any") {
		return "fqdn:%any"
	}
	switch id.Type {
	case ipsec.IDFQDN:
		text = "fqdn:" + id.Data
		if id.Data != "" && ipsec.ParseIdentity(id.Data) == id {
			text = id.Data
		}
	case ipsec.IDEmail:
		text = id.Data
	case ipsec.IDKeyID:
		text = "keyid:" + id.Data
		if !utf8.ValidString(id.Data) {
			text = "@#" + hex.EncodeToString([]byte(id.Data))
		}
	}
	return text
}

// proposals are the texts of proposals, which always name their sequence numbers.
func proposals(ps []ipsec.Proposal) []string {
	var out []string
	for _, p := range ps {
		s := proposal(p)
		if esn := p.Of(ipsec.ESN); len(esn) == 1 && esn[0].ID == ipsec.ESNNo {
			s += "-noesn"
		}
		out = append(out, s)
	}
	return out
}

// proposal is the text of a proposal, without a PRF that follows from the hash.
func proposal(p ipsec.Proposal) string {
	short := ipsec.Proposal{Transforms: slices.DeleteFunc(slices.Clone(p.Transforms), func(t ipsec.Transform) bool { return t.Type == ipsec.PRF })}
	if len(p.Of(ipsec.PRF)) > 0 && len(p.Of(ipsec.Integ)) > 0 {
		if q, err := ipsec.ParseProposal(ipsec.ProtoIKE, short.String()); err == nil && slices.Equal(q.Of(ipsec.PRF), p.Of(ipsec.PRF)) {
			return short.String()
		}
	}
	return p.String()
}

func prefixTexts(ps []netip.Prefix) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func joined(ps []netip.Prefix) string { return strings.Join(prefixTexts(ps), ",") }

// failover writes how the traffic of two tunnels moves, unless it does by default, and whether they share it.
func failover(m *mapping, c *config.Connection) {
	how := c.Switching
	if how.Balance {
		m.add("balance", yesNo(true))
	}
	if how.Balance = false; how == (config.Switching{}) || how == config.DefaultSwitching {
		return
	}
	f := flow{{"hold", explain.Span(c.Switching.Hold)}}
	if c.Switching.Manual {
		f.add("switch_back", "manual")
	}
	m.add("failover", f)
}
