// Package dialect is what every way to write a connection down has in common:
// tables of parameters with their types, ranges, defaults and codes; the check
// that reads a tree by these tables and collects every problem with its place; and
// the Draft, the connection that a body becomes.
package dialect

import "vpngw/config"

import (
	"vpngw/ipsec"
)

// Dialect is one way to write a connection down.
type Dialect struct {
	Name  string            // the key that holds the body
	Words map[string]string // its own words for our names of algorithms; empty: none
	Page  string            // the cloud's page that has its defaults; empty: they are ours
	Body  *Object
	// Build makes a connection of a body. It notes what is wrong, and returns
	// nil when nothing can be made of it.
	Build func(*Check, *Value, Env) *Draft
	// Wrappers are keys around a body, in a request or an answer. They are taken off,
	// layer by layer; of a list there, the one entry is the body.
	Wrappers []string
	// Receipt are the keys of an answer that says nothing of a connection but that it was
	// made, and Tells is the one that does.
	Receipt []string
	Tells   string
	// Same are the codes for connections between the same two gateways that
	// do not go together; nil if the cloud has no rule for them.
	Same *SameGateways
}

// SameGateways are a cloud's codes for two connections between the same two gateways.
type SameGateways struct {
	DifferentIKE string // pre-shared key or IKE settings differ
	Overlap      string // traffic selectors overlap
	Inside       string // the blocks inside the tunnels are the same; of a VPN gateway's connections
}

// Env is what surrounds a body.
type Env struct {
	Side config.Side
	VPN  Gateways // what ids of the cloud's gateways stand for
	Cust Gateways // and of the customer's
}

// Draft is a connection as its body alone describes it, with the places at
// which later checks report.
type Draft struct {
	*config.Connection
	Choices  []Choice        // what this host, being the cloud, is to choose
	Notes    []string        // what the body says that has no effect here, a sentence each
	Unserved config.Features // what it asks for and the daemon does not serve

	Entry   *Value                    // its entry in the list of connections
	Body    *Value                    // the body there
	Taken   map[string]string         // parameters, as Row.Goes has them, that another connection decides, with its name
	Name    *Value                    // the body's own name, may be absent
	Places  []Place                   // of each tunnel
	PSKWant func(ipsec.Secret) string // what a PSK of a file must be, or nothing
}

// NoteRoutes notes that the body of a cloud that routes cannot tell its customer
// what is behind the cloud's gateway.
func (d *Draft) NoteRoutes() {
	if d.Side == config.Customer && d.Routing != config.RouteFlows {
		d.Notes = append(d.Notes, "the body does not say what is behind the cloud's gateway: what is to go into the tunnel stands in routes: beside it")
	}
}

// Place is where a tunnel's parameters stand in the body.
type Place struct {
	Gateway *Value // the id of the cloud's gateway; nil: it has none
	IKE     *Value // its IKE settings
	ESP     *Value // its ESP proposals
	Subnets *Value
	Inside  *Value // its addresses in the tunnel; nil: none
	PSK     *Value // may be absent
	NoPSK   string // what to say then, if there is no psk_file either; empty: nothing
	// ChoosePSK is how the cloud makes a PSK when the body has none; nil: it makes none.
	ChoosePSK *Choice
	Answer    string // the cloud's answer that tells it
}
