package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// light chooses algorithms that cost little.
func light(change func(pa, pb *sa.Peer)) func(pa, pb *sa.Peer) {
	return func(pa, pb *sa.Peer) {
		change(pa, pb)
		for _, p := range []*sa.Peer{pa, pb} {
			p.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp256")
			p.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128-sha256")
		}
	}
}

// FuzzFirst1 gives an Endpoint a first message of IKEv1 of any bytes, twice, with an
// ordinary connection beside it.
func FuzzFirst1(f *testing.F) {
	modes := []func(pa, pb *sa.Peer){light(v1), light(aggressive)}
	for _, change := range modes {
		w, a, _ := pairOf(f, change)
		a.Advance(w.now)
		a.drain()
		f.Add(w.wire[0].Data, uint16(500))
		h, c, _ := wire.Parse1(w.wire[0].Data)
		h.SPIi++
		for i := range c.Payloads {
			f.Add((&wire.Message{Header: h, Payloads: append(c.Payloads[:i:i], c.Payloads[i+1:]...)}).Marshal(), uint16(4500))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, port uint16) {
		for _, change := range modes {
			w, a, b := pairOf(t, change)
			w.run(time.Second)
			for _, from := range []netip.Addr{a.addr, netip.MustParseAddr("203.0.113.1")} {
				for range 2 {
					b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(from, port), Data: bytes.Clone(data)})
				}
			}
			b.drain()
			size := 0
			for _, d := range w.wire {
				size += len(d.Data)
			}
			if len(w.wire) > 4 || len(b.table.bySPI) > 2 || size > 2*2*len(data)+200 {
				t.Errorf("%d answers of %d bytes to %d, %d ISAKMP SAs", len(w.wire), size, len(data), len(b.table.bySPI))
			}
			w.wire = nil
			w.run(2 * time.Minute)
			wantPairs(t, a, b, 1)
			wantIKE(t, a, b, 1)
		}
	})
}

// FuzzEndpoint1 is FuzzEndpoint for IKEv1.
func FuzzEndpoint1(f *testing.F) {
	for mode := range byte(4) { // crafted messages of every kind
		for what := byte(0); what < 40; what += 3 {
			f.Add([]byte{mode<<2 | 1, 12, what & 1, what, 0, 0, 14, 4, 7, 14, 12, 1, what, 5, 0, 9, 2, what, 14, 4, 9, 14})
		}
	}
	fuzzGames(f, "FuzzEndpoint1", play1)
}

// longProposals make quick modes of several fragments.
func longProposals(pa, pb *sa.Peer) {
	for _, p := range []*sa.Peer{pa, pb} {
		p.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256-aes192-aes128-3des-des-sha512-sha384-sha256-sha1-md5-ecp256")
	}
}

// fastGroup makes a game cost a third of what it costs with modp1024.
func fastGroup(pa, pb *sa.Peer) {
	for _, p := range []*sa.Peer{pa, pb} {
		p.Proposals = proposals(ipsec.ProtoIKE, "aes128-md5-ecp256")
		for _, c := range p.Children {
			c.Proposals = proposals(ipsec.ProtoESP, "aes128-md5-ecp256")
		}
	}
}

// play1 plays a script of IKEv1. The bits of its first byte mean what they mean to play.
func play1(t *testing.T, script []byte) *game {
	g := &game{script: script, change: v1}
	pass, begin := begins(script), g.byte()
	switch begin >> 2 & 3 {
	case 1:
		g.change = aggressive
	case 3:
		g.change = func(pa, pb *sa.Peer) {
			v1(pa, pb)
			twoByTwo(pa, pb)
			pairwise(pa)
			pairwise(pb)
			for _, c := range pb.Children {
				c.Initiate = true
			}
		}
	}
	change := g.change
	g.change = func(pa, pb *sa.Peer) {
		change(pa, pb)
		fastGroup(pa, pb)
		if begin&0x10 != 0 {
			longProposals(pa, pb)
		}
	}
	if begin>>2&3 == 2 {
		g.w, g.a, g.b, _ = behindNAT(t, g.change)
	} else {
		g.w, g.a, g.b = pairOf(t, g.change)
	}
	g.tap1 = newTap1(g.w)
	g.w.filter = func(d *ipsec.Datagram) bool {
		g.tap1.see(d.Data)
		g.tap1.passed(d.Data)
		return true
	}
	if pass {
		g.w.run(2 * time.Second)
	} else {
		g.a.Advance(g.w.now)
		g.b.Advance(g.w.now)
	}
	g.rest(t)
	return g
}

// mutate1 changes what is inside a message, and authenticates it again. An encrypted message keeps its
// last block, so that the exchange can go on.
func (g *game) mutate1(d *ipsec.Datagram) {
	kind := g.byte() % 8
	h, c, ok := g.tap1.open(d.Data)
	if !ok {
		if h, c, err := wire.Parse1(d.Data); err == nil && len(c.Payloads) > 0 {
			d.Data = (&wire.Message{Header: h, Payloads: g.change1(kind, &h, c.Payloads)}).Marshal()
		}
		return
	}
	ps := c.Payloads
	if len(ps) > 0 && ps[0].Type() == wire.TypeHash1 {
		ps = ps[1:]
	}
	if len(ps) == 0 && kind != 6 && kind != 7 {
		return
	}
	end := bytes.Clone(d.Data[len(d.Data)-16:])
	d.Data = g.tap1.forge(h, g.change1(kind, &h, ps), end)
}

