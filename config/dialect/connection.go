package dialect

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// Side is which end of the connection this host is.
type Side uint8

const (
	Customer Side = iota
	Cloud
)

func (s Side) String() string {
	if s == Cloud {
		return "cloud"
	}
	return "customer"
}

// Connection is what every dialect produces: the neutral form, seen from this host.
type Connection struct {
	Name    string // unique
	Dialect string // "alibaba", "native"
	Side    Side
	Routing Routing
	Tunnels []Tunnel // one, or two for a dual-tunnel connection
	Partial bool     // it is to run without what Unserved names
	Choices []Choice // what this host, being the cloud, is to choose
	Notes   []string // what the body says that has no effect here, a sentence each
}

// Unserved names what the connection asks for and vpngw does not serve yet.
func (c *Connection) Unserved() []string {
	var out []string
	has := func(what func(*Tunnel) bool) bool {
		for i := range c.Tunnels {
			if what(&c.Tunnels[i]) {
				return true
			}
		}
		return false
	}
	if has(func(t *Tunnel) bool { return t.Health != nil }) {
		out = append(out, "health checks")
	}
	if has(func(t *Tunnel) bool { return t.BGP != nil }) {
		out = append(out, "BGP")
	}
	if len(c.Tunnels) > 1 {
		out = append(out, "failover between its tunnels")
	}
	return out
}

// Routing is what decides which packets go into the tunnels.
type Routing string

const (
	RouteFlows       Routing = "flows"       // protected data flows: the selectors, which routes follow
	RouteDestination Routing = "destination" // selectors of everything; static routes
	RouteBGP         Routing = "bgp"         // selectors of everything; routes that BGP learns
)

// Role is a tunnel's place in a dual-tunnel connection.
type Role string

const (
	Single  Role = "single"
	Active  Role = "active"
	Standby Role = "standby"
)

// End is one end of a tunnel.
type End struct {
	Address netip.Addr // the public one, as the peers know it
	ID      ipsec.Identity
	ASN     uint32 // 0: none given
	Subnets []netip.Prefix
}

// Encap is how ESP travels: "auto", "always" or "never" in UDP.
type Encap string

const (
	EncapAuto   Encap = "auto"
	EncapAlways Encap = "always"
	EncapNever  Encap = "never"
)

// Children is how subnets become Child SAs.
type Children string

const (
	Lists Children = "lists" // one Child SA for all subnets
	Pairs Children = "pairs" // one for each pair of local and remote
)

// Pair is a subnet behind each end, between which traffic is protected.
type Pair struct{ Local, Remote netip.Prefix }

// SetPairs makes the tunnel carry traffic between these pairs of subnets and no others,
// with a Child SA for each.
func (t *Tunnel) SetPairs(ps []Pair) {
	t.Children, t.Pairs = Pairs, ps
	t.Local.Subnets, t.Remote.Subnets = nil, nil
	for _, p := range ps {
		t.Local.Subnets = appendNew(t.Local.Subnets, p.Local)
		t.Remote.Subnets = appendNew(t.Remote.Subnets, p.Remote)
	}
}

// EachPair are the pairs of subnets that the tunnel protects: those it lists, or each
// local one with each remote one of its family.
func (t *Tunnel) EachPair() []Pair {
	if t.Pairs != nil {
		return t.Pairs
	}
	var out []Pair
	for _, l := range t.Local.Subnets {
		for _, r := range t.Remote.Subnets {
			if l.Addr().Is4() == r.Addr().Is4() {
				out = append(out, Pair{l, r})
			}
		}
	}
	return out
}

// appendNew appends p unless it is there.
func appendNew(ps []netip.Prefix, p netip.Prefix) []netip.Prefix {
	if slices.Contains(ps, p) {
		return ps
	}
	return append(ps, p)
}

// Tunnel is one IPsec tunnel with a TUN device of its own.
type Tunnel struct {
	Name string // the connection's name; with two tunnels name-1, name-2
	Role Role

	Local, Remote End
	// Inside is this end's address in the tunnel with the mask of the block that both
	// ends are in, and Peer the other end's; invalid without.
	Inside netip.Prefix
	Peer   netip.Addr

	IKEVersion   int  // 1 or 2; 0: either, beginning with 2
	Aggressive   bool // IKEv1's phase 1 in aggressive mode, and in no other
	PSK          ipsec.Secret
	IKEProposals []ipsec.Proposal
	IKELifetime  time.Duration // 0: never

	ESPProposals []ipsec.Proposal // a key exchange group in them is PFS
	ESPLifetime  ipsec.Lifetime
	Children     Children // IKEv1 has one for each pair, whatever this says
	Pairs        []Pair   // those that have a Child SA each; nil: as Children says, of the ends' Subnets, which list the same blocks
	Trunc96      bool     // sha256_96: HMAC-SHA-256 of ESP cut to 96 bits

	NATT     bool
	Encap    Encap
	CopyDSCP bool // copy the inner DSCP to the outer header (default true)
	DPD      dpd.Config
	Initiate bool // bring it up; false: answer only

	Device string // TUN device name; empty: one is chosen ("vpngw0", …)
	// Routes go into the tunnel: as `routes:` lists them, or else the remote subnets without 0.0.0.0/0 and ::/0.
	Routes []netip.Prefix

	BGP    *BGP    // nil: none
	Health *Health // nil: none
}

// BGP is a session in a tunnel, between Inside and Peer, from this host's side.
// The AS numbers are those of the tunnel's ends.
type BGP struct {
	AuthKey ipsec.Secret // RFC 2385; empty: none
}

// Health is a check by pings through a tunnel.
type Health struct {
	Source, Target netip.Addr    // who pings whom
	Interval       time.Duration // between pings
	Timeout        time.Duration // of one; 0: the interval
	Retries        int           // pings without an answer after which the tunnel is ill
	Ours           bool          // this end pings; false: the peer does, and Target is here
}
