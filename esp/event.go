package esp

import (
	"net/netip"

	"vpngw/ipsec"
)

// Event is an observation of the data plane on which the control plane acts.
type Event interface{ event() }

// SeenInbound says that the first packet of an inbound SA was authenticated:
// the peer uses it.
type SeenInbound struct{ SPIIn uint32 }

// Expired says that a Child SA has reached its soft limit, or that its outbound
// sequence numbers near their end. It is told once for each SA and direction.
type Expired struct {
	SPIIn uint32
	Limit ipsec.Limit
}

// PeersMoved says that Plane.Moves has something to tell.
type PeersMoved struct{}

// InvalidSPI says that an ESP packet of an unknown SPI came in. Both its address and its SPI are
// unauthenticated. Each Engine makes ten such events a second at most.
type InvalidSPI struct {
	Remote netip.AddrPort
	SPI    uint32
}

// PathMTU says that a packet to Remote was too big for its path. MTU 0 means that this host itself refused
// it, and knows how much fits.
type PathMTU struct {
	Remote netip.Addr
	MTU    int
}

// Answered says that the answer to a probe of Tunnel has come, and through which tunnel: see Tunnel.Probe. It is told once for
// each probe.
type Answered struct {
	Tunnel, Via string
	ID, Seq     uint16
}

// HeardBFD says that Tunnel.HeardBFD has something to return.
type HeardBFD struct{ Tunnel string }

func (SeenInbound) event() {}
func (Expired) event()     {}
func (PeersMoved) event()  {}
func (InvalidSPI) event()  {}
func (PathMTU) event()     {}
func (Answered) event()    {}
func (HeardBFD) event()    {}
