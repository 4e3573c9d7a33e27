package ikev1

import (
	"bytes"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// third waits until b has answered the first message, and returns message 3 of main mode, which has not arrived.
func (w *world) third() (d ipsec.Datagram) {
	w.t.Helper()
	w.lose = func(m *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(m.Data); h.Exchange == wire.ExchangeMain && h.SPIr != 0 && m.Local.Addr() == w.b.addr {
			d = *m
			return true
		}
		return d.Data != nil
	}
	if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), 0); err != nil {
		w.t.Fatal(err)
	}
	w.run(100 * time.Millisecond)
	w.lose = func(*ipsec.Datagram) bool { return false }
	return d
}

// withKE puts another key exchange value into a message.
func withKE(d ipsec.Datagram, value []byte) ipsec.Datagram {
	h, c, _ := wire.Parse1(d.Data)
	for _, p := range c.Payloads {
		if p, ok := p.(*wire.Raw); ok && p.Kind == wire.TypeKE1 {
			p.Data = value
		}
	}
	d.Data = (&wire.Message{Header: h, Payloads: c.Payloads}).Marshal()
	return d
}

func modp1024(a, b *sa.Peer) {
	a.Proposals = proposal(ipsec.ProtoIKE, "aes128-sha256-modp1024")
	b.Proposals = a.Proposals
}

// A public value whose shared secret anybody knows costs nothing: not at message 3 of main mode, which can come
// again and again, and not at message 1 of aggressive mode.
func TestDegeneratePublicValuesCostNothing(t *testing.T) {
	one := append(make([]byte, 127), 1)
	values := [][]byte{make([]byte, 128), one, bytes.Repeat([]byte{0xff}, 128), one[1:], {}}
	w := newWorld(t, modp1024)
	third := w.third()
	for range 100 {
		for _, v := range values {
			w.b.receive(withKE(third, v))
		}
	}
	if len(w.b.asked) != 0 || w.b.dropped[sa.DropMalformed] != 500 || len(w.b.machines) != 1 {
		t.Errorf("asked for %v, %d dropped, %d ISAKMP SAs", w.b.asked, w.b.dropped[sa.DropMalformed], len(w.b.machines))
	}
	w.b.receive(third)
	w.run(time.Second)
	if w.b.main() == nil || len(w.b.asked) != 1 || w.b.asked[0] != 2*sa.Effort(ipsec.KEMODP1024) || !w.b.reachable {
		t.Errorf("the genuine one is not taken: asked for %v, reachable %v", w.b.asked, w.b.reachable)
	}

	w = newWorld(t, func(a, b *sa.Peer) { aggressive(a, b); modp1024(a, b) })
	w.lose = func(d *ipsec.Datagram) bool {
		for _, v := range values {
			w.b.receive(withKE(*d, v))
		}
		w.lose = func(*ipsec.Datagram) bool { return false }
		if len(w.b.asked) != 0 || len(w.b.machines) != 0 {
			t.Errorf("asked for %v, %d ISAKMP SAs", w.b.asked, len(w.b.machines))
		}
		return false
	}
	w.begin()
	w.wantPairs(1)
	if len(w.b.asked) != 1 || w.b.asked[0] != 2*sa.Effort(ipsec.KEMODP1024) || w.b.reachable {
		t.Errorf("asked for %v, reachable %v", w.b.asked, w.b.reachable)
	}
}

// A value that only an exponentiation finds wrong gets one try. (The group has small subgroups: 3 is in none that is allowed.)
func TestFailedMessage3IsTheOnlyTry(t *testing.T) {
	w := newWorld(t, func(a, b *sa.Peer) {
		a.Proposals = proposal(ipsec.ProtoIKE, "aes128-sha256-modp2048s256")
		b.Proposals = a.Proposals
	})
	bad := withKE(w.third(), append(make([]byte, 255), 3))
	for range 100 {
		w.b.receive(bad)
	}
	if len(w.b.asked) != 1 || len(w.b.machines) != 0 || len(w.b.causes) != 1 || w.b.causes[0].Code != diag.KeyExchange {
		t.Errorf("asked for %v; %d ISAKMP SAs; %v", w.b.asked, len(w.b.machines), w.b.causes)
	}
}

// What this host can't afford now is dropped without work, and taken when it is repeated.
func TestWhatCannotBeAffordedIsDropped(t *testing.T) {
	for _, aggr := range []bool{false, true} {
		w := newWorld(t, func(a, b *sa.Peer) { a.Aggressive, b.Aggressive = aggr, aggr })
		w.b.broke = true
		if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), 0); err != nil {
			t.Fatal(err)
		}
		w.run(5 * time.Second)
		if len(w.b.asked) < 3 || w.b.dropped[sa.DropTooMany] != len(w.b.asked) || w.a.main() != nil {
			t.Errorf("aggressive=%v: asked %d times, dropped %d", aggr, len(w.b.asked), w.b.dropped[sa.DropTooMany])
		}
		for _, m := range w.b.machines {
			if s := m.(*SA); s.keys != nil || s.p1.dh != nil {
				t.Error("something was computed")
			}
		}
		w.b.rest() // a restart loses none that waits
		w.b.broke = false
		w.run(10 * time.Second)
		if w.a.main() == nil || w.b.main() == nil {
			t.Errorf("aggressive=%v: not connected", aggr)
		}
	}
	// An initiator of aggressive mode asks for each answer, since anybody on the path can make one.
	w := newWorld(t, aggressive)
	w.a.broke = true
	w.begin()
	if w.a.dropped[sa.DropTooMany] == 0 || w.a.main() != nil || w.a.asked[0] != sa.Effort(ipsec.KEECP256) {
		t.Errorf("asked for %v", w.a.asked)
	}
	w.a.broke = false
	w.run(10 * time.Second)
	if w.a.main() == nil {
		t.Error("not connected")
	}
}

// Our own identity is never the peer's, whatever identities are welcome: not in either role, not in either mode.
func TestOurOwnIdentityIsNobodyElses(t *testing.T) {
	for _, aggr := range []bool{false, true} {
		for name, c := range map[string]func(a, b *sa.Peer){
			"the responder has it": func(a, b *sa.Peer) { a.RemoteID, b.LocalID = ipsec.AnyIdentity, a.LocalID },
			"the initiator has it": func(a, b *sa.Peer) { b.RemoteID, a.LocalID = ipsec.AnyIdentity, b.LocalID },
			"both expect it": func(a, b *sa.Peer) {
				a.RemoteID, b.LocalID, b.RemoteID = a.LocalID, a.LocalID, a.LocalID
			},
		} {
			w := newWorld(t, func(a, b *sa.Peer) { c(a, b); a.Aggressive, b.Aggressive = aggr, aggr })
			w.begin()
			w.run(time.Minute)
			if w.a.main() != nil || w.b.main() != nil {
				t.Errorf("aggressive=%v, %s: connected", aggr, name)
			}
			said := false
			for _, why := range append(w.a.causes, w.b.causes...) {
				said = said || why.Code == diag.SameIdentity
			}
			if !said {
				t.Errorf("aggressive=%v, %s: said %v and %v", aggr, name, w.a.causes, w.b.causes)
			}
		}
	}
}
