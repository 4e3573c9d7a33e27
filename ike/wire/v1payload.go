package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// ID1 is an identification payload of IKEv1 in the IPsec DOI (RFC 2407 section
// 4.6.2): the identity of an end in phase 1, a traffic selector in phase 2.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	!    ID Type    !  Protocol ID  !             Port              !
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                     Identification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ID1 struct {
	Kind     ipsec.IDType
	Protocol uint8
	Port     uint16
	Data     []byte
}

// Identification types that only phase 2 has (RFC 2407 section 4.6.2.1).
const (
	IDIPv4Subnet ipsec.IDType = 4
	IDIPv6Subnet ipsec.IDType = 6
	IDIPv4Range  ipsec.IDType = 7
	IDIPv6Range  ipsec.IDType = 8
)

// idSizes are the lengths of the types with a fixed length.
var idSizes = map[ipsec.IDType]int{
	ipsec.IDIPv4: 4, ipsec.IDIPv6: 16, IDIPv4Subnet: 8, IDIPv6Subnet: 32, IDIPv4Range: 8, IDIPv6Range: 32,
}

func (*ID1) Type() PayloadType { return TypeID1 }

func (p *ID1) append(b []byte) []byte {
	b = append(b, byte(p.Kind), p.Protocol)
	return append(binary.BigEndian.AppendUint16(b, p.Port), p.Data...)
}

func (p *ID1) parse(s cryptobyte.String) bool {
	ok := s.ReadUint8((*uint8)(&p.Kind)) && s.ReadUint8(&p.Protocol) && s.ReadUint16(&p.Port)
	p.Data = bytes.Clone(s)
	size, fixed := idSizes[p.Kind]
	return ok && (!fixed || len(p.Data) == size)
}

// Identity is the identity that the payload has in phase 1.
func (p *ID1) Identity() ipsec.Identity { return ipsec.Identity{Type: p.Kind, Data: string(p.Data)} }

// Body is the payload without its generic header.
func (p *ID1) Body() []byte { return p.append(nil) }

// Notify1 is a notification payload of IKEv1 (RFC 2408 section 3.14).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	!              Domain of Interpretation  (DOI)                  !
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	!  Protocol-ID  !   SPI Size    !      Notify Message Type      !
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                Security Parameter Index (SPI)                 ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       Notification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Notify1 struct {
	DOI      uint32 // 1; some peers write 0
	Protocol ipsec.Protocol
	SPI      []byte // ISAKMP: both cookies, or none; ESP: 4 bytes
	Kind     NotifyType1
	Data     []byte
}

func (*Notify1) Type() PayloadType { return TypeNotify1 }

func (p *Notify1) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, p.DOI)
	b = append(b, byte(p.Protocol), byte(len(p.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Kind))
	return append(append(b, p.SPI...), p.Data...)
}

func (p *Notify1) parse(s cryptobyte.String) bool {
	var size uint8
	ok := s.ReadUint32(&p.DOI) && s.ReadUint8((*uint8)(&p.Protocol)) && s.ReadUint8(&size) &&
		s.ReadUint16((*uint16)(&p.Kind)) && readSPI(&s, &p.SPI, int(size))
	p.Data = bytes.Clone(s)
	return ok && p.DOI <= doiIPsec
}

// NotifyType1 is a notify message type of IKEv1. Its numbers differ from those of IKEv2.
type NotifyType1 uint16

// The notify message types that vpngw sends or acts on (RFC 2408 section 3.14.1, RFC 2407
// section 4.6.3, RFC 3706 section 5.3).
const (
	InvalidCookie1        NotifyType1 = 4
	InvalidExchange1      NotifyType1 = 7
	InvalidMessageID1     NotifyType1 = 9
	InvalidSPI1           NotifyType1 = 11
	NoProposalChosen1     NotifyType1 = 14
	PayloadMalformed1     NotifyType1 = 16
	InvalidKey1           NotifyType1 = 17
	InvalidID1            NotifyType1 = 18
	InvalidHash1          NotifyType1 = 23
	AuthenticationFailed1 NotifyType1 = 24
	Connected1            NotifyType1 = 16384
	ResponderLifetime     NotifyType1 = 24576
	ReplayStatus          NotifyType1 = 24577
	InitialContact1       NotifyType1 = 24578
	RUThere               NotifyType1 = 36136
	RUThereAck            NotifyType1 = 36137
)

