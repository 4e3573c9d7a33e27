package sa

import (
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// Fact is an Action that asks for nothing: it says what has happened to which
// SA. Facts come in the order of the Actions around them, so a ChildOut follows
// its InstallOut, and none is lost between two looks. A Peer and a Child in a Fact
// are the pointers that the Endpoint was given last.
type Fact interface {
	Action
	fact()
}

// IKESA says which IKE SA a Fact is about, and how it stood then.
type IKESA struct {
	Peer       *Peer // whose Children name the tunnels that it carries
	Version    int
	Initiator  bool
	SPIi, SPIr uint64
	Path       ipsec.Path
	Suite      ipsec.Suite
	NAT        NAT
	Encap      bool // ESP travels in UDP
}

// IKEConnecting says that we have begun an IKE SA. Nobody has answered yet. It comes
// again with another Path when the peer has answered and is asked on port 4500 from
// then on. An IKEEstablished or IKEFailed of the same peer follows.
type IKEConnecting struct{ SA IKESA }

// IKEEstablished says that an IKE SA was authenticated. A peer can have several
// for a while, when both ends have begun at once.
type IKEEstablished struct{ SA IKESA }

// IKERekeyed says that SA, new since then, has taken the place of Old, with its
// Child SAs. No IKEEnded follows for Old.
type IKERekeyed struct {
	SA  IKESA
	Old IKESA
}

// IKEFailed says that a peer has no established IKE SA, and why. With an OK Cause the reason of
// before is forgotten, because the operator or a new configuration wants a new attempt.
type IKEFailed struct {
	Peer       *Peer
	Cause      diag.Cause
	Connecting bool      // an attempt is under way all the same
	Retry      time.Time // when we try again; zero: not by ourselves, or Connecting
}

// IKEEnded says that an established IKE SA is of no more use. If it was the
// peer's last, an IKEFailed follows. Child SAs of IKEv1 may carry on without it.
type IKEEnded struct {
	SA  IKESA
	Why diag.Cause
}

// ChildIn says that the inbound half of a Child SA is installed, ChildOut that
// the outbound half is: it carries packets both ways.
type (
	ChildIn  struct{ SA *ipsec.ChildSA }
	ChildOut struct{ SA *ipsec.ChildSA }
)

// ChildGone says that both halves of a Child SA are out.
type ChildGone struct {
	SA  *ipsec.ChildSA
	Why diag.Cause
}

// ChildFailed says that a configured Child SA was refused by either end, was lost, or is held down
// by a Lower. With an OK Cause the trouble of before is over.
type ChildFailed struct {
	Child *Child
	Cause diag.Cause
}

// PeerMoved says that a peer is heard from another address or port than before.
type PeerMoved struct {
	SA  IKESA
	Was netip.AddrPort
}

// MeasureWait is when the answer to a Measure counts as lost. It is more than the round trip of a satellite.
const MeasureWait = time.Second

// Measured is the answer to a Measure.
type Measured struct {
	SA     IKESA
	Asked  int  // Measure.Size
	Size   int  // of the packet that was sent: at most Asked, and less by what a block cipher cannot fill
	Passed bool // the peer has answered it; else nothing came back in time
	Unable bool // the peer answers no such packet, whatever its size
}

// Exchange is what a request of ours asks an established IKE SA's peer for.
type Exchange uint8

const (
	LivenessCheck Exchange = iota
	ChildRekey             // in IKEv1 a quick mode that replaces a Child SA
	IKERekey               // of IKEv2
)

// Exchanged says that a request of ours has ended, but for one that the peer wants to be asked again, later or in another
// group. In IKEv1 any authentic message answers a liveness check.
type Exchanged struct {
	SA   IKESA
	What Exchange
	Done bool          // else the peer has refused it, or has not answered
	Took time.Duration // from its first sending to the answer; 0: there was none
}

func (IKEConnecting) action()  {}
func (IKEEstablished) action() {}
func (IKERekeyed) action()     {}
func (IKEFailed) action()      {}
func (IKEEnded) action()       {}
func (ChildIn) action()        {}
func (ChildOut) action()       {}
func (ChildGone) action()      {}
func (ChildFailed) action()    {}
func (PeerMoved) action()      {}
func (Measured) action()       {}
func (Exchanged) action()      {}

func (IKEConnecting) fact()  {}
func (IKEEstablished) fact() {}
func (IKERekeyed) fact()     {}
func (IKEFailed) fact()      {}
func (IKEEnded) fact()       {}
func (ChildIn) fact()        {}
func (ChildOut) fact()       {}
func (ChildGone) fact()      {}
func (ChildFailed) fact()    {}
func (PeerMoved) fact()      {}
func (Measured) fact()       {}
func (Exchanged) fact()      {}
