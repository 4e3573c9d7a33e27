// Package explain shows what a configuration means: every effective parameter of each
// tunnel in neutral words, with its value, its form on the wire and its source. Values
// come from the Tunnel, sources from the rows whose Goes names the parameter. It never
// shows a secret.
package explain

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/load"
)

// Tunnel is one tunnel, explained.
type Tunnel struct {
	Name       string  `json:"name"`
	Connection string  `json:"connection"`
	Dialect    string  `json:"dialect"`
	Side       string  `json:"side"`
	Parameters []Param `json:"parameters"`
}

// Param is one parameter of a tunnel.
type Param struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Wire   string `json:"wire"` // empty: it is not on the wire
	Source Source `json:"source"`
	Where  string `json:"where"` // given: file:line; default: the page; ours: empty
	Path   string `json:"path"`  // given: "connections[0].alibaba.IkeConfig.IkeEncAlg"
	Weak   string `json:"weak"`  // what RFC 8247 or RFC 8221 says against it; empty: nothing
}

// Source is where a value comes from.
type Source string

const (
	Given   Source = "given"
	Default Source = "default" // the cloud's default, from its page
	Ours    Source = "ours"
)

// From is the source for people.
func (p Param) From() string {
	switch p.Source {
	case Given:
		return "given (" + p.Where + ")"
	case Default:
		return "default (" + p.Where + ")"
	}
	return "ours"
}

// Of explains the tunnels of the connection or tunnel called name; empty: all tunnels.
func Of(r *load.Result, name string) []Tunnel {
	var out []Tunnel
	for _, d := range r.Drafts {
		for i := range d.Tunnels {
			t := &d.Tunnels[i]
			if name != "" && name != d.Connection.Name && name != t.Name {
				continue
			}
			out = append(out, tunnel(r, d, i))
		}
	}
	return out
}

func tunnel(r *load.Result, d *dialect.Draft, i int) Tunnel {
	t := &d.Tunnels[i]
	out := Tunnel{Name: t.Name, Connection: d.Connection.Name, Dialect: d.Dialect, Side: d.Side.String()}
	from := origins(d, i)
	for _, said := range values(&subject{t, d.Connection, d.Unserved}) {
		word, _, _ := strings.Cut(said.Name, ", ")
		from.set(r, d, &said, word)
		out.Parameters = append(out.Parameters, said)
	}
	return out
}

// sources are, for each parameter of a tunnel, the value that decides it.
type sources map[string]*dialect.Value

// origins finds the values that decide tunnel i of d. A value beside the body goes before
// one in the body, and a given value before a default.
func origins(d *dialect.Draft, i int) sources {
	out := sources{}
	var look func(*dialect.Value)
	look = func(v *dialect.Value) {
		for p := range v.Parts() {
			if _, body := p.Row.Type.(dialect.Request); body || others(d, i, p) || otherRank(d, i, p) {
				continue
			}
			for word := range strings.SplitSeq(p.Row.Goes, ", ") {
				if have := out[word]; word != "" && (have == nil || !have.Given && (p.Given || have.Row.Default == "" && have.Row.Else == "")) {
					out[word] = p
				}
			}
			look(p)
		}
	}
	look(d.Entry)
	if d.Body != nil {
		look(d.Body)
	}
	return out
}

// others reports whether v belongs to a tunnel of d other than tunnel i.
func others(d *dialect.Draft, i int, v *dialect.Value) bool {
	another := func(p dialect.Place) bool { return p.IKE != nil && p.IKE.In(v) }
	return !another(d.Places[i]) && slices.ContainsFunc(d.Places, another)
}

