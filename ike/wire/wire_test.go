package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"vpngw/diag"
	"vpngw/ipsec"
)

// samples has each payload with each set of its optional parts.
func samples() []*Message {
	esp, err := ipsec.ParseProposal(ipsec.ProtoESP, "aes128-aes256-sha256-sha1-modp2048-esn-noesn")
	if err != nil {
		panic(err)
	}
	gcm, _ := ipsec.ParseProposal(ipsec.ProtoIKE, "aes256gcm16-prfsha384-ecp384")
	cbc, _ := ipsec.ParseProposal(ipsec.ProtoIKE, "3des-md5-modp768")
	spi8 := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	bytesOf := func(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }
	return []*Message{
		{
			Header{SPIi: 0x0102030405060708, Major: 2, Exchange: ExchangeSAInit, Flags: FlagInitiator},
			[]Payload{
				&Notify{Kind: Cookie, Data: bytesOf(8)},
				&SA{[]Proposal{
					{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: gcm},
					{Number: 2, Protocol: ipsec.ProtoIKE, Proposal: cbc},
				}},
				&KE{Group: ipsec.KEECP384, Data: bytesOf(96)},
				&Nonce{bytesOf(16)},
				&Notify{Kind: NATDetectionSourceIP, Data: bytesOf(20)},
				&Vendor{[]byte("some vendor")},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Minor: 1, Exchange: ExchangeCreateChild, Flags: FlagResponse | FlagVersion, ID: 0xfffffffe},
			[]Payload{
				&SA{[]Proposal{{Number: 7, Protocol: ipsec.ProtoIKE, SPI: spi8, Proposal: gcm}}},
				&Nonce{bytesOf(256)},
				&Raw{Kind: TypeCert, Critical: true, Data: bytesOf(5)},
				&Raw{Kind: 200, Data: bytesOf(1)},
				&Raw{Kind: TypeEAP, Data: bytesOf(4)},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeAuth, ID: 1},
			[]Payload{
				&ID{Identity: ipsec.ParseIdentity("192.0.2.1")},
				&ID{Responder: true, Reserved: [3]byte{1, 2, 3}, Identity: ipsec.ParseIdentity("gw.example.net")},
				&Auth{Method: AuthSharedKey, Data: bytesOf(32)},
				&SA{[]Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: spi8[:4], Proposal: esp}}},
				&TS{Selectors: []ipsec.Selector{
					ipsec.SelectorOf(netip.MustParsePrefix("10.0.0.0/8")),
					{Start: netip.MustParseAddr("10.1.2.3"), End: netip.MustParseAddr("10.1.2.9"), Protocol: 6, StartPort: 80, EndPort: 443},
					{Start: netip.MustParseAddr("10.1.2.3"), End: netip.MustParseAddr("10.1.2.3"), Protocol: 17, StartPort: 65535, EndPort: 0},
				}},
				&TS{Responder: true, Selectors: []ipsec.Selector{
					ipsec.SelectorOf(netip.MustParsePrefix("2001:db8::/32")),
					ipsec.SelectorOf(netip.MustParsePrefix("0.0.0.0/0")),
				}},
				&Notify{Protocol: ipsec.ProtoESP, SPI: spi8[:4], Kind: RekeySA, Data: []byte{}},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeInformational},
			[]Payload{
				&Delete{Protocol: ipsec.ProtoIKE},
				&Delete{Protocol: ipsec.ProtoESP, SPIs: [][]byte{{1, 2, 3, 4}, {5, 6, 7, 8}}},
				&Delete{Protocol: ipsec.ProtoAH, SPIs: [][]byte{{9, 9, 9, 9}}},
				&Notify{Kind: 40000, Data: bytesOf(3)},
			},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeAuth, ID: 1},
			[]Payload{&Notify{Kind: InitialContact, Data: []byte{}}, &Encrypted{Next: TypeIDi, Body: bytesOf(64)}},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeAuth, ID: 1},
			[]Payload{&Fragment{Next: TypeIDi, Number: 1, Total: 3, Body: bytesOf(64)}},
		},
		{
			Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeAuth, ID: 1},
			[]Payload{&Fragment{Number: 65535, Total: 65535, Body: bytesOf(1)}},
		},
		{Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: ExchangeInformational}, nil},
	}
}

