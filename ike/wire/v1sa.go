package wire

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// vpngw knows one DOI and one situation (RFC 2407 sections 4.2 and 4.6.1).
const (
	doiIPsec         = 1
	sitIdentityOnly  = 1
	moreTransforms1  = 3
	maxTransforms1   = 256 // of one SA payload, in all: those behind are checked, and not kept
	attributeBasic   = 0x8000
	moreProposals1   = 2
	maxAttributesOne = 32
)

// SA1 is a security association payload of IKEv1 in the IPsec DOI with the
// situation SIT_IDENTITY_ONLY (RFC 2408 section 3.4, RFC 2407 section 4.6.1).
type SA1 struct{ Proposals []Proposal1 }

// Transforms counts the transforms of all proposals. An answer has one.
func (p *SA1) Transforms() int {
	n := 0
	for _, q := range p.Proposals {
		n += len(q.Transforms)
	}
	return n
}

// Proposal1 is a proposal payload of IKEv1 (RFC 2408 section 3.5): alternatives of one
// protocol, in order of preference. Proposals with one number mean "all of these together".
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	! Next Payload  !   RESERVED    !         Payload Length        !
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	!  Proposal #   !  Protocol-Id  !    SPI Size   !# of Transforms!
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	!                        SPI (variable)                         !
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Proposal1 struct {
	Number     uint8
	Protocol   ipsec.Protocol
	SPI        []byte // ISAKMP: 0 to 16 bytes without meaning; AH and ESP: 4 bytes
	Transforms []Transform1
}

// Transform1 is a transform payload of IKEv1 (RFC 2408 section 3.6).
type Transform1 struct {
	Number     uint8
	ID         uint8
	Attributes []Attribute
}

// Attribute is a data attribute (RFC 2408 section 3.3). The short form has its
// value in place of a length.
type Attribute struct {
	Kind  uint16 // 15 bits
	Short bool
	Value []byte // Short: two bytes
}

// Number is the attribute's value where it is a number of at most 8 bytes.
func (a Attribute) Number() (uint64, bool) {
	v := bytes.TrimLeft(a.Value, "\x00")
	if len(a.Value) == 0 || len(v) > 8 {
		return 0, false
	}
	var n uint64
	for _, b := range v {
		n = n<<8 | uint64(b)
	}
	return n, true
}

// ShortAttribute is a "basic" attribute, with a value of 16 bits in the short form. Such
// attributes "MUST NOT be encoded as variable" (RFC 2409 appendix A).
func ShortAttribute(kind, value uint16) Attribute {
	return Attribute{Kind: kind, Short: true, Value: binary.BigEndian.AppendUint16(nil, value)}
}

// NumberAttribute is an attribute with a number as its value, in the short form if possible.
func NumberAttribute(kind uint16, value uint32) Attribute {
	if value < 1<<16 {
		return ShortAttribute(kind, uint16(value))
	}
	return Attribute{Kind: kind, Value: binary.BigEndian.AppendUint32(nil, value)}
}

func (*SA1) Type() PayloadType { return TypeSA1 }

func (p *SA1) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, doiIPsec)
	b = binary.BigEndian.AppendUint32(b, sitIdentityOnly)
	for i := range p.Proposals {
		b = p.Proposals[i].append(b, i == len(p.Proposals)-1)
	}
	return b
}

func (p *Proposal1) append(b []byte, last bool) []byte {
	start := len(b)
	b = append(b, more(last, moreProposals1), 0, 0, 0)
	b = append(b, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	b = append(b, p.SPI...)
	for i := range p.Transforms {
		b = p.Transforms[i].append(b, i == len(p.Transforms)-1)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func (t *Transform1) append(b []byte, last bool) []byte {
	start := len(b)
	b = append(b, more(last, moreTransforms1), 0, 0, 0, t.Number, t.ID, 0, 0)
	b = AppendAttributes(b, t.Attributes)
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func (p *SA1) parse(s cryptobyte.String) bool {
	var doi, situation uint32
	if !s.ReadUint32(&doi) || doi != doiIPsec || !s.ReadUint32(&situation) || situation != sitIdentityOnly {
		return false
	}
	transforms := 0
	for last := false; !last; {
		var q Proposal1
		if !q.parse(&s, &last) {
			return false
		}
		if transforms += len(q.Transforms); transforms > maxTransforms1 {
			q.Transforms = nil // its number still counts, for others may have the same
		}
		p.Proposals = append(p.Proposals, q)
	}
	return s.Empty()
}

func (p *Proposal1) parse(s *cryptobyte.String, last *bool) bool {
	var count, size uint8
	body, ok := readSubstructure(s, moreProposals1, last)
	if !ok || !body.ReadUint8(&p.Number) || !body.ReadUint8((*uint8)(&p.Protocol)) ||
		!body.ReadUint8(&size) || !body.ReadUint8(&count) || count == 0 || !readSPI(&body, &p.SPI, int(size)) {
		return false
	}
	if (p.Protocol == ipsec.ProtoAH || p.Protocol == ipsec.ProtoESP) && size != 4 || size > 16 {
		return false
	}
	for n := range int(count) {
		var t Transform1
		var lastTransform bool
		if !t.parse(&body, &lastTransform) || lastTransform != (n == int(count)-1) {
			return false
		}
		p.Transforms = append(p.Transforms, t)
	}
	return body.Empty()
}

func (t *Transform1) parse(s *cryptobyte.String, last *bool) bool {
	body, ok := readSubstructure(s, moreTransforms1, last)
	if !ok || !body.ReadUint8(&t.Number) || !body.ReadUint8(&t.ID) || !body.Skip(2) {
		return false
	}
	t.Attributes, ok = parseAttributes(body)
	return ok
}

// AppendAttributes writes attributes as they stand in a transform and in the data of
// RESPONDER-LIFETIME.
func AppendAttributes(b []byte, as []Attribute) []byte {
	for _, a := range as {
		if a.Short {
			b = binary.BigEndian.AppendUint16(b, attributeBasic|a.Kind)
		} else {
			b = binary.BigEndian.AppendUint16(b, a.Kind)
			b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		}
		b = append(b, a.Value...)
	}
	return b
}

// ParseAttributes reads what AppendAttributes writes.
func ParseAttributes(b []byte) ([]Attribute, bool) { return parseAttributes(b) }

func parseAttributes(s cryptobyte.String) (as []Attribute, ok bool) {
	for !s.Empty() {
		var a Attribute
		var value []byte
		if len(as) == maxAttributesOne || !s.ReadUint16(&a.Kind) {
			return nil, false
		}
		size := uint16(2)
		if a.Short = a.Kind&attributeBasic != 0; !a.Short && !s.ReadUint16(&size) {
			return nil, false
		}
		if !s.ReadBytes(&value, int(size)) {
			return nil, false
		}
		a.Kind &^= attributeBasic
		a.Value = bytes.Clone(value)
		as = append(as, a)
	}
	return as, true
}