// set sets the source of a parameter.
func (from sources) set(r *load.Result, d *dialect.Draft, p *Param, word string) {
	p.Source = Ours
	if name := d.Taken[word]; name != "" {
		p.Source, p.Where = Given, "connection "+name
		return
	}
	v := from.of(d.Side, word)
	if (v == nil || !v.Given) && follows[word] != "" {
		if other := from.of(d.Side, follows[word]); other != nil && other.Given || !byDefault(v) {
			v = other
		}
	}
	if end, of, _ := strings.Cut(word, " "); of == "identity" && (v == nil || !v.Given) { // the gateway may have one of its own
		if at := from.of(d.Side, end+" address"); at != nil && at.Given {
			if id := gateway(r.Root, at, "id_value", ""); id != at {
				v = id
			}
		}
	}
	page := load.DialectOf(d.Dialect).Page
	switch {
	case v == nil:
	case v.Given:
		p.Source, p.Path = Given, v.Path()
		if end, of, _ := strings.Cut(word, " "); (end == local || end == remote) && gatewayRows[of] != "" {
			_, id := v.Row.Type.(dialect.Text)
			if v = gateway(r.Root, v, gatewayRows[of], p.Value); id && v.Row.Name != gatewayRows[of] && of == "AS" {
				p.Source, p.Path, p.Where = Default, "", "what the cloud's gateways have" // the id's entry says nothing of it
				return
			}
		}
		pos := v.Pos()
		p.Where = fmt.Sprintf("%s:%d", filepath.Base(pos.File), pos.Line)
	case byDefault(v) && page != "" && v.In(d.Body):
		p.Source, p.Where = Default, page
		if strings.Contains(v.Row.Doc, "default: SDK") {
			p.Where = "not on the page; the cloud's SDK"
		}
	}
}

// byDefault reports whether v has a value where none is given.
func byDefault(v *dialect.Value) bool {
	return v != nil && (v.Row.Default != "" || v.Row.Else != "")
}

const (
	local  = "local"
	remote = "remote"
)

// of is the value that decides a parameter. In a cloud's row the ends are cloud and
// customer, and a parameter that concerns one side only begins with that side.
func (from sources) of(s config.Side, word string) *dialect.Value {
	own := from[word]
	if own != nil && (own.Given || byDefault(own)) {
		return own
	}
	of := from[s.String()+" "+word]
	if end, what, ok := strings.Cut(word, " "); ok && (end == local || end == remote) {
		of = from[side(s, end)+" "+what]
	}
	if of == nil {
		return own
	}
	return of
}

// follows names, for a parameter that is not given, the one that decides it.
var follows = map[string]string{
	"routes": "remote networks", "IKE PRF": "IKE integrity", "local networks": "routing", "remote networks": "routing", "BGP": "routing",
	"BGP announces": "local networks",
	// A pair decides the role that no body gives, and two bodies' roles can make a pair.
	"role": "pair", "pair": "role",
}

// side is the side that has the local or the remote end.
func side(s config.Side, end string) string {
	if (s == config.Cloud) == (end == local) {
		return config.Cloud.String()
	}
	return config.Customer.String()
}

// gatewayRows are the parameters of an end that the tables of gateways have.
var gatewayRows = map[string]string{"address": "address", "AS": "asn"}

// gateway is the value that the gateway whose id is v has in row, or else v.
func gateway(root, v *dialect.Value, row, value string) *dialect.Value {
	for _, section := range []string{"vpn_gateways", "customer_gateways"} {
		e := root.Field(section).Entries()[v.Text()]
		if e == nil {
			continue
		}
		for p := range e.Parts() {
			if p.Given && p.Row.Name == row {
				return p
			}
			for _, a := range p.Entries() { // of several addresses
				if a.Given && a.Addr().String() == value {
					return a
				}
			}
		}
	}
	return v
}

// Words are the parameters that a row's Goes may name.
func Words() []string {
	var out []string
	for _, p := range params {
		out = append(out, p.name)
		if end, of, ok := strings.Cut(p.name, " "); ok && (end == local || end == remote) {
			out = append(out, config.Cloud.String()+" "+of, config.Customer.String()+" "+of)
		}
		out = append(out, config.Cloud.String()+" "+p.name, config.Customer.String()+" "+p.name)
	}
	return out
}

// Values are the parameters of each tunnel without their sources.
func Values(c *config.Connection) [][]Param {
	var out [][]Param
	for i := range c.Tunnels {
		out = append(out, values(&subject{&c.Tunnels[i], c, nil}))
	}
	return out
}

func values(t *subject) []Param {
	var out []Param
	for _, p := range params {
		for _, said := range p.of(t) {
			said.Name = p.name + said.Name
			out = append(out, said)
		}
	}
	return out
}
