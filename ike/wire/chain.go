package wire

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// PayloadType says what a payload is. The numbers of IKEv1 and IKEv2 do not overlap.
type PayloadType uint8

const (
	TypeNone      PayloadType = 0
	TypeSA        PayloadType = 33
	TypeKE        PayloadType = 34
	TypeIDi       PayloadType = 35
	TypeIDr       PayloadType = 36
	TypeCert      PayloadType = 37
	TypeCertReq   PayloadType = 38
	TypeAuth      PayloadType = 39
	TypeNonce     PayloadType = 40
	TypeNotify    PayloadType = 41
	TypeDelete    PayloadType = 42
	TypeVendor    PayloadType = 43
	TypeTSi       PayloadType = 44
	TypeTSr       PayloadType = 45
	TypeEncrypted PayloadType = 46
	TypeConfig    PayloadType = 47
	TypeEAP       PayloadType = 48
	TypeFragment  PayloadType = 53
)

// payloadNames are the notations of RFC 7296 section 3.2 and RFC 7383 section 2.5.
var payloadNames = map[PayloadType]string{
	TypeNone: "none", TypeSA: "SA", TypeKE: "KE", TypeIDi: "IDi", TypeIDr: "IDr",
	TypeCert: "CERT", TypeCertReq: "CERTREQ", TypeAuth: "AUTH", TypeNonce: "Nonce",
	TypeNotify: "N", TypeDelete: "D", TypeVendor: "V", TypeTSi: "TSi", TypeTSr: "TSr",
	TypeEncrypted: "SK", TypeConfig: "CP", TypeEAP: "EAP", TypeFragment: "SKF",
}

func (t PayloadType) String() string {
	if s, ok := payloadNames[t]; ok {
		return s
	}
	if s, ok := payloadNames1[t]; ok {
		return s
	}
	return fmt.Sprintf("payload type %d", uint8(t))
}

// Payload is one payload. Each is a pointer to a type of this package.
type Payload interface {
	Type() PayloadType

	// append writes the body, without the generic header.
	append(b []byte) []byte
	// parse reads the whole body into the zero value of its type.
	parse(s cryptobyte.String) bool
}

// MaxPayloads is how many payloads one chain may have.
const MaxPayloads = 64

// version says how a version of IKE writes its chains.
type version struct {
	types    map[PayloadType]func() Payload // the empty payload of each type that it defines
	critical bool                           // the generic header has a critical bit; otherwise the bit is reserved
}

// ikev2 has every payload of RFC 7296. The payloads that vpngw does not use are Raw:
// a defined type is never an "unsupported critical" one (section 2.5).
var ikev2 = version{critical: true, types: map[PayloadType]func() Payload{
	TypeSA:        func() Payload { return new(SA) },
	TypeKE:        func() Payload { return new(KE) },
	TypeIDi:       func() Payload { return &ID{Responder: false} },
	TypeIDr:       func() Payload { return &ID{Responder: true} },
	TypeCert:      func() Payload { return &Raw{Kind: TypeCert} },
	TypeCertReq:   func() Payload { return &Raw{Kind: TypeCertReq} },
	TypeAuth:      func() Payload { return new(Auth) },
	TypeNonce:     func() Payload { return new(Nonce) },
	TypeNotify:    func() Payload { return new(Notify) },
	TypeDelete:    func() Payload { return new(Delete) },
	TypeVendor:    func() Payload { return new(Vendor) },
	TypeTSi:       func() Payload { return &TS{Responder: false} },
	TypeTSr:       func() Payload { return &TS{Responder: true} },
	TypeEncrypted: func() Payload { return new(Encrypted) },
	TypeConfig:    func() Payload { return &Raw{Kind: TypeConfig} },
	TypeEAP:       func() Payload { return &Raw{Kind: TypeEAP} },
	TypeFragment:  func() Payload { return new(Fragment) },
}}

