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