// sent is m as the other end parses it, with the fields that Marshal computes.
func sent(m *Message, b []byte) *Message {
	m.Next, m.Length = FirstType(m.Payloads), uint32(len(b))
	for _, p := range m.Payloads {
		switch p := p.(type) {
		case *Encrypted:
			p.Offset = len(b) - len(p.Body)
		case *Fragment:
			p.Offset = len(b) - len(p.Body)
		}
	}
	return m
}

func TestEveryMessageComesBackAsItWas(t *testing.T) {
	for _, m := range samples() {
		b := m.Marshal()
		got, err := Parse(b)
		if err != nil {
			t.Errorf("%v: %v", m.Exchange, err)
			continue
		}
		if want := sent(m, b); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: got %+v, want %+v", m.Exchange, dump(got), dump(want))
		}
		if again := got.Marshal(); !bytes.Equal(again, b) {
			t.Errorf("%v: marshalled again it is\n%x, not\n%x", m.Exchange, again, b)
		}
	}
}

func dump(m *Message) []any {
	out := []any{m.Header}
	for _, p := range m.Payloads {
		out = append(out, reflect.ValueOf(p).Elem().Interface())
	}
	return out
}

func TestNoProperPrefixIsAMessage(t *testing.T) {
	for _, m := range samples() {
		b := m.Marshal()
		for n := range len(b) {
			if _, err := Parse(b[:n]); err == nil {
				t.Errorf("%v: %d of %d bytes parse", m.Exchange, n, len(b))
			}
			if n < HeaderSize {
				continue
			}
			cut := bytes.Clone(b[:n]) // with a header that has the right length
			binary.BigEndian.PutUint32(cut[24:], uint32(n))
			if _, err := Parse(cut); err == nil {
				t.Errorf("%v: %d of %d bytes parse once the header says so", m.Exchange, n, len(b))
			}
		}
	}
}

// Payloads with a length of their own notice missing and trailing bytes.
func TestPayloadsWithInnerLengthsFillTheirOwn(t *testing.T) {
	for _, m := range samples() {
		for _, p := range m.Payloads {
			switch p.(type) {
			case *SA, *TS, *Delete:
			default:
				continue
			}
			// Traffic selectors say themselves that they cannot be read.
			parseBody := func(kind PayloadType, body []byte) error {
				ts := &TS{Responder: kind == TypeTSr}
				if _, ok := p.(*TS); ok && ts.parse(body) && ts.Malformed && ts.Selectors == nil {
					return errors.New("malformed")
				}
				return parseBody(kind, body)
			}
			body := p.append(nil)
			for n := range len(body) {
				if err := parseBody(p.Type(), body[:n]); err == nil {
					t.Errorf("%v: %d of %d bytes parse", p.Type(), n, len(body))
				}
			}
			if err := parseBody(p.Type(), append(body, 0)); err == nil {
				t.Errorf("%v: a trailing byte goes unnoticed", p.Type())
			}
		}
	}
}

// parseBody parses a chain of one payload.
func parseBody(kind PayloadType, body []byte) error {
	b := AppendChain(nil, []Payload{&Raw{Kind: kind, Data: body}})
	_, err := ParseChain(kind, b)
	return err
}

func TestNothingButEncryptedBodiesAliasesTheMessage(t *testing.T) {
	for _, m := range samples() {
		b := m.Marshal()
		want := sent(m, b)
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		for i, p := range got.Payloads {
			switch p.(type) {
			case *Encrypted, *Fragment:
				continue
			}
			if !reflect.DeepEqual(p, want.Payloads[i]) {
				t.Errorf("%v changed with the buffer", p.Type())
			}
		}
	}
}

