package hostile

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// world is some Endpoints on a network in which time stands still while messages are under way. The first two are
// a and b, with a tunnel that the hostile messages are about; c is a bystander with a tunnel to b.
type world struct {
	now    time.Time
	ends   []*end
	wire   []parcel // messages under way, oldest first
	nat    bool     // a is behind a NAT
	rand   *rand.ChaCha8
	arrive func(parcel) // sees each message before its receiver; nil: nobody
	faults []string
	// whole says that both ends have a Child SA that the other receives on, and are to keep one at all times.
	whole bool
}

// parcel is a message under way. The Datagram is as its receiver sees it.
type parcel struct {
	ipsec.Datagram
	sent ipsec.Path // as the sender sees it

	// What is encrypted in it, as far as the keys are known. Of IKEv1's phase 2 it is what the HASH protects.
	first wire.PayloadType
	plain []byte
}

// end is one host.
type end struct {
	*ike.Endpoint
	w       *world
	cfg     ike.Config
	peers   []*sa.Peer
	addr    netip.Addr
	spi     uint32
	taken   map[uint32]bool // SPIs that the Endpoint has
	in, out map[uint32]uint32
	newest  uint32   // the SPI that it sends on
	facts   []string // what has happened, by kind
	keys    *bytes.Buffer
	lines   int // of the log
}

var (
	addrA, addrB, addrC = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	outside             = netip.MustParseAddr("192.0.2.99") // a's, if it is behind a NAT
	stranger            = netip.MustParseAddr("203.0.113.9")
)

const natPorts = 20000 // the NAT adds this to a port of a's

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// add makes a host without an Endpoint.
func (w *world) add(addr netip.Addr, spi uint32) *end {
	n := &end{w: w, addr: addr, spi: spi, taken: map[uint32]bool{}, in: map[uint32]uint32{}, out: map[uint32]uint32{}, keys: &bytes.Buffer{}}
	n.cfg = ike.Config{
		Rand:        w.rand,
		Log:         slog.New(counter{n}),
		KeyLog:      sa.LogAll(n.keys),
		AllocSPI:    func() (uint32, error) { n.spi++; n.taken[n.spi] = true; return n.spi, nil },
		FreeSPI:     func(spi uint32) { n.release(spi) },
		LastInbound: func(uint32) time.Time { return time.Time{} },
		Source:      func(netip.Addr) (netip.Addr, error) { return addr, nil },
	}
	if os.Getenv("VPNGW_TEST_LOG") != "" {
		n.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", addr)
	}
	w.ends = append(w.ends, n)
	return n
}

func (n *end) release(spi uint32) {
	if !n.taken[spi] {
		n.w.fault("%v: SPI %08x is freed twice, or was never taken", n.addr, spi)
	}
	delete(n.taken, spi)
}

// counter is a log that counts the lines an operator would read.
type counter struct{ n *end }

func (counter) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (c counter) Handle(context.Context, slog.Record) error  { c.n.lines++; return nil }
func (c counter) WithAttrs([]slog.Attr) slog.Handler         { return c }
func (c counter) WithGroup(string) slog.Handler              { return c }

func (w *world) at(addr netip.Addr) *end {
	for _, n := range w.ends {
		if n.addr == addr {
			return n
		}
	}
	return nil
}

// effects are what an Endpoint has done.
type effects struct {
	answers  map[wire.Header]bool // messages, whose fragments count as one
	moved    bool
	removed  int
	children int // installed or on hold
}

// drain performs the Actions that wait.
func (n *end) drain() effects {
	did := effects{answers: map[wire.Header]bool{}}
	for a := n.Next(); a != nil; a = n.Next() {
		switch a := a.(type) {
		case sa.Send:
			h, err := wire.ParseHeader(a.Data)
			if err != nil {
				n.w.fault("%v sends a message that is none: %v", n.addr, err)
			}
			h.Next, h.Length = 0, 0
			did.answers[h] = true
			n.w.send(n, a)
		case sa.InstallIn:
			did.children++
			n.in[a.SA.SPIIn] = a.SA.SPIOut
		case sa.InstallOut:
			did.children++
			if _, ok := n.in[a.SA.SPIIn]; !ok {
				n.w.fault("%v sends on a Child SA before it receives on it", n.addr)
			}
			n.out[a.SA.SPIIn], n.newest = a.SA.SPIOut, a.SA.SPIIn
		case sa.Hold:
			did.children++
		case sa.RemoveOut:
			n.removeOut(a.SPIIn)
		case sa.Remove:
			did.removed++
			delete(n.in, a.SPIIn)
			n.removeOut(a.SPIIn)
			n.release(a.SPIIn)
		case sa.Move:
			did.moved = true
		case sa.Fact:
			n.note(a)
		}
		n.w.check()
	}
	return did
}

