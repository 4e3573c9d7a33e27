package sa

import (
	"net/netip"
	"slices"
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

// PeerKey is what an IKE SA belongs to: addresses and identities. Tunnels with
// equal keys share one IKE SA, each with its own Child SAs.
type PeerKey struct {
	Local    netip.Addr // ours as configured; unset: the route to Remote chooses
	Remote   netip.Addr
	LocalID  ipsec.Identity
	RemoteID ipsec.Identity
}

// Settings are those of an IKE SA. Tunnels that share one must agree in all of them.
type Settings struct {
	Version    int  // 1 or 2; 0: answers either, and begins with 2
	Aggressive bool // IKEv1's phase 1 in aggressive mode, and in no other
	PSK        ipsec.Secret
	Proposals  []ipsec.Proposal
	Lifetime   time.Duration // of the IKE SA, hard; 0: never rekeyed by us
	NATT       bool          // false: no NAT detection sent or believed, never encapsulated unless Encap says so
	Encap      Encap
	DPD        dpd.Config
}

// settings are the fields of Settings with their names for people. A reflection
// test fails when one is missing.
var settings = [...]struct {
	name  string
	equal func(a, b *Settings) bool
}{
	{"IKE version", func(a, b *Settings) bool { return a.Version == b.Version }},
	{"mode of IKEv1", func(a, b *Settings) bool { return a.Aggressive == b.Aggressive }},
	{"pre-shared key", func(a, b *Settings) bool { return a.PSK.Equal(b.PSK) }},
	{"IKE proposals", func(a, b *Settings) bool { return slices.EqualFunc(a.Proposals, b.Proposals, ipsec.Proposal.Equal) }},
	{"IKE lifetime", func(a, b *Settings) bool { return a.Lifetime == b.Lifetime }},
	{"NAT traversal setting", func(a, b *Settings) bool { return a.NATT == b.NATT }},
	{"encap", func(a, b *Settings) bool { return a.Encap == b.Encap }},
	{"DPD settings", func(a, b *Settings) bool { return a.DPD == b.DPD }},
}

// Diff names the settings in which s and t differ; none: they are the same.
func (s *Settings) Diff(t *Settings) []string {
	var out []string
	for _, f := range settings {
		if !f.equal(s, t) {
			out = append(out, f.name)
		}
	}
	return out
}

// Peer is the other end of an IKE SA: RFC 4301's PAD entry with the SPD entries
// that hang on it. Connections that share addresses and identities share one.
// Immutable once handed over.
type Peer struct {
	Name string // for people: the connections' names
	PeerKey
	Settings
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
