package config

import (
	"net/netip"
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
	// StandbyMED and StandbyPrepend make the standby of two tunnels the peer's second choice.
	StandbyMED     = 100
	StandbyPrepend = 1
)
