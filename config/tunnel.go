package config

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// Tunnel is one IPsec tunnel with a TUN device of its own.
type Tunnel struct {
	Name string // unique; the connection's name, or with two tunnels NAME-1 and NAME-2
	Role Role

	Local, Remote End
	// Inside is this end's address in the tunnel, with the mask of the block that both
	// ends have addresses in; Peer is the other end's. Both are invalid where none are given.
	Inside netip.Prefix
	Peer   netip.Addr

	IKEVersion   int  // 1 or 2; 0: begins with 2 and answers either
	Aggressive   bool // IKEv1's phase 1 is aggressive mode; false: main mode
	PSK          ipsec.Secret
	IKEProposals []ipsec.Proposal
	IKELifetime  time.Duration // 0: without end

	ESPProposals []ipsec.Proposal // a key exchange group in a proposal is PFS
	ESPLifetime  ipsec.Lifetime
	Children     Children // IKEv1 has a Child SA for each pair, whatever Children says
	Pairs        []Pair   // the pairs of subnets that have a Child SA each; nil: as Children says. The ends' Subnets list the same blocks.
	Trunc96      bool     // sha256_96: the ICV of HMAC-SHA-256 in ESP has 96 bits

	NATT     bool // detect NATs
	Encap    Encap
	CopyDSCP bool // copy the DSCP of an inner packet to the outer header
	MTU      int  // the largest inner packet; 0: what fits on the path
	DF       DF
	DPD      dpd.Config
	Start    Start // who brings the tunnel up, and when

	EarlyRekey bool // rekey the first Child SA soon, which shows whether both ends agree in PFS

	Device string // name of the TUN device; empty: the daemon chooses one ("vpngw0", …)
	// Routes lead into the tunnel: the list of `routes:`, else the remote subnets without
	// 0.0.0.0/0 and ::/0.
	Routes []netip.Prefix
	// Pass is `before_up: pass`: what Routes cover may leave in clear until the tunnel is first up, and while
	// the daemon does not run.
	Pass bool
	// Metric is that of the tunnel's routes; a foreign route to the same prefix wins unless its metric is worse.
	// While a route replaces another, one of them has one more. 0: DefaultMetric.
	Metric int

	BGP    *BGP    // nil: none
	Health *Health // by the body; nil: none
	// OwnHealth is the check of `health:` beside the body, whatever checks the body has; nil: none.
	OwnHealth *Health
}

// DefaultMetric is high, so that foreign routes win where there are some; MaxMetric leaves room for what stands behind a route.
const (
	DefaultMetric = 7300
	MaxMetric     = 2147483600
)

// Asked is the check in which this end pings, between the addresses in the tunnel where it names none; nil: this end does not ping.
func (t *Tunnel) Asked() *Health {
	h := t.OwnHealth
	if h == nil && t.Health != nil && t.Health.Ours {
		h = t.Health
	}
	if h == nil || h.Target.IsValid() && h.Source.IsValid() {
		return h
	}
	whole := *h
	if !whole.Target.IsValid() {
		whole.Target = t.Peer
	}
	if a := t.Inside.Addr(); !whole.Source.IsValid() && a.BitLen() == whole.Target.BitLen() {
		whole.Source = a
	}
	if !whole.Target.IsValid() {
		return nil
	}
	return &whole
}

// Role is a tunnel's part among the tunnels between the same networks.
type Role string

const (
	Single  Role = "single"
	Active  Role = "active"
	Standby Role = "standby"
)

// Start says when this end brings the tunnel up. It always answers.
type Start string

const (
	StartActive    Start = "active"    // at once, and again whenever it is down
	StartPassive   Start = "passive"   // never
	StartOnTraffic Start = "onTraffic" // when a packet is to go through it
)

// ByDefault is how an end starts where nobody says it: the customer's begins, the cloud's answers.
func (s Side) ByDefault() Start {
	if s == Customer {
		return StartActive
	}
	return StartPassive
}

// End is one end of a tunnel.
type End struct {
	Address netip.Addr // the public address, by which the other end knows it
	Host    string     // the name that is looked up for the remote end's Address; empty: none
	Any     bool       // of the remote end: it has no Address, and may come from anywhere; its ID tells who it is
	Port    uint16     // of the remote end: where IKE's first message goes; 0: 500, and after silence 4500
	ID      ipsec.Identity
	ASN     uint32 // 0: none is given
	Subnets []netip.Prefix
}

// Anywhere is the address, in a file, of an end that may come from anywhere.
const Anywhere = "any"

// Known reports whether it is known where the end is: it has an address, a name that is looked up for it, or may come from anywhere.
func (e End) Known() bool { return e.Address.IsValid() || e.Host != "" || e.Any }

// Where is the end's address, the name that is looked up for it, or Anywhere.
func (e End) Where() string {
	switch {
	case e.Any:
		return Anywhere
	case e.Host != "" || !e.Address.IsValid():
		return e.Host
	}
	return e.Address.String()
}

// Encap says when ESP travels in UDP.
type Encap string

const (
	EncapAuto   Encap = "auto" // where there is a NAT
	EncapAlways Encap = "always"
	EncapNever  Encap = "never"
)

// DF says whether the packets of ESP may be fragmented on their way, and how the path's MTU is found.
type DF string

const (
	DFAuto  DF = "auto"  // not, and the path is probed; they may be when the peer answers no probe
	DFSet   DF = "set"   // not; only routers tell the path's MTU
	DFClear DF = "clear" // they may be
)

// Health is a check of the tunnel by pings.
type Health struct {
	Source, Target netip.Addr    // of the pings; without a Source it is this host's address in the local subnets
	Interval       time.Duration // between pings
	Timeout        time.Duration // of one ping; 0: the interval
	Retries        int           // unanswered pings in a row after which the tunnel is ill
	Ours           bool          // this end pings; false: the peer does, and Target is an address of ours
	Keep           bool          // the routes of an ill tunnel stay; false: they are taken away
}

// Hosts are the two addresses of a /30 that hosts can have.
func Hosts(block netip.Prefix) (low, high netip.Addr) {
	low = block.Masked().Addr().Next()
	return low, low.Next()
}

// SetInside gives the tunnel its addresses in a /30: cloud is the cloud's, the other
// host's address is the customer's. It reports whether cloud is a host's address there.
func (t *Tunnel) SetInside(block netip.Prefix, cloud netip.Addr, side Side) bool {
	low, high := Hosts(block)
	other := high
	switch cloud {
	case low:
	case high:
		other = low
	default:
		return false
	}
	if side == Customer {
		cloud, other = other, cloud
	}
	t.Inside, t.Peer = netip.PrefixFrom(cloud, block.Bits()), other
	return true
}

// Mirror turns the tunnel into the one that the other end has: addresses, subnets
// and pairs change sides.
func (t *Tunnel) Mirror() {
	t.Local, t.Remote = t.Remote, t.Local
	t.Pairs = slices.Clone(t.Pairs)
	for i, p := range t.Pairs {
		t.Pairs[i] = Pair{Local: p.Remote, Remote: p.Local}
	}
	if t.Inside.IsValid() && t.Peer.IsValid() {
		t.Inside, t.Peer = netip.PrefixFrom(t.Peer, t.Inside.Bits()), t.Inside.Addr()
	}
}
