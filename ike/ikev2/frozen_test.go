package ikev2

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// thawed puts a thawed copy in the place of every machine of h, destroys the
// originals, and returns what was frozen.
func (h *host) thawed() Frozen {
	key := func(p *sa.Peer) string {
		if p == h.peer {
			return "peer"
		}
		return ""
	}
	f := Freeze(h.machines, key)
	ms, err := Thaw(h.env, f, func(key string) *sa.Peer {
		if key == "peer" {
			return h.peer
		}
		return nil
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
	if g := Freeze(ms, key); !reflect.DeepEqual(f, g) {
		h.w.t.Fatalf("%v: frozen, thawed and frozen again it is another:\n%+v\n%+v", h.addr, f, g)
	}
	for _, m := range h.machines {
		s := m.(*SA)
		for _, b := range append(s.answer, s.initReq, s.initResp, s.ni, s.nr, s.peerKE, s.rivalMin) {
			clear(b)
		}
		if s.keys != nil {
			s.keys.clear()
		}
		for _, c := range s.fam.children {
			clear(c.minted)
			c.sa.In.Clear()
			c.sa.Out.Clear()
		}
		*s = SA{state: sa.Dead}
	}
	h.machines = ms
	// What ESP has is not IKE's: it has copies of the keys.
	for _, fam := range f.Families {
		for _, c := range fam.Children {
			if !c.Removed {
				sa := c.SA
				h.in[sa.SPIIn] = &sa
				if h.out[sa.SPIIn] != nil {
					h.out[sa.SPIIn] = &sa
				}
			}
		}
	}
	return f
}

// scripts are every exchange of IKEv2, from the first on. Each ends with one IKE
// SA and so many Child SAs.
var scripts = []struct {
	name  string
	pairs int
	do    func(w *world)
}{
	{"IKE_SA_INIT and IKE_AUTH", 1, func(*world) {}},
	{"a new child", 2, func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
	}},
	{"a new child, asked for by the responder", 2, func(w *world) {
		c := w.b.peer.Children[1]
		w.b.current().Create(w.now, c, c.Local, c.Remote)
	}},
	{"a rekeyed child", 1, func(w *world) { w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked) }},
	{"a rekeyed child, by the responder", 1, func(w *world) { w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked) }},
	{"a child rekeyed by both", 1, func(w *world) {
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked)
	}},
	{"a rekeyed IKE SA", 1, func(w *world) { w.a.current().RekeyIKE(w.now, asked) }},
	{"a rekeyed IKE SA, by the responder", 1, func(w *world) { w.b.current().RekeyIKE(w.now, asked) }},
	{"an IKE SA rekeyed by both", 1, func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.b.current().RekeyIKE(w.now, asked)
	}},
	{"an IKE SA and its child rekeyed", 1, func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked)
	}},
	{"a liveness check", 1, func(w *world) { w.run(2 * time.Minute) }},
	{"a deleted child", 0, func(w *world) { w.a.current().DeleteChildren(w.now, w.a.peer.Children[0]) }},
	{"a child deleted and rekeyed at once", 0, func(w *world) {
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().DeleteChildren(w.now, w.b.peer.Children[0])
	}},
	{"a child deleted while it is created", 1, func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
		w.a.held[c] = true
	}},
	{"a child that the configuration lost", 1, func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
		w.run(time.Millisecond)
		next := *w.a.peer
		next.Children = next.Children[:1]
		w.a.peer = &next
		w.a.current().Adopt(w.now, w.a.peer)
		w.a.current().DeleteChildren(w.now, c)
	}},
	{"a deleted IKE SA", 1, func(w *world) {
		w.a.current().Close(w.now, asked)
		w.run(10 * time.Second)
		w.start()
	}},
	{"an IKE SA that ends with an open rekey", 1, func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.b.current().Close(w.now, asked)
		w.run(3 * time.Minute)
		for _, m := range w.a.machines {
			m.Drop(w.now, asked)
		}
		for _, m := range w.b.machines {
			m.Drop(w.now, asked)
		}
		w.start()
	}},
	{"four hours, with all lifetimes", 1, func(w *world) { w.run(4 * time.Hour) }},
}

var asked = diag.Cause{Code: diag.OperatorAsked}

// suites are how the messages look in which the scripts run.
var suites = []struct {
	name   string
	change func(a, b *sa.Peer)
}{
	{name: "AEAD"},
	{name: "CBC, MODP", change: func(a, b *sa.Peer) {
		for _, p := range [...]*sa.Peer{a, b} {
			o, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes256-sha256-modp1024")
			if err != nil {
				panic(err)
			}
			p.Proposals = []ipsec.Proposal{o}
		}
	}},
	{name: "behind a NAT", change: func(a, b *sa.Peer) { a.Encap, b.Encap = sa.EncapAlways, sa.EncapAlways }},
	{name: "in fragments", change: func(a, b *sa.Peer) {
		for i := range a.Children {
			x, y := many(byte(2*i), 60), many(byte(2*i+1), 60)
			a.Children[i].Local, a.Children[i].Remote = x, y
			b.Children[i].Local, b.Children[i].Remote = y, x
		}
	}},
}

