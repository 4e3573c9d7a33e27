package sa

import (
	"net/netip"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// Encap says when ESP travels in UDP.
type Encap uint8

const (
	EncapAuto   Encap = iota // when NAT detection finds a NAT
	EncapAlways              // as if a NAT had been found
	EncapNever               // raw ESP; a NAT on the path is an error
)

// Peer is the other end of an IKE SA: RFC 4301's PAD entry with the SPD entries
// that hang on it. Connections that share addresses and identities share one.
// Immutable once handed over.
type Peer struct {
	Name    string // for people: the connections' names
	Version int    // 1 or 2; 0: answers either, and begins with 2
	// Aggressive is IKEv1's phase 1 in aggressive mode, and in no other.
	Aggressive bool

	Local     netip.Addr // ours as configured; unset: the route to Remote chooses
	Remote    netip.Addr
	LocalID   ipsec.Identity
	RemoteID  ipsec.Identity
	PSK       ipsec.Secret
	Proposals []ipsec.Proposal
	Lifetime  time.Duration // of the IKE SA, hard; 0: never rekeyed by us

	NATT  bool // false: no NAT detection sent or believed, never encapsulated unless Encap says so
	Encap Encap
	DPD   dpd.Config

	Children []*Child
}

// Speaks reports whether the peer may use a version of IKE.
func (p *Peer) Speaks(version int) bool { return p.Version == version || p.Version == 0 }

// Child is one wanted Child SA. A tunnel has one or more.
type Child struct {
	Name      string // unique within the Peer: "hq", "lab/2"
	Tunnel    string // unique in the daemon; its TUN device
	Initiate  bool   // bring up and keep up; false: only answer (state "waiting"). A change of it touches no SA.
	Local     []ipsec.Selector
	Remote    []ipsec.Selector
	Proposals []ipsec.Proposal // with key exchange groups: PFS
	Lifetime  ipsec.Lifetime
	Trunc96   bool
}
