// Package wire encodes and parses IKE messages: the header, the payload chain, and
// one type for each payload of IKEv2 (RFC 7296 section 3, RFC 7383 section 2.5) and
// of IKEv1 (RFC 2408 section 3; names that end in 1, files that begin with v1).
//
// It decides nothing and encrypts nothing: packages ikev1 and ikev2 know which
// payloads a message must have, which proposal to choose and whom to believe.
//
// Parsed payloads own their memory, except the bodies of Encrypted and Fragment,
// which alias the message.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// HeaderSize is the length of the IKE header in bytes.
const HeaderSize = 28

// Header starts every message (RFC 7296 section 3.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IKE SA Initiator's SPI                  |
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IKE SA Responder's SPI                  |
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                          Message ID                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            Length                             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Header struct {
	SPIi, SPIr   uint64
	Next         PayloadType
	Major, Minor uint8 // 4 bits each
	Exchange     Exchange
	Flags        Flags
	ID           uint32
	Length       uint32 // of the whole message, header included
}

// Exchange is an IKE exchange type.
type Exchange uint8

const (
	ExchangeSAInit        Exchange = 34
	ExchangeAuth          Exchange = 35
	ExchangeCreateChild   Exchange = 36
	ExchangeInformational Exchange = 37
)

func (e Exchange) String() string {
	switch e {
	case ExchangeSAInit:
		return "IKE_SA_INIT"
	case ExchangeAuth:
		return "IKE_AUTH"
	case ExchangeCreateChild:
		return "CREATE_CHILD_SA"
	case ExchangeInformational:
		return "INFORMATIONAL"
	}
	if name, ok := exchangeNames1[e]; ok {
		return name
	}
	return fmt.Sprintf("exchange %d", uint8(e))
}

// Flags are the header's flags.
type Flags uint8

const (
	FlagInitiator Flags = 0x08 // sent by the IKE SA's original initiator
	FlagVersion   Flags = 0x10 // the sender can speak a higher major version
	FlagResponse  Flags = 0x20 // answers the request of the same message ID
)

// Errors of ParseHeader. The datagram is dropped without an answer.
var (
	ErrShort  = errors.New("shorter than an IKE header")
	ErrLength = errors.New("the IKE header's length is not the datagram's")
)

// ParseHeader reads the header of b, which must hold exactly one message. With
// ErrLength it returns the header too. The caller checks the version.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	var version uint8
	s := cryptobyte.String(b)
	if !s.ReadUint64(&h.SPIi) || !s.ReadUint64(&h.SPIr) ||
		!s.ReadUint8((*uint8)(&h.Next)) || !s.ReadUint8(&version) ||
		!s.ReadUint8((*uint8)(&h.Exchange)) || !s.ReadUint8((*uint8)(&h.Flags)) ||
		!s.ReadUint32(&h.ID) || !s.ReadUint32(&h.Length) {
		return Header{}, ErrShort
	}
	h.Major, h.Minor = version>>4, version&0xf
	if int64(h.Length) != int64(len(b)) {
		return h, ErrLength
	}
	return h, nil
}

// append writes the header unchanged.
func (h *Header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.SPIi)
	b = binary.BigEndian.AppendUint64(b, h.SPIr)
	b = append(b, byte(h.Next), h.Major<<4|h.Minor&0xf, byte(h.Exchange), byte(h.Flags))
	b = binary.BigEndian.AppendUint32(b, h.ID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}

// Message is a header with the payloads that follow it.
type Message struct {
	Header
	Payloads []Payload
}

// Parse reads a message of IKEv2. An Encrypted or Fragment payload ends the
// chain; what is inside it goes through ParseChain once it is decrypted.
//
// The error is ErrShort, ErrLength, *UnsupportedCritical, or a *NotifyError of
// INVALID_SYNTAX. With the last two errors the Message has the payloads before the
// bad one.
func Parse(b []byte) (*Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	ps, err := ikev2.parse(h.Next, b[HeaderSize:], HeaderSize)
	return &Message{h, ps}, err
}

// Marshal encodes the message. It computes Next and Length from the payloads.
//
// The Body of an Encrypted or Fragment payload is copied unchanged. With a Body of
// Cipher.Size bytes, all lengths are right, and Cipher.Seal (package ike/sa) takes
// the bytes before the Body.
func (m *Message) Marshal() []byte {
	h := m.Header
	h.Next = FirstType(m.Payloads)
	room := 256 // for most messages in clear
	for _, p := range m.Payloads {
		if p, ok := p.(*Encrypted); ok { // it is mostly alone, and its message kept in case it is repeated
			room = HeaderSize + 4 + len(p.Body)
		}
	}
	b := AppendChain(h.append(make([]byte, 0, room)), m.Payloads)
	binary.BigEndian.PutUint32(b[HeaderSize-4:], uint32(len(b)))
	return b
}
