package wire

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// Encrypted is the payload SK (RFC 7296 section 3.14). It is always the last payload
// of a message.
type Encrypted struct {
	Next   PayloadType // the first payload inside
	Body   []byte      // IV, ciphertext and ICV; aliases the message
	Offset int         // of Body in the message
}

func (*Encrypted) Type() PayloadType { return TypeEncrypted }

func (p *Encrypted) append(b []byte) []byte { return append(b, p.Body...) }

func (p *Encrypted) parse(s cryptobyte.String) bool {
	p.Body = s
	return true
}

// Fragment is the payload SKF: one fragment of a message, encrypted by itself (RFC
// 7383 section 2.5). It is always the last payload of a message.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|        Fragment Number        |        Total Fragments        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                 IV, ciphertext, padding and ICV               ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Fragment struct {
	Next          PayloadType // in fragment 1 the first payload inside, otherwise TypeNone
	Number, Total uint16      // 1 <= Number <= Total
	Body          []byte      // IV, ciphertext and ICV; aliases the message
	Offset        int         // of Body in the message
}

func (*Fragment) Type() PayloadType { return TypeFragment }

func (p *Fragment) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Number)
	b = binary.BigEndian.AppendUint16(b, p.Total)
	return append(b, p.Body...)
}

func (p *Fragment) parse(s cryptobyte.String) bool {
	ok := s.ReadUint16(&p.Number) && s.ReadUint16(&p.Total)
	p.Body = s
	return ok && 1 <= p.Number && p.Number <= p.Total
}
