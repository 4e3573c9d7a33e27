package ike

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// What those can do who have no key: strangers, who can forge any source, and an observer, who has seen our messages.

// listen makes an end write its log to a text.
func (n *end) listen() *bytes.Buffer {
	var text bytes.Buffer
	n.log = slog.New(slog.NewTextHandler(&text, nil))
	n.env.Log = n.log
	return &text
}

func TestLinesThatAnybodyCanCauseAreFew(t *testing.T) {
	w, a, b := pairOf(t, nil)
	a.dead = true
	text := b.listen()
	from := netip.AddrPortFrom(a.addr, 500).String()
	for i := range 10_000 { // in a second
		answers(b, w.now.Add(time.Duration(i)*100*time.Microsecond), from, (&wire.Message{Header: wire.Header{SPIi: uint64(i) + 1, Major: 1, Exchange: wire.ExchangeMain}}).Marshal())
		answers(b, w.now.Add(time.Duration(i)*100*time.Microsecond), from, first(uint64(i)+1, func(m *wire.Message) {
			m.Payloads[0] = &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: proposals(ipsec.ProtoIKE, "aes256-sha512-ecp384")[0]}}}
		}))
		answers(b, w.now, fmt.Sprintf("198.51.100.%d:500", i%250), first(uint64(i)+1, nil))
	}
	if n := strings.Count(text.String(), "\n"); n < 2 || n > 30 {
		t.Errorf("%d lines, want some, and 30 at most:\n%s", n, text)
	}
	left := b.Counters().LinesLeftOut
	if left < 9_000 {
		t.Errorf("%d lines counted that were left out", left)
	}
	text.Reset()
	answers(b, w.now.Add(2*time.Minute), "198.51.100.1:500", first(1, nil))
	if got := text.String(); !strings.Contains(got, "left_out=") {
		t.Errorf("the next line does not say how many were left out: %s", got)
	}
}

// TestStrangersDoNotUseUpAPeersAnswers: a peer that guesses another group is told so, whatever else comes in.
func TestStrangersDoNotUseUpAPeersAnswers(t *testing.T) {
	for name, from := range map[string]string{"from strangers": "198.51.100.1:500", "in the peer's name": "192.0.2.1:500"} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp384")
				pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp384")
			})
			w.filter = func(d *ipsec.Datagram) bool {
				for i := range 100 { // before each message that arrives
					b.swallow(from, first(uint64(i)+1, nil))
				}
				return true
			}
			w.run(10 * time.Second)
			wantPairs(t, a, b, 1)
			if name == "from strangers" && b.Counters().CookiesSent > 0 {
				t.Error("the peer had to prove its address")
			}
		})
	}
}

// swallow hands a message to an end, whose answers are lost.
func (n *end) swallow(from string, data []byte) {
	before := len(n.w.wire)
	n.Handle(n.w.now, ipsec.Datagram{Local: netip.AddrPortFrom(n.addr, 500), Remote: netip.MustParseAddrPort(from), Data: data})
	n.drain()
	n.w.wire = n.w.wire[:before]
}

// TestACopyOfTheLastMessageMovesNothing: somebody on the path sends a copy of IKE_AUTH first, from elsewhere.
func TestACopyOfTheLastMessageMovesNothing(t *testing.T) {
	w, a, b := pairOf(t, nil)
	thief := netip.MustParseAddrPort("203.0.113.66:4500")
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeAuth && h.Flags&wire.FlagResponse == 0 && d.Remote.Addr() == a.addr {
			b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 4500), Remote: thief, Data: bytes.Clone(d.Data)})
			b.drain()
		}
		return true
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	for _, c := range b.out {
		if c.Path.Remote.Addr() != a.addr {
			t.Errorf("ESP goes to %v", c.Path.Remote)
		}
	}
	if len(b.moved) > 0 || b.ikeOf().Path.Remote.Addr() != a.addr {
		t.Errorf("moved to %v, IKE goes to %v", b.moved, b.ikeOf().Path.Remote)
	}
}

