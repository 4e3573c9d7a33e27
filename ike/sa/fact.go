package sa

import (
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// Fact is an Action that asks for nothing: it says what has happened to which
// SA. Facts come in the order of the Actions around them, so after an
// InstallOut a ChildUp follows, and none is lost between two looks.
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

// IKEConnecting says that an IKE SA of ours was begun. Nobody has answered yet.
type IKEConnecting struct{ SA IKESA }

// IKEEstablished says that an IKE SA was authenticated.
type IKEEstablished struct{ SA IKESA }

// IKERekeyed says that SA has taken the place of Old, with its Child SAs.
type IKERekeyed struct {
	SA  IKESA
	Old IKESA
	Why diag.Cause
}

// IKEFailed says that a peer has no IKE SA, and why. Retry is when it is tried
// again; zero: not by us.
type IKEFailed struct {
	Peer  *Peer
	Cause diag.Cause
	Retry time.Time
}

// IKEEnded says that an IKE SA is of no more use.
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

// ChildFailed says that a wanted Child SA was refused, by either end, or was lost.
// With an OK Cause the trouble of before is over.
type ChildFailed struct {
	Child *Child
	Cause diag.Cause
}

// PeerMoved says that a peer is heard from another address or port than before.
type PeerMoved struct {
	SA  IKESA
	Was netip.AddrPort
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
