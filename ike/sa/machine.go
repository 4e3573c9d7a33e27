package sa

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// A Machine is one IKE SA with its Child SAs. It does no I/O, starts no goroutine,
// reads no clock. It hands Actions to its Owner in the order in which they are to be
// done, before the method that caused them returns. Not safe for concurrent use.
type Machine interface {
	Handle(now time.Time, d ipsec.Datagram) // d.Data starts with the IKE header, without a non-ESP marker
	Advance(now time.Time)                  // does what is due
	Deadline() time.Time                    // when Advance wants to be called; zero: never

	// Create asks for one more Child SA of c with these selectors.
	Create(now time.Time, c *Child, local, remote []ipsec.Selector)
	// DeleteChildren deletes every Child SA of c.
	DeleteChildren(now time.Time, c *Child)
	// RekeyChildren and RekeyIKE start a rekey as a lifetime would.
	RekeyChildren(now time.Time, c *Child, why diag.Cause)
	RekeyIKE(now time.Time, why diag.Cause)
	// SeenInbound, Expired and Moved are the Commands of the same names. They report
	// whether the SPI is one of the Machine's.
	SeenInbound(now time.Time, spiIn uint32) bool
	Expired(now time.Time, spiIn uint32, limit ipsec.Limit) bool
	Moved(now time.Time, spiIn uint32, remote netip.AddrPort) bool
	// Probe starts a liveness check now, unless there was one within ProbeInterval.
	Probe(now time.Time)
	// Disown says that a packet came with an SPI that this end does not have. It may send as little as Probe.
	Disown(now time.Time, spiIn uint32)
	// Measure asks the peer for an answer to a packet of size bytes: see the Command of the same name.
	Measure(now time.Time, size int)

	// Close deletes the SA at both ends; Drop only forgets it.
	Close(now time.Time, why diag.Cause)
	Drop(now time.Time, why diag.Cause)

	// Inherit says that the Machine replaces another IKE SA of the same peer. In IKEv1
	// it takes over the other's Child SAs. If the peer has restarted (INITIAL_CONTACT),
	// the other ends with its Child SAs.
	Inherit(now time.Time, other Machine, restarted bool)

	// Adopt replaces the Peer by one whose Settings keep the SA (see Settings.Keeps); its Children may differ.
	Adopt(now time.Time, p *Peer)

	Info() Info
	LogKeys(KeyLog)        // writes the present keys of the IKE SA, without those of its Child SAs
	Children() []ChildInfo // the Child SAs that ESP has; the caller owns the slice
	// Creating reports whether a Create has to wait for one that is under way: in IKEv2 any of c, in IKEv1 one of the same selectors.
	Creating(c *Child, local, remote []ipsec.Selector) bool
}

// Info is the state of a Machine for status and for the Endpoint.
type Info struct {
	Version     int
	Peer        *Peer // nil: not known yet
	State       State
	Since       time.Time
	Initiator   bool
	Lingering   bool // it has ended, and only repeats its last response
	Unproven    bool // of IKEv1's aggressive mode: a message began it that anybody can send in the peer's name, and no other has come
	Current     bool // it has the Child SAs, and no successor has them
	Vpngw       bool // of IKEv1: the peer says that it is another vpngw
	SPIi, SPIr  uint64
	Suite       ipsec.Suite
	Path        ipsec.Path
	NAT         NAT  // which ends are behind a NAT
	Encap       bool // ESP travels in UDP
	Established time.Time
}

// ChildInfo is one Child SA that ESP has.
type ChildInfo struct {
	Child   *Child
	SA      *ipsec.ChildSA
	Out     bool // the outbound half is installed too
	Leaving bool // it is being replaced or deleted
}

// State is where an IKE SA is in its life.
type State uint8

const (
	Connecting  State = iota // the first exchanges are under way
	Established              // authenticated and in use
	Replaced                 // rekeyed: its successor has the Child SAs
	Deleting                 // our Delete is under way
	Outlived                 // IKEv1: it has ended; its Child SAs carry traffic until another SA takes them over
	Dead
)

func (s State) String() string {
	return [...]string{"connecting", "established", "rekeyed", "deleting", "outlived by its Child SAs", "dead"}[s]
}

// Drop is the reason why an ISAKMP SA dropped a message of IKEv1. Most such messages
// get no error message, because nobody could trust it.
type Drop uint8

const (
	DropUndecryptable Drop = iota // not whole blocks, or no payloads in them
	DropBadHash                   // the HASH payload is missing or wrong
	DropMalformed                 // the wrong payloads, or payloads with invalid contents
	DropCleartext                 // not encrypted, though it must be
	DropTooEarly                  // phase 2 before phase 1 is done
	DropRepeated                  // its message id was used before, or its step is over
	DropSequence                  // a dead peer detection with the wrong sequence number
	DropTooMany                   // more exchanges are open than a peer can need
	DropElsewhere                 // before the peer has authenticated itself, and not from its address
	Drops                         // the number of reasons
)

func (d Drop) String() string {
	return [...]string{
		"v1-not-decryptable", "v1-hash-invalid", "v1-malformed", "v1-cleartext", "v1-phase2-before-phase1",
		"v1-message-id-repeated", "v1-dpd-sequence", "v1-too-many-exchanges", "v1-other-address",
	}[d]
}