// RFC 7634 appendix B.
func TestMessageOfRFC7634(t *testing.T) {
	b, _ := hex.DecodeString("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e20250000000009000000452900002910111213141516176103" +
		"94701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2")
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{0xc0c1c2c3c4c5c6c7, 0xd0d1d2d3d4d5d6d7, TypeEncrypted, 2, 0, ExchangeInformational, 0, 9, 0x45}
	if m.Header != want {
		t.Errorf("header %+v, want %+v", m.Header, want)
	}
	sk, ok := Find[*Encrypted](m.Payloads)
	if !ok || sk.Next != TypeNotify || sk.Offset != 32 || !bytes.Equal(sk.Body, b[32:]) {
		t.Errorf("encrypted payload %+v", sk)
	}
	if again := m.Marshal(); !bytes.Equal(again, b) {
		t.Errorf("marshalled again it is %x", again)
	}

	inner, _ := hex.DecodeString("0000000c000040010000000a")
	ps, err := ParseChain(sk.Next, inner)
	if err != nil || len(ps) != 1 || !reflect.DeepEqual(ps[0], &Notify{Kind: SetWindowSize, Data: []byte{0, 0, 0, 10}}) {
		t.Errorf("inner payloads %+v, %v", ps, err)
	}
}

func TestHeaderErrors(t *testing.T) {
	b := samples()[0].Marshal()
	if _, err := ParseHeader(b[:27]); err != ErrShort {
		t.Errorf("27 bytes: %v", err)
	}
	if h, err := ParseHeader(b[:len(b)-1]); err != ErrLength || h.SPIi != 0x0102030405060708 {
		t.Errorf("a byte short: %+v, %v", h, err)
	}
	if _, err := ParseHeader(append(b, 0)); err != ErrLength {
		t.Errorf("a byte long: %v", err)
	}
}

func TestUnknownPayloads(t *testing.T) {
	chain := AppendChain(nil, []Payload{&Raw{Kind: 99, Data: []byte("x")}, &Nonce{make([]byte, 32)}})
	ps, err := ParseChain(99, chain)
	if err != nil || len(ps) != 2 {
		t.Errorf("an unknown payload that is not critical: %v, %v", ps, err)
	}

	chain = AppendChain(nil, []Payload{&Nonce{make([]byte, 32)}, &Raw{Kind: 99, Critical: true}})
	ps, err = ParseChain(TypeNonce, chain)
	var critical *UnsupportedCritical
	if !errors.As(err, &critical) || critical.Kind != 99 || len(ps) != 1 {
		t.Fatalf("a critical one: %v, %v", ps, err)
	}
	if n := critical.Notify(); n.Kind != UnsupportedCriticalPayload || !bytes.Equal(n.Data, []byte{99}) {
		t.Errorf("the peer hears %+v", n)
	}

	// "MUST be ignored by the recipient if the recipient understands the payload
	// type code" (RFC 7296 section 3.2).
	chain = AppendChain(nil, []Payload{&Nonce{make([]byte, 32)}})
	chain[1] = 0x80
	if _, err := ParseChain(TypeNonce, chain); err != nil {
		t.Errorf("a critical nonce: %v", err)
	}
}

func TestEncryptedPayloadsAreLastAndOutermost(t *testing.T) {
	for _, p := range []Payload{&Encrypted{Body: make([]byte, 40)}, &Fragment{Number: 1, Total: 1, Body: make([]byte, 40)}} {
		chain := AppendChain(nil, []Payload{p})
		if _, err := ParseChain(p.Type(), chain); err == nil {
			t.Errorf("%v is taken within another", p.Type())
		}
		chain = AppendChain(chain, []Payload{&Nonce{make([]byte, 16)}})
		if _, err := ikev2.parse(p.Type(), chain, 0); err == nil {
			t.Errorf("%v is taken with something behind it", p.Type())
		}
	}
}

func TestChainIsBounded(t *testing.T) {
	ps := make([]Payload, MaxPayloads+1)
	for i := range ps {
		ps[i] = &Vendor{}
	}
	if _, err := ParseChain(TypeVendor, AppendChain(nil, ps[1:])); err != nil {
		t.Errorf("%d payloads: %v", MaxPayloads, err)
	}
	if _, err := ParseChain(TypeVendor, AppendChain(nil, ps)); err == nil {
		t.Errorf("%d payloads are taken", len(ps))
	}
}

