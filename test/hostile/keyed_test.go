package hostile

import (
	"bytes"
	"net/netip"
	"slices"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// keyed are the kinds of messages of a peer that misbehaves.
var keyed = []kind{
	{"authentic: a truncation", resealed(func(a *aim, b []byte) []byte { return b[:a.n(len(b)+1)] })},
	{"authentic: other bits", resealed(func(a *aim, b []byte) []byte { a.flip(b); return b })},
	{"authentic: other counts", resealed(func(a *aim, b []byte) []byte { a.run(b); return b })},
	{"authentic: more bytes", resealed(func(a *aim, b []byte) []byte { return append(b, make([]byte, 1+a.n(40))...) })},
	{"authentic: other payloads", rechained(func(a *aim, c *chain) {
		for range 1 + a.n(3) {
			a.rearrange(c)
		}
	})},
	{"authentic: payloads that lie", rechained(func(a *aim, c *chain) {
		for range 1 + a.n(2) {
			a.lie(c)
		}
	})},
	{"authentic: a payload more", rechained(func(a *aim, c *chain) {
		for range 1 + a.n(2) {
			a.add(c, a.payload())
		}
	})},
	{"authentic: another exchange, id or flags", (*aim).reheaded},
	{"authentic: a request", (*aim).request},
	{"authentic: a response", (*aim).response},
	{"authentic: fragments", (*aim).sealedFragments},
}

// readable is a message whose contents are known: in half of the cases the one that arrives next.
func (a *aim) readable() (p parcel, header wire.Header, next, ok bool) {
	if ps := a.pending(); len(ps) > 0 && len(ps[0].plain) > 0 && a.coin() {
		p = clone(ps[0])
		next = true
	} else if p, ok = a.messageOf(func(p parcel) bool { return len(p.plain) > 0 }); !ok {
		return p, header, false, false
	}
	p.plain = bytes.Clone(p.plain)
	header, _ = wire.ParseHeader(p.Data)
	if !next && a.n(4) > 0 { // as a message that comes now
		header, ok = a.current(p, header)
		return p, header, false, ok
	}
	return p, header, next, true
}

// current is the header of a request that an end expects, or of the response.
func (a *aim) current(p parcel, h wire.Header) (wire.Header, bool) {
	i := a.end(p)
	if h.Major == 1 {
		h.ID = a.rand.Uint32() | 1
		for _, s := range a.st.ends[i].frozen.V1.SAs {
			if s.State == sa.Established && s.Path.Remote.Addr() != addrC {
				h.SPIi, h.SPIr = s.SPIi, s.SPIr
			}
		}
		return h, true
	}
	for _, s := range a.st.ends[i].frozen.V2.SAs {
		if s.State == sa.Connecting || s.Path.Remote.Addr() == addrC {
			continue
		}
		h.SPIi, h.SPIr = s.SPIi, s.SPIr
		response := h.Flags & wire.FlagResponse
		if h.Flags = response; !s.Initiator {
			h.Flags |= wire.FlagInitiator
		}
		if h.ID = s.PeerNextID; response != 0 {
			h.ID = s.OpenID
		}
	}
	return h, a.st.tap.Cipher(h) != nil
}

// end is the number of a message's receiver.
func (a *aim) end(p parcel) int {
	if p.Local.Addr() == addrB {
		return 1
	}
	return 0
}

// seal protects a message with the peer's keys.
func (a *aim) seal(p parcel, h wire.Header, first wire.PayloadType, plain []byte, next bool) []shot {
	if len(plain) > 60_000 {
		return nil
	}
	if h.Major == 2 {
		if a.st.tap.Cipher(h) == nil {
			return nil
		}
		a.st.tap.Rand = chacha(a.rand.Uint64())
		p.Data = a.st.tap.Seal(h, first, plain)
		return []shot{{parcel: p, keyed: true}}
	}
	var end []byte
	if next {
		end = bytes.Clone(p.Data[len(p.Data)-16:])
	}
	tap := a.st.tap1.Clone()
	switch h.Next = first; {
	case h.ID != 0 && a.n(8) > 0:
		p.Data = tap.ForgeBytes(h, first, plain, end)
	case !tap.Knows(h.SPIi):
		return nil
	default: // phase 1, or a message without HASH
		p.Data = tap.EncryptBytes(h, plain, end)
	}
	return []shot{{parcel: p, keyed: true}}
}

func resealed(change func(*aim, []byte) []byte) func(*aim) []shot {
	return func(a *aim) []shot {
		p, h, next, ok := a.readable()
		if !ok {
			return nil
		}
		return a.seal(p, h, p.first, change(a, p.plain), next)
	}
}

func rechained(change func(*aim, *chain)) func(*aim) []shot {
	return func(a *aim) []shot {
		p, h, next, ok := a.readable()
		if !ok {
			return nil
		}
		c := chainOf(p.first, p.plain)
		change(a, &c)
		first, plain := c.bytes()
		return a.seal(p, h, first, plain, next)
	}
}

func (a *aim) reheaded() []shot {
	p, h, next, ok := a.readable()
	if !ok {
		return nil
	}
	switch a.n(4) {
	case 0:
		h.Exchange = oneOf[wire.Exchange](a, 2, 4, 5, 6, 32, 34, 35, 36, 37, 99)
	case 1:
		h.ID += oneOf[uint32](a, 1, 2, 1<<31, 0xffffffff)
	case 2:
		h.Flags ^= wire.Flags(1 + a.n(63))
	case 3:
		h.Minor = uint8(a.n(16))
	}
	return a.seal(p, h, p.first, p.plain, next)
}

// to is a message to either end on an IKE SA that it uses.
func (a *aim) to(flags wire.Flags) (parcel, wire.Header, bool) {
	i := a.n(2)
	addr := [...]netip.Addr{addrA, addrB}[i]
	p, ok := a.messageOf(func(p parcel) bool { return p.Local.Addr() == addr && encrypted(p) })
	if !ok {
		return p, wire.Header{}, false
	}
	h, _ := wire.ParseHeader(p.Data)
	h.Flags = flags
	h, ok = a.current(p, h)
	return p, h, ok
}

// payloads are a few.
func (a *aim) payloads() (out []wire.Payload) {
	for range a.n(4) {
		out = append(out, a.payload())
	}
	return out
}

func (a *aim) request() []shot {
	p, h, ok := a.to(0)
	if !ok {
		return nil
	}
	h.Exchange = oneOf(a, wire.ExchangeInformational, wire.ExchangeCreateChild, wire.ExchangeAuth)
	if h.Major == 1 {
		h.Exchange = oneOf(a, wire.ExchangeInfo1, wire.ExchangeQuick)
	}
	ps := a.payloads()
	return a.seal(p, h, wire.FirstType(ps), wire.AppendChain(nil, ps), false)
}

func (a *aim) response() []shot {
	if a.st.story.version == 1 {
		return nil
	}
	p, h, ok := a.to(wire.FlagResponse)
	if !ok {
		return nil
	}
	ps := a.payloads()
	return a.seal(p, h, wire.FirstType(ps), wire.AppendChain(nil, ps), false)
}

// sealedFragments are pieces of an authentic message with gaps, twice, of mixed totals, or very many.
func (a *aim) sealedFragments() (out []shot) {
	p, h, ok := a.to(oneOf(a, 0, wire.FlagResponse))
	if !ok || h.Major == 1 {
		return nil
	}
	a.st.tap.Rand = chacha(a.rand.Uint64())
	h.Exchange = oneOf(a, wire.ExchangeInformational, wire.ExchangeCreateChild)
	ps := append(a.payloads(), a.payload())
	plain := wire.AppendChain(nil, ps)
	total := uint16(1 + a.n(5))
	pieces := slices.Collect(slices.Chunk(plain, len(plain)/int(total)+1))
	for i := range oneOf(a, len(pieces), len(pieces), 2*len(pieces), 20) {
		number, claimed := uint16(i%len(pieces))+1, uint16(len(pieces))
		if a.n(4) == 0 {
			number = oneOf[uint16](a, 0, 1, 2, 5, 255, 0xffff)
		}
		if a.n(4) == 0 {
			claimed = oneOf[uint16](a, 0, 1, 2, 6, 255, 0xffff)
		}
		first := wire.PayloadType(0)
		if number == 1 || a.n(8) == 0 {
			first = wire.FirstType(ps)
		}
		q := p
		q.Data = a.st.tap.SealFragment(h, first, number, claimed, pieces[i%len(pieces)])
		out = append(out, shot{parcel: q, keyed: true})
	}
	return out
}
