package ikev2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// world is two hosts with machines of IKEv2, without an Endpoint, on a network that
// delivers at once and in order. Its randomness has a fixed seed: if the same is done
// in two worlds, they send the same bytes.
type world struct {
	t    testing.TB
	now  time.Time
	a, b *host
	wire []ipsec.Datagram // under way, from the receiver's view
	sent [][]byte         // everything that was sent
	rand io.Reader
	// step is called before each datagram that arrives and each Advance.
	step func()
	// lose reports whether a datagram is lost; meddle may change a datagram before it arrives.
	lose   func(d ipsec.Datagram) bool
	meddle func(d *ipsec.Datagram)
	nat    uint16 // a is behind a NAT that adds this to its ports; 0: it is not
}

// outside is the address of the NAT.
var outside = netip.MustParseAddr("203.0.113.1")

// host is one end: the Owner of its machines, with the Child SAs that they installed.
type host struct {
	w        *world
	addr     netip.Addr
	env      *sa.Env
	peer     *sa.Peer
	others   []*sa.Peer // at the same address; they come first
	machines []sa.Machine
	spi      uint64
	in, out  map[uint32]*ipsec.ChildSA
	taken    map[uint32]bool
	held     map[*sa.Child]bool
	causes   []diag.Cause // whatever the machines told their Owner
	log      bytes.Buffer
	moved    []netip.AddrPort
}

func newWorld(t testing.TB, change func(a, b *sa.Peer)) *world {
	w := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.NewChaCha8([32]byte{7}), step: func() {}}
	w.a, w.b = w.host("192.0.2.1", 1<<32), w.host("192.0.2.2", 2<<32)
	w.a.peer, w.b.peer = peerFor(w.a, w.b), peerFor(w.b, w.a)
	w.a.peer.Children = []*sa.Child{childFor("one", "10.1.0.0/16", "10.2.0.0/16"), childFor("two", "10.3.0.0/16", "10.4.0.0/16")}
	w.b.peer.Children = []*sa.Child{childFor("one", "10.2.0.0/16", "10.1.0.0/16"), childFor("two", "10.4.0.0/16", "10.3.0.0/16")}
	if change != nil {
		change(w.a.peer, w.b.peer)
	}
	return w
}

func (w *world) host(addr string, spi uint64) *host {
	h := &host{
		w: w, addr: netip.MustParseAddr(addr), spi: spi,
		in: map[uint32]*ipsec.ChildSA{}, out: map[uint32]*ipsec.ChildSA{}, taken: map[uint32]bool{}, held: map[*sa.Child]bool{},
	}
	h.env = &sa.Env{
		Rand: w.rand, Owner: h,
		Log: slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		AllocSPI: func() (uint32, error) {
			h.spi++
			h.taken[uint32(h.spi)|uint32(h.spi>>32)<<16] = true
			return uint32(h.spi) | uint32(h.spi>>32)<<16, nil
		},
		FreeSPI:     h.free,
		LastInbound: func(uint32) time.Time { return time.Time{} },
	}
	return h
}

func parse(proto ipsec.Protocol, s string) []ipsec.Proposal {
	p, err := ipsec.ParseProposal(proto, s)
	if err != nil {
		panic(err)
	}
	return []ipsec.Proposal{p}
}

func peerFor(h, other *host) *sa.Peer {
	return &sa.Peer{
		Name:    "the other",
		PeerKey: sa.PeerKey{Remote: other.addr, LocalID: ipsec.IdentityOf(h.addr), RemoteID: ipsec.IdentityOf(other.addr)},
		Settings: sa.Settings{
			Version: 2, PSK: ipsec.Secret("not a real key"), Proposals: parse(ipsec.ProtoIKE, "aes128gcm16-prfsha256-x25519"),
			Lifetime: 30 * time.Minute, NATT: true, DPD: dpd.Config{Interval: 30 * time.Second},
		},
	}
}

func childFor(name, local, remote string) *sa.Child {
	return &sa.Child{
		Name: name, Tunnel: name, Initiate: true, Proposals: parse(ipsec.ProtoESP, "aes128gcm16-x25519"), Lifetime: ipsec.Lifetime{Time: 10 * time.Minute},
		Local:  []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(local))},
		Remote: []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(remote))},
	}
}

func (h *host) free(spi uint32) {
	if !h.taken[spi] {
		h.w.t.Errorf("%v: SPI %08x is freed twice, or was never taken", h.addr, spi)
	}
	delete(h.taken, spi)
}

