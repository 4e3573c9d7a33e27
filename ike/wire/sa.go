package wire

import (
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// SA is a security association payload (RFC 7296 section 3.3): the proposals of an
// offer, or in a response the chosen one.
type SA struct{ Proposals []Proposal }

// MaxProposals is how many proposals of one SA payload are kept. Those behind are checked, and not looked at.
const MaxProposals = 128

// Proposal is a proposal substructure (RFC 7296 section 3.3.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Last Substruc |   RESERVED    |         Proposal Length       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        SPI (variable)                         ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        <Transforms>                           ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Proposal struct {
	Number   uint8
	Protocol ipsec.Protocol
	SPI      []byte // IKE: none or 8 bytes; AH and ESP: 4 bytes
	ipsec.Proposal
	// Unknown says that the proposal must not be chosen, whatever Transforms
	// holds (RFC 7296 section 3.3.6). It is set when a transform has an unknown
	// type. It is also set when every transform of a type has an unknown attribute: such
	// a transform is left out, "other transforms with the same Transform Type are
	// processed as usual". A transform with an unknown id is in Transforms like any
	// other, and equals none of ours.
	Unknown bool
}

func (*SA) Type() PayloadType { return TypeSA }

func (p *SA) append(b []byte) []byte {
	for i := range p.Proposals {
		b = p.Proposals[i].append(b, i == len(p.Proposals)-1)
	}
	return b
}

// The field Last Substruc is 0 in the last substructure, and otherwise one of these
// (RFC 7296 sections 3.3.1 and 3.3.2).
const (
	moreProposals  = 2
	moreTransforms = 3
)

func (p *Proposal) append(b []byte, last bool) []byte {
	start := len(b)
	b = append(b, more(last, moreProposals), 0, 0, 0)
	b = append(b, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	b = append(b, p.SPI...)
	for i, t := range p.Transforms {
		b = appendTransform(b, t, i == len(p.Transforms)-1)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func more(last bool, value byte) byte {
	if last {
		return 0
	}
	return value
}

func (p *SA) parse(s cryptobyte.String) bool {
	for last := false; !last; {
		var q Proposal
		if !q.parse(&s, &last) {
			return false
		}
		if len(p.Proposals) < MaxProposals {
			p.Proposals = append(p.Proposals, q)
		}
	}
	// An offer is numbered from 1, says RFC 7296. Peers that begin at 0, leave gaps or count otherwise mean what they list.
	return s.Empty()
}

func (p *Proposal) parse(s *cryptobyte.String, last *bool) bool {
	var count, size uint8
	body, ok := readSubstructure(s, moreProposals, last)
	if !ok || !body.ReadUint8(&p.Number) || !body.ReadUint8((*uint8)(&p.Protocol)) ||
		!body.ReadUint8(&size) || !body.ReadUint8(&count) || !readSPI(&body, &p.SPI, int(size)) {
		return false
	}
	switch p.Protocol {
	case ipsec.ProtoIKE:
		ok = size == 0 || size == 8
	case ipsec.ProtoAH, ipsec.ProtoESP:
		ok = size == 4
	}
	if !ok {
		return false
	}

	var understood, offered [256]bool // by transform type
	for n := range int(count) {
		var lastTransform bool
		t, known, ok := parseTransform(&body, &lastTransform)
		if !ok || lastTransform != (n == int(count)-1) {
			return false
		}
		offered[t.Type] = true
		if known {
			understood[t.Type] = true
			p.Transforms = append(p.Transforms, t)
		}
	}
	p.Unknown = offered != understood
	return body.Empty()
}

// readSPI copies an SPI of size bytes; nil if size is 0.
func readSPI(s *cryptobyte.String, to *[]byte, size int) bool {
	var b []byte
	if !s.ReadBytes(&b, size) {
		return false
	}
	*to = append([]byte(nil), b...)
	return true
}

// readSubstructure reads the first four bytes of a proposal or a transform: whether
// another one follows, a reserved byte, and the length with these four bytes.
func readSubstructure(s *cryptobyte.String, moreValue uint8, last *bool) (cryptobyte.String, bool) {
	var sub uint8
	var length uint16
	var body []byte
	ok := s.ReadUint8(&sub) && (sub == 0 || sub == moreValue) && s.Skip(1) &&
		s.ReadUint16(&length) && s.ReadBytes(&body, int(length)-4)
	*last = sub == 0
	return body, ok
}

// attrKeyLength is the type of the Key Length attribute, with the AF bit that says
// that the value has two bytes (RFC 7296 section 3.3.5). IKEv2 defines no other
// attribute.
const attrKeyLength = 0x8000 | 14

// appendTransform writes a transform substructure (RFC 7296 section 3.3.2).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Last Substruc |   RESERVED    |        Transform Length       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Transform Type |   RESERVED    |          Transform ID         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                      Transform Attributes                     ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func appendTransform(b []byte, t ipsec.Transform, last bool) []byte {
	length := uint16(8)
	if t.KeyBits != 0 {
		length = 12
	}
	b = append(b, more(last, moreTransforms), 0)
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(b, byte(t.Type), 0)
	b = binary.BigEndian.AppendUint16(b, t.ID)
	if t.KeyBits != 0 {
		b = binary.BigEndian.AppendUint16(b, attrKeyLength)
		b = binary.BigEndian.AppendUint16(b, t.KeyBits)
	}
	return b
}

// knownTypes are the transform types that vpngw knows.
var knownTypes = []ipsec.TransformType{ipsec.Encr, ipsec.PRF, ipsec.Integ, ipsec.KE, ipsec.ESN}

// parseTransform reads one transform. known is false if an ipsec.Transform cannot
// express all of it.
func parseTransform(s *cryptobyte.String, last *bool) (t ipsec.Transform, known, ok bool) {
	body, ok := readSubstructure(s, moreTransforms, last)
	if !ok || !body.ReadUint8((*uint8)(&t.Type)) || !body.Skip(1) || !body.ReadUint16(&t.ID) {
		return t, false, false
	}
	known = slices.Contains(knownTypes, t.Type)
	for !body.Empty() {
		var kind, value uint16 // without the AF bit, value is a length
		if !body.ReadUint16(&kind) || !body.ReadUint16(&value) {
			return t, false, false
		}
		if kind&0x8000 == 0 && !body.Skip(int(value)) {
			return t, false, false
		}
		// An ipsec.Transform cannot express a key length of zero, or two key lengths.
		if kind != attrKeyLength || value == 0 || t.KeyBits != 0 {
			known = false
			continue
		}
		t.KeyBits = value
	}
	return t, known, true
}