var notifyNames1 = map[NotifyType1]string{
	1: "INVALID-PAYLOAD-TYPE", 2: "DOI-NOT-SUPPORTED", 3: "SITUATION-NOT-SUPPORTED", InvalidCookie1: "INVALID-COOKIE",
	5: "INVALID-MAJOR-VERSION", 6: "INVALID-MINOR-VERSION", InvalidExchange1: "INVALID-EXCHANGE-TYPE", 8: "INVALID-FLAGS",
	InvalidMessageID1: "INVALID-MESSAGE-ID", 10: "INVALID-PROTOCOL-ID", InvalidSPI1: "INVALID-SPI", 12: "INVALID-TRANSFORM-ID",
	13: "ATTRIBUTES-NOT-SUPPORTED", NoProposalChosen1: "NO-PROPOSAL-CHOSEN", 15: "BAD-PROPOSAL-SYNTAX", PayloadMalformed1: "PAYLOAD-MALFORMED",
	InvalidKey1: "INVALID-KEY-INFORMATION", InvalidID1: "INVALID-ID-INFORMATION", 19: "INVALID-CERT-ENCODING", 20: "INVALID-CERTIFICATE",
	21: "CERT-TYPE-UNSUPPORTED", 22: "INVALID-CERT-AUTHORITY", InvalidHash1: "INVALID-HASH-INFORMATION", AuthenticationFailed1: "AUTHENTICATION-FAILED",
	25: "INVALID-SIGNATURE", 26: "ADDRESS-NOTIFICATION", 27: "NOTIFY-SA-LIFETIME", 28: "CERTIFICATE-UNAVAILABLE",
	29: "UNSUPPORTED-EXCHANGE-TYPE", 30: "UNEQUAL-PAYLOAD-LENGTHS", Connected1: "CONNECTED", ResponderLifetime: "RESPONDER-LIFETIME",
	ReplayStatus: "REPLAY-STATUS", InitialContact1: "INITIAL-CONTACT", RUThere: "R-U-THERE", RUThereAck: "R-U-THERE-ACK",
}

// String is the RFC's name: "NO-PROPOSAL-CHOSEN".
func (k NotifyType1) String() string {
	if s, ok := notifyNames1[k]; ok {
		return s
	}
	return fmt.Sprintf("notify %d", uint16(k))
}

// IsError tells errors from status (RFC 2408 section 3.14.1).
func (k NotifyType1) IsError() bool { return k < 16384 }

// FindNotify1 returns the first notification of a kind, or nil.
func FindNotify1(ps []Payload, kind NotifyType1) *Notify1 {
	for _, p := range ps {
		if n, ok := p.(*Notify1); ok && n.Kind == kind {
			return n
		}
	}
	return nil
}

// Delete1 is a delete payload (RFC 2408 section 3.15). It names ISAKMP SAs by both
// cookies, ESP SAs by the SPIs of the sender's inbound halves.
type Delete1 struct {
	DOI      uint32
	Protocol ipsec.Protocol
	SPIs     [][]byte // all of one length
}

func (*Delete1) Type() PayloadType { return TypeDelete1 }

func (p *Delete1) append(b []byte) []byte {
	size := 0
	if len(p.SPIs) > 0 {
		size = len(p.SPIs[0])
	}
	b = binary.BigEndian.AppendUint32(b, p.DOI)
	b = append(b, byte(p.Protocol), byte(size))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		b = append(b, spi...)
	}
	return b
}

func (p *Delete1) parse(s cryptobyte.String) bool {
	var size uint8
	var count uint16
	if !s.ReadUint32(&p.DOI) || p.DOI > doiIPsec || !s.ReadUint8((*uint8)(&p.Protocol)) || !s.ReadUint8(&size) || !s.ReadUint16(&count) {
		return false
	}
	want := map[ipsec.Protocol]int{ipsec.ProtoIKE: 16, ipsec.ProtoAH: 4, ipsec.ProtoESP: 4}[p.Protocol]
	if int(size) != want || want == 0 || count == 0 || len(s) != want*int(count) {
		return false
	}
	all := bytes.Clone(s)
	for ; len(all) > 0; all = all[want:] {
		p.SPIs = append(p.SPIs, all[:want:want])
	}
	return true
}
