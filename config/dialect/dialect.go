// Package dialect is what every way to write a connection down has in common:
// tables of parameters with their types, ranges, defaults and codes; the check
// that reads a tree with them and collects every problem with its place; and the
// Connection, in neutral words, that a body becomes.
package dialect

import (
	"net/netip"

	"vpngw/ipsec"
)

// Dialect is one way to write a connection down.
type Dialect struct {
	Name string // the key that holds the body
	Page string // the cloud's page that has its defaults; empty: they are ours
	Body *Object
	// Build makes a connection of a body. It notes what is wrong, and returns
	// nil when nothing can be made of it.
	Build func(*Check, *Value, Env) *Draft
	// Same are the codes for connections between the same two gateways that
	// do not go together; nil if the cloud has no rule for them.
	Same *SameGateways
}

// SameGateways are a cloud's codes for two connections between the same two gateways.
type SameGateways struct {
	DifferentIKE string // pre-shared key or IKE settings differ
	Overlap      string // traffic selectors overlap
}

// Env is what surrounds a body.
type Env struct {
	Side Side
	VPN  Gateways // what ids of the cloud's gateways stand for
	Cust Gateways // and of the customer's
}

// Draft is a connection as its body alone describes it, with the places at
// which later checks report.
type Draft struct {
	*Connection
	Entry   *Value            // its entry in the list of connections
	Body    *Value            // the body there
	Parts   []*Value          // where the body has a part for each tunnel: those
	Taken   map[string]string // parameters, as Row.Goes has them, that another connection decides, with its name
	Name    *Value            // the body's own name, may be absent
	IKE     *Value            // its IKE settings
	ESP     *Value            // its ESP proposals
	Subnets *Value
	PSK     *Value                    // may be absent
	NoPSK   string                    // what to say then, if there is no psk_file either; empty: nothing
	PSKWant func(ipsec.Secret) string // what a PSK of a file must be, or nothing
}

// Gateways is a table of gateways: what ids stand for.
type Gateways struct {
	Section string // "vpn_gateways"
	Entries map[string]*Value
}

// GatewayObject is the table of one gateway.
var GatewayObject = &Object{Rows: []Row{
	{Name: "address", Type: Addr{}, Required: true, Doc: "its public address"},
	{Name: "asn", Type: ASN{}, Doc: "its AS number"},
	{Name: "addresses", Type: nil, Later: "gateways with several addresses are not served yet: give the one address", Doc: "its public addresses"},
	{Name: "name", Type: Text{}, Doc: "for people"},
}}

// Gateway is what an id stands for.
type Gateway struct {
	Address netip.Addr
	ASN     uint32
}

// Find looks up the gateway that v, a text, names. An id that is an address
// stands for itself.
func (g Gateways) Find(c *Check, v *Value) (Gateway, bool) {
	id := v.Text()
	if !v.OK() {
		return Gateway{}, false
	}
	if e, ok := g.Entries[id]; ok {
		a := e.Field("address")
		return Gateway{a.Addr(), uint32(e.Field("asn").Int())}, a.OK()
	}
	if a, err := netip.ParseAddr(id); err == nil && a.Zone() == "" {
		return Gateway{Address: a.Unmap()}, true
	}
	p := c.problem(v, Error, NotFound, "%s has no such entry; add to it the line  %s: {address: A.B.C.D}", g.Section, printable(id))
	p.Nearest = Nearest(id, names(g.Entries))
	c.Add(p)
	return Gateway{}, false
}
