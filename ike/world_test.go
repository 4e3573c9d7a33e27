package ike

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// world is two or more Endpoints on a network in which time stands still: run delivers the messages under way, and
// then sets the clock to the next deadline.
type world struct {
	t     testing.TB
	now   time.Time
	ends  map[netip.Addr]*end
	order []*end // in the order of host
	nats  []*nat
	wire  []ipsec.Datagram // messages under way, oldest first, with the addresses that the receiver will see
	// filter sees each datagram when it arrives; false drops it. It may change it.
	filter func(d *ipsec.Datagram) bool
	// lossless says that packets are never lost: check fails the test when one would be.
	lossless  bool
	oneWay    bool             // lossless is from the first end to the second only
	sent      []wire.Header    // headers of all messages
	got       []ipsec.Datagram // everything that arrived
	rand      *rand.ChaCha8
	bySetPeer bool // how reload hands over the peers
	drawn     int  // bytes of randomness that the ends have asked for
}

func (w *world) Read(b []byte) (int, error) { w.drawn += len(b); return w.rand.Read(b) }

// end is one host: an Endpoint, and the state of ESP that its Actions have made.
type end struct {
	*Endpoint
	w       *world
	addr    netip.Addr
	spi     uint32
	free    map[uint32]bool
	in, out map[uint32]*ipsec.ChildSA // by our SPI
	newest  []*ipsec.ChildSA          // out in the order of InstallOut
	held    map[uint32]bool           // by our SPI
	moved   map[uint32]ipsec.Path
	trace   []string
	alive   int // keepalives
	last    map[uint32]time.Time
	keys    bytes.Buffer
	dead    bool // hears nothing, says nothing
	mirror  *mirror
	see     func(sa.Action) // nil: nobody
}

func newWorld(t testing.TB, seed byte) *world {
	return &world{t: t, rand: rand.NewChaCha8([32]byte{seed}), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ends: map[netip.Addr]*end{}}
}

// host adds a host, or restarts the one at the same address.
func (w *world) host(addr string, spi uint32) *end {
	a := netip.MustParseAddr(addr)
	n := &end{
		w: w, addr: a, spi: spi, free: map[uint32]bool{}, in: map[uint32]*ipsec.ChildSA{}, out: map[uint32]*ipsec.ChildSA{},
		held: map[uint32]bool{}, moved: map[uint32]ipsec.Path{}, last: map[uint32]time.Time{},
		mirror: newMirror(),
	}
	level := slog.LevelError
	if os.Getenv("VPNGW_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	n.Endpoint = New(Config{
		Rand:        w,
		Log:         slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level})).With("host", addr),
		KeyLog:      sa.LogAll(&n.keys),
		AllocSPI:    func() (uint32, error) { n.spi++; n.free[n.spi] = false; return n.spi, nil },
		FreeSPI:     func(s uint32) { n.release(s) },
		LastInbound: func(s uint32) time.Time { return n.last[s] },
		Source:      func(netip.Addr) (netip.Addr, error) { return a, nil },
	})
	if old := w.ends[a]; old != nil {
		old.dead = true
	}
	w.ends[a] = n
	w.order = append(w.order, n)
	return n
}

func (n *end) release(s uint32) {
	if freed, ok := n.free[s]; !ok || freed {
		n.w.t.Errorf("%v: SPI %08x freed twice, or never taken", n.addr, s)
	}
	n.free[s] = true
}

// noLeaks checks that every SPI that is not installed was given back.
func (n *end) noLeaks() {
	n.w.t.Helper()
	for s, freed := range n.free {
		if !freed && n.in[s] == nil {
			n.w.t.Errorf("%v: SPI %08x leaked", n.addr, s)
		}
	}
}

