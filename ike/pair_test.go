package ike

import (
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

// world is two or more Endpoints on a network without time of its own: step
// delivers what is under way, and at moves the clock.
type world struct {
	t    *testing.T
	now  time.Time
	ends map[netip.Addr]*end
	wire []ipsec.Datagram // under way, oldest first
	// filter sees each datagram; false drops it. It may change it.
	filter func(d *ipsec.Datagram) bool
	seen   []wire.Header // of everything that was sent
	rand   *rand.ChaCha8
}

// end is one host: an Endpoint, and what its Actions would have done to ESP.
type end struct {
	*Endpoint
	w       *world
	addr    netip.Addr
	spi     uint32
	free    map[uint32]bool
	in, out map[uint32]*ipsec.ChildSA // by our SPI
	trace   []string
	last    map[uint32]time.Time
}

// seed makes worlds repeatable.
var seed byte

func newWorld(t *testing.T) *world {
	return &world{t: t, rand: rand.NewChaCha8([32]byte{seed}), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ends: map[netip.Addr]*end{}}
}

func (w *world) host(addr string, spi uint32) *end {
	a := netip.MustParseAddr(addr)
	n := &end{w: w, addr: a, spi: spi, free: map[uint32]bool{}, in: map[uint32]*ipsec.ChildSA{}, out: map[uint32]*ipsec.ChildSA{}, last: map[uint32]time.Time{}}
	level := slog.LevelError
	if os.Getenv("VPNGW_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	n.Endpoint = New(Config{
		Rand:        w.rand,
		Log:         slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level})).With("host", addr),
		AllocSPI:    func() (uint32, error) { n.spi++; n.free[n.spi] = false; return n.spi, nil },
		FreeSPI:     func(s uint32) { n.release(s) },
		LastInbound: func(s uint32) time.Time { return n.last[s] },
		Source:      func(netip.Addr) (netip.Addr, error) { return a, nil },
	})
	w.ends[a] = n
	return n
}

func (n *end) release(s uint32) {
	if freed, ok := n.free[s]; !ok || freed {
		n.w.t.Errorf("%v: SPI %08x freed twice, or never taken", n.addr, s)
	}
	n.free[s] = true
}

// drain performs the Actions that wait.
func (n *end) drain() {
	for a := n.Next(); a != nil; a = n.Next() {
		switch a := a.(type) {
		case sa.Send:
			h, err := wire.ParseHeader(a.Data)
			if err != nil {
				n.w.t.Fatalf("sent a message that is none: %v", err)
			}
			n.w.seen = append(n.w.seen, h)
			n.trace = append(n.trace, fmt.Sprintf("send %v %d", h.Exchange, h.ID))
			local := a.Path.Local
			if !local.Addr().IsValid() {
				local = netip.AddrPortFrom(n.addr, local.Port())
			}
			n.w.wire = append(n.w.wire, ipsec.Datagram{Local: local, Remote: a.Path.Remote, Data: a.Data})
		case sa.InstallIn:
			n.trace = append(n.trace, "in")
			n.in[a.SA.SPIIn] = a.SA
		case sa.InstallOut:
			n.trace = append(n.trace, "out")
			if n.in[a.SA.SPIIn] == nil {
				n.w.t.Errorf("outbound before inbound")
			}
			n.out[a.SA.SPIIn] = a.SA
		case sa.Remove:
			n.trace = append(n.trace, "remove")
			if n.in[a.SPIIn] == nil {
				n.w.t.Errorf("removed what was not installed")
			}
			delete(n.in, a.SPIIn)
			delete(n.out, a.SPIIn)
			n.release(a.SPIIn)
		}
	}
}

// run delivers and lets time pass, for d.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for range 100000 {
		for _, n := range w.sorted() {
			n.drain()
		}
		if len(w.wire) > 0 {
			d := w.wire[0]
			w.wire = w.wire[1:]
			d.Local, d.Remote = d.Remote, d.Local // as the receiver sees it
			if w.filter != nil && !w.filter(&d) {
				continue
			}
			if n := w.ends[d.Local.Addr()]; n != nil {
				n.Handle(w.now, d)
			}
			continue
		}
		var next time.Time
		for _, n := range w.sorted() {
			if t := n.Deadline(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		for _, n := range w.sorted() {
			n.Advance(w.now)
		}
	}
	w.t.Fatal("the world does not come to rest")
}

func (w *world) sorted() []*end {
	var out []*end
	for _, n := range w.ends {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *end) int { return a.addr.Compare(b.addr) })
	return out
}

// pairOf are two hosts that want one tunnel.
func pairOf(t *testing.T, change func(a, b *sa.Peer)) (*world, *end, *end) {
	w := newWorld(t)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peerFor("a", "192.0.2.1", "192.0.2.2"), peerFor("b", "192.0.2.2", "192.0.2.1")
	pa.Children[0].Local, pa.Children[0].Remote = selectors("10.1.0.0/16"), selectors("10.2.0.0/16")
	pb.Children[0].Local, pb.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.1.0.0/16")
	pb.Children[0].Initiate = false
	if change != nil {
		change(pa, pb)
	}
	b.SetPeers(w.now, []*sa.Peer{pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	return w, a, b
}

func peerFor(name, local, remote string) *sa.Peer {
	l, r := netip.MustParseAddr(local), netip.MustParseAddr(remote)
	return &sa.Peer{
		Name: name, Version: 2, Local: l, Remote: r, LocalID: ipsec.IdentityOf(l), RemoteID: ipsec.IdentityOf(r),
		PSK: ipsec.Secret("not a real key"), Proposals: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519"),
		Lifetime: 24 * time.Hour, NATT: true, DPD: dpd.Config{Interval: 30 * time.Second},
		Children: []*sa.Child{{Name: name, Tunnel: name, Initiate: true, Proposals: proposals(ipsec.ProtoESP, "aes128gcm16-x25519"),
			Lifetime: ipsec.Lifetime{Time: time.Hour}}},
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
func wantPairs(t *testing.T, a, b *end, n int) {
	t.Helper()
	if len(a.in) != n || len(b.in) != n || len(a.out) != n || len(b.out) != n {
		t.Fatalf("inbound %d and %d, outbound %d and %d, want %d each", len(a.in), len(b.in), len(a.out), len(b.out), n)
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
}

func ikeSAs(n *end) int { return len(n.machines) }
