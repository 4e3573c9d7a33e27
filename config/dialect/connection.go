package dialect

import (
	"net/netip"
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
	Tunnels []Tunnel // one, or two for a dual-tunnel connection
	Notes   []string // what the body says that has no effect here, a sentence each
}

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

// Tunnel is one IPsec tunnel with a TUN device of its own.
type Tunnel struct {
	Name string // the connection's name; with two tunnels name-1, name-2
	Role Role

	Local, Remote End

	IKEVersion   int  // 1 or 2; 0: either, beginning with 2
	Aggressive   bool // IKEv1's phase 1 in aggressive mode, and in no other
	PSK          ipsec.Secret
	IKEProposals []ipsec.Proposal
	IKELifetime  time.Duration // 0: never

	ESPProposals []ipsec.Proposal // a key exchange group in them is PFS
	ESPLifetime  ipsec.Lifetime
	Children     Children // IKEv1 has one for each pair, whatever this says
	Trunc96      bool     // sha256_96: HMAC-SHA-256 of ESP cut to 96 bits

	NATT     bool
	Encap    Encap
	CopyDSCP bool // copy the inner DSCP to the outer header (default true)
	DPD      dpd.Config
	Initiate bool // bring it up; false: answer only

	Device string // TUN device name; empty: one is chosen ("vpngw0", …)
	// Routes go into the tunnel: as `routes:` lists them, or else the remote subnets without 0.0.0.0/0 and ::/0.
	Routes []netip.Prefix
}