func TestMalformedPayloads(t *testing.T) {
	for _, c := range []struct {
		what string
		kind PayloadType
		body string // hexadecimal
	}{
		{"KE without room for a group", TypeKE, "0013"},
		{"IPv4 identity of five bytes", TypeIDi, "01000000 c000020101"},
		{"IPv6 identity of four bytes", TypeIDr, "05000000 c0000201"},
		{"identity without a type", TypeIDi, ""},
		{"AUTH without a method", TypeAuth, "02"},
		{"nonce of 15 bytes", TypeNonce, strings.Repeat("00", 15)},
		{"nonce of 257 bytes", TypeNonce, strings.Repeat("00", 257)},
		{"notify with a SPI longer than itself", TypeNotify, "03044001 010203"},
		{"delete of the IKE SA with a SPI", TypeDelete, "01080001 0102030405060708"},
		{"delete of the IKE SA that counts one", TypeDelete, "01000001"},
		{"delete of ESP with long SPIs", TypeDelete, "03080001 0102030405060708"},
		{"delete of ESP with a count too large", TypeDelete, "03040002 01020304"},
		{"delete of ESP with a count too small", TypeDelete, "03040001 0102030405060708"},
		{"delete of an unknown protocol", TypeDelete, "09040001 01020304"},
		{"no selectors", TypeTSi, "00000000"},
		{"selector with a length too small", TypeTSi, "01000000 07000003"},
		{"IPv4 selector as long as IPv6", TypeTSi, "01000000 07000028 0000ffff" + strings.Repeat("00", 32)},
		{"addresses in the wrong order", TypeTSi, "01000000 07000010 0000ffff 0a000002 0a000001"},
		{"ports in the wrong order", TypeTSi, "01000000 07000010 00510050 0a000001 0a000002"},
		{"IPv4-mapped selector", TypeTSr, "01000000 08000028 0000ffff 00000000000000000000ffff0a000001 00000000000000000000ffff0a000001"},
		{"fragment number 0", TypeFragment, "00000001"},
		{"fragment 3 of 2", TypeFragment, "00030002"},
		{"no proposal", TypeSA, ""},
		{"proposal that says more follow", TypeSA, "02000008 01010000"},
		{"proposal with a strange Last Substruc", TypeSA, "01000008 01010000"},
		{"IKE proposal with a SPI of four bytes", TypeSA, "0000000c 01010400 01020304"},
		{"ESP proposal without a SPI", TypeSA, "00000008 01030000"},
		{"ESP proposal with a SPI of eight bytes", TypeSA, "00000010 01030800 0102030405060708"},
		{"proposal of length 3", TypeSA, "00000003 01010000"},
		{"fewer transforms than counted", TypeSA, "00000010 01010002 00000008 01000003"},
		{"more transforms than counted", TypeSA, "00000018 01010001 03000008 01000003 00000008 02000002"},
		{"last transform that says more follow", TypeSA, "00000010 01010001 03000008 01000003"},
		{"transform with proposal's Last Substruc", TypeSA, "00000018 01010002 02000008 01000003 00000008 02000002"},
		{"attribute without a value", TypeSA, "00000012 01010001 0000000a 0100000c 800e"},
		{"attribute longer than its transform", TypeSA, "00000014 01010001 0000000c 0100000c 00110001"},
	} {
		body, err := hex.DecodeString(strings.ReplaceAll(c.body, " ", ""))
		if err != nil {
			t.Fatal(c.what, err)
		}
		err = parseBody(c.kind, body)
		var ts TS
		if c.kind == TypeTSi || c.kind == TypeTSr {
			if ts.parse(body); err != nil || !ts.Malformed || ts.Selectors != nil {
				t.Errorf("%s: %v, %+v", c.what, err, ts)
			}
			continue
		}
		var notify *NotifyError
		if !errors.As(err, &notify) || notify.Kind != InvalidSyntax {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// RFC 7296 section 3.3.6: unknown parts make a transform or a proposal unacceptable,
// never the message.
func TestWhatIsNotUnderstoodInAProposal(t *testing.T) {
	aes := ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 128}
	strange := ipsec.Transform{Type: ipsec.Encr, ID: 999}
	for _, c := range []struct {
		what    string
		body    string
		known   []ipsec.Transform
		unknown bool
	}{
		{"known", "00000014 01010001 0000000c 0100000c 800e0080", []ipsec.Transform{aes}, false},
		{"unknown transform id", "0000001c 01010002 0300000c 0100000c 800e0080 00000008 010003e7", []ipsec.Transform{aes, strange}, false},
		{"unknown transform type", "0000001c 01010002 0300000c 0100000c 800e0080 00000008 06000001", []ipsec.Transform{aes}, true},
		{"unknown attribute, and another transform of the type", "00000024 01010002 0300000c 0100000c 800e0080 00000010 0100000c 800e0100 80120001", []ipsec.Transform{aes}, false},
		{"unknown attribute of any length", "00000026 01010002 0300000c 0100000c 800e0080 00000012 0100000c 800e0100 00120002abcd", []ipsec.Transform{aes}, false},
		{"unknown attribute, and none else of the type", "00000018 01010001 00000010 0100000c 800e0100 80120001", nil, true},
		{"key length of zero", "00000014 01010001 0000000c 0100000c 800e0000", nil, true},
		{"key length as a long attribute", "00000016 01010001 0000000e 0100000c 000e00020080", nil, true},
		{"two key lengths", "00000018 01010001 00000010 0100000c 800e0080 800e0100", nil, true},
		{"no transforms", "00000008 01010000", nil, false},
		{"unknown protocol with a SPI of its own", "0000000a 01090200 aabb", nil, false},
	} {
		body, err := hex.DecodeString(strings.ReplaceAll(c.body, " ", ""))
		if err != nil {
			t.Fatal(c.what, err)
		}
		var p SA
		if !p.parse(body) {
			t.Errorf("%s: not parsed", c.what)
			continue
		}
		q := p.Proposals[0]
		if !reflect.DeepEqual(q.Transforms, c.known) || q.Unknown != c.unknown {
			t.Errorf("%s: %v, unknown %t", c.what, q.Transforms, q.Unknown)
		}
	}
}

func TestSelectorsOfUnknownTypesAreCounted(t *testing.T) {
	body, _ := hex.DecodeString("03000000" + "09000008aabbccdd" + "070000100000ffff0a0000000affffff" + "0a000004")
	var p TS
	if !p.parse(body) {
		t.Fatal("not parsed")
	}
	want := []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix("10.0.0.0/8"))}
	if p.Skipped != 2 || !reflect.DeepEqual(p.Selectors, want) {
		t.Errorf("%d skipped, %v", p.Skipped, p.Selectors)
	}
}

