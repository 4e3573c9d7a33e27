// Package sa has what IKEv1 and IKEv2 share: the Machine that is one IKE SA, the
// Commands that go in and the Actions that come out, the Peer at the other end,
// retransmission, and the cryptographic primitives. It is sans-IO: no goroutine, no
// clock, no socket.
package sa

import (
	"net/netip"

	"vpngw/diag"
	"vpngw/ipsec"
)

// Action is one thing that the control plane wants done. The order of Actions is the
// safety argument: InstallIn comes before the Send that lets the peer use the SA,
// InstallOut after the message that proves that the peer is ready, and Remove of the
// old pair last.
type Action interface{ action() }

// Send sends one IKE message. Data has no non-ESP marker (RFC 3948 section 2.2); the
// sender prepends it on port 4500.
type Send struct {
	Path ipsec.Path // Path.UDP is true; an unset Path.Local address lets the route choose
	Data []byte     // owned by the receiver
	// Whole: the message must not be fragmented, here or on its way.
	Whole bool
}

// Keepalive sends one NAT keepalive: a single 0xff byte (RFC 3948 section 2.3).
type Keepalive struct{ Path ipsec.Path }

// InstallIn makes the inbound half of a Child SA ready to receive.
type InstallIn struct{ SA *ipsec.ChildSA }

// InstallOut makes new packets of the SA's selectors take its outbound half. Of
// several SAs the most specific one is taken, and of equal ones the newest.
type InstallOut struct{ SA *ipsec.ChildSA }

// Hold keeps back the packets that would go out on a Child SA. It ends with Resume,
// with the outbound half of another Child SA in its place, or when no more packets
// can be kept. When the Hold is done, all packets read before it have been sent.
type Hold struct{ SPIIn uint32 }

// Resume ends a Hold.
type Resume struct{ SPIIn uint32 }

// RemoveOut takes the outbound half of a Child SA out, so that new packets take another one; the inbound half receives
// until Remove.
type RemoveOut struct{ SPIIn uint32 }

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
func (RemoveOut) action()  {}
func (Remove) action()     {}
func (Move) action()       {}

// Command is an input of an Endpoint beside datagrams and time.
type Command interface{ command() }

// Lower takes a tunnel down and holds it down. Raise releases it, and tries at once to
// bring it up if that is our part.
type (
	Raise struct{ Tunnel string }
	Lower struct{ Tunnel string }
)

// SeenInbound says that the first packet of an inbound SA was authenticated, so the
// peer uses the SA.
type SeenInbound struct{ SPIIn uint32 }

// Expired says that a Child SA has reached its soft limit of bytes or packets, or
// that its sequence numbers near their end.
type Expired struct {
	SPIIn uint32
	Limit ipsec.Limit
}

// Moved says that the newest authenticated packet of an inbound SA came from an
// address or port other than the one that the SA sends to.
type Moved struct {
	SPIIn  uint32
	Remote netip.AddrPort
}

// InvalidSPI says that an ESP packet with an unknown SPI came from a peer's address. Anybody can send such a packet.
type InvalidSPI struct {
	Remote netip.AddrPort
	SPI    uint32
}

// PathChanged says that links, addresses or routes of this host have changed, so a peer that was absent may be there.
type PathChanged struct{}

// Unplaced says why the names of peers have no address. It concerns none that has one.
type Unplaced struct {
	Why map[string]string // by the name
}

// Rekey and RekeyIKE start a rekey now, as a lifetime would.
type (
	Rekey struct {
		Tunnel string // each Child SA of it
		Trial  bool   // with IKEv2 only, to see whether the peer agrees in PFS: its refusal has no other consequence
	}
	RekeyIKE struct{ Tunnel string } // the IKE SA that the tunnel is on
)

// Measure asks whether an IP packet of Size bytes reaches the peer of a tunnel. It takes an established IKE SA. The answer is
// a Measured fact, within seconds; there is none when the IKE SA ends or has too much to do.
type Measure struct {
	Tunnel string
	Size   int
}

// Shutdown deletes every IKE SA and starts no more.
type Shutdown struct{}

func (Raise) command()       {}
func (Lower) command()       {}
func (SeenInbound) command() {}
func (Expired) command()     {}
func (Moved) command()       {}
func (Measure) command()     {}
func (InvalidSPI) command()  {}
func (PathChanged) command() {}
func (Unplaced) command()    {}
func (Rekey) command()       {}
func (RekeyIKE) command()    {}
func (Shutdown) command()    {}