// Env has what a Machine needs from outside.
type Env struct {
	Rand        io.Reader
	Log         *slog.Logger
	KeyLog      KeyLog      // nil: none
	Exposing    func() bool // whether the KeyLog has anywhere to write to; nil: it has
	AllocSPI    func() (uint32, error)
	FreeSPI     func(uint32)           // gives back an SPI that was never installed
	LastInbound func(uint32) time.Time // when an inbound SA last had an authentic packet; zero: never
	Owner       Owner
}

// Exposes reports whether a key may have to be written down.
func (e *Env) Exposes() bool { return e.KeyLog != nil && (e.Exposing == nil || e.Exposing()) }

// Named returns a log whose lines name an IKE SA. p may be nil: not known yet.
func (e *Env) Named(p *Peer, remote netip.AddrPort, spiI, spiR uint64) *slog.Logger {
	return slog.New(e.Log.Handler().WithAttrs(names(p, remote, spiI, spiR)))
}

// Line writes a line of the log of Named, which is not made for it.
func (e *Env) Line(now time.Time, p *Peer, remote netip.AddrPort, spiI, spiR uint64, level slog.Level, msg string, attrs ...slog.Attr) {
	if e.Log.Enabled(context.Background(), level) {
		Line(now, e.Log, level, msg, append(names(p, remote, spiI, spiR), attrs...)...)
	}
}

func names(p *Peer, remote netip.AddrPort, spiI, spiR uint64) []slog.Attr {
	conn := "(unknown)"
	if p != nil {
		conn = p.Name
	}
	return append(make([]slog.Attr, 0, 12), slog.String("conn", conn), slog.String("peer", remote.String()), slog.String("ispi", Hex64(spiI)), slog.String("rspi", Hex64(spiR)))
}

// NamedStranger returns a log for an IKE SA that anybody may have begun, with the lines that Hearsay leaves.
func (e *Env) NamedStranger(now time.Time, remote netip.AddrPort, spiI, spiR uint64) *slog.Logger {
	log, ok := e.Owner.Hearsay(now, remote.Addr(), "")
	if !ok {
		return Silent
	}
	return log.With("peer", remote, "ispi", Hex64(spiI), "rspi", Hex64(spiR))
}

// Silent is the log for what is left out.
var Silent = slog.New(slog.DiscardHandler)

// PeerRestarted is why the peer's older SAs end when it asserts INITIAL_CONTACT.
var PeerRestarted = diag.Cause{Code: diag.PeerRestarted}

// ProbeInterval is the least time between two liveness checks of Probe, which acts on
// hints that anybody can forge.
const ProbeInterval = 10 * time.Second

// Owner is the Endpoint, as its Machines see it.
type Owner interface {
	Emit(Action)
	NewSPI() uint64 // an IKE SPI that no Machine uses
	// Candidates returns the peers that can have sent a message of a version from remote to local.
	Candidates(version int, local, remote netip.Addr) []*Peer
	// Welcoming is Candidates, but for those that want another identity than id.
	Welcoming(version int, local, remote netip.Addr, id ipsec.Identity) []*Peer
	// Sole reports whether no other IKE SA to the peer's identity exists (RFC 7296 section 2.4).
	Sole(m Machine, p *Peer) bool
	// Others are the IKE SAs of m's peer beside m that have not ended.
	Others(m Machine) []Machine
	// Held reports whether a child must not be up, because the operator took it down or the
	// configuration lost it.
	Held(c *Child) bool

	Authenticated(now time.Time, m Machine, initialContact bool)
	Succeeded(now time.Time, old, successor Machine) // old was rekeyed: successor has the Child SAs
	Spawned(m Machine)                               // m exists and is to get its messages
	Stirred(m Machine)                               // m's deadline may have changed
	Closed(now time.Time, m Machine, why diag.Cause) // m is of no more use, but it may still have messages to answer
	Gone(m Machine)                                  // m is to be forgotten
	// ChildChanged says that a Child SA of c is up (why is OK) or has ended, or what else befell c.
	ChildChanged(now time.Time, m Machine, c *Child, why diag.Cause)
	// ChildRefused says that this end has asked for a Child SA of c in vain.
	ChildRefused(now time.Time, m Machine, c *Child, local, remote []ipsec.Selector, why diag.Cause)
	// Floated says that m, which we have begun, goes on on port 4500.
	Floated(m Machine)
	// Answered says that the first message of m, which we have begun, was answered from a port of the peer. Anybody can
	// answer so.
	Answered(m Machine, port uint16)
	// PeerMoved says that m, which is established, sends to another address or port than was.
	PeerMoved(now time.Time, m Machine, was netip.AddrPort)
	// Measured is the answer of m to a Measure; the Owner adds its SA.
	Measured(m Machine, f Measured)
	// Exchanged tells how a request of m has ended; the Owner adds its SA.
	Exchanged(m Machine, f Exchanged)
	// Affords asks, before the work, whether a sender that has not proven who it is may cost this host so much more time
	// in exponentiations (see Effort). reachable: it has proven that it receives at its address.
	Affords(now time.Time, from netip.Addr, effort time.Duration, reachable bool) bool
	// Hearsay is the log for what anybody can cause: a line about a cause from a source. It is silent, and false, when there
	// were too many such lines; the next one says how many were left out.
	Hearsay(now time.Time, from netip.Addr, code diag.Code) (*slog.Logger, bool)
	// Dropped counts a message that an ISAKMP SA dropped.
	Dropped(why Drop)
	// Troubled says why a first message, which may come from p, was refused.
	Troubled(now time.Time, p *Peer, why diag.Cause)
}
