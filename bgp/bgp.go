// Package bgp speaks BGP inside the tunnels. GoBGP does the protocol, in a child process for each
// group of tunnels, because one message can kill it: the child's death costs its own group's sessions and
// nothing else. This package is the only importer of GoBGP. What a session may tell and is told, when a
// session or a child begins again, and what becomes of the routes meanwhile is decided here, by pure code
// on handed-in time; the child only speaks.
package bgp

import (
	"net/netip"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

// Config is the BGP of one group of tunnels. It is never changed; a change is another Config.
type Config struct {
	Group    string     // names the socket
	ASN      uint32     // of the first session
	RouterID netip.Addr // IPv4
	Sessions []Session  // sorted by tunnel
}

// Session is the configuration of one tunnel's session.
type Session struct {
	config.BGP
	Tunnel              string
	Local, Remote       netip.Addr   // in the tunnel
	Inside              netip.Prefix // holds both
	LocalASN, RemoteASN uint32
	Own                 []netip.Prefix // networks that are ours, which the peer must not tell
	Outer               []netip.Addr   // of the peer: a route that holds one is accepted only where Accept names it
}

// internal reports whether it is iBGP.
func (s *Session) internal() bool { return s.LocalASN == s.RemoteASN }

// Tell is what is told to a peer.
type Tell struct {
	Prefix netip.Prefix
	Path   []uint32 // of a route in transit, as received; empty: it is ours
}

// Told is one route that a peer tells, before any decision about it.
type Told struct {
	Prefix      netip.Prefix
	Next        netip.Addr
	Path        []uint32 // the AS numbers; those of a set count as one, as 0
	Origin      uint8
	MED         uint32
	LocalPref   uint32 // of iBGP
	Communities []uint32
	Withdrawn   bool
}

// Learned is an accepted route.
type Learned struct {
	Prefix netip.Prefix
	Path   []uint32
	MED    uint32
	Since  time.Time
}

// Refused is a route that was not accepted, and why.
type Refused struct {
	Prefix netip.Prefix
	Cause  diag.Cause
}

// State is the state of a session.
type State string

const (
	Idle        State = "idle" // there is no child, or the tunnel carries nothing
	Connecting  State = "connecting"
	Opening     State = "opening" // OPEN is exchanged
	Established State = "established"
)

// Report is what is known of a session. It is never changed: a change is another Report.
type Report struct {
	Tunnel   string
	State    State
	Since    time.Time
	Routes   []Learned // accepted and best known, sorted; they stay while Stale
	Complete bool      // the peer has told all it has (End-of-RIB, or enough time)
	Stale    bool      // Routes are from before the child's or the peer's start
	Refused  []Refused // the newest, at most MaxRefused
	In, Out  int       // prefixes accepted and told
	RefusedN int       // prefixes refused now
	// Announced is what is told to the peer, sorted, while the session is established.
	Announced []netip.Prefix
	Flaps     int
	Hold      time.Duration // as negotiated
	Last      diag.Cause    // why the session is not established, or why it last ended
}

// MaxRefused bounds Report.Refused.
const MaxRefused = 64
