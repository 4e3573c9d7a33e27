// Package ike is the control plane around many IKE SAs: the table that finds
// the SA of a message, the configured peers and how they are brought up and
// kept up, cookies against floods. Bytes, Commands and time go in, Actions come
// out, and among them the Facts that say what has happened; there is no I/O in
// it. What one IKE SA does is in ike/ikev1 and ike/ikev2.
package ike

import (
	"encoding/binary"
	"hash/maphash"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
	"vpngw/schedule"
)

// Config configures an Endpoint. Rand, AllocSPI, FreeSPI, LastInbound and
// Source are required.
type Config struct {
	Rand        io.Reader
	Log         *slog.Logger           // nil: none
	KeyLog      sa.KeyLog              // nil: none. What is written to it decrypts everything.
	Exposing    func() bool            // whether the KeyLog has anywhere to write to; nil: it has
	AllocSPI    func() (uint32, error) // an SPI for a new inbound ESP SA
	FreeSPI     func(uint32)           // takes back an SPI that was never installed
	LastInbound func(spiIn uint32) time.Time
	Source      func(remote netip.Addr) (netip.Addr, error) // our address on the route to remote

	// CookieThreshold is how many half-open IKE SAs there may be before first
	// messages must prove where they come from (RFC 7296 section 2.6). 0: 32.
	CookieThreshold int
	// MaxHalfOpen is how many there may be at all; half of them from one address. 0: 1024.
	MaxHalfOpen int
}

// Counters count what was dropped or refused without a trace elsewhere.
type Counters struct {
	Malformed         uint64 // not IKE, or of another length than the header says
	WrongVersion      uint64 // a version that no peer at the address speaks, or above 2
	UnknownSPI        uint64
	CookiesSent       uint64
	HalfOpenFull      uint64
	HalfOpenShare     uint64 // too many from one address
	HalfOpenDisplaced uint64 // gave way to a newer one
	Displaced         uint64 // pending main modes that gave way to newer ones
	Limited           uint64 // aggressive modes that came too fast from one source
	EffortRefused     uint64 // first messages that would have cost too many exponentiations
	InitRefused       uint64
	LinesLeftOut      uint64           // of the log
	Reflected         uint64           // first messages of ours that came back
	UnknownSources    uint64           // first messages from addresses of no peer
	Dropped           [sa.Drops]uint64 // IKEv1's messages that an ISAKMP SA had no use for
}

// Endpoint is every IKE SA of a daemon. Not safe for concurrent use.
type Endpoint struct {
	cfg      Config
	env      sa.Env
	log      *slog.Logger
	stopping bool

	// The configuration, and how it fares.
	peers    map[*sa.Peer]*peer // by what SetPeer and SetPeers were given
	placed   int                // where the next peer goes in the order of Status
	peerOf   map[*sa.Peer]*peer // by what the machines were given
	peersAt  map[netip.Addr][]*peer
	anywhere []*peer              // may come from anywhere (see anywhere.go)
	between  map[uint64][]*peer   // by the hash of their ends, which several ends may have: ends themselves would take much room
	seed     maphash.Seed         // of between
	suited   map[suitor]*suited   // Candidates as found last, while no peer changes
	childOf  map[*sa.Child]*child // by what the machines were given
	tunnels  map[string][]*child

	table       table
	established map[sa.Machine]struct{} // IKE SAs that a Fact said are established
	installed   map[uint32]installed    // Child SAs by our SPI

	admission *admission
	answered  answered
	pending   pendingMains
	cookies   cookies
	budgets   budgets
	counters  Counters

	actions []sa.Action
	timers  schedule.Queue[timed]
	stirred []sa.Machine // since the last touch
}

// timed is something with a deadline: a peer, an IKE SA, the pending main modes.
type timed interface {
	Deadline() time.Time
	Advance(now time.Time)
}

// installed is one Child SA that ESP has.
type installed struct {
	sa   *ipsec.ChildSA
	peer *peer
	out  bool
}

