package ikev1

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// world is two hosts with their ISAKMP SAs and as much of an Endpoint as these need, on a
// network that delivers in order and at once. Two worlds of one seed in which the same is
// done send the same bytes.
type world struct {
	t     testing.TB
	now   time.Time
	a, b  *host
	wire  []ipsec.Datagram // under way, as the receiver will see them
	sent  []string         // everything that was sent, and what else the Owners were told
	rand  *rand.ChaCha8
	event func()                       // before each datagram that arrives and each Advance
	lose  func(d *ipsec.Datagram) bool // whether a datagram is lost; it may change it
	nat   uint16                       // a is behind a NAT that adds so much to its ports; 0: none
}

var outside = netip.MustParseAddr("203.0.113.1") // of the NAT

// pendingMain is message 1 of a main mode and the answer to it.
type pendingMain struct {
	first  ipsec.Datagram
	answer [][]byte
}

// host is the Owner of one end's ISAKMP SAs.
type host struct {
	w         *world
	addr      netip.Addr
	env       *sa.Env
	peer      *sa.Peer
	machines  []sa.Machine
	pending   map[uint64]pendingMain // main modes that wait for message 3, by our cookie
	spi       uint32
	taken     map[uint32]bool
	in, out   map[uint32]*ipsec.ChildSA
	held      map[*sa.Child]bool
	causes    []diag.Cause // of troubles, ends and refusals, as they came
	dropped   [sa.Drops]int
	moved     []netip.AddrPort
	asked     []time.Duration // what Affords was asked for
	reachable bool            // and for whom, at last
	broke     bool            // it affords nothing
	acts      int             // how often the Owner was called
}

func newWorld(t testing.TB, change func(a, b *sa.Peer)) *world {
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.NewChaCha8([32]byte{9}),
		event: func() {}, lose: func(*ipsec.Datagram) bool { return false },
	}
	w.a, w.b = w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	w.a.peer, w.b.peer = peerFor(w.a, w.b), peerFor(w.b, w.a)
	w.a.peer.Children = []*sa.Child{childFor("one", "10.1.0.0/16", "10.2.0.0/16"), childFor("two", "10.3.0.0/16", "10.4.0.0/16")}
	w.b.peer.Children = []*sa.Child{childFor("one", "10.2.0.0/16", "10.1.0.0/16"), childFor("two", "10.4.0.0/16", "10.3.0.0/16")}
	if change != nil {
		change(w.a.peer, w.b.peer)
	}
	return w
}

func aggressive(a, b *sa.Peer) { a.Aggressive, b.Aggressive = true, true }

func (w *world) host(addr string, spi uint32) *host {
	n := &host{w: w, addr: netip.MustParseAddr(addr), spi: spi}
	n.pending, n.taken, n.held = map[uint64]pendingMain{}, map[uint32]bool{}, map[*sa.Child]bool{}
	n.in, n.out = map[uint32]*ipsec.ChildSA{}, map[uint32]*ipsec.ChildSA{}
	level := slog.LevelError
	if os.Getenv("VPNGW_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	n.env = &sa.Env{
		Rand: w.rand, Owner: n,
		Log:         slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level})).With("host", addr),
		AllocSPI:    func() (uint32, error) { n.spi++; n.taken[n.spi] = true; return n.spi, nil },
		FreeSPI:     n.free,
		LastInbound: func(uint32) time.Time { return time.Time{} },
	}
	return n
}

func proposal(proto ipsec.Protocol, s string) []ipsec.Proposal {
	p, err := ipsec.ParseProposal(proto, s)
	if err != nil {
		panic(err)
	}
	return []ipsec.Proposal{p}
}

func peerFor(n, other *host) *sa.Peer {
	return &sa.Peer{
		Name:    "the other",
		PeerKey: sa.PeerKey{Remote: other.addr, LocalID: ipsec.IdentityOf(n.addr), RemoteID: ipsec.IdentityOf(other.addr)},
		Settings: sa.Settings{
			Version: 1, PSK: ipsec.Secret("not a real key"), Proposals: proposal(ipsec.ProtoIKE, "aes128-sha256-ecp256"),
			Lifetime: 30 * time.Minute, NATT: true, DPD: dpd.Config{Interval: 30 * time.Second},
		},
	}
}

func childFor(name, local, remote string) *sa.Child {
	return &sa.Child{
		Name: name, Tunnel: name, Initiate: true, Proposals: proposal(ipsec.ProtoESP, "aes128-sha256-ecp256"), Lifetime: ipsec.Lifetime{Time: 10 * time.Minute},
		Local:  []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(local))},
		Remote: []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(remote))},
	}
}

// note keeps what the Owner was told, for comparison with another world.
func (n *host) note(format string, args ...any) {
	n.acts++
	n.w.sent = append(n.w.sent, fmt.Sprintf("%v %v ", n.w.now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), n.addr)+fmt.Sprintf(format, args...))
}