func (h *host) Emit(a sa.Action) {
	switch a := a.(type) {
	case sa.Send:
		h.w.sent = append(h.w.sent, bytes.Clone(a.Data))
		h.w.wire = append(h.w.wire, ipsec.Datagram{Local: a.Path.Remote, Remote: a.Path.Local, Data: bytes.Clone(a.Data)})
	case sa.InstallIn:
		h.in[a.SA.SPIIn] = a.SA
	case sa.InstallOut:
		h.out[a.SA.SPIIn] = a.SA
	case sa.Remove:
		delete(h.in, a.SPIIn)
		delete(h.out, a.SPIIn)
		h.tell(a.Why)
		h.free(a.SPIIn)
	}
}

func (h *host) NewSPI() uint64 { h.spi++; return h.spi }
func (h *host) Candidates(int, netip.Addr, netip.Addr) []*sa.Peer {
	if h.peer == nil {
		return nil
	}
	return append(slices.Clone(h.others), h.peer)
}

func (h *host) Welcoming(version int, local, remote netip.Addr, id ipsec.Identity) []*sa.Peer {
	return slices.DeleteFunc(slices.Clone(h.Candidates(version, local, remote)), func(p *sa.Peer) bool { return !p.RemoteID.Welcomes(id) })
}

func (h *host) Sole(sa.Machine, *sa.Peer) bool { return len(h.machines) == 1 }

func (h *host) Others(m sa.Machine) []sa.Machine {
	return slices.DeleteFunc(slices.Clone(h.machines), func(o sa.Machine) bool { return o == m })
}

func (h *host) Held(c *sa.Child) bool { return h.held[c] || !slices.Contains(h.peer.Children, c) }

func (h *host) Authenticated(now time.Time, m sa.Machine, initialContact bool) {
	for _, other := range slices.Clone(h.machines) {
		if other != m && initialContact {
			m.Inherit(now, other, true)
		}
	}
}
func (h *host) Succeeded(time.Time, sa.Machine, sa.Machine)             {}
func (h *host) Spawned(m sa.Machine)                                    { h.machines = append(h.machines, m) }
func (h *host) Stirred(sa.Machine)                                      {}
func (h *host) Answered(sa.Machine, uint16)                             {}
func (h *host) Floated(sa.Machine)                                      {}
func (h *host) Dropped(sa.Drop)                                         {}
func (h *host) Affords(time.Time, netip.Addr, time.Duration, bool) bool { return true }
func (h *host) Hearsay(time.Time, netip.Addr, diag.Code) (*slog.Logger, bool) {
	return slog.New(slog.DiscardHandler), false
}
func (h *host) Troubled(_ time.Time, _ *sa.Peer, why diag.Cause) { h.tell(why) }
func (h *host) Closed(_ time.Time, _ sa.Machine, why diag.Cause) { h.tell(why) }

func (h *host) PeerMoved(_ time.Time, _ sa.Machine, w netip.AddrPort) { h.moved = append(h.moved, w) }

func (h *host) ChildRefused(now time.Time, m sa.Machine, c *sa.Child, _, _ []ipsec.Selector, why diag.Cause) {
	h.ChildChanged(now, m, c, why)
}

func (h *host) ChildChanged(_ time.Time, _ sa.Machine, c *sa.Child, why diag.Cause) {
	h.tell(why)
	if !slices.Contains(h.peer.Children, c) && !h.Held(c) {
		h.w.t.Errorf("%v: told of a child that it does not have: %s", h.addr, c.Name)
	}
}

func (h *host) tell(why diag.Cause) {
	if !why.OK() {
		h.causes = append(h.causes, why)
	}
}

func (h *host) Gone(m sa.Machine) {
	i := slices.Index(h.machines, m)
	if i < 0 {
		h.w.t.Errorf("%v: a machine that it does not have is gone", h.addr)
		return
	}
	h.machines = slices.Delete(h.machines, i, i+1)
}

// own finds the machine that has an SPI.
func (h *host) own(spi uint64) *SA {
	for _, m := range h.machines {
		if m := m.(*SA); m.own() == spi {
			return m
		}
	}
	return nil
}

// current is the IKE SA that maintains the Child SAs.
func (h *host) current() *SA {
	h.w.t.Helper()
	for _, m := range h.machines {
		if m := m.(*SA); m.state == sa.Established && m.fam.current == m {
			return m
		}
	}
	h.w.t.Fatalf("%v has no IKE SA", h.addr)
	return nil
}

