package ikev1

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Each step of the table has all that a step needs. Every other value takes no message.
func TestUnknownStepTakesNothing(t *testing.T) {
	all := types{
		wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1, wire.TypeHash1,
	}
	for n := range 256 {
		st := step(n)
		if st != none && st < steps {
			if r := st.row(); r.take == nil || len(r.shape.must) == 0 || r.text == "" || r.name != st.String() {
				t.Errorf("step %d lacks something: %+v", n, r)
			}
			continue
		}
		w := newWorld(t, nil)
		s := newSA(w.a.env, w.now, true)
		s.log = w.a.env.Log
		x := &exchange{kind: wire.ExchangeMain, step: st, iv: nil}
		s.p1 = &phase1{s: s, x: x}
		x.asks, x.answers = &quick{s: s, x: x}, &answer{s: s, x: x}
		for _, only := range append(all, 0) {
			var ps []wire.Payload
			for _, kind := range all {
				if only == 0 || only == kind {
					ps = append(ps, &wire.Raw{Kind: kind, Data: make([]byte, 16)})
				}
			}
			m := &message{Header: wire.Header{Major: 1, Exchange: wire.ExchangeMain}, Chain1: &wire.Chain1{Payloads: ps}}
			if err := s.take(w.now, x, m); err == nil {
				t.Errorf("step %d takes a message of %d payloads", n, len(ps))
			}
			if err := st.row().shape.check(wire.ExchangeMain, ps); err == nil {
				t.Errorf("step %d fits a message of %d payloads", n, len(ps))
			}
		}
		if x.step != st || w.a.acts != 0 {
			t.Errorf("step %d goes on to %v", n, x.step)
		}
		if st.text() != "" || st.clear() {
			t.Errorf("step %d has the text %q", n, st.text())
		}
	}
}

// A quick mode of the peer's whose message 3 never comes is over when message 2 is repeated
// no longer. When its message 1 comes once more later, nobody answers for the Child SA
// that is gone.
func TestUnfinishedQuickModeIsNotAnsweredLate(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	w.wantPairs(1)
	var first ipsec.Datagram
	w.lose = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange == wire.ExchangeQuick && d.Local.Addr() == w.b.addr && first.Data == nil {
			first = *d
			return false
		}
		return h.Exchange == wire.ExchangeQuick // nothing after message 1 gets through
	}
	w.a.ask("two")
	w.run(time.Second)
	if len(w.b.in) != 2 {
		t.Fatalf("%d Child SAs while message 3 is waited for, want 2", len(w.b.in))
	}
	w.run(confirmTime + time.Second)
	w.wantPairs(1)
	if n := len(w.b.main().exchanges); n != 1 {
		t.Errorf("%d quick modes are kept, want the finished one", n)
	}
	w.wire, w.sent = nil, nil
	w.lose = func(*ipsec.Datagram) bool { return true }
	w.b.receive(first)
	if len(w.wire) != 0 {
		t.Errorf("message 1 is answered %d times, after its Child SA has gone", len(w.wire))
	}
	w.wantPairs(1)
}

// The Owner hears where an established peer moved, once for each move, by what comes in IKE as in ESP.
func TestOwnerHearsWhereAPeerMoved(t *testing.T) {
	for _, aggr := range []bool{false, true} {
		w := newWorld(t, func(a, b *sa.Peer) { a.Aggressive, b.Aggressive = aggr, aggr })
		w.nat = 20000
		w.begin()
		w.wantPairs(1)
		if len(w.a.moved)+len(w.b.moved) != 0 {
			t.Fatalf("a peer that has just come has moved: %v %v", w.a.moved, w.b.moved)
		}
		w.nat = 30000
		w.run(time.Minute) // liveness checks
		spi := w.a.main().fam.children[0].sa.SPIOut
		elsewhere := netip.MustParseAddrPort("203.0.113.1:7777")
		for range 2 {
			if !w.b.main().Moved(w.now, spi, elsewhere) {
				t.Error("its Child SA is not known")
			}
		}
		want := []netip.AddrPort{netip.AddrPortFrom(outside, 24500), netip.AddrPortFrom(outside, 34500)}
		if len(w.a.moved) != 0 || !slices.Equal(w.b.moved, want) || w.b.main().path.Remote != elsewhere {
			t.Errorf("aggressive=%v: the peer is at %v, and was at %v, want %v", aggr, w.b.main().path.Remote, w.b.moved, want)
		}
	}
}