// TestTheFirstAnswerMustComeFromThePeer: an answer to IKE_SA_INIT from another address says nothing.
func TestTheFirstAnswerMustComeFromThePeer(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeSAInit && h.Flags&wire.FlagResponse != 0 {
			m, _ := wire.Parse(first(h.SPIi, nil)) // all that an answer has
			m.Header, m.SPIr = h, 666
			a.Handle(w.now, ipsec.Datagram{Local: d.Local, Remote: netip.MustParseAddrPort("198.51.100.1:500"), Data: m.Marshal()})
		}
		return true
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if why := a.view()[0].Why; why != "" {
		t.Error(why)
	}
}

// TestRefusedPeersCountAsHalfOpen: an IKE SA whose IKE_AUTH was refused still costs what a half-open one does.
func TestRefusedPeersCountAsHalfOpen(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { pa.PSK = ipsec.Secret("another key") })
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		return h.Exchange != wire.ExchangeAuth || h.Flags&wire.FlagResponse == 0
	}
	w.run(100 * time.Millisecond)
	if len(b.table.bySPI) != 1 || !b.peerless() {
		t.Fatal("b has not refused a")
	}
	if n := len(b.answered.v2.all); n != 1 {
		t.Errorf("%d half-open IKE SAs, want the one that lingers", n)
	}
	a.dead = true
	w.run(time.Minute)
	if len(b.table.bySPI) != 0 || len(b.answered.v2.all) != 0 || len(b.answered.v2.from) != 0 {
		t.Errorf("%d IKE SAs stay, %d half-open", len(b.table.bySPI), len(b.answered.v2.all))
	}
}

// peerless reports whether no IKE SA of an end is established.
func (n *end) peerless() bool { return len(n.established) == 0 }

// TestExponentiationsHaveABudget: only so many are done for those who have proven nothing.
func TestExponentiationsHaveABudget(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519") })
	a.dead = true
	b.cfg.CookieThreshold = 1 << 20
	b.cfg.MaxHalfOpen = 1 << 22
	n := 0
	for i := range 100_000 {
		before := len(b.table.bySPI)
		answers(b, w.now, netip.AddrPortFrom(a.addr, uint16(1000+i%60000)).String(), first(uint64(i)+1, nil))
		n += len(b.table.bySPI) - before
	}
	if most := int(effortBurst / (effortForged * sa.Effort(ipsec.KEX25519))); n == 0 || n > most {
		t.Errorf("%d exponentiations, want at most %d", n, most)
	}
	if b.Counters().EffortRefused == 0 || b.Counters().CookiesSent == 0 {
		t.Errorf("%+v: the others were not asked for a cookie", b.Counters())
	}
}

// TestDegenerateValuesCostNothing: they are refused before there is a key pair of ours.
func TestDegenerateValuesCostNothing(t *testing.T) {
	w, _, b := pairOf(t, func(_, pb *sa.Peer) {
		pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-modp2048", "aes128-sha256-ecp256")
	})
	answers(b, w.now, "192.0.2.1:500", first(1, func(m *wire.Message) { m.Payloads = m.Payloads[:2] })) // makes the secret of cookies
	one := append(make([]byte, 255), 1)
	for name, ke := range map[string]*wire.KE{
		"g^x = 0":          {Group: ipsec.KEMODP2048, Data: make([]byte, 256)},
		"g^x = 1":          {Group: ipsec.KEMODP2048, Data: one},
		"g^x > p":          {Group: ipsec.KEMODP2048, Data: bytes.Repeat([]byte{255}, 256)},
		"not on the curve": {Group: ipsec.KEECP256, Data: bytes.Repeat([]byte{1}, 64)},
	} {
		p := map[uint16]string{ipsec.KEMODP2048: "aes128-sha256-modp2048", ipsec.KEECP256: "aes128-sha256-ecp256"}[ke.Group]
		drawn := w.drawn
		out := answers(b, w.now, "192.0.2.1:500", first(7, func(m *wire.Message) {
			m.Payloads[0] = &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: proposals(ipsec.ProtoIKE, p)[0]}}}
			m.Payloads[1] = ke
		}))
		if len(out) != 0 || w.drawn != drawn || len(b.table.bySPI) != 0 {
			t.Errorf("%s: answered %v, %d bytes drawn", name, out, w.drawn-drawn)
		}
	}
}