// New makes an Endpoint without peers.
func New(cfg Config) *Endpoint {
	if cfg.Log == nil {
		cfg.Log = sa.Silent
	}
	if cfg.CookieThreshold == 0 {
		cfg.CookieThreshold = 32
	}
	if cfg.MaxHalfOpen == 0 {
		cfg.MaxHalfOpen = 1024
	}
	e := &Endpoint{
		cfg: cfg, log: cfg.Log,
		peers: map[*sa.Peer]*peer{}, peerOf: map[*sa.Peer]*peer{}, peersAt: map[netip.Addr][]*peer{},
		between: map[uint64][]*peer{}, seed: maphash.MakeSeed(), suited: map[suitor]*suited{},
		childOf: map[*sa.Child]*child{}, tunnels: map[string][]*child{},
		table: newTable(), established: map[sa.Machine]struct{}{}, installed: map[uint32]installed{},
		answered: newAnswered(), pending: newPendingMains(),
		cookies: cookies{rand: cfg.Rand},
		budgets: newBudgets(),
	}
	e.admission = newAdmission(e)
	e.env = sa.Env{
		Rand: cfg.Rand, Log: cfg.Log, KeyLog: cfg.KeyLog, Exposing: cfg.Exposing,
		AllocSPI: cfg.AllocSPI, FreeSPI: cfg.FreeSPI, LastInbound: cfg.LastInbound, Owner: (*owner)(e),
	}
	return e
}

// Counters returns what was counted so far.
func (e *Endpoint) Counters() Counters { return e.counters }

// HalfOpen counts the IKE SAs that somebody has begun and not finished.
func (e *Endpoint) HalfOpen() int {
	return len(e.answered.v2.all) + len(e.answered.v1.all) + len(e.pending.byKey)
}

// Next returns the next Action; nil: there is none.
func (e *Endpoint) Next() sa.Action {
	if len(e.actions) == 0 {
		e.actions = nil
		return nil
	}
	a := e.actions[0]
	e.actions = e.actions[1:]
	return a
}

// Deadline is when Advance wants to be called; zero: never.
func (e *Endpoint) Deadline() time.Time { return e.timers.Deadline() }

// Advance does what is due.
func (e *Endpoint) Advance(now time.Time) {
	for range 2*e.timers.Len() + 8 { // a timer may set itself due again, but not for ever
		t, ok := e.timers.Due(now)
		if !ok {
			return
		}
		t.Advance(now)
		if m, ok := t.(sa.Machine); ok {
			e.touch(m)
		} else {
			e.reschedule(t)
		}
	}
}

// Handle takes one IKE message, without non-ESP marker.
func (e *Endpoint) Handle(now time.Time, d ipsec.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	switch {
	case err != nil, h.Major == 0: // there never was an IKE of version 0
		e.counters.Malformed++
	case h.Major == 1:
		e.handleV1(now, h, d)
	case h.Major != 2:
		e.otherVersion(now, h, d)
	case h.Exchange == wire.ExchangeSAInit && h.Flags&wire.FlagResponse == 0:
		e.saInit(now, h, d)
	default:
		e.handleV2(now, h, d)
	}
}

// handleV2 takes a message of IKEv2 that belongs to an IKE SA.
func (e *Endpoint) handleV2(now time.Time, h wire.Header, d ipsec.Datagram) {
	own := h.SPIi
	if h.Flags&wire.FlagInitiator != 0 {
		own = h.SPIr
	}
	m, ok := e.table.bySPI[own]
	if !ok {
		e.unknown(now, h, d)
		return
	}
	in := m.Info()
	if in.Version != 2 || in.SPIr != 0 && (in.SPIi != h.SPIi || in.SPIr != h.SPIr) {
		e.counters.UnknownSPI++
		return
	}
	if h.Flags&wire.FlagResponse != 0 && h.Next == wire.TypeNotify && in.State != sa.Connecting {
		m.Probe(now) // unprotected INVALID_IKE_SPI: a hint, no more (RFC 7296 section 2.21.4)
	} else {
		m.Handle(now, d)
	}
	e.touch(m)
}

