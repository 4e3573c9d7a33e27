// Package drift compares what a cloud says of a connection with what runs here: each
// parameter that differs, in the cloud's words, with both values. Both sides are read by
// the same tables and built by the same code, seen from the cloud, so that a default, an
// order or another spelling of the same is no difference.
package drift

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/explain"
	"vpngw/config/load"
	"vpngw/config/native"
	"vpngw/config/tree"
	"vpngw/ipsec"
)

// View is what one side believes of a connection, seen from the cloud. Its JSON has no secret.
type View struct {
	Connection string             `json:"connection"`
	Dialect    string             `json:"dialect"`
	Name       string             `json:"name"` // by the body
	ID         string             `json:"id"`   // the cloud's, where the body is an answer
	Gateways   [2]string          `json:"gateways"`
	VPN        map[string]Gateway `json:"vpn_gateways"`      // what the ids of the cloud's gateways stand for
	Customer   map[string]Gateway `json:"customer_gateways"` // and of the customer's
	Tunnels    []Tunnel           `json:"tunnels"`
}

// Gateway is an entry of vpn_gateways or customer_gateways.
type Gateway struct {
	Address   string            `json:"address,omitempty"`
	Addresses map[string]string `json:"addresses,omitempty"`
	ASN       uint32            `json:"asn,omitempty"`
}

// Tunnel is one tunnel of a View.
type Tunnel struct {
	Name   string            `json:"name"`
	Role   string            `json:"role"`
	Values map[string]string `json:"values"` // what each parameter means, by the words of config/explain
	Rows   []Row             `json:"rows"`   // the parameters of the body

	secrets map[string]ipsec.Secret // by the words; nil: they are not known here
}

// Row is one parameter of a body.
type Row struct {
	Path  string   `json:"path"`            // in the cloud's words; a tunnel of two is named by its role
	Data  string   `json:"data"`            // its value, in one spelling; of a list that has another form: empty
	Where string   `json:"where,omitempty"` // file:line, where it is given
	Words []string `json:"words"`           // the parameters of config/explain that it decides
	List  bool     `json:"list,omitempty"`  // only the words tell whether it differs
	Other bool     `json:"other,omitempty"` // something beside the body decides in its place

	untold bool // an answer does not name it
}

// Of is the view of the connection called name, or of a tunnel of that name.
func Of(r *load.Result, name string) (View, bool) {
	for _, d := range r.Drafts {
		if d.Connection.Name == name || slices.ContainsFunc(d.Tunnels, func(t config.Tunnel) bool { return t.Name == name }) {
			return of(r, d), true
		}
	}
	return View{}, false
}

func of(r *load.Result, d *dialect.Draft) View {
	v := View{
		Connection: d.Connection.Name, Dialect: d.Dialect,
		VPN: gateways(r.Root.Field("vpn_gateways")), Customer: gateways(r.Root.Field("customer_gateways")),
	}
	seen := mirrored(d)
	if d.Dialect != native.Name {
		if b := build(d.Dialect, d.Body, r.Root.Field("vpn_gateways").Entries(), r.Root.Field("customer_gateways").Entries()); b != nil && len(b.Tunnels) == len(d.Tunnels) {
			v.Name, v.ID, v.Gateways = identify(d.Body)
			seen = b
		}
	}
	explained := explain.Of(r, d.Connection.Name)
	for i := range seen.Tunnels {
		running := &d.Tunnels[i]
		body := map[string]string{}
		if seen.Body != nil {
			body = tunnelOf(seen, i).Values
			beside(&seen.Tunnels[i], running)
		}
		t := tunnelOf(seen, i)
		t.Name, t.secrets = running.Name, map[string]ipsec.Secret{"pre-shared key": running.PSK}
		if running.BGP != nil {
			t.secrets["BGP key"] = running.BGP.AuthKey
		}
		if i < len(explained) {
			places(&t, explained[i], body)
		}
		v.Tunnels = append(v.Tunnels, t)
	}
	return v
}

// mirrored are the tunnels of a connection as the other end has them, or as this end has them where it is the cloud.
func mirrored(d *dialect.Draft) *dialect.Draft {
	conn := *d.Connection
	conn.Tunnels = slices.Clone(conn.Tunnels)
	for i := range conn.Tunnels {
		if d.Side == config.Customer {
			conn.Tunnels[i].Mirror()
		}
	}
	return &dialect.Draft{Connection: &conn}
}

// build makes the Draft of a body as the cloud's end has it, by itself, and without what stands beside the body.
func build(name string, body *dialect.Value, vpn, customer map[string]*dialect.Value) *dialect.Draft {
	c := dialect.NewCheck(tree.NewBudget())
	b := load.DialectOf(name).Build(c, body, dialect.Env{
		Side: config.Cloud,
		VPN:  dialect.Gateways{Section: "vpn_gateways", Entries: vpn},
		Cust: dialect.Gateways{Section: "customer_gateways", Entries: customer},
	})
	if b != nil {
		b.Body = body
	}
	return b
}

