package sa

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// A Machine is one IKE SA with its Child SAs. It does no I/O, starts no
// goroutine, reads no clock: it hands Actions to its Owner in the order in which
// they are to be done, all before the method that caused them returns. Not safe
// for concurrent use.
type Machine interface {
	Handle(now time.Time, d ipsec.Datagram) // d.Data starts with the IKE header: no non-ESP marker
	Advance(now time.Time)                  // do what is due
	Deadline() time.Time                    // when Advance wants to be called; zero: never

	// Create asks for one more Child SA of c with these selectors.
	Create(now time.Time, c *Child, local, remote []ipsec.Selector)
	// DeleteChildren deletes every Child SA of c.
	DeleteChildren(now time.Time, c *Child)
	// RekeyChildren and RekeyIKE start a rekey as a lifetime would.
	RekeyChildren(now time.Time, c *Child, why diag.Cause)
	RekeyIKE(now time.Time, why diag.Cause)
	// SeenInbound, Expired and Moved are what ESP noticed (see the Commands of
	// the same names). They report whether the SPI is one of the Machine's.
	SeenInbound(now time.Time, spiIn uint32) bool
	Expired(now time.Time, spiIn uint32, limit ipsec.Limit) bool
	Moved(now time.Time, spiIn uint32, remote netip.AddrPort) bool
	// Probe checks that the peer is alive, now.
	Probe(now time.Time)

	// Close tells the peer that the SA ends; Drop only forgets it.
	Close(now time.Time, why diag.Cause)
	Drop(now time.Time, why diag.Cause)

	// Inherit takes over the Child SAs of another IKE SA of the same peer, which
	// m comes in place of, where the version of IKE lets them live on: IKEv1. Other ends without a
	// successor if the peer started anew (INITIAL_CONTACT).
	Inherit(now time.Time, other Machine, anew bool)

	// Adopt exchanges the Peer for one that differs in its Children at most.
	Adopt(now time.Time, p *Peer)

	Info() Info
	Children() []ChildInfo  // those that carry traffic and are to stay; the caller's to keep
	Creating(c *Child) bool // whether a Create of c is under way
}

// Info is what there is to know of a Machine.
type Info struct {
	Version     int
	Peer        *Peer // nil: not known yet
	State       State
	Since       time.Time
	Initiator   bool
	Lingering   bool // ended, and kept only to repeat its last response
	Current     bool // the one of its line of rekeyed IKE SAs that has the Child SAs
	SPIi, SPIr  uint64
	Suite       ipsec.Suite
	Path        ipsec.Path
	NAT         NAT  // who is behind one
	Encap       bool // ESP travels in UDP
	Established time.Time
}

// ChildInfo is one Child SA that carries traffic.
type ChildInfo struct {
	Child *Child
	SA    *ipsec.ChildSA
	Out   bool // the outbound half is installed too
}

// State is where an IKE SA is in its life.
type State uint8

const (
	Connecting  State = iota // the first exchanges are under way
	Established              // authenticated, and the one in use
	Replaced                 // rekeyed; its successor has the Child SAs
	Deleting                 // our Delete is under way
	Outlived                 // IKEv1: it has ended, and its Child SAs work on until another takes them
	Dead
)

func (s State) String() string {
	return [...]string{"connecting", "established", "rekeyed", "deleting", "outlived by its Child SAs", "dead"}[s]
}

// Drop is why a message of IKEv1 was dropped that found its ISAKMP SA: most of them
// have no error message that could be trusted.
type Drop uint8

const (
	DropUndecryptable Drop = iota // not whole blocks, or nothing sensible in them
	DropBadHash                   // the HASH payload is missing or wrong
	DropMalformed                 // the wrong payloads, or what they say makes no sense
	DropCleartext                 // not encrypted, and must be
	DropTooEarly                  // phase 2 before phase 1 is done
	DropRepeated                  // a message id that was used before, or a step that is over
	DropSequence                  // a dead peer detection of another sequence number
	DropTooMany                   // more exchanges at once than a peer can need
	Drops                         // how many reasons there are
)

func (d Drop) String() string {
	return [...]string{
		"v1-not-decryptable", "v1-hash-invalid", "v1-malformed", "v1-cleartext", "v1-phase2-before-phase1",
		"v1-message-id-repeated", "v1-dpd-sequence", "v1-too-many-exchanges",
	}[d]
}

// Env is what a Machine needs from outside.
type Env struct {
	Rand        io.Reader
	Log         *slog.Logger
	KeyLog      io.Writer // nil: none
	AllocSPI    func() (uint32, error)
	FreeSPI     func(uint32)           // for an SPI that was never installed
	LastInbound func(uint32) time.Time // when the SA with our SPI last had an authentic packet; zero: never
	Owner       Owner
}

// Named is a log whose lines are headed by which IKE SA it is. p may be nil: not known yet.
func (e *Env) Named(p *Peer, remote netip.AddrPort, spiI, spiR uint64) *slog.Logger {
	conn := "(unknown)"
	if p != nil {
		conn = p.Name
	}
	return e.Log.With("conn", conn, "peer", remote, "ispi", Hex64(spiI), "rspi", Hex64(spiR))
}

// StartedAnew is why all that was there before INITIAL_CONTACT goes.
var StartedAnew = diag.Cause{Code: diag.PeerStartedAnew}

// ProbeInterval: at most one liveness check for so long is made on unprotected hints.
const ProbeInterval = 10 * time.Second

// Owner is the Endpoint, as its Machines see it.
type Owner interface {
	Emit(Action)
	NewSPI() uint64 // an IKE SPI that no Machine uses
	// Candidates are the peers that a message of a version from remote to local can be of.
	Candidates(version int, local, remote netip.Addr) []*Peer
	// Sole reports whether no other IKE SA to the peer's identity exists (RFC 7296 section 2.4).
	Sole(m Machine, p *Peer) bool
	// Held reports whether a child is not wanted: the operator took it down, or the configuration lost it.
	Held(c *Child) bool

	Authenticated(now time.Time, m Machine, initialContact bool)
	Succeeded(now time.Time, old, successor Machine) // rekeyed: successor has the children now
	Spawned(m Machine)                               // m exists and wants its messages
	Stirred(m Machine)                               // m did something: its deadline may have changed
	Closed(now time.Time, m Machine, why diag.Cause) // of no more use, but it may have messages to answer
	Gone(m Machine)                                  // forget it
	// ChildChanged says that a Child SA of c came (why is OK), went or was refused.
	ChildChanged(now time.Time, m Machine, c *Child, why diag.Cause)
	// PeerMoved says that m now sends to another address or port than was.
	PeerMoved(now time.Time, m Machine, was netip.AddrPort)
	// Dropped counts a message that an IKE SA had no use for.
	Dropped(why Drop)
	// Troubled says why a first message of a peer was refused.
	Troubled(now time.Time, p *Peer, why diag.Cause)
}
