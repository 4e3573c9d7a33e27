// Package ike is the control plane around many IKE SAs: the table that finds
// the SA of a message, the peers that are wanted and how they are brought up and
// kept up, cookies against floods. Bytes, Commands and time go in, Actions come
// out; there is no I/O in it. What one IKE SA does is in ike/ikev2.
package ike

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Config is what an Endpoint needs from outside. Rand, AllocSPI, FreeSPI,
// LastInbound and Source are required.
type Config struct {
	Rand        io.Reader
	Log         *slog.Logger           // nil: none
	KeyLog      io.Writer              // nil: none. What it gets decrypts everything.
	AllocSPI    func() (uint32, error) // an SPI for a new inbound ESP SA
	FreeSPI     func(uint32)           // one that was not installed after all
	LastInbound func(spiIn uint32) time.Time
	Source      func(remote netip.Addr) (netip.Addr, error) // our address on the route to remote

	// CookieThreshold is how many half-open IKE SAs there may be before first
	// messages must prove where they come from (RFC 7296 section 2.6). 0: 32.
	CookieThreshold int
	// MaxHalfOpen is how many there may be at all. 0: 1024.
	MaxHalfOpen int
}

// Counters count what was dropped or refused without a trace elsewhere.
type Counters struct {
	Malformed      uint64 // not IKE, or of another length than it says
	WrongVersion   uint64 // IKEv1, or a version above 2
	UnknownSPI     uint64
	CookiesSent    uint64
	HalfOpenFull   uint64
	InitRefused    uint64
	UnknownSources uint64 // first messages from addresses of no peer
}

// Endpoint is every IKE SA of a daemon. Not safe for concurrent use.
type Endpoint struct {
	cfg      Config
	env      sa.Env
	log      *slog.Logger
	peers    []*peer
	peerOf   map[*sa.Peer]*peer
	want     map[*sa.Child]*want
	machines map[uint64]sa.Machine // by the SPI that is ours
	halfOpen map[firstKey]sa.Machine
	half     map[sa.Machine]firstKey // of halfOpen, those without IKE_AUTH
	actions  []sa.Action
	timers   timers
	cookies  cookies
	replies  limiter
	counters Counters
	stopping bool
}

// firstKey finds a responder's IKE SA again when its IKE_SA_INIT request is
// retransmitted. Address and port are in it because "two different peers behind a single NAT
// could choose the same initiator SPI" (RFC 7296 section 2.1), and so is the message.
type firstKey struct {
	remote netip.AddrPort
	spiI   uint64
	hash   [32]byte
}

// New makes an Endpoint without peers.
func New(cfg Config) *Endpoint {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CookieThreshold == 0 {
		cfg.CookieThreshold = 32
	}
	if cfg.MaxHalfOpen == 0 {
		cfg.MaxHalfOpen = 1024
	}
	e := &Endpoint{
		cfg: cfg, log: cfg.Log,
		machines: map[uint64]sa.Machine{}, halfOpen: map[firstKey]sa.Machine{}, half: map[sa.Machine]firstKey{},
		timers:  newTimers(),
		cookies: cookies{rand: cfg.Rand},
		replies: limiter{perSecond: 20},
	}
	e.env = sa.Env{
		Rand: cfg.Rand, Log: cfg.Log, KeyLog: cfg.KeyLog,
		AllocSPI: cfg.AllocSPI, FreeSPI: cfg.FreeSPI, LastInbound: cfg.LastInbound, Owner: (*owner)(e),
	}
	return e
}

// Counters returns what was counted so far.
func (e *Endpoint) Counters() Counters { return e.counters }

// Next is what to do now; nil: nothing.
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
func (e *Endpoint) Deadline() time.Time { return e.timers.deadline() }

// Advance does what is due.
func (e *Endpoint) Advance(now time.Time) {
	for range 2*e.timers.len() + 8 { // each may set itself due again, but not for ever
		t := e.timers.due(now)
		if t == nil {
			return
		}
		t.Advance(now)
		e.timers.touch(t)
	}
}

// Handle takes one IKE message, without non-ESP marker.
func (e *Endpoint) Handle(now time.Time, d ipsec.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil {
		e.counters.Malformed++
		return
	}
	if h.Major != 2 {
		e.otherVersion(now, h, d)
		return
	}
	if h.Exchange == wire.ExchangeSAInit && h.Flags&wire.FlagResponse == 0 {
		e.first(now, h, d)
		return
	}
	own := h.SPIi
	if h.Flags&wire.FlagInitiator != 0 {
		own = h.SPIr
	}
	m, ok := e.machines[own]
	if !ok {
		e.unknown(now, h, d)
		return
	}
	if in := m.Info(); in.SPIr != 0 && (in.SPIi != h.SPIi || in.SPIr != h.SPIr) {
		e.counters.UnknownSPI++
		return
	}
	if h.Flags&wire.FlagResponse != 0 && h.Next == wire.TypeNotify && m.Info().State != sa.Connecting {
		m.Probe(now) // unprotected INVALID_IKE_SPI: a hint, no more (RFC 7296 section 2.21.4)
	} else {
		m.Handle(now, d)
	}
	e.timers.touch(m)
}