// TestWhatComesBackIsNoPeer: somebody without the key returns each message to its sender, from the peer's address.
func TestWhatComesBackIsNoPeer(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) {
		pa.RemoteID = ipsec.AnyIdentity
		pa.Children[0].Local, pa.Children[0].Remote = selectors("0.0.0.0/0"), selectors("0.0.0.0/0")
	})
	b.dead = true
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Remote.Addr() == a.addr {
			w.wire = append(w.wire, ipsec.Datagram{Local: netip.AddrPortFrom(a.addr, d.Remote.Port()), Remote: d.Local, Data: d.Data})
		}
		return true
	}
	w.run(2 * time.Minute)
	if len(a.in) > 0 || !a.peerless() {
		t.Errorf("%d Child SAs with ourselves", len(a.in))
	}
	if why := a.peer(0).why.Cause().Code; why != diag.Reflected && why != diag.NoAnswer {
		t.Errorf("the cause is %v", a.peer(0).why)
	}
	if a.Counters().Reflected == 0 {
		t.Error("it was not counted")
	}
}

func TestAPeerWithOurIdentityIsRefused(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.LocalID, pa.RemoteID, pb.RemoteID = pb.LocalID, ipsec.AnyIdentity, ipsec.AnyIdentity
	})
	w.run(3 * time.Second)
	if len(a.in)+len(b.in) > 0 {
		t.Error("a peer with our identity is up")
	}
	if why := b.peer(0).why.Cause(); why.Code != diag.SameIdentity {
		t.Errorf("the cause is %v", why)
	}
}

// TestAForgedGroupIsTakenBack: somebody steers both ends to a group that both accept and none prefers.
func TestAForgedGroupIsTakenBack(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-modp1024")
		pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-modp1024") // like a peer that lets the first message decide
	})
	forged := false
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeAuth && d.Remote.Addr() == b.addr {
			b.peer(0).cfg.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-modp1024")
		}
		if h, _ := wire.ParseHeader(d.Data); !forged && h.Exchange == wire.ExchangeSAInit && d.Remote.Addr() == a.addr {
			forged = true
			h.Flags = wire.FlagResponse
			m := wire.Message{Header: h, Payloads: []wire.Payload{&wire.Notify{Kind: wire.InvalidKEPayload, Data: []byte{0, ipsec.KEMODP1024}}}}
			w.wire = append(w.wire, ipsec.Datagram{Local: d.Remote, Remote: d.Local, Data: m.Marshal()})
			return false
		}
		return true
	}
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	if got := a.ikeOf().Suite.KE.ID; got != ipsec.KEX25519 {
		t.Errorf("group %d stays", got)
	}
	if got := sends(a); strings.Count(got, ", in") != 2 {
		t.Errorf("the Child SA keeps its keys: %s", got)
	}
}

// TestNobodySteersTheResponder: it asks for the group that it prefers, whatever the first message guesses.
func TestNobodySteersTheResponder(t *testing.T) {
	w, _, b := pairOf(t, func(_, pb *sa.Peer) { pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp256-x25519") })
	out := answers(b, w.now, "192.0.2.1:500", first(7, func(m *wire.Message) {
		m.Payloads[0] = &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp256")[0]}}}
	}))
	if len(out) != 1 {
		t.Fatalf("%d answers", len(out))
	}
	if n := wire.FindNotify(out[0].Payloads, wire.InvalidKEPayload); n == nil || !bytes.Equal(n.Data, []byte{0, ipsec.KEECP256}) {
		t.Errorf("answered %v", out[0].Payloads)
	}
}

// TestVersion0IsNoVersion: a message of it says nothing about the peer.
func TestVersion0IsNoVersion(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.filter = func(d *ipsec.Datagram) bool {
		d.Data = bytes.Clone(d.Data)
		d.Data[17] = 0
		return true
	}
	w.run(10 * time.Second)
	if why := b.peer(0).why; !why.OK() || b.Counters().Malformed == 0 || b.Counters().WrongVersion > 0 {
		t.Errorf("why %v, counters %+v", why, b.Counters())
	}
	w.filter = nil
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
}