func TestFind(t *testing.T) {
	ps := samples()[2].Payloads
	if id, ok := FindType[*ID](ps, TypeIDr); !ok || id.String() != "gw.example.net" {
		t.Errorf("IDr is %v, %t", id, ok)
	}
	if ts, ok := FindType[*TS](ps, TypeTSr); !ok || !ts.Responder {
		t.Errorf("TSr is %v, %t", ts, ok)
	}
	if _, ok := Find[*Nonce](ps); ok {
		t.Error("a nonce is found where there is none")
	}
	if n := FindNotify(ps, RekeySA); n == nil || n.Protocol != ipsec.ProtoESP {
		t.Errorf("REKEY_SA is %v", n)
	}
	if n := FindNotify(ps, Cookie); n != nil {
		t.Errorf("COOKIE is %v", n)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{NoProposalChosen.String(), "NO_PROPOSAL_CHOSEN"},
		{FragmentationSupported.String(), "IKEV2_FRAGMENTATION_SUPPORTED"},
		{NotifyType(12345).String(), "notify 12345"},
		{TypeEncrypted.String(), "SK"},
		{PayloadType(99).String(), "payload type 99"},
		{ExchangeCreateChild.String(), "CREATE_CHILD_SA"},
		{Exchange(99).String(), "exchange 99"},
		{ExchangeQuick.String(), "quick mode"},
		{TypeSA1.String(), "SA"},
		{NoProposalChosen1.String(), "NO-PROPOSAL-CHOSEN"},
		{NotifyType1(999).String(), "notify 999"},
		{(&NotifyError{Kind: TSUnacceptable, Cause: diag.Cause{Code: diag.Malformed, Err: "no overlap"}}).Error(), "TS_UNACCEPTABLE: the peer's message cannot be read: no overlap"},
		{(&NotifyError{Kind: TSUnacceptable}).Error(), "TS_UNACCEPTABLE"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if !NoProposalChosen.IsError() || InitialContact.IsError() {
		t.Error("errors and status are mixed up")
	}
}

func TestNoByteFlipPanics(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, m := range samples() {
		b := m.Marshal()
		for i := range b {
			for range 8 {
				c := bytes.Clone(b)
				c[i] = byte(r.Uint32())
				Parse(c)
			}
		}
	}
}
