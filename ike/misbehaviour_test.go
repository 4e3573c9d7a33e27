package ike

import (
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// What a peer can do that has the key and misbehaves.

// TestAChainOfRekeysLeavesFewIKESAs: the peer rekeys its IKE SA again and again, and never deletes the old one.
func TestAChainOfRekeysLeavesFewIKESAs(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		return h.Exchange != wire.ExchangeInformational
	}
	for range 200 {
		a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
		w.run(10 * time.Millisecond)
	}
	if n := len(b.table.bySPI); n > maxLeaving+2 {
		t.Errorf("%d IKE SAs at the responder", n)
	}
	if n := len(a.table.bySPI); n > maxLeaving+2 {
		t.Errorf("%d IKE SAs at the initiator", n)
	}
	wantPairs(t, a, b, 1)
}

// esp4 is an offer of Child SAs with an SPI.
func esp4(spi uint32) *wire.SA {
	return &wire.SA{Proposals: []wire.Proposal{{
		Number: 1, Protocol: ipsec.ProtoESP, SPI: be32(spi), Proposal: proposals(ipsec.ProtoESP, "aes128gcm16-x25519")[0],
	}}}
}

// TestSelectorsHaveABudget: each pair of selectors costs every packet of everybody, so one peer may have so many.
func TestSelectorsHaveABudget(t *testing.T) {
	_, _, b, m := established(t)
	many := func(n int, net byte) []ipsec.Selector {
		var out []ipsec.Selector
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, net, byte(i), 1})
			out = append(out, ipsec.Selector{Start: a, End: a, EndPort: 65535})
		}
		return out
	}
	nonce, ke := &wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)}
	request := func(spi uint32, n int) []wire.Payload {
		return []wire.Payload{esp4(spi), nonce, ke, &wire.TS{Selectors: many(n, 1)}, &wire.TS{Responder: true, Selectors: many(n, 2)}}
	}
	if got := m.ask(wire.ExchangeCreateChild, request(1000, 255)...); len(got) != 1 || wire.FindNotify(got, wire.NoAdditionalSAs) == nil {
		t.Errorf("65025 pairs are answered with %v", got)
	}
	for i := range uint32(20) {
		m.deliver(m.forge(m.h, request(2000+i, 32)...)) // the answer comes in fragments
		m.h.ID++
	}
	if n := len(b.in); n != 1+3 { // the first has one pair, and 4 of 1024 would be one too many
		t.Errorf("%d Child SAs, want 4", n)
	}
}

// TestSelectorsThatCannotBeReadConcernOneChildSA: INVALID_SYNTAX would end the IKE SA.
func TestSelectorsThatCannotBeReadConcernOneChildSA(t *testing.T) {
	for name, body := range map[string][]byte{
		"empty":           {},
		"none":            {0, 0, 0, 0},
		"cut":             {1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 1},
		"the wrong order": {1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 1, 0, 9, 10, 1, 0, 1},
	} {
		_, _, b, m := established(t)
		tsr := &wire.TS{Responder: true, Selectors: selectors("10.2.0.0/16")}
		got := m.ask(wire.ExchangeCreateChild, esp4(1000), &wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)},
			&wire.Raw{Kind: wire.TypeTSi, Data: body}, tsr)
		if len(got) != 1 || wire.FindNotify(got, wire.TSUnacceptable) == nil {
			t.Errorf("%s: answered %v", name, got)
		}
		if len(b.in) != 1 || len(b.table.bySPI) != 1 {
			t.Errorf("%s: %d Child SAs, %d IKE SAs", name, len(b.in), len(b.table.bySPI))
		}
	}
}
