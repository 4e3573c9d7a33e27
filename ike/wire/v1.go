package wire

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Exchange types of IKEv1 (RFC 2408 section 3.1, RFC 2409 section 4).
const (
	ExchangeMain       Exchange = 2 // Identity Protection
	ExchangeAggressive Exchange = 4
	ExchangeInfo1      Exchange = 5 // Informational
	ExchangeQuick      Exchange = 32
)

// exchangeNames1 also names the exchanges that vpngw refuses.
var exchangeNames1 = map[Exchange]string{
	1: "base exchange", 3: "authentication only exchange", 6: "transaction exchange", 33: "new group mode",
	ExchangeMain: "main mode", ExchangeAggressive: "aggressive mode", ExchangeInfo1: "informational exchange", ExchangeQuick: "quick mode",
}

// Flags of IKEv1 (RFC 2408 section 3.1).
const (
	FlagEncrypted Flags = 0x01
	FlagCommit    Flags = 0x02
	FlagAuthOnly  Flags = 0x04
)

// Payload types of IKEv1 (RFC 2408 section 3.1, RFC 3947 sections 3.2 and 5.2,
// its drafts 02 and 03, and the number in common use for fragments). Proposal and
// transform payloads stand inside an SA payload only.
const (
	TypeSA1        PayloadType = 1
	TypeKE1        PayloadType = 4
	TypeID1        PayloadType = 5
	TypeCert1      PayloadType = 6
	TypeCertReq1   PayloadType = 7
	TypeHash1      PayloadType = 8
	TypeSig1       PayloadType = 9
	TypeNonce1     PayloadType = 10
	TypeNotify1    PayloadType = 11
	TypeDelete1    PayloadType = 12
	TypeVendor1    PayloadType = 13
	TypeNATD1      PayloadType = 20
	TypeNATOA1     PayloadType = 21
	TypeNATD1Draft PayloadType = 130
	TypeNATOADraft PayloadType = 131
	TypeFragment1  PayloadType = 132
)

var payloadNames1 = map[PayloadType]string{
	TypeSA1: "SA", TypeKE1: "KE", TypeID1: "ID", TypeCert1: "CERT", TypeCertReq1: "CR", TypeHash1: "HASH", TypeSig1: "SIG",
	TypeNonce1: "NONCE", TypeNotify1: "N", TypeDelete1: "D", TypeVendor1: "VID", TypeNATD1: "NAT-D", TypeNATOA1: "NAT-OA",
	TypeNATD1Draft: "NAT-D (draft)", TypeNATOADraft: "NAT-OA (draft)", TypeFragment1: "FRAG",
}

// ikev1 has the payload types with an inner structure. A payload of another type (KE, HASH,
// VID, NAT-D and so on) is a Raw: a type and its bytes.
var ikev1 = version{types: map[PayloadType]func() Payload{
	TypeSA1:       func() Payload { return new(SA1) },
	TypeID1:       func() Payload { return new(ID1) },
	TypeNonce1:    func() Payload { return new(Nonce1) },
	TypeNotify1:   func() Payload { return new(Notify1) },
	TypeDelete1:   func() Payload { return new(Delete1) },
	TypeFragment1: func() Payload { return new(Fragment1) },
}}

// Chain1 is a payload chain of IKEv1 with the bytes of its payloads, because a HASH
// payload covers these bytes. Raw aliases the bytes that were parsed.
type Chain1 struct {
	Payloads []Payload
	Raw      [][]byte // of each payload, with its generic header
}

// Body is the i-th payload without its generic header, the RFC's <P>_b.
func (c *Chain1) Body(i int) []byte { return c.Raw[i][4:] }

// Index is the place of the first payload of a type, or -1.
func (c *Chain1) Index(kind PayloadType) int {
	for i, p := range c.Payloads {
		if p.Type() == kind {
			return i
		}
	}
	return -1
}

// clearBlock bounds the padding of a message that is not encrypted. Libreswan pads to a multiple of 4, unless it has
// ikepad=no, and RFC 2408 has nothing against it. No HASH covers such bytes, but none covers the message either.
const clearBlock = 16

// Parse1 reads a message of IKEv1 that is not encrypted. Its errors are those of Parse. Some bytes of 0x00 may
// follow the last payload.
func Parse1(b []byte) (Header, *Chain1, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, nil, err
	}
	c, err := parse1(h.Next, b[HeaderSize:], func(rest []byte) bool { return len(rest) < clearBlock && !slices.ContainsFunc(rest, nonZero) })
	return h, c, err
}

// ParseChain1 reads the decrypted payloads of a message. Padding may follow the last one, to a multiple of block bytes;
// 0: none may.
func ParseChain1(first PayloadType, b []byte, block int) (*Chain1, error) {
	return parse1(first, b, func(rest []byte) bool { return block != 0 && isPadding(rest, block) })
}

func nonZero(b byte) bool { return b != 0 }

// isPadding reports whether b is what a peer may add. No HASH covers it, so whoever sees a message could send a longer one
// before it, and the peer, which has another IV then, could not read the answer. RFC 2409 appendix B wants bytes of
// 0x00; some peers pad with random ones, perhaps a whole block of which the last byte is the length or one less.
func isPadding(b []byte, block int) bool {
	if len(b) < block || !slices.ContainsFunc(b, nonZero) {
		return true
	}
	last := int(b[len(b)-1])
	return len(b) == block && (last == block || last == block-1)
}

// parse1 reads a chain of payloads. mayFollow says whether bytes behind the last one are padding.
func parse1(first PayloadType, b []byte, mayFollow func([]byte) bool) (*Chain1, error) {
	ps, rest, err := ikev1.chain(first, b, 0)
	if err == nil && len(rest) > 0 && !mayFollow(rest) {
		err = syntax("%d bytes behind the last payload", len(rest))
	}
	if err != nil {
		return nil, err
	}
	c := &Chain1{Payloads: ps}
	for range ps {
		n := int(binary.BigEndian.Uint16(b[2:]))
		c.Raw = append(c.Raw, b[:n:n])
		b = b[n:]
	}
	return c, nil
}

// Nonce1 is a nonce payload of IKEv1: "The length of nonce payload MUST be
// between 8 and 256 bytes inclusive" (RFC 2409 section 5).
type Nonce1 struct{ Data []byte }

func (*Nonce1) Type() PayloadType { return TypeNonce1 }

func (p *Nonce1) append(b []byte) []byte { return append(b, p.Data...) }

func (p *Nonce1) parse(s cryptobyte.String) bool {
	p.Data = bytes.Clone(s)
	return 8 <= len(s) && len(s) <= 256
}

// Fragment1 is a piece of a message. The pieces together are the message with its header.
// No RFC has this payload; all implementations follow Cisco's draft-ike-fragmentation-00:
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Fragment ID          |    Number     |     Flags     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Fragment Data                         ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Fragment1 struct {
	ID     uint16
	Number uint8 // from 1
	Last   bool
	Data   []byte
}

func (*Fragment1) Type() PayloadType { return TypeFragment1 }

func (p *Fragment1) append(b []byte) []byte {
	last := byte(0)
	if p.Last {
		last = 1
	}
	b = binary.BigEndian.AppendUint16(b, p.ID)
	return append(append(b, p.Number, last), p.Data...)
}

func (p *Fragment1) parse(s cryptobyte.String) bool {
	var flags uint8
	ok := s.ReadUint16(&p.ID) && s.ReadUint8(&p.Number) && s.ReadUint8(&flags)
	p.Last = flags&1 != 0
	p.Data = bytes.Clone(s)
	return ok && p.Number > 0 && len(p.Data) > 0
}
