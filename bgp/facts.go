package bgp

import (
	"net/netip"
	"time"

	"vpngw/diag"
)

// What the keeper is told. It decides nothing else than by these, its Config and the time.
type fact interface{ fact() }

type (
	// started says that the child runs and answers.
	started struct{}
	// died says that the child has ended, or could not be started.
	died struct{ cause diag.Cause }
	// answered says that the child answered an ask.
	answered struct{}
	// peerIs is a change of a peer's state in the child.
	peerIs struct {
		tunnel string
		state  State
		hold   time.Duration // as negotiated
		// restart is for how long the peer asks to keep its routes while it restarts (RFC 4724); 0: it does not.
		restart time.Duration
	}
	// said is a reason that the child's log gave for what becomes of a session.
	said struct {
		tunnel string
		cause  diag.Cause
	}
	// told are routes of a peer, before any decision.
	told struct {
		tunnel string
		routes []Told
	}
	// endOfRIB is a peer's End-of-RIB.
	endOfRIB struct{ tunnel string }
	// reachable says whether the tunnel carries packets to the peer.
	reachable struct {
		tunnel string
		is     bool
	}
	// networks are the host's own, for Connected and Kernel.
	networks struct{ connected, kernel []netip.Prefix }
)

func (started) fact()   {}
func (died) fact()      {}
func (answered) fact()  {}
func (peerIs) fact()    {}
func (said) fact()      {}
func (told) fact()      {}
func (endOfRIB) fact()  {}
func (reachable) fact() {}
func (networks) fact()  {}

// What the keeper wants done, in this order.
type action interface{ action() }

type (
	// start asks for a child; the answer is started or died.
	start struct{ config Config }
	// kill ends the child; the answer is died.
	kill struct{ cause diag.Cause }
	// ask asks the child for a sign of life.
	ask struct{}
	// addPeer and deletePeer are a session's begin and end in the child. Except is what others are told and this
	// peer is not: its part of the export policy, which must stand before the session does.
	addPeer struct {
		session Session
		except  []netip.Prefix // sorted
	}
	deletePeer struct{ session Session }
	// export replaces the export policy of a peer that was added: MED, prepending and communities of its Session,
	// and except. It comes before the tell that needs it; what the peer was told already is to be told again.
	export struct {
		session Session
		except  []netip.Prefix
	}
	// tell replaces what is told to all peers by adding and withdrawing; MED, prepending and communities
	// for each peer are policies of the child, by its Sessions.
	tell struct{ add, withdraw []Tell }
	// report is news of a session.
	report struct{ Report }
	// event is for the operator.
	event struct {
		tunnel string // empty: the whole group's
		cause  diag.Cause
	}
)

func (start) action()      {}
func (kill) action()       {}
func (ask) action()        {}
func (addPeer) action()    {}
func (deletePeer) action() {}
func (export) action()     {}
func (tell) action()       {}
func (report) action()     {}
func (event) action()      {}