func (n *host) free(spi uint32) {
	if !n.taken[spi] {
		n.w.t.Errorf("%v: SPI %08x is freed twice, or was never taken", n.addr, spi)
	}
	delete(n.taken, spi)
}

func (n *host) Emit(a sa.Action) {
	switch a := a.(type) {
	case sa.Send:
		n.note("sends %x", a.Data)
		n.w.wire = append(n.w.wire, ipsec.Datagram{Local: a.Path.Remote, Remote: a.Path.Local, Data: bytes.Clone(a.Data)})
		return
	case sa.InstallIn:
		n.in[a.SA.SPIIn] = a.SA
	case sa.InstallOut:
		if n.in[a.SA.SPIIn] == nil {
			n.w.t.Errorf("%v: outbound before inbound", n.addr)
		}
		n.out[a.SA.SPIIn] = a.SA
	case sa.Remove:
		if n.in[a.SPIIn] == nil {
			n.w.t.Errorf("%v: SPI %08x is removed, which is not installed", n.addr, a.SPIIn)
		}
		delete(n.in, a.SPIIn)
		delete(n.out, a.SPIIn)
		n.free(a.SPIIn)
	}
	n.note("%T", a)
}

func (n *host) NewSPI() uint64 {
	for {
		if spi := n.w.rand.Uint64(); spi != 0 {
			return spi
		}
	}
}

func (n *host) Candidates(_ int, _, remote netip.Addr) []*sa.Peer {
	if remote != n.peer.Remote && remote != outside {
		return nil
	}
	return []*sa.Peer{n.peer}
}

func (n *host) others(m sa.Machine) []sa.Machine {
	return slices.DeleteFunc(slices.Clone(n.machines), func(o sa.Machine) bool { return o == m })
}

func (n *host) Welcoming(version int, local, remote netip.Addr, id ipsec.Identity) []*sa.Peer {
	return slices.DeleteFunc(slices.Clone(n.Candidates(version, local, remote)), func(p *sa.Peer) bool { return !p.RemoteID.Welcomes(id) })
}

func (n *host) Sole(m sa.Machine, _ *sa.Peer) bool { return len(n.others(m)) == 0 }

func (n *host) Held(c *sa.Child) bool { return n.held[c] || !slices.Contains(n.peer.Children, c) }

func (n *host) Authenticated(now time.Time, m sa.Machine, initialContact bool) {
	n.note("has an ISAKMP SA")
	for _, o := range n.others(m) {
		m.Inherit(now, o, initialContact)
	}
}

func (n *host) Spawned(m sa.Machine) { n.machines = append(n.machines, m) }

func (n *host) Gone(m sa.Machine) {
	n.note("is rid of an ISAKMP SA")
	i := slices.Index(n.machines, m)
	if i < 0 {
		n.w.t.Fatalf("%v: an ISAKMP SA that it does not have is gone", n.addr)
	}
	n.machines = slices.Delete(n.machines, i, i+1)
}

func (n *host) told(what string, why diag.Cause) {
	n.note("%s: %v", what, why)
	if !why.OK() {
		n.causes = append(n.causes, why)
	}
}

func (n *host) Closed(_ time.Time, _ sa.Machine, why diag.Cause) { n.told("lost", why) }
func (n *host) Others(sa.Machine) []sa.Machine                   { return nil }
func (n *host) Troubled(_ time.Time, _ *sa.Peer, why diag.Cause) { n.told("troubled", why) }
func (n *host) Dropped(why sa.Drop)                              { n.note("drops: %v", why); n.dropped[why]++ }

func (n *host) Affords(_ time.Time, _ netip.Addr, effort time.Duration, reachable bool) bool {
	n.asked = append(n.asked, effort)
	n.reachable = reachable
	return !n.broke
}

func (n *host) Hearsay(time.Time, netip.Addr, diag.Code) (*slog.Logger, bool) {
	return slog.New(slog.DiscardHandler), false
}

func (n *host) PeerMoved(_ time.Time, _ sa.Machine, w netip.AddrPort) { n.moved = append(n.moved, w) }

func (n *host) Answered(sa.Machine, uint16)                 {}
func (n *host) Floated(sa.Machine)                          {}
func (n *host) Measured(sa.Machine, sa.Measured)            {}
func (n *host) Exchanged(sa.Machine, sa.Exchanged)          {}
func (n *host) Succeeded(time.Time, sa.Machine, sa.Machine) {}
func (n *host) Stirred(sa.Machine)                          { n.acts++ }

func (n *host) ChildRefused(now time.Time, m sa.Machine, c *sa.Child, _, _ []ipsec.Selector, why diag.Cause) {
	n.ChildChanged(now, m, c, why)
}

func (n *host) ChildChanged(_ time.Time, _ sa.Machine, c *sa.Child, why diag.Cause) {
	n.told(c.Name, why)
}

