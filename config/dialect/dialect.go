// Package dialect has the parts that all dialects share: tables of parameters with
// their types, ranges, defaults and codes; the check that reads a tree by these
// tables and collects every problem with its place; and the Draft, the connection
// that a body becomes.
package dialect

import (
	"net/netip"

	"vpngw/config"
	"vpngw/config/tree"
	"vpngw/ipsec"
)

// Dialect is one way to write a connection down.
type Dialect struct {
	Name  string            // the key that holds a body
	Words map[string]string // the cloud's words for algorithms, to our names
	Page  string            // the cloud's page with its defaults; empty: the defaults are vpngw's
	Body  *Object
	// Build makes a Draft of a body. It notes what is wrong, and returns nil when
	// the body is too broken for a Draft.
	Build func(*Check, *Value, Env) *Draft
	// Wrappers are the keys that stand around a body in a request or an answer, in any
	// number of layers. Where one holds a list, its entries are bodies.
	Wrappers []string
	// Turn makes a body of what stands in the wrapper Turned, which says the same in another way.
	Turned string
	Turn   func(*tree.Node) *tree.Node
	// Other names what a mapping is that is a request or an answer of the API, and no connection, and says what to take in
	// its place; empty: it may be a connection.
	Other func(*tree.Node) string
	// Receipt are the keys of an answer that tells no more of a connection than that it
	// was created. Tells names the answer that describes it.
	Receipt []string
	Tells   string
	// OneTunnel are the parameters that mean nothing beside a list of tunnels, TwoTunnels those that mean nothing without one.
	OneTunnel, TwoTunnels []string
	// Same are the codes for conflicts of connections between the same two gateways;
	// nil: the cloud has no rule for these.
	Same *SameGateways
	// BGP is what the cloud's end does with BGP; nil: whatever vpngw does.
	BGP *BGPRules
}

// BGPRules are a cloud's rules for BGP.
type BGPRules struct {
	Most  int            // prefixes that the cloud's end accepts; 0: its page has no number
	Never []netip.Prefix // what it refuses, as config.BGP.Never has it
	Write string         // what a body has that asks for BGP
}

// SameGateways are a cloud's codes for two connections between the same two gateways.
type SameGateways struct {
	DifferentIKE string // pre-shared key or IKE settings differ
	Overlap      string // traffic selectors overlap
	Inside       string // connections of one VPN gateway have the same block inside their tunnels
}

// Env holds the context of a body.
type Env struct {
	Side config.Side
	VPN  Gateways // the cloud's gateways by id
	Cust Gateways // the customer's gateways by id
}

// Draft is a connection as its body describes it, with the places where later checks
// report problems.
type Draft struct {
	*config.Connection
	Choices  []Choice        // what this host, being the cloud, is to choose
	Notes    []string        // what the body says that has no effect here, a sentence each
	Unserved config.Features // what the connection asks for and the daemon does not serve

	Entry   *Value                    // its entry in the list of connections
	Body    *Value                    // the body there
	Before  int                       // how many tunnels the entry's bodies before this one have
	Among   int                       // how many all bodies of the entry have
	Taken   map[string]string         // by parameter, as in Row.Goes: the connection that it was taken over from
	Name    *Value                    // the name that the body gives; may be absent
	Places  []Place                   // one for each tunnel
	PSKWant func(ipsec.Secret) string // what a PSK from a file must do and does not, or empty
	// PSKLimit says what PSK the cloud takes; empty: whatever vpngw does.
	PSKLimit string
	// Ends are the ids of the two gateways, where two connections between these, one active
	// and one standby, are a pair that needs no pair: beside them; empty: the cloud has no
	// such pairs.
	Ends string
}

// NoteRoutes notes that the body of a cloud that routes cannot tell its customer
// what is behind the cloud's gateway.
func (d *Draft) NoteRoutes() {
	switch {
	case d.Side != config.Customer:
	case d.Routing == config.RouteBGP:
		d.Notes = append(d.Notes, "BGP tells what is behind the cloud's gateway; routes: beside the body adds what it does not tell")
	case d.Routing != config.RouteFlows:
		d.Notes = append(d.Notes, "the body does not say what is behind the cloud's gateway: what is to go into the tunnel stands in routes: beside it")
	}
}

// Place is where a tunnel's parameters stand in the body.
type Place struct {
	Gateway *Value    // the id of the cloud's gateway; nil: it has none
	IDs     [2]*Value // the two ends' identities, as the body names them; may be absent
	IKE     *Value    // its IKE settings
	ESP     *Value    // its ESP proposals
	Subnets *Value
	Inside  *Value      // its addresses in the tunnel; nil: none
	Role    *Value      // its role; nil: the body has no such parameter
	Part    config.Role // the role that Role gives it, as it is in a pair; empty: none is given
	PSK     *Value      // may be absent
	NoPSK   string      // the error where neither the body nor a psk_file has a PSK; empty: none
	// ChoosePSK says how the cloud makes a PSK when the body has none; nil: it does not.
	ChoosePSK *Choice
	Answer    string // the cloud's answer that tells the PSK
}