func (h *host) receive(d ipsec.Datagram) {
	m, err := wire.ParseHeader(d.Data)
	if err != nil {
		h.w.t.Fatal(err)
	}
	if m.SPIr != 0 || m.Flags&wire.FlagResponse != 0 {
		own := m.SPIr
		if m.Flags&wire.FlagInitiator == 0 {
			own = m.SPIi
		}
		if s := h.own(own); s != nil {
			s.Handle(h.w.now, d)
		}
		return
	}
	for _, o := range h.machines {
		if o := o.(*SA); !o.initiator && o.spiI == m.SPIi {
			o.Handle(h.w.now, d)
			return
		}
	}
	msg, err := wire.Parse(d.Data)
	if err != nil {
		h.w.t.Fatal(err)
	}
	if _, err := Respond(h.env, h.w.now, d, msg, false); err != nil {
		n := asNotify(err)
		if n == nil {
			h.w.t.Fatalf("%v: %v", h.addr, err)
		}
		h.tell(n.Cause)
		m.Flags = wire.FlagResponse
		refusal := wire.Message{Header: m, Payloads: []wire.Payload{&wire.Notify{Kind: n.Kind, Data: n.Data}}}
		h.Emit(sa.Send{Path: sa.ReplyPath(d), Data: refusal.Marshal()})
	}
}

// run delivers datagrams, and lets d pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 10000 {
		if len(w.wire) > 0 {
			w.step()
			d := w.wire[0]
			w.wire = w.wire[1:]
			if w.lose != nil && w.lose(d) {
				continue
			}
			if w.meddle != nil {
				w.meddle(&d)
			}
			h := w.a
			if w.nat != 0 && d.Remote.Addr() == w.a.addr {
				d.Remote = netip.AddrPortFrom(outside, d.Remote.Port()+w.nat)
			}
			if d.Local.Addr() == outside {
				if d.Local.Port() < w.nat {
					continue // the NAT has no such mapping any more
				}
				d.Local = netip.AddrPortFrom(w.a.addr, d.Local.Port()-w.nat)
			}
			if d.Local.Addr() == w.b.addr {
				h = w.b
			}
			h.receive(d)
			continue
		}
		var next time.Time
		for _, h := range [...]*host{w.a, w.b} {
			for _, m := range h.machines {
				next = sa.Earliest(next, m.Deadline())
			}
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		w.step()
		for _, h := range [...]*host{w.a, w.b} {
			for _, m := range slices.Clone(h.machines) {
				m.Advance(w.now)
			}
		}
	}
	w.t.Fatal("the world does not come to rest")
}

// start makes a bring up its first child.
func (w *world) start() {
	w.t.Helper()
	if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), w.a.peer.Children[0], 0); err != nil {
		w.t.Fatal(err)
	}
}

// wantPairs checks that each end has one IKE SA, and n Child SAs that fit the other end's.
func (w *world) wantPairs(n int) {
	w.t.Helper()
	if len(w.a.machines) != 1 || len(w.b.machines) != 1 {
		w.t.Fatalf("%d and %d IKE SAs, want one each", len(w.a.machines), len(w.b.machines))
	}
	if len(w.a.in) != n || len(w.b.in) != n || len(w.a.out) != n || len(w.b.out) != n {
		w.t.Fatalf("inbound %d and %d, outbound %d and %d, want %d each", len(w.a.in), len(w.b.in), len(w.a.out), len(w.b.out), n)
	}
	for _, x := range w.a.out {
		y := w.b.in[x.SPIOut]
		if y == nil {
			w.t.Fatalf("nobody receives what is sent to SPI %08x", x.SPIOut)
		}
		if !x.Out.Encr.Equal(y.In.Encr) || !x.Out.Integ.Equal(y.In.Integ) || !x.In.Encr.Equal(y.Out.Encr) || !x.In.Integ.Equal(y.Out.Integ) {
			w.t.Fatal("the keys of the two ends differ")
		}
	}
	for _, h := range [...]*host{w.a, w.b} {
		if len(h.taken) != n {
			w.t.Errorf("%v: %d SPIs are taken by %d Child SAs", h.addr, len(h.taken), n)
		}
	}
}

// many returns n selectors. With enough of them a message needs fragments.
func many(second byte, n int) []ipsec.Selector {
	var out []ipsec.Selector
	for i := range n {
		a := [4]byte{10, second}
		binary.BigEndian.PutUint16(a[2:], uint16(i)<<4)
		out = append(out, ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4(a), 32)))
	}
	return out
}

func describe(d []byte) string {
	h, err := wire.ParseHeader(d)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%v %d %x", h.Exchange, h.ID, h.Flags)
}

func (h *host) Measured(sa.Machine, sa.Measured)   {}
func (h *host) Exchanged(sa.Machine, sa.Exchanged) {}
