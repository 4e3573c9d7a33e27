package ikev2

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// destroy overwrites everything that s refers to: a Frozen must not share it.
func (s *SA) destroy() {
	for _, b := range slices.Concat(s.response, parts(s.requests), parts(s.responses), [][]byte{s.rivalMin}) {
		clear(b)
	}
	if h := s.handshake; h != nil {
		for _, b := range [][]byte{h.initReq, h.initResp, h.ni, h.nr, h.peerKE} {
			clear(b)
		}
	}
	if s.keys != nil {
		s.keys.clear()
	}
	for _, c := range s.fam.children {
		clear(c.lowNonce)
		c.sa.In.Clear()
		c.sa.Out.Clear()
	}
	for _, t := range s.tasks() {
		switch t := t.(type) {
		case *saInit:
			clear(t.cookie)
		case *createChild:
			clear(t.ni)
		case *rekeyChild:
			clear(t.ni)
		case *rekeyIKE:
			clear(t.ni)
		}
	}
	*s = SA{state: sa.Dead, fam: &family{}}
}

// thawed freezes and destroys every machine of h, puts its thawed copy in its place,
// and returns the Frozen.
func (h *host) thawed() Frozen {
	key := func(p *sa.Peer) string {
		if p == h.peer {
			return "peer"
		}
		return ""
	}
	f := Freeze(h.machines, key)
	for _, m := range h.machines {
		m.(*SA).destroy()
	}
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
		h.w.t.Fatalf("%v: frozen, thawed and frozen again it differs:\n%+v\n%+v", h.addr, f, g)
	}
	h.machines = ms
	// The keys of ESP were destroyed too.
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

type script struct {
	name   string
	pairs  int
	before func(w *world) // called before the first message
	do     func(w *world)
}