// ParseChain reads the payloads that were inside an Encrypted payload. It refuses SK
// and SKF, which cannot be nested. Errors are as Parse's.
func ParseChain(first PayloadType, b []byte) ([]Payload, error) {
	ps, err := ikev2.parse(first, b, 0)
	if err != nil || len(ps) == 0 {
		return ps, err
	}
	// SK and SKF end a chain, so only the last payload can be one.
	if t := ps[len(ps)-1].Type(); t == TypeEncrypted || t == TypeFragment {
		return ps[:len(ps)-1], syntax("%v payload within an encrypted payload", t)
	}
	return ps, nil
}

// parse reads a chain of payloads, each behind the generic header of RFC 7296
// section 3.2, up to the last byte of b. base is b's offset in the message.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |C|  RESERVED   |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (v version) parse(first PayloadType, b []byte, base int) ([]Payload, error) {
	ps, rest, err := v.chain(first, b, base)
	if err == nil && len(rest) > 0 {
		err = syntax("%d bytes behind the last payload", len(rest))
	}
	return ps, err
}

// chain reads a chain like parse, and returns the bytes behind the last payload.
func (v version) chain(first PayloadType, b []byte, base int) (ps []Payload, rest []byte, err error) {
	s := cryptobyte.String(b)
	for kind := first; kind != TypeNone; {
		var next, flags uint8
		var length uint16
		var body []byte
		if len(ps) == MaxPayloads {
			return ps, s, syntax("more than %d payloads", MaxPayloads)
		}
		if !s.ReadUint8(&next) || !s.ReadUint8(&flags) || !s.ReadUint16(&length) ||
			!s.ReadBytes(&body, int(length)-4) {
			return ps, s, syntax("%v payload does not fit its message", kind)
		}
		critical := v.critical && flags&0x80 != 0
		var p Payload
		if empty, known := v.types[kind]; known {
			p = empty()
		} else if critical {
			return ps, s, &UnsupportedCritical{kind}
		} else {
			p = &Raw{Kind: kind}
		}
		if !p.parse(body) {
			return ps, s, syntax("malformed %v payload", kind)
		}
		ps = append(ps, p)

		offset := base + len(b) - len(s) - len(body)
		switch p := p.(type) {
		case *Raw:
			p.Critical = critical
		case *Encrypted:
			p.Next, p.Offset = PayloadType(next), offset
			next = 0
		case *Fragment:
			p.Next, p.Offset = PayloadType(next), offset+4
			next = 0
		}
		kind = PayloadType(next)
	}
	return ps, s, nil
}

// AppendChain appends the payloads with their generic headers. Each must be
// shorter than 64 KiB; an Encrypted or Fragment can only be the last.
func AppendChain(b []byte, ps []Payload) []byte {
	for i, p := range ps {
		start := len(b)
		next, flags := FirstType(ps[i+1:]), byte(0)
		switch p := p.(type) {
		case *Encrypted:
			next = p.Next
		case *Fragment:
			next = p.Next
		case *Raw:
			if p.Critical {
				flags = 0x80
			}
		}
		b = p.append(append(b, byte(next), flags, 0, 0))
		binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	}
	return b
}

// FirstType is the type of the first payload, or TypeNone.
func FirstType(ps []Payload) PayloadType {
	if len(ps) == 0 {
		return TypeNone
	}
	return ps[0].Type()
}

// Find returns the first payload of one Go type: Find[*Nonce](ps).
func Find[T Payload](ps []Payload) (T, bool) {
	for _, p := range ps {
		if t, ok := p.(T); ok {
			return t, true
		}
	}
	var none T
	return none, false
}

// FindType is Find for the Go types that serve two payload types:
// FindType[*TS](ps, TypeTSr).
func FindType[T Payload](ps []Payload, kind PayloadType) (T, bool) {
	for _, p := range ps {
		if t, ok := p.(T); ok && p.Type() == kind {
			return t, true
		}
	}
	var none T
	return none, false
}

// FindNotify returns the first Notify of a kind, or nil.
func FindNotify(ps []Payload, kind NotifyType) *Notify {
	for _, p := range ps {
		if n, ok := p.(*Notify); ok && n.Kind == kind {
			return n
		}
	}
	return nil
}