// change1 does something to a message's payloads.
func (g *game) change1(kind byte, h *wire.Header, ps []wire.Payload) []wire.Payload {
	pick := func() int { return int(g.byte()) % max(len(ps), 1) }
	switch kind {
	case 0, 1: // a byte of a payload, as it stands on the wire
		i := pick()
		chain := wire.AppendChain(nil, ps[i:i+1])
		body := bytes.Clone(chain[4:])
		if len(body) > 0 {
			body[int(g.byte())%len(body)] ^= g.byte() | 1
		}
		ps = append(append(ps[:i:i], &wire.Raw{Kind: ps[i].Type(), Data: body}), ps[i+1:]...)
	case 2:
		i := pick()
		ps = append(ps[:i:i], ps[i+1:]...)
	case 3:
		ps = append(ps[:len(ps):len(ps)], ps[pick()])
	case 4:
		ps = append([]wire.Payload(nil), ps...)
		i, j := pick(), pick()
		ps[i], ps[j] = ps[j], ps[i]
	case 5:
		b := g.byte()
		h.Exchange = [...]wire.Exchange{wire.ExchangeMain, wire.ExchangeAggressive, wire.ExchangeInfo1, wire.ExchangeQuick}[b&3]
		h.ID += uint32(b >> 2 & 1)
	case 6:
		ps = append(ps[:len(ps):len(ps)], g.payload1(g.byte()))
	case 7:
		ps = []wire.Payload{g.payload1(g.byte())}
	}
	return ps
}

var notifies1 = [...]wire.NotifyType1{
	wire.NoProposalChosen1, wire.InvalidID1, wire.AuthenticationFailed1, wire.PayloadMalformed1, wire.InvalidCookie1, wire.InvalidSPI1,
	wire.InvalidHash1, 8000, wire.Connected1, wire.ResponderLifetime, wire.ReplayStatus, wire.InitialContact1, wire.RUThere, wire.RUThereAck, 50000,
}

// payload1 is some payload that a peer could send.
func (g *game) payload1(b byte) wire.Payload {
	x := g.end(b)
	spi := []byte{0, 0, 0x10, b}
	if len(x.newest) > 0 {
		spi = be32(x.newest[int(b>>1)%len(x.newest)].SPIOut)
	}
	var cookies []byte
	if len(x.peers) > 0 && x.peer(0).main() != nil {
		cookies = cookiesOf(x.peer(0).main().Info())
	}
	switch b % 8 {
	case 0, 1, 2:
		n := &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, SPI: spi, Kind: notifies1[int(b>>2)%len(notifies1)], Data: []byte{0, 0, 0, b}}
		if b&0x40 != 0 {
			n.Protocol, n.SPI = ipsec.ProtoIKE, cookies
		}
		if n.Kind == wire.ResponderLifetime {
			n.Data = wire.AppendAttributes(nil, []wire.Attribute{wire.ShortAttribute(1+uint16(b>>5&1)*10, 1), wire.NumberAttribute(2+uint16(b>>5&1)*10, uint32(b)*20)})
		}
		return n
	case 3:
		return &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{spi, spi, {1, 2, 3, 4}}}
	case 4:
		if len(cookies) == 16 {
			return &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{cookies}}
		}
		return &wire.Nonce1{Data: bytes.Repeat([]byte{b}, 20)}
	case 5:
		return &wire.Raw{Kind: wire.PayloadType(b >> 2), Data: []byte{b, 0, 0, 1}}
	case 6:
		return &wire.ID1{Kind: wire.IDIPv4Subnet, Data: []byte{10, b >> 5, 0, 0, 255, 255, 0, 0}}
	default:
		return &wire.Fragment1{ID: uint16(b), Number: b>>4 + 1, Last: b&8 != 0, Data: []byte{b, b}}
	}
}

// craft1 sends an end an authentic message that the other end has not made, with a new message id.
func (g *game) craft1(to *end, who, what byte) {
	if to.peer(0).main() == nil {
		return
	}
	in := to.peer(0).main().Info()
	h := wire.Header{SPIi: in.SPIi, SPIr: in.SPIr, Major: 1, Exchange: wire.ExchangeInfo1, ID: uint32(who)<<16 | uint32(what)<<8 | uint32(g.steps) + 1}
	var ps []wire.Payload
	if cfg := to.peer(0).children; what%3 == 0 && len(cfg) > 0 {
		c := cfg[int(who>>1)%len(cfg)].cfg
		h.Exchange = wire.ExchangeQuick
		attrs := []wire.Attribute{
			wire.ShortAttribute(3, 2), wire.ShortAttribute(4, 1), wire.ShortAttribute(5, 1), wire.ShortAttribute(6, 128),
			wire.ShortAttribute(1, 1), wire.NumberAttribute(2, uint32(what)*10),
		}
		if in.Encap {
			attrs[1] = wire.ShortAttribute(4, 3)
		}
		sub := func(s ipsec.Selector) wire.Payload {
			p := s.Prefixes()[0]
			mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
			return &wire.ID1{Kind: wire.IDIPv4Subnet, Data: append(p.Addr().AsSlice(), mask...)}
		}
		ps = []wire.Payload{
			&wire.SA1{Proposals: []wire.Proposal1{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte{1, 2, who, what}, Transforms: []wire.Transform1{{Number: 1, ID: 12, Attributes: attrs}}}}},
			&wire.Nonce1{Data: bytes.Repeat([]byte{what}, 16)},
			&wire.Raw{Kind: wire.TypeKE1, Data: append(make([]byte, 127), what|2)},
			sub(c.Remote[0]), sub(c.Local[0]),
		}
		if what&0x40 != 0 {
			ps = append(ps, g.payload1(what))
		}
	} else {
		ps = []wire.Payload{g.payload1(what), g.payload1(who)}
	}
	g.w.send(ipsec.Datagram{Local: in.Path.Local, Remote: in.Path.Remote, Data: g.tap1.forge(h, ps, nil)})
}
