package wire

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// TS is a traffic selector payload, TSi or TSr (RFC 7296 section 3.13).
type TS struct {
	Responder bool
	Selectors []ipsec.Selector // at most 255
	Skipped   int              // how many selectors of unknown types were left out
	Malformed bool             // it cannot be read, so there are no Selectors; the other payloads can
}

func (p *TS) Type() PayloadType {
	if p.Responder {
		return TypeTSr
	}
	return TypeTSi
}

const (
	tsIPv4 = 7
	tsIPv6 = 8
)

// append writes the selectors in the form of RFC 7296 section 3.13.1:
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   TS Type     |IP Protocol ID*|       Selector Length         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Start Port*         |           End Port*           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Starting Address*                     ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Ending Address*                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (p *TS) append(b []byte) []byte {
	b = append(b, byte(len(p.Selectors)), 0, 0, 0)
	for _, s := range p.Selectors {
		kind, length := byte(tsIPv4), uint16(16)
		if s.Start.Is6() {
			kind, length = tsIPv6, 40
		}
		b = append(b, kind, s.Protocol)
		b = binary.BigEndian.AppendUint16(b, length)
		b = binary.BigEndian.AppendUint16(b, s.StartPort)
		b = binary.BigEndian.AppendUint16(b, s.EndPort)
		b = append(b, s.Start.AsSlice()...)
		b = append(b, s.End.AsSlice()...)
	}
	return b
}

// parse never fails: the answer to selectors that cannot be read is TS_UNACCEPTABLE, which concerns one Child SA.
func (p *TS) parse(s cryptobyte.String) bool {
	if !p.read(s) {
		p.Selectors, p.Skipped, p.Malformed = nil, 0, true
	}
	return true
}

func (p *TS) read(s cryptobyte.String) bool {
	var count uint8
	if !s.ReadUint8(&count) || count == 0 || !s.Skip(3) {
		return false
	}
	for range count {
		var kind, protocol uint8
		var length uint16
		var body []byte
		if !s.ReadUint8(&kind) || !s.ReadUint8(&protocol) || !s.ReadUint16(&length) ||
			!s.ReadBytes(&body, int(length)-4) {
			return false
		}
		if kind != tsIPv4 && kind != tsIPv6 {
			p.Skipped++
			continue
		}
		sel := ipsec.Selector{Protocol: protocol}
		if !parseRange(body, kind, &sel) {
			return false
		}
		p.Selectors = append(p.Selectors, sel)
	}
	return s.Empty()
}

// parseRange reads the ports and addresses. A range that ends before it starts is
// malformed, except for the ports of OPAQUE (RFC 7296 section 3.13.1). A range that
// ends in an IPv4-mapped address is malformed too: no packet has such an address.
func parseRange(s cryptobyte.String, kind uint8, sel *ipsec.Selector) bool {
	size := 4
	if kind == tsIPv6 {
		size = 16
	}
	var start, end []byte
	if !s.ReadUint16(&sel.StartPort) || !s.ReadUint16(&sel.EndPort) ||
		!s.ReadBytes(&start, size) || !s.ReadBytes(&end, size) || !s.Empty() {
		return false
	}
	sel.Start, _ = netip.AddrFromSlice(start)
	sel.End, _ = netip.AddrFromSlice(end)
	return sel.Valid() && !sel.Start.Is4In6() && !sel.End.Is4In6()
}
