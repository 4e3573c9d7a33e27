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

// PeersMoved says that Plane.Moves has something to tell.
type PeersMoved struct{}

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
func (PeersMoved) event()  {}
func (InvalidSPI) event()  {}
func (PathMTU) event()     {}
