// Package sa is what any IKE SA is, whichever version: the Machine that is one, the Commands that go in and the Actions that come out, the Peer it talks
// to, retransmission, and the cryptographic primitives that both versions use.
// It is sans-IO: no goroutine, no clock, no socket.
package sa

import (
	"net/netip"

	"vpngw/diag"
	"vpngw/ipsec"
)

// Action is what the control plane wants done. Their
// order is the safety argument: InstallIn before the Send that lets the peer
// use the SA; InstallOut after the message that proves the peer is ready; Remove of the
// old pair last.
type Action interface{ action() }

// Send puts one IKE message on the wire. Data is without the non-ESP marker
// (RFC 3948 section 2.2); whoever sends from port 4500 prepends it.
type Send struct {
	Path ipsec.Path // Path.UDP is true; an unset Path.Local address lets the route choose
	Data []byte     // owned by the receiver
}

// Keepalive sends one NAT keepalive: a single 0xff byte (RFC 3948 section 2.3).
type Keepalive struct{ Path ipsec.Path }

// InstallIn makes the inbound half of a Child SA ready to receive.
type InstallIn struct{ SA *ipsec.ChildSA }

// InstallOut makes the outbound half the one that new packets of its selectors
// take: most specific first, then newest.
type InstallOut struct{ SA *ipsec.ChildSA }

// Hold keeps back what would go out on a Child SA, until Resume, until the outbound half of
// another is installed for it, or until there is more than can be kept. When it
// is done, all that was read before has been sent.
type Hold struct{ SPIIn uint32 }

// Resume ends a Hold.
type Resume struct{ SPIIn uint32 }

// Remove takes both halves of a Child SA out and frees its SPI.
type Remove struct {
	SPIIn uint32
	Why   diag.Cause
}

// Move changes where the outbound half sends to (RFC 7296 section 2.23).
type Move struct {
	SPIIn uint32
	Path  ipsec.Path
}

func (Send) action()       {}
func (Keepalive) action()  {}
func (InstallIn) action()  {}
func (InstallOut) action() {}
func (Hold) action()       {}
func (Resume) action()     {}
func (Remove) action()     {}
func (Move) action()       {}

// Command is what goes into an Endpoint or Machine beside datagrams.
type Command interface{ command() }

// Lower takes a tunnel down and holds it down. Raise ends that, and tries at once if it is for us to bring up.
type (
	Raise struct{ Tunnel string }
	Lower struct{ Tunnel string }
)

// SeenInbound says that the first packet of an inbound SA was authenticated: the peer uses it.
type SeenInbound struct{ SPIIn uint32 }

// Expired says that a Child SA has used up what it may: its soft limit of
// bytes or packets, or that its sequence numbers near their end.
type Expired struct {
	SPIIn uint32
	Limit ipsec.Limit
}

// Moved says that the newest authenticated packet of an inbound SA came from
// another address or port than the SA sends to.
type Moved struct {
	SPIIn  uint32
	Remote netip.AddrPort
}

// InvalidSPI says that an ESP packet of an unknown SPI came from a peer.
type InvalidSPI struct{ Remote netip.AddrPort }

// Rekey and RekeyIKE start a rekey now, as a lifetime would.
type (
	Rekey    struct{ Tunnel string } // each Child SA of the tunnel
	RekeyIKE struct{ Tunnel string } // the IKE SA that the tunnel is on
)

// Shutdown deletes every IKE SA and starts nothing anew.
type Shutdown struct{}

func (Raise) command()       {}
func (Lower) command()       {}
func (SeenInbound) command() {}
func (Expired) command()     {}
func (Moved) command()       {}
func (InvalidSPI) command()  {}
func (Rekey) command()       {}
func (RekeyIKE) command()    {}
func (Shutdown) command()    {}
