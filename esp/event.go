package esp

import (
	"net/netip"

	"vpngw/ipsec"
)

// Event is something that the data plane noticed and the control plane acts on.
type Event interface{ event() }

// SeenInbound says that the first packet of an inbound SA was authenticated:
// the peer uses it.
type SeenInbound struct{ SPIIn uint32 }

// Expired says that a Child SA has used up its soft limit, or that its outbound
// sequence numbers near their end. It is told once for each SA and direction.
type Expired struct {
	SPIIn uint32
	Limit ipsec.Limit
}

// Moved says that the newest authenticated packet of a UDP-encapsulated inbound
// SA came from another address or port than its Path sends to (RFC 7296 section
// 2.23). It is repeated for as long as that is so, at most ten times a second.
type Moved struct {
	SPIIn  uint32
	Remote netip.AddrPort
}

// InvalidSPI says that an ESP packet of an unknown SPI came in. The address is
// unauthenticated. At most ten a second are told for each socket.
type InvalidSPI struct{ Remote netip.AddrPort }

// PathMTU says that the underlay refused a packet to Remote as too big. MTU 0
// means that the refusal did not say how much would fit: ask the kernel.
type PathMTU struct {
	Remote netip.Addr
	MTU    int
}

func (SeenInbound) event() {}
func (Expired) event()     {}
func (Moved) event()       {}
func (InvalidSPI) event()  {}
func (PathMTU) event()     {}
