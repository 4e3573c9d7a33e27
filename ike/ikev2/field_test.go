package ikev2

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// What peers in the field offer and answer, though RFC 7296 has it otherwise.

// as makes this end's requests those of another implementation: theirs rewrites its offers, and answers sees what they get.
func (w *world) as(x wire.Exchange, theirs func(p *wire.SA), answers func(p *wire.SA)) {
	w.rewrite(x, false, each(theirs))
	requests := w.meddle
	w.rewrite(x, true, each(answers))
	responses := w.meddle
	w.meddle = func(d *ipsec.Datagram) { requests(d); responses(d) }
}

func withoutESN(p *wire.SA) {
	for i := range p.Proposals {
		p.Proposals[i].Transforms = slices.DeleteFunc(p.Proposals[i].Transforms, func(t ipsec.Transform) bool { return t.Type == ipsec.ESN })
	}
}

func TestPeersThatSayNothingOfESN(t *testing.T) {
	for _, c := range []struct {
		esp  string // of the responder
		code diag.Code
		says string
	}{
		{"aes128gcm16", "", ""},
		{"aes128gcm16-esn-noesn", "", ""},
		{"aes128gcm16-esn", diag.ESPProposal, "ESN: ours esn, theirs none"},
	} {
		w := newWorld(t, func(a, b *sa.Peer) { b.Children[0].Proposals = parse(ipsec.ProtoESP, c.esp) })
		answered := 0
		w.as(wire.ExchangeAuth, withoutESN, func(p *wire.SA) {
			if answered++; len(p.Proposals[0].Of(ipsec.ESN)) != 0 {
				t.Errorf("%s: the answer has a transform that was not offered: %v", c.esp, p.Proposals[0])
			}
		})
		w.start()
		w.run(5 * time.Second)
		if up := len(w.b.out) == 1 && len(w.a.out) == 1; up != (c.code == "") {
			t.Errorf("%s: a Child SA: %v", c.esp, up)
		}
		if c.code != "" && !slices.ContainsFunc(w.b.causes, func(why diag.Cause) bool { return why.Is(c.code) && strings.Contains(why.String(), c.says) }) {
			t.Errorf("%s: %v", c.esp, w.b.causes)
		}
		for _, s := range w.b.out {
			if s.Suite.ESN {
				t.Errorf("%s: long sequence numbers", c.esp)
			}
			if !s.SilentESN {
				t.Errorf("%s: not noted at the responder", c.esp)
			}
		}
	}
	// The other way round: an answer that leaves it out.
	w := newWorld(t, nil)
	w.rewrite(wire.ExchangeAuth, true, each(withoutESN))
	w.start()
	w.run(5 * time.Second)
	if len(w.a.out) != 1 {
		t.Errorf("an answer without ESN: %v", w.a.causes)
	}
	for _, h := range []*host{w.a, w.b} {
		for _, s := range h.out {
			if s.SilentESN != (h == w.a) {
				t.Errorf("%v: noted: %v", h.addr, s.SilentESN)
			}
		}
	}
}

// This end demands long sequence numbers, and the answer says nothing of them, which means short ones.
func TestAnAnswerWithoutESNWhereItIsDemanded(t *testing.T) {
	w := newWorld(t, func(a, b *sa.Peer) {
		a.Children[0].Proposals = parse(ipsec.ProtoESP, "aes128gcm16-esn")
		b.Children[0].Proposals = parse(ipsec.ProtoESP, "aes128gcm16-esn")
	})
	w.rewrite(wire.ExchangeAuth, true, each(withoutESN))
	w.start()
	w.run(5 * time.Second)
	if len(w.a.out) != 0 || !slices.ContainsFunc(w.a.causes, func(why diag.Cause) bool { return strings.Contains(why.String(), "ESN") }) {
		t.Errorf("%d Child SAs; %v; want none, and ESN in the cause", len(w.a.out), w.a.causes)
	}
}

