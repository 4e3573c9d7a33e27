package tunnel

import (
	"net/netip"

	"vpngw/diag"
)

// Action asks the gateway to do something.
type Action interface{ action() }

// Open asks for the tunnel's TUN device. The answer is a Device fact.
type Open struct{ Tunnel string }

// Measure asks for the MTU of the path to Remote. The answer is a PathMTU fact.
type Measure struct{ Remote netip.Addr }

// Fit tells the data plane the largest inner packet that fits, and whether its ESP packets may be
// fragmented on their way.
type Fit struct {
	Tunnel string
	MTU    int
	Cut    bool
}

// Probe asks the tunnel's peer, by IKE, for an answer to an IP packet of Size bytes. The answer is an IKE fact with sa.Measured.
type Probe struct {
	Tunnel string
	Size   int
}

// Want lists everything that the group needs in the kernel. It replaces the
// previous Want in one step, which adds a route that moves between two tunnels
// before it removes the old one. The answer is an Applied fact.
type Want struct {
	Devices []DeviceState
	Peers   []netip.Addr // outer addresses that no route may capture; sorted
	// Guards are prefixes whose packets leave by a device of ours or not at all.
	Guards []Guard
}

// Guard is a prefix, with the metric of the routes that lead it into a tunnel.
type Guard struct {
	Prefix netip.Prefix
	Metric int
}

// DeviceState is one tunnel's part of a Want.
type DeviceState struct {
	Tunnel, Device string
	MTU            int
	Metric         int          // of its routes; 0: as package host has it
	Address        netip.Prefix // of this end in the tunnel, with the mask of the block; unset: none
	Routes         []Route
	ByFlow         bool           // the tunnels that have a route to the same prefix share its traffic by flow
	Sources        []netip.Prefix // networks whose packets the device is for
}

// Route sends a prefix into a tunnel.
type Route struct {
	Prefix netip.Prefix
	Source netip.Addr // of packets that this host itself originates; unset: the kernel chooses
}

// Ping asks for an ICMP echo request through the tunnel's own Child SA, whichever tunnel has the
// routes. Its answer, if one comes through the same tunnel, is a Pong fact.
type Ping struct {
	Tunnel         string
	Source, Target netip.Addr
	ID, Seq        uint16
}

// BFDSend asks for a BFD packet through the tunnel's own Child SA. Packets of the peer are BFDHeard facts.
type BFDSend struct {
	Tunnel        string
	Local, Remote netip.Addr // in the tunnel
	Packet        []byte
}

// Neighbour says whether BGP's peer can be reached through the tunnel: the tunnel carries packets, and
// neither its health check nor BFD says that it is ill. While it cannot, none of its routes is in the kernel.
type Neighbour struct {
	Tunnel    string
	Reachable bool
}

// Reconnect asks for a new IKE SA of the tunnel: the address that its IKE SA
// sends from is gone. It has no effect when no other address leads to the peer.
type Reconnect struct {
	Tunnel string
	From   netip.Addr // the address that is gone
	Cause  diag.Cause
}

// Changed says that a tunnel's state, or its cause, has changed.
type Changed struct {
	Conn, Tunnel string
	Was, State   State
	Cause        diag.Cause
	Device       string
	MTU          int
	Weak         []string // when it comes up: why its algorithms are weak
}

func (Open) action()      {}
func (Measure) action()   {}
func (Fit) action()       {}
func (Probe) action()     {}
func (Want) action()      {}
func (Ping) action()      {}
func (BFDSend) action()   {}
func (Neighbour) action() {}
func (Reconnect) action() {}
func (Changed) action()   {}