// drain performs the Actions that wait.
func (n *end) drain() {
	done := false
	for a := n.Next(); a != nil; a = n.Next() {
		if done = true; n.dead {
			continue
		}
		n.mirror.note(n.w.t, a)
		if n.see != nil {
			n.see(a)
		}
		switch a := a.(type) {
		case sa.Send:
			h, err := wire.ParseHeader(a.Data)
			if err != nil {
				n.w.t.Fatalf("sent a message that is none: %v", err)
			}
			n.w.sent = append(n.w.sent, h)
			n.trace = append(n.trace, fmt.Sprintf("send %v %d", h.Exchange, h.ID))
			local := a.Path.Local
			if !local.Addr().IsValid() {
				local = netip.AddrPortFrom(n.addr, local.Port())
			}
			n.w.send(ipsec.Datagram{Local: a.Path.Remote, Remote: local, Data: a.Data})
		case sa.Keepalive:
			n.alive++
		case sa.InstallIn:
			n.trace = append(n.trace, "in")
			if n.in[a.SA.SPIIn] != nil {
				n.w.t.Errorf("%v: SPI %08x installed twice", n.addr, a.SA.SPIIn)
			}
			n.in[a.SA.SPIIn] = a.SA
		case sa.InstallOut:
			n.trace = append(n.trace, "out")
			if n.in[a.SA.SPIIn] == nil {
				n.w.t.Errorf("%v: outbound before inbound", n.addr)
			}
			n.out[a.SA.SPIIn] = a.SA
			n.newest = append(n.newest, a.SA)
		case sa.Hold:
			n.trace = append(n.trace, "hold")
			if n.out[a.SPIIn] == nil || n.held[a.SPIIn] {
				n.w.t.Errorf("%v: SPI %08x is held twice, or does not carry anything", n.addr, a.SPIIn)
			}
			n.held[a.SPIIn] = true
		case sa.Resume:
			n.trace = append(n.trace, "resume")
			delete(n.held, a.SPIIn)
		case sa.RemoveOut:
			n.trace = append(n.trace, "remove out")
			if n.out[a.SPIIn] == nil {
				n.w.t.Errorf("%v: removed an outbound half that was not installed", n.addr)
			}
			n.newest = slices.DeleteFunc(n.newest, func(c *ipsec.ChildSA) bool { return c.SPIIn == a.SPIIn })
		case sa.Remove:
			n.trace = append(n.trace, "remove")
			delete(n.held, a.SPIIn)
			if n.in[a.SPIIn] == nil {
				n.w.t.Errorf("%v: removed what was not installed", n.addr)
			}
			delete(n.in, a.SPIIn)
			delete(n.out, a.SPIIn)
			n.newest = slices.DeleteFunc(n.newest, func(c *ipsec.ChildSA) bool { return c.SPIIn == a.SPIIn })
			n.release(a.SPIIn)
		case sa.Move:
			n.trace = append(n.trace, "move")
			n.moved[a.SPIIn] = a.Path
		}
		n.w.check()
	}
	if done && !n.dead {
		n.mirror.agrees(n)
	}
}

// sendsOn is the newest SA of an end that has one.
func (n *end) sendsOn() *ipsec.ChildSA { return n.newest[len(n.newest)-1] }

// check checks the promise of a rekey: each end can receive on the newest SA of the other.
func (w *world) check() {
	if !w.lossless {
		return
	}
	a, b := w.order[0], w.order[1]
	for _, x := range [...][2]*end{{a, b}, {b, a}} {
		from, to := x[0], x[1]
		if w.oneWay && from == b {
			return
		}
		if len(from.newest) == 0 {
			w.t.Errorf("%v has nothing to send on", from.addr)
			w.lossless = false
			return
		}
		spi := from.sendsOn().SPIOut
		if to.in[spi] == nil {
			w.t.Errorf("%v sends on SPI %08x, which %v does not receive on", from.addr, spi, to.addr)
			w.lossless = false
		}
	}
}

// send puts a datagram under way, through the NATs that it meets.
func (w *world) send(d ipsec.Datagram) {
	for _, n := range w.nats {
		n.outward(&d)
	}
	w.wire = append(w.wire, d)
}

// run delivers and lets time pass, for d.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 200000 {
		for _, n := range w.order {
			n.drain()
		}
		if len(w.wire) > 0 {
			d := w.wire[0]
			w.wire = w.wire[1:]
			w.arrive(d)
			continue
		}
		var next time.Time
		for _, n := range w.order {
			if !n.dead {
				next = sa.Earliest(next, n.Deadline())
			}
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		for _, n := range w.order {
			if !n.dead {
				n.Advance(w.now)
			}
		}
	}
	w.t.Fatal("the world does not come to rest")
}

func (w *world) arrive(d ipsec.Datagram) {
	for _, n := range w.nats {
		if !n.inward(&d) {
			return
		}
	}
	if w.filter != nil && !w.filter(&d) {
		return
	}
	w.got = append(w.got, d)
	if n := w.ends[d.Local.Addr()]; n != nil && !n.dead {
		d.Data = bytes.Clone(d.Data)
		n.Handle(w.now, d)
		clear(d.Data) // Handle may not keep it
	}
}

// nat is an address translator in front of some hosts.
type nat struct {
	outside netip.Addr
	inside  []netip.Addr
	port    uint16
	ports   map[[2]netip.AddrPort]uint16 // by inside and far end
	back    map[uint16]netip.AddrPort
	fixed   bool // passes ports as they are
}

func (w *world) nat(outside string, inside ...*end) *nat {
	n := &nat{outside: netip.MustParseAddr(outside), port: 20000}
	for _, e := range inside {
		n.inside = append(n.inside, e.addr)
	}
	n.rebind()
	w.nats = append(w.nats, n)
	return n
}

// rebind forgets the mappings: what comes next gets new ports.
func (n *nat) rebind() {
	n.ports, n.back = map[[2]netip.AddrPort]uint16{}, map[uint16]netip.AddrPort{}
}