// beside carries over what stands beside the body and must agree with the other end.
func beside(t, running *config.Tunnel) {
	t.IKELifetime, t.ESPLifetime = running.IKELifetime, running.ESPLifetime
	switch {
	case running.BGP == nil:
		t.BGP = nil
	case t.BGP == nil:
		t.BGP = &config.BGP{}
	}
}

// overrides are the parameters that beside sets.
var overrides = []string{"IKE lifetime", "ESP lifetime", "ESP bytes", "BGP"}

// identify are the name, the id and the gateways by which an answer is found among others.
func identify(body *dialect.Value) (name, id string, ids [2]string) {
	text := func(names ...string) string {
		for _, n := range names {
			if body.Has(n) && body.Field(n).Text() != "" {
				return body.Field(n).Text()
			}
		}
		return ""
	}
	if body.Node != nil && body.Node.Kind == tree.Map {
		id = cmp.Or(dialect.Member(body.Node, "VpnConnectionId"), dialect.Member(body.Node, "id"))
	}
	return text("Name", "name", "VpnConnectionName"), id, [2]string{text("VpnGatewayId", "vgw_id"), text("CustomerGatewayId", "cgw_id")}
}

func gateways(section *dialect.Value) map[string]Gateway {
	out := map[string]Gateway{}
	for id, e := range section.Entries() {
		g := Gateway{ASN: uint32(e.Field("asn").Int())}
		if a := e.Field("address").Addr(); a.IsValid() {
			g.Address = a.String()
		} else {
			g.Address = e.Field("address").Text()
		}
		if e.Has("addresses") {
			for name, a := range e.Field("addresses").Entries() {
				if g.Addresses == nil {
					g.Addresses = map[string]string{}
				}
				g.Addresses[name] = a.Addr().String()
			}
		}
		out[id] = g
	}
	return out
}

// tunnelOf is tunnel i of a Draft that was built for the cloud's end.
func tunnelOf(d *dialect.Draft, i int) Tunnel {
	t := Tunnel{Role: string(d.Tunnels[i].Role), Values: map[string]string{}, secrets: map[string]ipsec.Secret{}}
	sorted := *d.Connection
	sorted.Tunnels = []config.Tunnel{d.Tunnels[i]}
	inOrder(&sorted.Tunnels[0])
	for _, p := range explain.Values(&sorted)[0] {
		word, _, _ := strings.Cut(p.Name, ", ")
		if had := t.Values[word]; had != "" { // of several proposals
			p.Value = had + either + p.Value
		}
		t.Values[word] = p.Value
	}
	t.Values["name"] = ""
	if d.Body == nil {
		return t
	}
	t.Values["name"] = d.Name.Text()
	w := walk{d: d, i: i, out: &t, skip: load.DialectOf(d.Dialect).TwoTunnels}
	if len(d.Tunnels) > 1 {
		w.skip = load.DialectOf(d.Dialect).OneTunnel
	}
	w.object(d.Body, "")
	t.spell()
	return t
}

// older are parameters with two names, the one that is left to the other.
var older = map[string]string{"IntegrityAlgorith": "IntegrityAlgorithm", "LocalIdIPsec": "LocalId"}

// spell has each parameter stand under one name.
func (t *Tunnel) spell() {
	for old, name := range older {
		at := slices.IndexFunc(t.Rows, func(r Row) bool { return strings.HasSuffix(r.Path, "."+old) })
		if at < 0 {
			continue
		}
		had := t.Rows[at]
		t.Rows = slices.Delete(t.Rows, at, at+1)
		for i := range t.Rows {
			if r := &t.Rows[i]; r.Path == strings.TrimSuffix(had.Path, old)+name && had.Where != "" {
				r.Data, r.Where, r.untold = had.Data, had.Where, false
			}
		}
	}
}

// either stands between the values of a parameter that has several.
const either = " or "

// inOrder puts everything into one order that has no order.
func inOrder(t *config.Tunnel) {
	t.Local.Subnets, t.Remote.Subnets, t.Routes = ordered(t.Local.Subnets), ordered(t.Remote.Subnets), ordered(t.Routes)
	t.Pairs = slices.Clone(t.Pairs)
	slices.SortFunc(t.Pairs, func(a, b config.Pair) int {
		return cmp.Or(a.Local.Compare(b.Local), a.Remote.Compare(b.Remote))
	})
}

func ordered(ps []netip.Prefix) []netip.Prefix {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, netip.Prefix.Compare)
	return slices.Compact(ps)
}

// places marks the parameters that something beside the body decides, and says where.
func places(t *Tunnel, e explain.Tunnel, body map[string]string) {
	for _, word := range overrides {
		if t.Values[word] == body[word] {
			continue
		}
		where := ""
		for _, p := range e.Parameters {
			if p.Name == word && p.Source == explain.Given {
				where = p.Where
			}
		}
		for i := range t.Rows {
			if slices.Contains(t.Rows[i].Words, word) {
				t.Rows[i].Where, t.Rows[i].Other = where, true
			}
		}
	}
}