// removeOut has packets take another Child SA.
func (n *end) removeOut(spi uint32) {
	delete(n.out, spi)
	if n.newest == spi {
		n.newest = 0
		for _, spi := range slices.Sorted(maps.Keys(n.out)) {
			n.newest = spi
		}
	}
}

// note notes Facts about SAs. A liveness check or a failed attempt is none of them.
func (n *end) note(f sa.Fact) {
	fact, about := strings.TrimPrefix(fmt.Sprintf("%T ", f), "sa."), ""
	switch f := f.(type) {
	case sa.IKEEstablished:
		about = f.SA.Peer.Name
	case sa.IKERekeyed:
		about = f.SA.Peer.Name
	case sa.IKEEnded:
		about = f.SA.Peer.Name
	case sa.PeerMoved:
		about = f.SA.Peer.Name
	case sa.ChildIn:
		about = f.SA.Tunnel
	case sa.ChildOut:
		about = f.SA.Tunnel
	case sa.ChildGone:
		about = f.SA.Tunnel
	default:
		return
	}
	n.facts = append(n.facts, fact+about)
}

// check checks that a and b can send to each other.
func (w *world) check() {
	if !w.whole {
		return
	}
	a, b := w.ends[0], w.ends[1]
	for _, x := range [...][2]*end{{a, b}, {b, a}} {
		from, to := x[0], x[1]
		spi, ok := from.out[from.newest]
		if _, receives := to.in[spi]; !ok || !receives {
			w.fault("%v sends nothing that %v receives", from.addr, to.addr)
			w.whole = false
			return
		}
	}
}

// send puts a message under way.
func (w *world) send(n *end, s sa.Send) {
	p := parcel{sent: s.Path}
	if !p.sent.Local.Addr().IsValid() {
		p.sent.Local = netip.AddrPortFrom(n.addr, p.sent.Local.Port())
	}
	p.Datagram = ipsec.Datagram{Local: p.sent.Remote, Remote: p.sent.Local, Data: s.Data}
	if w.nat && n.addr == addrA {
		p.Remote = netip.AddrPortFrom(outside, p.Remote.Port()+natPorts)
	}
	if w.nat && p.Local.Addr() == outside {
		p.Local = netip.AddrPortFrom(addrA, p.Local.Port()-natPorts)
	}
	w.wire = append(w.wire, p)
}

// deliver hands a message to its receiver.
func (w *world) deliver(p parcel) (did effects) {
	n := w.at(p.Local.Addr())
	if n == nil {
		return effects{}
	}
	p.Data = bytes.Clone(p.Data)
	n.Handle(w.now, p.Datagram)
	clear(p.Data) // Handle may not keep it
	return n.drain()
}

// run delivers and lets time pass, for d.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for range 100_000 {
		for _, n := range w.ends {
			n.drain()
		}
		if len(w.wire) > 0 {
			if w.arrive != nil {
				w.arrive(w.wire[0])
			}
			p := w.wire[0]
			w.wire = w.wire[1:]
			w.deliver(p)
			continue
		}
		var next time.Time
		for _, n := range w.ends {
			next = sa.Earliest(next, n.Deadline())
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		for _, n := range w.ends {
			n.Advance(w.now)
		}
	}
	w.fault("the world does not come to rest")
}

// pairs is how many Child SAs a and b have that fit each other, and whether either has another one.
func (w *world) pairs() (n int, others bool) {
	a, b := w.ends[0], w.ends[1]
	for in, out := range a.out {
		if b.in[out] == in && b.out[out] == in {
			n++
		}
	}
	return n, len(a.in) != n || len(a.out) != n || len(b.in)-1 != n || len(b.out)-1 != n // one is c's
}

func proposals(proto ipsec.Protocol, s string) []ipsec.Proposal {
	p, err := ipsec.ParseProposal(proto, s)
	if err != nil {
		panic(err)
	}
	return []ipsec.Proposal{p}
}