// main is the ISAKMP SA that maintains the Child SAs, or nil.
func (n *host) main() *SA {
	for _, m := range slices.Backward(n.machines) {
		if m := m.(*SA); m.state == sa.Established && m.fam.current == m {
			return m
		}
	}
	return nil
}

// receive gives a datagram to the SA that it is for, or begins one, as an Endpoint does.
func (n *host) receive(d ipsec.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil {
		n.w.t.Fatal(err)
	}
	for _, m := range n.machines {
		if s := m.(*SA); s.spiI == h.SPIi && (s.spiR == h.SPIr || h.SPIr == 0 || s.initiator && s.spiR == 0) {
			s.Handle(n.w.now, d)
			return
		}
	}
	if o, ok := n.pending[h.SPIr]; ok {
		delete(n.pending, h.SPIr)
		s, err := Resume(n.env, n.w.now, o.first, h.SPIr)
		if n.refused(err) {
			return
		}
		s.Handle(n.w.now, d)
		return
	}
	switch {
	case h.SPIr != 0:
	case h.Exchange == wire.ExchangeAggressive:
		_, err := Respond(n.env, n.w.now, d)
		n.refused(err)
	case h.Exchange == wire.ExchangeMain:
		n.open(d)
	}
}

// refused notes why a first message is not answered.
func (n *host) refused(err error) bool {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		n.told("refuses "+r.Kind.String(), r.Cause)
	}
	return err != nil
}

// open answers message 1 of a main mode.
func (n *host) open(d ipsec.Datagram) {
	var o pendingMain
	for _, old := range n.pending {
		if bytes.Equal(old.first.Data, d.Data) {
			o = old
		}
	}
	if o.answer == nil {
		cookie := n.NewSPI()
		answer, err := Answer(n.env, n.w.now, d, cookie)
		if n.refused(err) {
			return
		}
		o = pendingMain{ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: bytes.Clone(d.Data)}, answer}
		n.pending[cookie] = o
	}
	for _, m := range o.answer {
		n.Emit(sa.Send{Path: sa.ReplyPath(d), Data: m})
	}
}

// arrive delivers a datagram, through the NAT if there is one.
func (w *world) arrive(d ipsec.Datagram) {
	if w.nat != 0 {
		if d.Remote.Addr() == w.a.addr {
			d.Remote = netip.AddrPortFrom(outside, d.Remote.Port()+w.nat)
		}
		if d.Local.Addr() == outside {
			d.Local = netip.AddrPortFrom(w.a.addr, d.Local.Port()-w.nat)
		}
	}
	if w.lose(&d) {
		return
	}
	for _, n := range []*host{w.a, w.b} {
		if d.Local.Addr() == n.addr {
			n.receive(d)
		}
	}
}

// run delivers, and lets time pass for d.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 20000 {
		if len(w.wire) > 0 {
			d := w.wire[0]
			w.wire = w.wire[1:]
			w.event()
			w.arrive(d)
			continue
		}
		var due []*host
		next := end
		for _, n := range []*host{w.a, w.b} {
			for _, m := range n.machines {
				if at := m.Deadline(); !at.IsZero() && !at.After(next) {
					if at.Before(next) {
						due, next = nil, at
					}
					if !slices.Contains(due, n) {
						due = append(due, n)
					}
				}
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		if due == nil {
			return
		}
		w.event()
		for _, n := range due {
			for _, m := range slices.Clone(n.machines) {
				m.Advance(w.now)
			}
		}
	}
	w.t.Fatal("the world does not come to rest")
}

// begin starts phase 1 at a, and its child "one".
func (w *world) begin() {
	w.t.Helper()
	if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), 0); err != nil {
		w.t.Fatal(err)
	}
	w.run(100 * time.Millisecond)
	if s := w.a.main(); s != nil {
		w.a.ask("one")
	}
	w.run(2 * time.Second)
}

// ask asks for a child.
func (n *host) ask(name string) {
	n.w.t.Helper()
	for _, c := range n.peer.Children {
		if c.Name == name {
			n.main().Create(n.w.now, c, c.Local, c.Remote)
		}
	}
}

// wantPairs checks that each end has n Child SAs, that they fit each other, and that no SPI leaks.
func (w *world) wantPairs(n int) {
	w.t.Helper()
	for _, x := range [][2]*host{{w.a, w.b}, {w.b, w.a}} {
		if len(x[0].in) != n || len(x[0].out) != n || len(x[0].taken) != n {
			w.t.Errorf("%v: %d inbound and %d outbound Child SAs and %d SPIs, want %d each", x[0].addr, len(x[0].in), len(x[0].out), len(x[0].taken), n)
		}
		for _, c := range x[0].out {
			far := x[1].in[c.SPIOut]
			if far == nil || !far.In.Encr.Equal(c.Out.Encr) || !far.In.Integ.Equal(c.Out.Integ) {
				w.t.Errorf("%v sends on SPI %08x, which the other end does not receive on, or with another key", x[0].addr, c.SPIOut)
			}
		}
	}
}