func (n *nat) outward(d *ipsec.Datagram) {
	if !slices.Contains(n.inside, d.Remote.Addr()) || slices.Contains(n.inside, d.Local.Addr()) {
		return
	}
	if n.fixed {
		d.Remote = netip.AddrPortFrom(n.outside, d.Remote.Port())
		return
	}
	k := [2]netip.AddrPort{d.Remote, d.Local}
	p, ok := n.ports[k]
	if !ok {
		n.port++
		p = n.port
		n.ports[k], n.back[p] = p, d.Remote
	}
	d.Remote = netip.AddrPortFrom(n.outside, p)
}

// inward is false when nobody inside has asked for the datagram.
func (n *nat) inward(d *ipsec.Datagram) bool {
	if d.Local.Addr() != n.outside {
		return true
	}
	to, ok := n.back[d.Local.Port()]
	d.Local = to
	return ok
}

// pairOf is two hosts with one tunnel between them.
func pairOf(t testing.TB, change func(a, b *sa.Peer)) (*world, *end, *end) {
	return pairWith(t, 0, change)
}

func pairWith(t testing.TB, seed byte, change func(a, b *sa.Peer)) (*world, *end, *end) {
	w := newWorld(t, seed)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	if change != nil {
		change(pa, pb)
	}
	b.SetPeers(w.now, []*sa.Peer{pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	return w, a, b
}

// peersFor is a peer for each of two hosts. The first begins.
func peersFor() (pa, pb *sa.Peer) {
	pa, pb = peerFor("a", "192.0.2.1", "192.0.2.2"), peerFor("b", "192.0.2.2", "192.0.2.1")
	pa.Children[0].Local, pa.Children[0].Remote = selectors("10.1.0.0/16"), selectors("10.2.0.0/16")
	pb.Children[0].Local, pb.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.1.0.0/16")
	pb.Children[0].Initiate = false
	return pa, pb
}

func peerFor(name, local, remote string) *sa.Peer {
	l, r := netip.MustParseAddr(local), netip.MustParseAddr(remote)
	return &sa.Peer{
		Name:    name,
		PeerKey: sa.PeerKey{Remote: r, LocalID: ipsec.IdentityOf(l), RemoteID: ipsec.IdentityOf(r)},
		Settings: sa.Settings{
			Version: 2, PSK: ipsec.Secret("not a real key"), Proposals: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519"),
			Lifetime: 24 * time.Hour, NATT: true, DPD: dpd.Config{Interval: 30 * time.Second},
		},
		Children: []*sa.Child{childFor(name)},
	}
}

func childFor(name string) *sa.Child {
	return &sa.Child{
		Name: name, Tunnel: name, Initiate: true, Proposals: proposals(ipsec.ProtoESP, "aes128gcm16-x25519"),
		Lifetime: ipsec.Lifetime{Time: time.Hour},
	}
}

func proposals(proto ipsec.Protocol, ss ...string) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, s := range ss {
		p, err := ipsec.ParseProposal(proto, s)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

func selectors(ss ...string) []ipsec.Selector {
	var out []ipsec.Selector
	for _, s := range ss {
		out = append(out, ipsec.SelectorOf(netip.MustParsePrefix(s)))
	}
	return out
}

// wantPairs checks that both ends have n Child SAs that fit each other and nothing else.
func wantPairs(t testing.TB, a, b *end, n int) {
	t.Helper()
	if len(a.in) != n || len(b.in) != n || len(a.out) != n || len(b.out) != n {
		t.Fatalf("inbound %d and %d, outbound %d and %d, want %d each", len(a.in), len(b.in), len(a.out), len(b.out), n)
	}
	if len(a.held)+len(b.held) > 0 {
		t.Errorf("%d and %d Child SAs are on hold", len(a.held), len(b.held))
	}
	for _, x := range a.out {
		y := b.in[x.SPIOut]
		if y == nil {
			t.Fatalf("nobody receives what is sent to SPI %08x", x.SPIOut)
		}
		if !x.Out.Encr.Equal(y.In.Encr) || !x.Out.Integ.Equal(y.In.Integ) || !x.In.Encr.Equal(y.Out.Encr) {
			t.Fatal("the keys of the two ends differ")
		}
	}
	a.noLeaks()
	b.noLeaks()
}

// wantIKE checks that both ends have n IKE SAs.
func wantIKE(t testing.TB, a, b *end, n int) {
	t.Helper()
	if len(a.table.bySPI) != n || len(b.table.bySPI) != n {
		t.Fatalf("%d and %d IKE SAs, want %d", len(a.table.bySPI), len(b.table.bySPI), n)
	}
}

// ikeOf is the one IKE SA that an end uses.
func (n *end) ikeOf() sa.Info {
	n.w.t.Helper()
	m := n.peer(0).main()
	if m == nil {
		n.w.t.Fatalf("%v has no IKE SA", n.addr)
	}
	return m.Info()
}

// count is how many messages of an exchange were sent so far, requests or responses.
func (w *world) count(x wire.Exchange, response bool) int {
	n := 0
	for _, h := range w.sent {
		if h.Exchange == x && (h.Flags&wire.FlagResponse != 0) == response {
			n++
		}
	}
	return n
}