// walk lists the parameters of a body that concern one tunnel.
type walk struct {
	d    *dialect.Draft
	i    int
	not  bool     // an answer does not name what is looked at
	skip []string // parameters of the whole body that mean nothing here
	out  *Tunnel
}

func (w *walk) object(v *dialect.Value, path string) {
	for p := range v.Parts() {
		if p.Row.Later != "" || path == "" && slices.Contains(w.skip, p.Row.Name) {
			continue
		}
		was := w.not
		w.not = was || w.d.Body.Answer() && !v.Names(p.Row.Name)
		w.value(p, strings.TrimPrefix(path+"."+p.Row.Name, "."))
		w.not = was
	}
}

func (w *walk) value(p *dialect.Value, path string) {
	_, secret := p.Row.Type.(dialect.Secret)
	_, object := p.Row.Type.(*dialect.Object)
	words := words(p.Row.Goes)
	switch {
	case secret:
		for _, word := range words {
			if p.Given && w.out.secrets[word] == nil {
				w.out.secrets[word] = p.Secret()
			}
		}
		w.add(p, path, "", words, true)
	case object:
		w.object(p, path)
	case len(p.Items()) > 0 && w.tunnels(p):
		for _, item := range p.Items() {
			if w.d.Places[w.i].IKE.In(item) {
				w.object(item, fmt.Sprintf("%s[%s]", path, roleWords[w.d.Tunnels[w.i].Role]))
			}
		}
	default:
		data, plain := datum(p)
		words = append(words, inner(p.Row.Type)...)
		slices.Sort(words)
		w.add(p, path, data, words, !plain)
	}
}

var roleWords = map[config.Role]string{config.Active: "master", config.Standby: "slave"}

// tunnels reports whether p lists the tunnels.
func (w *walk) tunnels(p *dialect.Value) bool {
	return slices.ContainsFunc(p.Items(), func(item *dialect.Value) bool { return w.d.Places[w.i].IKE.In(item) })
}

func (w *walk) add(p *dialect.Value, path, data string, words []string, list bool) {
	if len(words) == 0 {
		return
	}
	row := Row{Path: path, Data: data, Words: slices.Compact(words), List: list, untold: w.not}
	if p.Given {
		pos := p.Pos()
		row.Where = fmt.Sprintf("%s:%d", filepath.Base(pos.File), pos.Line)
	}
	w.out.Rows = append(w.out.Rows, row)
}

// known are the words of config/explain.
var known = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, w := range explain.Words() {
		out[w] = true
	}
	return out
})

// words are the parameters that a row's Goes names, seen from the cloud: its end is the local one.
func words(goes string) (out []string) {
	is := known()
	for word := range strings.SplitSeq(goes, ", ") {
		if of, ok := strings.CutPrefix(word, "cloud "); ok {
			if word = of; is["local "+of] {
				word = "local " + of
			}
		} else if of, ok := strings.CutPrefix(word, "customer "); ok {
			if word = ""; is["remote "+of] {
				word = "remote " + of
			}
		}
		if is[word] {
			out = append(out, word)
		}
	}
	return out
}

// inner are the words of the rows of a list's entries.
func inner(t dialect.Type) (out []string) {
	if l, ok := t.(dialect.List); ok {
		t = l.Of
	}
	var table *dialect.Object
	switch t := t.(type) {
	case interface{ Entry() *dialect.Object }:
		table = t.Entry()
	case interface{ Table() *dialect.Object }:
		table = t.Table()
	}
	if table != nil {
		for _, r := range table.Rows {
			out = append(out, words(r.Goes)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// datum is a value in one spelling. plain is false for a list of another form.
func datum(v *dialect.Value) (data string, plain bool) {
	switch {
	case v.OK() && dialect.Is[[]*dialect.Value](v), v.OK() && dialect.Is[map[string]*dialect.Value](v):
		return "", len(v.Items())+len(v.Entries()) == 0
	case v.OK() && dialect.Is[[]netip.Prefix](v):
		var out []string
		for _, p := range ordered(v.Prefixes()) {
			out = append(out, p.String())
		}
		return strings.Join(out, ","), true
	case v.OK() && dialect.Is[time.Duration](v):
		return fmt.Sprint(int64(v.Duration() / time.Second)), true
	case v.OK() && dialect.Is[bool](v):
		return fmt.Sprint(v.Bool()), true
	case v.OK() && dialect.Is[int64](v):
		return fmt.Sprint(v.Int()), true
	case v.OK() && dialect.Is[netip.Addr](v):
		return v.Addr().String(), true
	case v.OK() && dialect.Is[netip.Prefix](v):
		return v.Prefix().String(), true
	case v.OK():
		return v.Text(), true
	case v.Given && v.Node.Kind == tree.Scalar: // nothing that the table takes
		return printable(v.Node.Text), true
	}
	return "", true
}

// printable is a text of somebody else for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	if rs := []rune(s); len(rs) > 80 {
		s = string(rs[:80]) + "…"
	}
	return s
}