// Do takes a command.
func (e *Endpoint) Do(now time.Time, c sa.Command) {
	switch c := c.(type) {
	case sa.SeenInbound:
		e.carrying(c.SPIIn, func(m sa.Machine) { m.SeenInbound(now, c.SPIIn) })
	case sa.Expired:
		e.carrying(c.SPIIn, func(m sa.Machine) { m.Expired(now, c.SPIIn, c.Limit) })
	case sa.Moved:
		e.carrying(c.SPIIn, func(m sa.Machine) { m.Moved(now, c.SPIIn, c.Remote) })
	case sa.InvalidSPI:
		e.each(slices.Values(e.table.at[c.Remote.Addr().Unmap()]), func(m sa.Machine) {
			if m.Disown(now, c.SPI); m.Info().State == sa.Outlived {
				e.reunite(now, m)
			}
		})
	case sa.Raise:
		e.raise(now, c.Tunnel)
	case sa.Lower:
		e.lower(now, c.Tunnel)
	case sa.Unplaced:
		e.unplaced(now, c)
	case sa.PathChanged:
		e.pathChanged(now)
	case sa.Rekey:
		e.ofTunnel(c.Tunnel, func(m sa.Machine, cfg *sa.Child) {
			switch {
			case !c.Trial:
				m.RekeyChildren(now, cfg, operatorAsked)
			case m.Info().Version == 2:
				m.RekeyChildren(now, cfg, diag.Cause{Code: diag.EarlyRekey})
			}
		})
	case sa.RekeyIKE:
		e.ofTunnel(c.Tunnel, func(m sa.Machine, _ *sa.Child) { m.RekeyIKE(now, operatorAsked) })
	case sa.Measure:
		e.measure(now, c)
	case sa.Shutdown:
		e.stopping = true
		e.each(maps.Keys(e.table.bySPI), func(m sa.Machine) { m.Close(now, diag.Cause{Code: diag.ShuttingDown}) })
	}
}

var (
	operatorAsked = diag.Cause{Code: diag.OperatorAsked}
	operatorDown  = diag.Cause{Code: diag.OperatorDown}
	configChanged = diag.Cause{Code: diag.ConfigChanged}
)

// Idle reports whether no IKE SA waits for anything, as after a Shutdown. An
// SA that only lingers to repeat its last response does not count.
func (e *Endpoint) Idle() bool { return len(e.table.lingering) == len(e.table.bySPI) }

// each calls f for some machines, in the order of their SPIs, so that a run can be repeated.
func (e *Endpoint) each(spis iter.Seq[uint64], f func(sa.Machine)) {
	for _, spi := range slices.Sorted(spis) {
		if m, ok := e.table.bySPI[spi]; ok {
			f(m)
			e.touch(m)
		}
	}
}

// carrying calls f for the machine that has the Child SA with our SPI.
func (e *Endpoint) carrying(spiIn uint32, f func(sa.Machine)) {
	p := e.installed[spiIn].peer
	if p == nil {
		return
	}
	for _, m := range slices.Clone(p.machines) {
		if m.Info().Current {
			f(m)
			e.touch(m)
		}
	}
}

// touch asks m and the machines of its peer when they are due. It follows
// whatever may have changed a machine.
func (e *Endpoint) touch(m sa.Machine) {
	e.look(m)
	for _, other := range e.stirred {
		e.look(other)
	}
	clear(e.stirred)
	e.stirred = e.stirred[:0]
	if p := e.peerOf[m.Info().Peer]; p != nil {
		p.wakeAll()
	}
}

// look brings the timer and the table in step with one machine.
func (e *Endpoint) look(m sa.Machine) {
	e.reschedule(m)
	e.table.look(m)
}

// reschedule asks who when it is due. It must follow whatever may have changed that.
func (e *Endpoint) reschedule(who timed) { e.timers.Set(who, who.Deadline()) }

// newSPI is random and unused.
func (e *Endpoint) newSPI() uint64 {
	for {
		var b [8]byte
		if _, err := io.ReadFull(e.cfg.Rand, b[:]); err != nil {
			panic("ike: no randomness: " + err.Error())
		}
		spi := binary.BigEndian.Uint64(b[:])
		if _, used := e.table.bySPI[spi]; spi != 0 && !used && e.pending.byCookie[spi] == nil {
			return spi
		}
	}
}
