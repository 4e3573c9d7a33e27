package sa

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// Encap says when ESP travels in UDP.
type Encap uint8

const (
	EncapAuto   Encap = iota // when NAT detection finds a NAT
	EncapAlways              // always, as if there were a NAT
	EncapNever               // raw ESP; a NAT on the path is an error
)

// PeerKey identifies the peer of an IKE SA, by addresses and identities. Tunnels
// with equal keys share one IKE SA, each with its own Child SAs.
type PeerKey struct {
	Local    netip.Addr // our configured address; unset: the route to Remote chooses
	Remote   netip.Addr // unset: not known yet, or with no Host either, the peer may come from anywhere
	Host     string     // the name that Remote was looked up for; empty: Remote is configured
	LocalID  ipsec.Identity
	RemoteID ipsec.Identity
}

// Anywhere reports whether the peer may come from anywhere: its identity alone tells who it is, and this end only answers.
func (k PeerKey) Anywhere() bool { return !k.Remote.IsValid() && k.Host == "" }

// Settings are the settings of an IKE SA. Tunnels that share an IKE SA must agree in
// all of them.
type Settings struct {
	Version    int  // 1 or 2; 0: answers either, and begins with 2
	Aggressive bool // IKEv1: phase 1 in aggressive mode only; otherwise in main mode only
	PSK        ipsec.Secret
	Proposals  []ipsec.Proposal
	Lifetime   time.Duration // hard lifetime of the IKE SA; 0: we never rekey it
	NATT       bool          // false: no NAT detection, so ESP is encapsulated only with EncapAlways
	Encap      Encap
	DPD        dpd.Config
	Port       uint16 // of the peer, where our first message goes; 0: 500, and after silence 4500
}

// settings are the fields of Settings with names for people. A test fails if one is
// missing.
var settings = [...]struct {
	name  string
	live  bool // an IKE SA goes on with another value: see Machine.Adopt
	equal func(a, b *Settings) bool
}{
	{"IKE version", false, func(a, b *Settings) bool { return a.Version == b.Version }},
	{"mode of IKEv1", false, func(a, b *Settings) bool { return a.Aggressive == b.Aggressive }},
	{"pre-shared key", false, func(a, b *Settings) bool { return a.PSK.Equal(b.PSK) }},
	{"IKE proposals", false, func(a, b *Settings) bool { return slices.EqualFunc(a.Proposals, b.Proposals, ipsec.Proposal.Equal) }},
	{"IKE lifetime", true, func(a, b *Settings) bool { return a.Lifetime == b.Lifetime }},
	{"NAT traversal setting", false, func(a, b *Settings) bool { return a.NATT == b.NATT }},
	{"encap", false, func(a, b *Settings) bool { return a.Encap == b.Encap }},
	{"DPD settings", true, func(a, b *Settings) bool { return a.DPD == b.DPD }},
	{"port of the peer", false, func(a, b *Settings) bool { return a.Port == b.Port }},
}

// Diff returns the names of the settings in which s and t differ; none if they are
// equal.
func (s *Settings) Diff(t *Settings) []string {
	var out []string
	for _, f := range settings {
		if !f.equal(s, t) {
			out = append(out, f.name)
		}
	}
	return out
}

// Keeps reports whether an IKE SA of s goes on as one of t.
func (s *Settings) Keeps(t *Settings) bool {
	for _, f := range settings {
		if !f.live && !f.equal(s, t) {
			return false
		}
	}
	return true
}

// Peer is the other end of an IKE SA: an entry of RFC 4301's PAD with its SPD
// entries. Connections that share addresses and identities share one Peer.
// Immutable once handed over.
type Peer struct {
	Name string // for people: the connections' names
	PeerKey
	Settings
	Children []*Child
}

// Tunnels are the names of the peer's tunnels, each once. p may be nil.
func (p *Peer) Tunnels() []string {
	if p == nil {
		return nil
	}
	var out []string
	for _, c := range p.Children { // the children of one tunnel are adjacent
		if len(out) == 0 || out[len(out)-1] != c.Tunnel {
			out = append(out, c.Tunnel)
		}
	}
	return out
}

// Speaks reports whether the configuration allows the peer a version of IKE.
func (p *Peer) Speaks(version int) bool { return p.Version == version || p.Version == 0 }

// Child is the configuration of one Child SA. A tunnel has one or more.
type Child struct {
	Name      string // unique within the Peer: "hq", "lab/2"
	Tunnel    string // unique in the daemon; its TUN device
	Initiate  bool   // bring it up and keep it up; false: only answer (state "waiting"). A change concerns no SA.
	Local     []ipsec.Selector
	Remote    []ipsec.Selector
	Proposals []ipsec.Proposal // with key exchange groups: PFS
	Lifetime  ipsec.Lifetime
	Trunc96   bool

	EarlyRekey bool // rekey the first one of an IKE SA some seconds after it is up. A change concerns no SA.
}

// Same reports whether an SA of one of two Children can be one of the other: they differ at most in who
// brings it up, and in the early rekey.
func (c *Child) Same(d *Child) bool {
	x, y := *c, *d
	x.Initiate, y.Initiate = false, false
	x.EarlyRekey, y.EarlyRekey = false, false
	return reflect.DeepEqual(x, y)
}