// first is an IKE_SA_INIT request.
func (e *Endpoint) first(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.SPIi == 0 || h.SPIr != 0 || h.ID != 0 || h.Flags&wire.FlagInitiator == 0 || e.stopping {
		e.counters.Malformed++
		return
	}
	key := firstKey{d.Remote, h.SPIi, sha256.Sum256(d.Data)}
	if m, ok := e.halfOpen[key]; ok {
		m.Handle(now, d)
		e.timers.touch(m)
		return
	}
	if len((*owner)(e).Candidates(d.Remote.Addr())) == 0 {
		e.counters.UnknownSources++
		e.refuse(now, h, d, &wire.NotifyError{Kind: wire.NoProposalChosen, Why: "no connection has a peer at this address"})
		return
	}
	msg, err := wire.Parse(d.Data)
	if err != nil {
		e.counters.Malformed++
		return
	}
	if len(e.half) >= e.cfg.MaxHalfOpen {
		e.counters.HalfOpenFull++
		return
	}
	if len(e.half) >= e.cfg.CookieThreshold && !e.cookies.valid(now, msg, d.Remote) {
		if n, ok := wire.Find[*wire.Nonce](msg.Payloads); ok {
			e.counters.CookiesSent++
			e.notify(h, d, &wire.Notify{Kind: wire.Cookie, Data: e.cookies.mint(now, n.Data, d.Remote, h.SPIi)})
		}
		return
	}
	m, err := ikev2.Respond(&e.env, now, d, msg)
	if err != nil {
		e.counters.InitRefused++
		var n *wire.NotifyError
		if errors.As(err, &n) {
			e.refuse(now, h, d, n)
		}
		return
	}
	e.halfOpen[key], e.half[m] = m, key
	e.timers.touch(m)
}

// refuse answers a first message in the clear, seldom.
func (e *Endpoint) refuse(now time.Time, h wire.Header, d ipsec.Datagram, n *wire.NotifyError) {
	e.log.Info("refusing IKE_SA_INIT", "peer", d.Remote, "notify", n.Kind.String(), "why", n.Why)
	if e.replies.allow(now) {
		e.notify(h, d, &wire.Notify{Kind: n.Kind, Data: n.Data})
	}
}

func (e *Endpoint) notify(h wire.Header, d ipsec.Datagram, n *wire.Notify) {
	h.Flags, h.Major, h.Minor = wire.FlagResponse, 2, 0
	m := wire.Message{Header: h, Payloads: []wire.Payload{n}}
	e.emit(sa.Send{Path: ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}, Data: m.Marshal()})
}

// otherVersion is a message of IKEv1 or of the future (RFC 7296 section 2.5).
func (e *Endpoint) otherVersion(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.WrongVersion++
	if h.Major == 1 && h.SPIr == 0 {
		for _, p := range (*owner)(e).Candidates(d.Remote.Addr()) {
			(*owner)(e).Troubled(now, p, "the peer speaks IKEv1; this connection is IKEv2: set the peer to IKEv2")
		}
	}
	if h.Major > 2 && h.Flags&wire.FlagResponse == 0 && e.replies.allow(now) {
		e.notify(h, d, &wire.Notify{Kind: wire.InvalidMajorVersion})
	}
}

// unknown is a message of no IKE SA that we have (RFC 7296 section 2.21.4).
func (e *Endpoint) unknown(now time.Time, h wire.Header, d ipsec.Datagram) {
	e.counters.UnknownSPI++
	if h.Flags&wire.FlagResponse != 0 || !e.replies.allow(now) {
		return
	}
	own := wire.FlagInitiator &^ h.Flags
	h.Flags = wire.FlagResponse | own
	m := wire.Message{Header: h, Payloads: []wire.Payload{&wire.Notify{Kind: wire.InvalidIKESPI}}}
	e.emit(sa.Send{Path: ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}, Data: m.Marshal()})
}

// Do takes a command.
func (e *Endpoint) Do(now time.Time, c sa.Command) {
	switch c := c.(type) {
	case sa.SeenInbound:
		e.each(func(m sa.Machine) bool { return m.SeenInbound(now, c.SPIIn) })
	case sa.Expired:
		e.each(func(m sa.Machine) bool { return m.Expired(now, c.SPIIn, c.Why) })
	case sa.Moved:
		e.each(func(m sa.Machine) bool { return m.Moved(now, c.SPIIn, c.Remote) })
	case sa.InvalidSPI:
		e.each(func(m sa.Machine) bool {
			if m.Info().Path.Remote.Addr() == c.Remote.Addr() {
				m.Probe(now)
			}
			return false
		})
	case sa.Raise:
		e.raise(now, c.Tunnel)
	case sa.Lower:
		e.lower(now, c.Tunnel)
	case sa.Rekey:
		e.ofTunnel(c.Tunnel, func(m sa.Machine, cfg *sa.Child) { m.RekeyChildren(now, cfg, "asked for") })
	case sa.RekeyIKE:
		e.ofTunnel(c.Tunnel, func(m sa.Machine, _ *sa.Child) { m.RekeyIKE(now, "asked for") })
	case sa.Shutdown:
		e.stopping = true
		e.each(func(m sa.Machine) bool { m.Close(now, "this gateway shuts down"); return false })
	}
}

// Idle reports whether no IKE SA is left, as after a Shutdown.
func (e *Endpoint) Idle() bool { return len(e.machines) == 0 }

// each calls f until one machine says that it was meant.
func (e *Endpoint) each(f func(sa.Machine) bool) {
	ms := make([]sa.Machine, 0, len(e.machines))
	for _, m := range e.machines {
		ms = append(ms, m)
	}
	for _, m := range ms {
		done := f(m)
		e.timers.touch(m)
		if done {
			return
		}
	}
}

func (e *Endpoint) emit(a sa.Action) { e.actions = append(e.actions, a) }

// newSPI is random and unused.
func (e *Endpoint) newSPI() uint64 {
	for {
		var b [8]byte
		if _, err := io.ReadFull(e.cfg.Rand, b[:]); err != nil {
			panic("ike: no randomness: " + err.Error())
		}
		spi := binary.BigEndian.Uint64(b[:])
		if _, used := e.machines[spi]; spi != 0 && !used {
			return spi
		}
	}
}
