package ike

import (
	"bytes"
	"net/netip"
	"slices"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// elsewhere is another address or port.
func elsewhere(a netip.AddrPort, b byte) netip.AddrPort {
	switch b & 3 {
	case 0:
		return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), a.Port())
	case 1:
		return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), 4500)
	case 2:
		return netip.AddrPortFrom(a.Addr(), a.Port()^uint16(b))
	}
	return netip.AddrPortFrom(a.Addr(), 500^4500^a.Port())
}

// moves has the NAT forget its mappings, or ESP see the peer elsewhere.
func (g *game) moves(b byte) {
	n := g.end(b)
	switch {
	case b&2 == 0 && len(g.w.nats) > 0:
		g.w.nats[0].rebind()
	case len(n.newest) > 0:
		c := n.newest[int(b>>4)%len(n.newest)]
		n.Do(g.w.now, sa.Moved{SPIIn: c.SPIIn, Remote: elsewhere(c.Path.Remote, b>>2)})
	}
}

// cut puts fragments in the place of the oldest message under way: all of them, or one less, one twice, one that claims
// another total or number.
func (g *game) cut(b byte) {
	w := g.w
	d := w.wire[0]
	var pieces [][]byte
	if g.tap1 != nil {
		pieces = cut1(d.Data, b)
	} else if h, first, plain, ok := g.tap.open(d.Data); ok {
		total := int(b&3) + 1
		parts := slices.Collect(slices.Chunk(plain, len(plain)/total+1))
		for i, p := range parts {
			number, claimed := uint16(i+1), uint16(len(parts))
			if b&0x40 != 0 && i == int(b>>4&3) {
				number, claimed = number^uint16(b>>2&1), claimed+uint16(b>>3&1)
			}
			if i > 0 {
				first = 0
			}
			pieces = append(pieces, g.tap.SealFragment(h, first, number, claimed, p))
		}
	}
	if len(pieces) == 0 {
		return
	}
	i := int(b>>4&3) % len(pieces)
	switch b >> 6 {
	case 2:
		pieces = slices.Delete(pieces, i, i+1)
	case 3:
		pieces = append(pieces, pieces[i])
	}
	var out []ipsec.Datagram
	for _, p := range pieces {
		x := d
		x.Data = p
		out = append(out, x)
	}
	w.wire = append(out, w.wire[1:]...)
}

// cut1 cuts a message of IKEv1, which protects the message and not its pieces.
func cut1(data []byte, b byte) (out [][]byte) {
	h, err := wire.ParseHeader(data)
	if err != nil || h.Next == wire.TypeFragment1 {
		return nil
	}
	h.Flags = 0
	parts := slices.Collect(slices.Chunk(data, len(data)/(int(b&3)+1)+1))
	for i, p := range parts {
		f := &wire.Fragment1{ID: 1, Number: uint8(i) + 1, Last: i == len(parts)-1, Data: bytes.Clone(p)}
		if b&0x40 != 0 && i == int(b>>4&3) {
			f.Number, f.ID = f.Number^b>>2&1+1, f.ID+uint16(b>>3&1)
		}
		out = append(out, (&wire.Message{Header: h, Payloads: []wire.Payload{f}}).Marshal())
	}
	return out
}
