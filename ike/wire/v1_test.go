package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"vpngw/ipsec"
)

// samples1 has every payload of IKEv1 in each of its shapes.
func samples1() []*Message {
	bytesOf := func(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }
	aes := Transform1{Number: 1, ID: 1, Attributes: []Attribute{
		ShortAttribute(1, 7), ShortAttribute(2, 1), ShortAttribute(3, 1), ShortAttribute(4, 2), ShortAttribute(14, 128),
		ShortAttribute(11, 1), NumberAttribute(12, 86400),
	}}
	des := Transform1{Number: 2, ID: 1, Attributes: []Attribute{{Kind: 12, Value: bytesOf(3)}, {Kind: 77, Value: []byte{}}}}
	return []*Message{
		{
			Header{SPIi: 1, Major: 1, Exchange: ExchangeMain},
			[]Payload{
				&SA1{[]Proposal1{{Number: 1, Protocol: ipsec.ProtoIKE, Transforms: []Transform1{aes, des}}}},
				&Raw{Kind: TypeVendor1, Data: bytesOf(16)},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 1, Exchange: ExchangeAggressive},
			[]Payload{
				&SA1{[]Proposal1{{Number: 1, Protocol: ipsec.ProtoIKE, SPI: bytesOf(8), Transforms: []Transform1{des}}}},
				&Raw{Kind: TypeKE1, Data: bytesOf(96)},
				&Nonce1{bytesOf(8)},
				&ID1{Kind: ipsec.IDFQDN, Data: []byte("gw.example.net")},
				&Raw{Kind: TypeHash1, Data: bytesOf(20)},
				&Raw{Kind: TypeNATD1, Data: bytesOf(20)},
				&Raw{Kind: TypeNATD1Draft, Data: bytesOf(20)},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 1, Exchange: ExchangeQuick, ID: 77},
			[]Payload{
				&Raw{Kind: TypeHash1, Data: bytesOf(16)},
				&SA1{[]Proposal1{
					{Number: 1, Protocol: ipsec.ProtoESP, SPI: bytesOf(4), Transforms: []Transform1{{Number: 1, ID: 3, Attributes: []Attribute{ShortAttribute(4, 1)}}}},
					{Number: 2, Protocol: ipsec.ProtoESP, SPI: bytesOf(4), Transforms: []Transform1{{Number: 1, ID: 20}}},
				}},
				&Nonce1{bytesOf(256)},
				&ID1{Kind: IDIPv4Subnet, Data: bytesOf(8)},
				&ID1{Kind: IDIPv6Range, Protocol: 6, Port: 443, Data: bytesOf(32)},
				&Raw{Kind: TypeNATOA1, Data: bytesOf(8)},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 1, Exchange: ExchangeInfo1, ID: 78},
			[]Payload{
				&Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: bytesOf(16), Kind: RUThere, Data: bytesOf(4)},
				&Notify1{Kind: NoProposalChosen1, Data: []byte{}},
				&Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{bytesOf(4), {1, 2, 3, 4}}},
				&Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{bytesOf(16)}},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 1, Exchange: ExchangeMain},
			[]Payload{&Fragment1{ID: 1, Number: 2, Last: true, Data: bytesOf(40)}},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 1, Exchange: ExchangeMain},
			[]Payload{&Fragment1{ID: 9, Number: 1, Data: bytesOf(1)}},
		},
	}
}

func TestEveryV1MessageComesBackAsItWas(t *testing.T) {
	for _, m := range samples1() {
		b := m.Marshal()
		h, c, err := Parse1(b)
		if err != nil {
			t.Errorf("%v: %v", m.Exchange, err)
			continue
		}
		want := bytes.Clone(b)
		got := &Message{h, c.Payloads}
		if s := sent(m, b); !reflect.DeepEqual(got, s) {
			t.Errorf("%v: got %+v, want %+v", m.Exchange, dump(got), dump(s))
		}
		if raw := bytes.Join(c.Raw, nil); !bytes.Equal(raw, b[HeaderSize:]) {
			t.Errorf("%v: the payloads' bytes are\n%x, not\n%x", m.Exchange, raw, b[HeaderSize:])
		}
		clear(b) // nothing aliases it
		if again := got.Marshal(); !bytes.Equal(again, want) {
			t.Errorf("%v: marshalled again it is\n%x, not\n%x", m.Exchange, again, want)
		}
	}
}

func TestNoProperPrefixIsAV1Message(t *testing.T) {
	for _, m := range samples1() {
		b := m.Marshal()
		for n := range len(b) {
			if _, _, err := Parse1(b[:n]); err == nil {
				t.Errorf("%v: %d of %d bytes parse", m.Exchange, n, len(b))
			}
			if n < HeaderSize {
				continue
			}
			cut := bytes.Clone(b[:n])
			binary.BigEndian.PutUint32(cut[24:], uint32(n))
			if _, _, err := Parse1(cut); err == nil {
				t.Errorf("%v: %d of %d bytes parse once the header says so", m.Exchange, n, len(b))
			}
			if _, err := ParseChain1(h0(b), cut[HeaderSize:], 16); err == nil {
				t.Errorf("%v: %d of %d bytes parse as what was encrypted", m.Exchange, n, len(b))
			}
		}
	}
}

func h0(b []byte) PayloadType { return PayloadType(b[16]) }

func TestV1PayloadsWithInnerLengthsFillTheirOwn(t *testing.T) {
	for _, m := range samples1() {
		for _, p := range m.Payloads {
			switch p.(type) {
			case *SA1, *Delete1:
			default:
				continue
			}
			body := p.append(nil)
			for n := range len(body) {
				if err := parseBody1(p.Type(), body[:n]); err == nil {
					t.Errorf("%v: %d of %d bytes parse", p.Type(), n, len(body))
				}
			}
			if err := parseBody1(p.Type(), append(body, 0)); err == nil {
				t.Errorf("%v: a trailing byte goes unnoticed", p.Type())
			}
		}
	}
}