// script is a sequence of exchanges. It ends with one IKE SA at each end and pairs
// Child SAs.
// scripts are all exchanges of IKEv2.
var scripts = []script{
	{name: "IKE_SA_INIT and IKE_AUTH", pairs: 1},
	{name: "a new child", pairs: 2, do: func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
	}},
	{name: "a new child, asked for by the responder", pairs: 2, do: func(w *world) {
		c := w.b.peer.Children[1]
		w.b.current().Create(w.now, c, c.Local, c.Remote)
	}},
	{name: "a rekeyed child", pairs: 1, do: func(w *world) { w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked) }},
	{name: "a rekeyed child, by the responder", pairs: 1, do: func(w *world) { w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked) }},
	{name: "an early rekey of a child", pairs: 1, do: func(w *world) {
		why := asked
		why.Code = diag.EarlyRekey
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], why)
	}},
	{name: "a child rekeyed by both", pairs: 1, do: func(w *world) {
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked)
	}},
	{name: "a rekeyed IKE SA", pairs: 1, do: func(w *world) { w.a.current().RekeyIKE(w.now, asked) }},
	{name: "a rekeyed IKE SA, by the responder", pairs: 1, do: func(w *world) { w.b.current().RekeyIKE(w.now, asked) }},
	{name: "an IKE SA rekeyed by both", pairs: 1, do: func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.b.current().RekeyIKE(w.now, asked)
	}},
	{name: "an IKE SA and its child rekeyed", pairs: 1, do: func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().RekeyChildren(w.now, w.b.peer.Children[0], asked)
	}},
	{name: "a liveness check", pairs: 1, do: func(w *world) { w.run(2 * time.Minute) }},
	{name: "a deleted child", pairs: 0, do: func(w *world) { w.a.current().DeleteChildren(w.now, w.a.peer.Children[0]) }},
	{name: "a child deleted and rekeyed at once", pairs: 0, do: func(w *world) {
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.current().DeleteChildren(w.now, w.b.peer.Children[0])
	}},
	{name: "a Delete that comes before the answer that it is about", pairs: 2, do: func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
		w.b.current().deleteSPI(0x7777)
		w.b.current().pump(w.now)
	}},
	{name: "a child created by both", pairs: 2, do: func(w *world) {
		for _, h := range []*host{w.a, w.b} {
			c := h.peer.Children[1]
			h.current().Create(w.now, c, c.Local, c.Remote)
		}
	}},
	{name: "a child deleted while it is created", pairs: 1, do: func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
		w.a.held[c] = true
	}},
	{name: "a child that the configuration lost", pairs: 1, do: func(w *world) {
		c := w.a.peer.Children[1]
		w.a.current().Create(w.now, c, c.Local, c.Remote)
		w.run(time.Millisecond)
		next := *w.a.peer
		next.Children = next.Children[:1]
		w.a.peer = &next
		w.a.current().Adopt(w.now, w.a.peer)
		w.a.current().DeleteChildren(w.now, c)
	}},
	{name: "a deleted IKE SA, and another at once", pairs: 1, do: func(w *world) {
		w.a.current().Close(w.now, asked)
		w.start()
	}},
	{name: "an IKE SA whose peer the configuration lost", pairs: 1, do: func(w *world) {
		w.b.current().Close(w.now, asked)
		next := *w.b.peer
		w.b.peer = &next
		w.run(20 * time.Second)
		w.start()
	}},
	{name: "a probe", pairs: 1, do: func(w *world) { w.a.current().Probe(w.now) }},
	{name: "a NAT that appears and moves", pairs: 1, before: func(w *world) { w.nat = 20000 }, do: func(w *world) {
		w.run(time.Minute)
		w.nat = 30000
		w.run(time.Minute)
		if len(w.b.moved) == 0 || len(w.a.moved) > 0 {
			w.t.Errorf("the ends were told of %d and %d moves", len(w.a.moved), len(w.b.moved))
		}
	}},
	{name: "a cookie, and a forged refusal", pairs: 1, before: func(w *world) {
		answers := []*wire.Notify{{Kind: wire.Cookie, Data: []byte("cookie")}, {Kind: wire.NoProposalChosen}}
		w.meddle = func(d *ipsec.Datagram) { // replaces the peer's first responses
			h, _ := wire.ParseHeader(d.Data)
			if h.Flags&wire.FlagResponse == 0 || h.Exchange != wire.ExchangeSAInit || len(answers) == 0 {
				return
			}
			d.Data = (&wire.Message{Header: h, Payloads: []wire.Payload{answers[0]}}).Marshal()
			answers = answers[1:]
		}
	}},
	{name: "a response that does not prove who sent it", pairs: 1, before: func(w *world) {
		right := w.a.peer
		w.meddle = func(d *ipsec.Datagram) { // changes a's key while IKE_AUTH is open
			h, _ := wire.ParseHeader(d.Data)
			if h.Flags&wire.FlagResponse == 0 || h.Exchange != wire.ExchangeAuth {
				return
			}
			next := *right
			next.PSK = ipsec.Secret("another")
			w.a.peer, w.meddle = &next, nil
			w.a.machines[0].Adopt(w.now, w.a.peer)
		}
	}, do: func(w *world) {
		next := *w.a.peer
		next.PSK = w.b.peer.PSK
		w.a.peer = &next
		w.run(time.Minute)
		w.start()
	}},
	{name: "an IKE SA that ends with an open rekey", pairs: 1, do: func(w *world) {
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
	{name: "41 minutes, with all lifetimes", pairs: 1, do: func(w *world) { w.run(41 * time.Minute) }},
}

var asked = diag.Cause{Code: diag.OperatorAsked}

// suites are the kinds of messages with which the scripts run.
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
	{name: "another group", change: func(a, b *sa.Peer) { // a's first guess is wrong
		ike, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128gcm16-prfsha256-x25519-ecp256")
		esp, err2 := ipsec.ParseProposal(ipsec.ProtoESP, "aes128gcm16-x25519-ecp256")
		if err != nil || err2 != nil {
			panic(errors.Join(err, err2))
		}
		a.Proposals, a.Children[0].Proposals, a.Children[1].Proposals = []ipsec.Proposal{ike}, []ipsec.Proposal{esp}, []ipsec.Proposal{esp}
		for _, p := range [...]*ipsec.Proposal{&b.Proposals[0], &b.Children[0].Proposals[0], &b.Children[1].Proposals[0]} {
			p.Transforms = slices.DeleteFunc(slices.Clone(p.Transforms), func(t ipsec.Transform) bool { return t.Type == ipsec.KE })
			p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.KE, ID: ipsec.KEECP256})
		}
	}},
	{name: "in fragments", change: func(a, b *sa.Peer) {
		for i := range a.Children {
			x, y := many(byte(2*i), 60), many(byte(2*i+1), 60)
			a.Children[i].Local, a.Children[i].Remote = x, y
			b.Children[i].Local, b.Children[i].Remote = y, x
		}
	}},
}

