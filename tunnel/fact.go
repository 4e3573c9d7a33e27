package tunnel

import (
	"net/netip"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Fact is an event. Note takes it; Advance decides what follows.
type Fact interface{ fact() }

// IKE is a fact of IKE that concerns one tunnel.
type IKE struct {
	Tunnel string
	Fact   sa.Fact
}

// Moved says that a Child SA's path has changed.
type Moved struct {
	Tunnel string
	SPIIn  uint32
	Path   ipsec.Path
}

// Device says that the tunnel has its TUN device; with a Cause, why it has no device.
type Device struct {
	Tunnel string
	Cause  diag.Cause
}

// Held says that the operator took the tunnel down (`vpngw down`), or, with
// Held false, that it may run again. Raised says that we initiate the tunnel
// even if the configuration only lets it respond (`vpngw up`); one that waits for traffic as a packet does.
type (
	Held struct {
		Tunnel string
		Held   bool
	}
	Raised struct{ Tunnel string }
)

// Sent says whether the last IKE message to the tunnel's peer was sent; if not, Cause says why.
type Sent struct {
	Tunnel string
	Cause  diag.Cause
}

// Pong is the answer to a Ping with that ID and Seq: it came through a tunnel of
// the group, which is the peer's choice.
type Pong struct {
	Tunnel  string
	ID, Seq uint16
}

// BFDHeard is a BFD packet that came through the tunnel, from the peer's address in it and from no farther.
type BFDHeard struct {
	Tunnel string
	Packet []byte
}

// Leaving says that this end is about to give up the tunnel, while its SAs are still there.
type Leaving struct{ Tunnel string }

// Session is what BGP knows through the tunnel. Routes hold while the session is Up or Stale.
type Session struct {
	Tunnel    string
	Up        bool           // it is established
	Complete  bool           // the peer has told all that it has
	Stale     bool           // Routes are those of a session that ended
	Routes    []netip.Prefix // accepted; sorted, never changed
	Announced []netip.Prefix // to the peer: sources that it can answer
	Cause     diag.Cause     // why it is not up
}

// Applied is the result of the last Want: by name, what each tunnel lacks. A
// tunnel that lacks nothing is absent. Refused says that the kernel refused a
// part, so the Group repeats the Want after a while.
type Applied struct {
	Trouble map[string]diag.Cause
	Refused bool
}

// PathMTU is the answer to Measure: the largest outer packet that the path to
// Remote takes; 0: unknown.
type PathMTU struct {
	Remote netip.Addr
	MTU    int
}

// TooBig says that the underlay refused a packet to Remote as too big. MTU 0
// means that the refusal did not say how much would fit.
type TooBig struct {
	Remote netip.Addr
	MTU    int
}

// Disturbed says that another group or another program changed the kernel: a
// part of the last Want may be missing, or a blocked part may be possible now.
type Disturbed struct{}

// Underlay says that links, addresses or routes of the host have changed.
// Addresses are the host's present addresses.
type Underlay struct{ Addresses []netip.Addr }

func (IKE) fact()       {}
func (Moved) fact()     {}
func (Device) fact()    {}
func (Held) fact()      {}
func (Raised) fact()    {}
func (Sent) fact()      {}
func (Pong) fact()      {}
func (BFDHeard) fact()  {}
func (Leaving) fact()   {}
func (Session) fact()   {}
func (Applied) fact()   {}
func (PathMTU) fact()   {}
func (TooBig) fact()    {}
func (Underlay) fact()  {}
func (Disturbed) fact() {}
