package wire

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// KE is a key exchange payload (RFC 7296 section 3.4).
type KE struct {
	Group uint16
	Data  []byte // the public value; the DH group checks its length
}

func (*KE) Type() PayloadType { return TypeKE }

func (p *KE) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Group)
	return append(append(b, 0, 0), p.Data...)
}

func (p *KE) parse(s cryptobyte.String) bool {
	ok := s.ReadUint16(&p.Group) && s.Skip(2)
	p.Data = bytes.Clone(s)
	return ok
}

// ID is an identification payload, IDi or IDr (RFC 7296 section 3.5).
type ID struct {
	Responder bool
	Reserved  [3]byte // sent as zero, and ignored when received, except in Body
	ipsec.Identity
}

func (p *ID) Type() PayloadType {
	if p.Responder {
		return TypeIDr
	}
	return TypeIDi
}

// Body is the payload as received, without its generic header. AUTH signs it: "IDi' and IDr' are the entire ID payloads excluding the fixed header"
// (RFC 7296 section 2.15).
func (p *ID) Body() []byte { return p.append(nil) }

func (p *ID) append(b []byte) []byte {
	b = append(append(b, byte(p.Identity.Type)), p.Reserved[:]...)
	return append(b, p.Data...)
}

func (p *ID) parse(s cryptobyte.String) bool {
	ok := s.ReadUint8((*uint8)(&p.Identity.Type)) && s.CopyBytes(p.Reserved[:])
	p.Data = string(s)
	switch p.Identity.Type {
	case ipsec.IDIPv4:
		return ok && len(p.Data) == 4
	case ipsec.IDIPv6:
		return ok && len(p.Data) == 16
	}
	return ok
}

// AuthSharedKey is the authentication method of a pre-shared key.
const AuthSharedKey = 2

// Auth is an authentication payload (RFC 7296 section 3.8).
type Auth struct {
	Method uint8
	Data   []byte
}

func (*Auth) Type() PayloadType { return TypeAuth }

func (p *Auth) append(b []byte) []byte {
	return append(append(b, p.Method, 0, 0, 0), p.Data...)
}

func (p *Auth) parse(s cryptobyte.String) bool {
	ok := s.ReadUint8(&p.Method) && s.Skip(3)
	p.Data = bytes.Clone(s)
	return ok
}

// Nonce is a nonce payload. "The size of the Nonce Data MUST be between 16 and
// 256 octets, inclusive" (RFC 7296 section 3.9).
type Nonce struct{ Data []byte }

func (*Nonce) Type() PayloadType { return TypeNonce }

func (p *Nonce) append(b []byte) []byte { return append(b, p.Data...) }

func (p *Nonce) parse(s cryptobyte.String) bool {
	p.Data = bytes.Clone(s)
	return 16 <= len(s) && len(s) <= 256
}

// Delete names SAs that its sender has deleted (RFC 7296 section 3.11): without SPIs
// the IKE SA of the message, otherwise Child SAs by the sender's inbound SPIs.
type Delete struct {
	Protocol ipsec.Protocol
	SPIs     [][]byte
}

func (*Delete) Type() PayloadType { return TypeDelete }

func (p *Delete) append(b []byte) []byte {
	size := 4
	if p.Protocol == ipsec.ProtoIKE {
		size = 0
	}
	b = append(b, byte(p.Protocol), byte(size))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		b = append(b, spi...)
	}
	return b
}

func (p *Delete) parse(s cryptobyte.String) bool {
	var size uint8
	var count uint16
	if !s.ReadUint8((*uint8)(&p.Protocol)) || !s.ReadUint8(&size) || !s.ReadUint16(&count) {
		return false
	}
	switch p.Protocol {
	case ipsec.ProtoIKE:
		return size == 0 && count == 0 && s.Empty()
	case ipsec.ProtoAH, ipsec.ProtoESP:
		if size != 4 || len(s) != 4*int(count) {
			return false
		}
	default:
		return false
	}
	all := bytes.Clone(s)
	for ; len(all) > 0; all = all[4:] {
		p.SPIs = append(p.SPIs, all[:4:4])
	}
	return true
}

// Vendor is a vendor id payload (RFC 7296 section 3.12).
type Vendor struct{ Data []byte }

func (*Vendor) Type() PayloadType { return TypeVendor }

func (p *Vendor) append(b []byte) []byte { return append(b, p.Data...) }

func (p *Vendor) parse(s cryptobyte.String) bool {
	p.Data = bytes.Clone(s)
	return true
}

// Raw is a payload whose body vpngw does not parse: CERT, CERTREQ, CP, EAP, and any
// unknown type without the critical bit.
type Raw struct {
	Kind     PayloadType
	Critical bool
	Data     []byte
}

func (p *Raw) Type() PayloadType { return p.Kind }

func (p *Raw) append(b []byte) []byte { return append(b, p.Data...) }

func (p *Raw) parse(s cryptobyte.String) bool {
	p.Data = bytes.Clone(s)
	return true
}
