package config

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// BGP is a session between Inside and Peer. The AS numbers are those of the tunnel's
// ends.
type BGP struct {
	AuthKey ipsec.Secret // RFC 2385; empty: none
	// Passive says that this end waits for the peer's TCP connection; else it connects and listens.
	Passive         bool
	RouterID        netip.Addr    // unset: this end's IPv4 address in the tunnel
	Hold, Keepalive time.Duration // the lower hold time of both ends holds
	TTLSecurity     bool          // RFC 5082: the peer's packets have a TTL of 255
	Graceful        bool          // RFC 4724: its routes stay while the peer, or our child, starts again
	BFD             *dpd.BFD      // RFC 5880; nil: none

	Announce    []netip.Prefix // to the peer; the local networks by default
	Connected   bool           // announce the host's connected networks that Export takes, too
	Kernel      bool           // and routes of the host's other programs
	Export      []netip.Prefix // what Connected and Kernel may announce: these and what is within; empty: anything
	Accept      []netip.Prefix // from the peer: these and what is within; empty: anything but what is never accepted
	MaxPrefixes int            // that are accepted
	OverLimit   OverLimit
	MaxTell     int // prefixes that the peer accepts, so more are not announced; 0: it has no limit that we know
	// Never is not accepted, NeverTell not announced, whatever else is said: these, what is within, and what contains one
	// of them. A default route here means only itself. They are a cloud's limits, at its own end and at the customer's.
	Never, NeverTell []netip.Prefix

	Transit     bool // announce what other peers of the connection told
	Prefer      Preference
	Communities []uint32 // on what is announced (RFC 1997)
	MED         uint32   // of what is announced
	Prepend     int      // this end's AS so many times more on what is announced
}

// OverLimit says what becomes of more prefixes than a session may bring.
type OverLimit string

const (
	OverWarn     OverLimit = "warn"     // they are accepted
	OverTruncate OverLimit = "truncate" // they are left out
	OverEnd      OverLimit = "end"      // the session ends
)

// Preference says which of two routes to one prefix goes into the kernel: of `routes` or of BGP.
type Preference string

const (
	PreferStatic Preference = "static"
	PreferBGP    Preference = "bgp"
)

// What a session has where nothing is said.
const (
	DefaultHold        = 90 * time.Second
	DefaultKeepalive   = 30 * time.Second
	DefaultMaxPrefixes = 1000
	DefaultOverLimit   = OverTruncate
	// StandbyMED and StandbyPrepend make the standby of two tunnels the peer's second choice.
	StandbyMED     = 100
	StandbyPrepend = 1
)

// DefaultBGP is a session for which nothing is said but its place.
func DefaultBGP(side Side, role Role) BGP {
	b := BGP{
		Passive: side == Cloud,
		Hold:    DefaultHold, Keepalive: DefaultKeepalive, Graceful: true,
		MaxPrefixes: DefaultMaxPrefixes, OverLimit: DefaultOverLimit, Prefer: PreferStatic,
	}
	if role == Standby {
		b.MED, b.Prepend = StandbyMED, StandbyPrepend
	}
	return b
}

// Internal reports whether the tunnel's ends have one AS number: their session is iBGP.
func (t *Tunnel) Internal() bool { return t.Local.ASN != 0 && t.Local.ASN == t.Remote.ASN }

// NamesIPv4 reports whether a session in the tunnel tells IPv4 networks, as its addresses say; else IPv6 ones. A cloud's end
// that is yet to choose the addresses chooses IPv4.
func (t *Tunnel) NamesIPv4() bool { return !t.Inside.IsValid() || t.Inside.Addr().Is4() }

// OwnNetworks are the local networks that the tunnel's session announces where nothing is said: those of its family, without
// the default route.
func (t *Tunnel) OwnNetworks() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range t.Local.Subnets {
		if p.Bits() > 0 && p.Addr().Is4() == t.NamesIPv4() {
			out = appendNew(out, p)
		}
	}
	return out
}

// Touches reports whether p is what a list such as BGP.Never names.
func Touches(list []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(list, func(q netip.Prefix) bool {
		if q.Bits() == 0 {
			return p == q
		}
		return p.Overlaps(q)
	})
}

// Withholds reports whether p is never announced.
func (b *BGP) Withholds(p netip.Prefix) bool { return Touches(b.NeverTell, p) }
