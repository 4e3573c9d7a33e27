package ikev1

import (
	"testing"
	"time"

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
	w.lose = func(d ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange == wire.ExchangeQuick && d.Local.Addr() == w.b.addr && first.Data == nil {
			first = d
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
	w.lose = func(ipsec.Datagram) bool { return true }
	w.b.receive(first)
	if len(w.wire) != 0 {
		t.Errorf("message 1 is answered %d times, after its Child SA has gone", len(w.wire))
	}
	w.wantPairs(1)
}