func parseBody1(kind PayloadType, body []byte) error {
	_, err := ParseChain1(kind, AppendChain(nil, []Payload{&Raw{Kind: kind, Data: body}}), 16)
	return err
}

func TestV1PaddingIsOfZeros(t *testing.T) {
	m := samples1()[0]
	for _, c := range []struct {
		pad []byte
		ok  bool
	}{{nil, true}, {make([]byte, 3), true}, {make([]byte, 15), true}, {make([]byte, 16), false}, {[]byte{0, 0, 1}, false}} {
		b := append(m.Marshal(), c.pad...)
		binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
		if _, got, err := Parse1(b); (err == nil) != c.ok || c.ok && len(got.Payloads) != 2 {
			t.Errorf("in the clear, with % x behind it: %v", c.pad, err)
		}
	}
	b := append(m.Marshal(), 0, 0, 0)
	if c, err := ParseChain1(h0(b), b[HeaderSize:], 16); err != nil || len(c.Payloads) != 2 {
		t.Error("padding behind what was encrypted is refused:", err)
	}
}

// TestV1PaddingIsNoPlaceForMoreBlocks: a copy of a message with blocks behind it decrypts to random bytes there.
func TestV1PaddingIsNoPlaceForMoreBlocks(t *testing.T) {
	random := func(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }
	for _, c := range []struct {
		name string
		pad  []byte
		ok   bool
	}{
		{"random, less than a block", random(15), true},
		{"a random block", random(16), false},
		{"a random block and a part of one", random(23), false},
		{"two random blocks", random(32), false},
		{"zeros", make([]byte, 15), true},
		{"a block of zeros", make([]byte, 16), true},
		{"many zeros", make([]byte, 48), true},
		{"a random block that ends in its length", append(random(15), 16), true},
		{"a random block that ends in the number of bytes before", append(random(15), 15), true},
		{"two random blocks that end in a length", append(random(31), 16), false},
	} {
		m := samples1()[0]
		b := append(m.Marshal(), c.pad...)
		if _, err := ParseChain1(h0(b), b[HeaderSize:], 16); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestV1RefusesWhatItCannotMean(t *testing.T) {
	sa := (&SA1{[]Proposal1{{Number: 1, Protocol: ipsec.ProtoIKE, Transforms: []Transform1{{Number: 1, ID: 1}}}}}).append(nil)
	otherDOI, otherSituation := bytes.Clone(sa), bytes.Clone(sa)
	otherDOI[3], otherSituation[7] = 2, 3
	for _, c := range []struct {
		name string
		kind PayloadType
		body []byte
	}{
		{"an SA of another DOI", TypeSA1, otherDOI},
		{"an SA with labels", TypeSA1, otherSituation},
		{"a nonce of 7 bytes", TypeNonce1, make([]byte, 7)},
		{"a nonce of 257 bytes", TypeNonce1, make([]byte, 257)},
		{"an IPv4 subnet of 4 bytes", TypeID1, []byte{4, 0, 0, 0, 10, 0, 0, 0}},
		{"a fragment without a number", TypeFragment1, []byte{0, 1, 0, 0, 9}},
		{"an empty fragment", TypeFragment1, []byte{0, 1, 1, 0}},
		{"a deletion of no SA", TypeDelete1, []byte{0, 0, 0, 1, 3, 4, 0, 0}},
		{"an ISAKMP SA deleted by one cookie", TypeDelete1, append([]byte{0, 0, 0, 1, 1, 8, 0, 1}, make([]byte, 8)...)},
	} {
		if parseBody1(c.kind, c.body) == nil {
			t.Errorf("%s parses", c.name)
		}
	}
}

func TestAttributeNumbers(t *testing.T) {
	for _, c := range []struct {
		a  Attribute
		n  uint64
		ok bool
	}{
		{NumberAttribute(12, 28800), 28800, true},
		{NumberAttribute(12, 86400), 86400, true},
		{NumberAttribute(12, 4096000000), 4096000000, true},
		{Attribute{Kind: 12, Value: []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 9}}, 9, true},
		{Attribute{Kind: 12, Value: bytes.Repeat([]byte{1}, 9)}, 0, false},
		{Attribute{Kind: 12}, 0, false},
	} {
		if n, ok := c.a.Number(); n != c.n || ok != c.ok {
			t.Errorf("%x: got %d %v, want %d %v", c.a.Value, n, ok, c.n, c.ok)
		}
	}
}

// FuzzParse1: no input panics, and what parses is the same after a round trip.
func FuzzParse1(f *testing.F) {
	for _, m := range samples1() {
		f.Add(m.Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 {
			ParseChain1(PayloadType(b[0]), b[1:], 16)
		}
		h, c, err := Parse1(b)
		if err != nil {
			return
		}
		if !bytes.Equal(bytes.Join(c.Raw, nil), b[HeaderSize:]) {
			t.Fatal("the payloads' bytes are not those of the message")
		}
		m := &Message{h, c.Payloads}
		again := m.Marshal()
		g, d, err := Parse1(again)
		if err != nil {
			t.Fatalf("%v: what was marshalled does not parse: %v", dump(m), err)
		}
		if len(again) != len(b) || !reflect.DeepEqual(&Message{g, d.Payloads}, m) {
			t.Fatalf("%v came back as %v", dump(m), dump(&Message{g, d.Payloads}))
		}
	})
}