// Compression offered beside ESP (RFC 7296 section 2.22) is declined, by an answer that says nothing of it.
func TestCompressionIsDeclined(t *testing.T) {
	w := newWorld(t, nil)
	w.rewrite(wire.ExchangeAuth, false, func(ps []wire.Payload) []wire.Payload {
		return append(ps, &wire.Notify{Kind: wire.IPCompSupported, Data: []byte{1, 2, 3}}) // a CPI, and DEFLATE or so
	})
	asked := w.meddle
	answered := false
	w.rewrite(wire.ExchangeAuth, true, func(ps []wire.Payload) []wire.Payload {
		answered = true
		if n := wire.FindNotify(ps, wire.IPCompSupported); n != nil {
			t.Errorf("the answer takes compression: %v", n)
		}
		return ps
	})
	heard := w.meddle
	w.meddle = func(d *ipsec.Datagram) { asked(d); heard(d) }
	w.start()
	w.run(5 * time.Second)
	if !answered || len(w.a.out) != 1 || len(w.b.out) != 1 {
		t.Errorf("answered: %v; %d and %d Child SAs: %v, %v", answered, len(w.a.out), len(w.b.out), w.a.causes, w.b.causes)
	}
}

// Proposals are numbered from 0, with gaps, out of order, all alike, or are very many. The answer has the number of what it takes.
func TestPeersThatNumberProposalsTheirWay(t *testing.T) {
	bad := func(p wire.Proposal) wire.Proposal {
		p.Proposal = ipsec.Proposal{Transforms: append(slices.Clone(p.Transforms), ipsec.Transform{Type: 99, ID: 1})}
		p.Unknown = true
		return p
	}
	for _, c := range []struct {
		name    string
		numbers []uint8 // of what is offered; the last is the good one
		want    uint8
	}{
		{"from 0", []uint8{0}, 0},
		{"from 0, two", []uint8{0, 1}, 1},
		{"with a gap", []uint8{1, 5}, 5},
		{"out of order", []uint8{3, 1}, 1},
		{"all alike", []uint8{1, 1, 1}, 1},
		{"a hundred", slices.Repeat([]uint8{7}, 100), 7},
	} {
		for _, x := range []wire.Exchange{wire.ExchangeAuth, wire.ExchangeSAInit} {
			if x == wire.ExchangeAuth && len(c.numbers) > 10 {
				continue // rewrite knows no fragments
			}
			w := newWorld(t, nil)
			answered := false
			w.as(x, func(p *wire.SA) {
				good := p.Proposals[0]
				p.Proposals = nil
				for i, n := range c.numbers {
					q := good
					if i < len(c.numbers)-1 {
						q = bad(good)
					}
					q.Number = n
					p.Proposals = append(p.Proposals, q)
				}
			}, func(p *wire.SA) {
				if answered = true; p.Proposals[0].Number != c.want {
					t.Errorf("%s: the answer takes number %d", c.name, p.Proposals[0].Number)
				}
			})
			w.start()
			w.run(5 * time.Second)
			// What was changed in IKE_SA_INIT breaks AUTH: the answer is all that counts there.
			if !answered || x == wire.ExchangeAuth && len(w.b.out) != 1 {
				t.Errorf("%s, %v: answered: %v, %d Child SAs: %v", c.name, x, answered, len(w.b.out), w.b.causes)
			}
		}
	}
	// More than are kept are no error: what was kept is looked at.
	p := wire.SA{Proposals: slices.Repeat([]wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte{1, 2, 3, 4}, Proposal: parse(ipsec.ProtoESP, "aes128gcm16")[0]}}, 3*wire.MaxProposals)}
	ps, err := wire.ParseChain(wire.TypeSA, wire.AppendChain(nil, []wire.Payload{&p}))
	if err != nil || len(ps[0].(*wire.SA).Proposals) != wire.MaxProposals {
		t.Errorf("very many proposals: %v", err)
	}
}

// An answer with a number that no proposal of ours has, but with one of our proposals in it, is clear.
func TestAnswersWithAWrongNumber(t *testing.T) {
	for _, n := range []uint8{0, 2, 255} {
		w := newWorld(t, nil)
		w.rewrite(wire.ExchangeAuth, true, each(func(p *wire.SA) { p.Proposals[0].Number = n }))
		w.start()
		w.run(5 * time.Second)
		if len(w.a.out) != 1 {
			t.Errorf("number %d: %v", n, w.a.causes)
		}
	}
}
