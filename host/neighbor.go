package host

import "net/netip"

// BGPPort is BGP's TCP port (RFC 4271 section 8.2.1).
const BGPPort = 179

// Ask is what AskNeighbor is to find out of BGP's peer in a tunnel.
type Ask struct {
	Local, Remote netip.Addr // in the tunnel
	Connect       bool       // try TCP 179: only where there is no session, which a second connection can disturb
	TTLSecurity   bool       // this end has it
	Large         int        // bytes of the larger ping; 0: none
}

// Neighbor is what AskNeighbor found.
type Neighbor struct {
	Plain Answer // to a SYN with a TTL of 255 and no password, which every peer without a password takes
	Alike Answer // to one with the TTLs that BGP itself has here
	Ping  Answer // to a small one
	Large Answer // to the larger one
	Owner string // another program that listens on this end's TCP 179; empty: none is known
	// Unsigned and LowTTL count TCP segments that this network namespace has dropped, of whatever peer: for another password or none, or
	// one where none is wanted; for a TTL too low.
	Unsigned, LowTTL uint64
}

// Answer is what came of a SYN or a ping.
type Answer string

const (
	Unasked  Answer = ""
	Accepted Answer = "accepted"
	Refused  Answer = "refused"
	Silence  Answer = "silence"
)
