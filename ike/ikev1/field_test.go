package ikev1

import (
	"testing"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Compression offered beside ESP is declined, by an answer with ESP alone. AH beside ESP is no choice.
func TestCompressionIsDeclined(t *testing.T) {
	p, err := ipsec.ParseProposal(ipsec.ProtoESP, "aes128-sha1")
	if err != nil {
		t.Fatal(err)
	}
	own := espSuites([]ipsec.Proposal{p}, true)
	esp := offerESP(7, own, lifetime{time: time.Hour}, modeTunnel).Proposals[0]
	other := func(proto ipsec.Protocol, spi ...byte) wire.Proposal1 {
		return wire.Proposal1{Number: esp.Number, Protocol: proto, SPI: spi, Transforms: []wire.Transform1{{Number: 1, ID: 2}}}
	}
	for _, c := range []struct {
		name  string
		offer []wire.Proposal1
		ok    bool
	}{
		{"alone", []wire.Proposal1{esp}, true},
		{"compression behind", []wire.Proposal1{esp, other(protoIPComp, 0, 9)}, true},
		{"compression before", []wire.Proposal1{other(protoIPComp, 0, 0, 0, 9), esp}, true},
		{"AH behind", []wire.Proposal1{esp, other(ipsec.ProtoAH, 0, 0, 0, 9)}, false},
		{"AH and compression", []wire.Proposal1{esp, other(ipsec.ProtoAH, 0, 0, 0, 9), other(protoIPComp, 0, 9)}, false},
	} {
		// What is parsed, as it comes.
		ps, err := wire.ParseChain1(wire.TypeSA1, wire.AppendChain(nil, []wire.Payload{&wire.SA1{Proposals: c.offer}}), 0)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, ok := chooseESP(ps.Payloads[0].(*wire.SA1), own, []uint16{modeTunnel})
		if ok != c.ok {
			t.Errorf("%s: chosen: %v", c.name, ok)
		}
		if ok && (got.proposal.Protocol != ipsec.ProtoESP || len(got.answer(u32(1)).Proposals) != 1) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// Proposals are numbered from 0, with gaps, out of order, or are very many. The answer has the number of what it takes.
func TestPeersThatNumberProposalsTheirWay(t *testing.T) {
	p, err := ipsec.ParseProposal(ipsec.ProtoESP, "aes128-sha1")
	if err != nil {
		t.Fatal(err)
	}
	own := espSuites([]ipsec.Proposal{p}, true)
	good := offerESP(7, own, lifetime{time: time.Hour}, modeTunnel).Proposals[0]
	many := make([]uint8, 200)
	for i := range many {
		many[i] = uint8(i)
	}
	for name, numbers := range map[string][]uint8{"from 0": {0}, "from 0, two": {0, 1}, "with a gap": {1, 5}, "out of order": {3, 1}, "two hundred": many} {
		var o wire.SA1
		for i, n := range numbers {
			q := good
			if q.Number = n; i < len(numbers)-1 {
				q.Transforms = []wire.Transform1{{Number: 1, ID: 99}}
			}
			o.Proposals = append(o.Proposals, q)
		}
		ps, err := wire.ParseChain1(wire.TypeSA1, wire.AppendChain(nil, []wire.Payload{&o}), 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, ok := chooseESP(ps.Payloads[0].(*wire.SA1), own, []uint16{modeTunnel})
		if !ok || got.answer(u32(1)).Proposals[0].Number != numbers[len(numbers)-1] {
			t.Errorf("%s: chosen: %v: %+v", name, ok, got)
		}
	}
}