// play runs a script in a world, which step may interfere with.
func play(t testing.TB, change func(a, b *sa.Peer), do func(*world), lossy bool, step func(w *world)) *world {
	w := newWorld(t, change)
	if lossy {
		n := 0
		w.lose = func(ipsec.Datagram) bool { n++; return n%5 == 2 }
	}
	w.step = func() { step(w) }
	w.start()
	w.run(20 * time.Second)
	do(w)
	w.run(3 * time.Minute)
	return w
}

// TestFrozenWorldGoesOn: both ends are frozen and thawed before each message that
// arrives and each time that something is due, in the middle of every exchange.
// They send the very same bytes as two that nobody froze, and end as one pair.
func TestFrozenWorldGoesOn(t *testing.T) {
	seen := map[string]bool{}
	for _, suite := range suites {
		for _, s := range scripts {
			for _, lossy := range []bool{false, true} {
				name := fmt.Sprintf("%s/%s/lossy %v", suite.name, s.name, lossy)
				t.Run(name, func(t *testing.T) {
					want := play(t, suite.change, s.do, lossy, func(*world) {})
					want.wantPairs(s.pairs)
					got := play(t, suite.change, s.do, lossy, func(w *world) {
						for _, h := range [...]*host{w.a, w.b} {
							note(seen, h.thawed())
						}
					})
					got.wantPairs(s.pairs)
					for i := range min(len(want.sent), len(got.sent)) {
						if !bytes.Equal(want.sent[i], got.sent[i]) {
							t.Fatalf("message %d differs: %s, want %s", i, describe(got.sent[i]), describe(want.sent[i]))
						}
					}
					if len(got.sent) != len(want.sent) {
						t.Errorf("%d messages, want %d", len(got.sent), len(want.sent))
					}
				})
			}
		}
	}
	for _, k := range []TaskKind{kindSAInit, kindAuth, kindCreateChild, kindRekeyChild, kindRekeyIKE, kindLiveness, kindDeleteIKE, kindDeleteChild} {
		for _, initiator := range []bool{true, false} {
			if !initiator && (k == kindSAInit || k == kindAuth) {
				continue
			}
			if what := fmt.Sprintf("open %s, initiator %v", k, initiator); !seen[what] {
				t.Errorf("never frozen: %s", what)
			}
		}
	}
	for _, what := range []string{"half open", "queue", "rival IKE SA", "rival child", "successor", "removed child", "gone wish", "replaced", "lingering", "answer in fragments", "fragments of a request", "fragments of a response"} {
		if !seen[what] {
			t.Errorf("never frozen: %s", what)
		}
	}
}

// note writes down what a Frozen has in it.
func note(seen map[string]bool, f Frozen) {
	for _, s := range f.SAs {
		if s.Open.Kind != "" {
			seen[fmt.Sprintf("open %s, initiator %v", s.Open.Kind, s.Initiator)] = true
		}
		seen["half open"] = seen["half open"] || s.PeerKE != nil
		seen["queue"] = seen["queue"] || len(s.Queue) > 0
		seen["rival IKE SA"] = seen["rival IKE SA"] || s.Rival != 0
		seen["rival child"] = seen["rival child"] || s.Open.Rival != 0
		seen["replaced"] = seen["replaced"] || s.State == sa.Replaced
		seen["lingering"] = seen["lingering"] || s.Lingering
		seen["fragments of a request"] = seen["fragments of a request"] || s.Requests.Active
		seen["fragments of a response"] = seen["fragments of a response"] || s.Responses.Active
		seen["answer in fragments"] = seen["answer in fragments"] || len(s.Answer) > 1
	}
	for _, fam := range f.Families {
		for _, c := range fam.Children {
			seen["successor"] = seen["successor"] || c.Successor != 0
			seen["removed child"] = seen["removed child"] || c.Removed
			seen["gone wish"] = seen["gone wish"] || c.Wish.Gone
		}
	}
}

// TestFrozenOnce freezes one end only, and only once, at each step of an exchange in turn.
func TestFrozenOnce(t *testing.T) {
	for _, s := range scripts[:9] {
		for _, responder := range []bool{false, true} {
			steps := 0
			play(t, nil, s.do, false, func(*world) { steps++ })
			for at := range steps {
				n := 0
				w := play(t, nil, s.do, false, func(w *world) {
					h := w.a
					if responder {
						h = w.b
					}
					if n == at {
						h.thawed()
					}
					n++
				})
				w.wantPairs(s.pairs)
			}
		}
	}
}