// play runs a script in a new world, with step before each step.
func play(t testing.TB, change func(a, b *sa.Peer), s script, lossy bool, step func(w *world)) *world {
	w := newWorld(t, change)
	if lossy {
		n := 0
		w.lose = func(ipsec.Datagram) bool { n++; return n%5 == 2 }
	}
	w.step = func() { step(w) }
	if s.before != nil {
		s.before(w)
	}
	w.start()
	w.run(20 * time.Second)
	if s.do != nil {
		s.do(w)
	}
	w.run(3 * time.Minute)
	return w
}

// TestFrozenWorldGoesOn: both ends are frozen and thawed before each message that
// arrives and each time that something is due, in the middle of every exchange.
// They send the same bytes as two ends that were never frozen, and end as one pair.
func TestFrozenWorldGoesOn(t *testing.T) {
	seen := map[string]bool{}
	for _, suite := range suites {
		for _, s := range scripts {
			for _, lossy := range []bool{false, true} {
				name := fmt.Sprintf("%s/%s/lossy %v", suite.name, s.name, lossy)
				t.Run(name, func(t *testing.T) {
					want := play(t, suite.change, s, lossy, func(*world) {})
					want.wantPairs(s.pairs)
					got := play(t, suite.change, s, lossy, func(w *world) {
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
	for _, what := range unseen(reflect.TypeFor[Frozen](), seen) {
		t.Errorf("never frozen with a value: %s", what)
	}
}

// note adds to seen the open tasks and the fields with a value in f.
func note(seen map[string]bool, f Frozen) {
	for _, s := range f.SAs {
		if s.Open.Kind != "" {
			seen[fmt.Sprintf("open %s, initiator %v", s.Open.Kind, s.Initiator)] = true
		}
	}
	notice(reflect.ValueOf(f), seen)
}

// listed reports whether each field of a type must be seen. The settings of a Retransmitter are its defaults in IKEv2.
func listed(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasPrefix(t.Name(), "Frozen") && t != reflect.TypeFor[sa.FrozenRetransmitter]()
}

// notice adds to seen the fields of listed types that have a value.
func notice(v reflect.Value, seen map[string]bool) {
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			notice(v.Index(i), seen)
		}
	}
	if !listed(v.Type()) {
		return
	}
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			seen[v.Type().String()+"."+v.Type().Field(i).Name] = true
			notice(v.Field(i), seen)
		}
	}
}

// unseen returns the fields in which notice never found a value.
func unseen(t reflect.Type, seen map[string]bool) []string {
	if t.Kind() == reflect.Slice {
		return unseen(t.Elem(), seen)
	}
	if !listed(t) {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if what := t.String() + "." + f.Name; !seen[what] {
			out = append(out, what)
		}
		out = append(out, unseen(f.Type, seen)...)
	}
	return out
}

// TestFrozenOnce freezes one end only, and only once, at each step of an exchange in turn.
func TestFrozenOnce(t *testing.T) {
	for _, s := range scripts[:9] {
		for _, responder := range []bool{false, true} {
			steps := 0
			play(t, nil, s, false, func(*world) { steps++ })
			for at := range steps {
				n := 0
				w := play(t, nil, s, false, func(w *world) {
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

func parts(f *fragments) [][]byte {
	if f == nil {
		return nil
	}
	return f.parts
}
