package hostile

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"vpngw/ike/iketest"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// strange are the kinds of messages that need no keys.
var strange = []kind{
	{"a replay", (*aim).replay},
	{"a replay from elsewhere", (*aim).replayElsewhere},
	{"a copy that overtakes from elsewhere", (*aim).overtake},
	{"a reflection", (*aim).reflection},
	{"a reflection from elsewhere", (*aim).reflectionElsewhere},
	{"a truncation", mutated(func(a *aim, b []byte) []byte {
		if b = b[:a.n(len(b)+1)]; a.coin() {
			b = iketest.FixLength(b)
		}
		return b
	})},
	{"other bits", mutated(func(a *aim, b []byte) []byte { a.flip(b); return b })},
	{"other counts", mutated(func(a *aim, b []byte) []byte { a.run(b[wire.HeaderSize:]); return b })},
	{"more bytes", mutated(func(a *aim, b []byte) []byte {
		if b = append(b, make([]byte, 1+a.n(40))...); a.coin() {
			b = iketest.FixLength(b)
		}
		return b
	})},
	{"another length", mutated(func(a *aim, b []byte) []byte {
		binary.BigEndian.PutUint32(b[24:], oneOf(a, 0, 27, 28, uint32(len(b)-1), uint32(len(b)+1), 0x7fffffff, 0xffffffff))
		return b
	})},
	{"another version", mutated(func(a *aim, b []byte) []byte { b[17] = byte(a.n(5)<<4 | a.n(16)); return b })},
	{"another exchange", mutated(func(a *aim, b []byte) []byte {
		b[18] = oneOf[byte](a, 0, 2, 4, 5, 6, 32, 33, 34, 35, 36, 37, 38, 43, 255)
		return b
	})},
	{"other flags", mutated(func(a *aim, b []byte) []byte { b[19] ^= byte(1 + a.n(255)); return b })},
	{"another message id", mutated(func(a *aim, b []byte) []byte { a.otherID(b); return b })},
	{"another first payload", mutated(func(a *aim, b []byte) []byte { b[16] = byte(a.n(256)); return b })},
	{"other SPIs", mutated(func(a *aim, b []byte) []byte { a.otherSPIs(b); return b })},
	{"two messages in one", (*aim).spliced},
	{"other payloads in clear", (*aim).rearranged},
	{"payloads that lie in clear", (*aim).lies},
	{"a payload more in clear", (*aim).added},
	{"a notification in clear", (*aim).notified},
	{"a delete in clear", (*aim).deleted},
	{"another group", (*aim).otherGroup},
	{"weaker proposals", (*aim).weaker},
	{"a message of the other version", (*aim).otherVersion},
	{"fragments in clear", (*aim).fragments},
	{"noise where ciphertext is", (*aim).noise},
	{"a first message of somebody else", (*aim).firsts},
	{"no IKE at all", (*aim).junk},
}

// mutated makes a kind of a change of bytes.
func mutated(change func(*aim, []byte) []byte) func(*aim) []shot {
	return func(a *aim) []shot {
		p, ok := a.message()
		if !ok {
			return nil
		}
		was := bytes.Clone(p.Data)
		p.Data = change(a, p.Data)
		if bytes.Equal(p.Data, was) {
			return nil
		}
		return []shot{{parcel: p}}
	}
}

func (a *aim) replay() []shot {
	if len(a.st.history) == 0 {
		return nil
	}
	return []shot{{parcel: oneOf(a, a.st.history...)}}
}

func (a *aim) replayElsewhere() []shot { return a.away(a.replay()) }

// away makes shots come from elsewhere.
func (a *aim) away(shots []shot) []shot {
	for i := range shots {
		shots[i].parcel = a.elsewhere(shots[i].parcel)
	}
	return shots
}

func (a *aim) overtake() []shot {
	ps := a.pending()
	if len(ps) == 0 {
		return nil
	}
	return []shot{{parcel: a.elsewhere(clone(ps[0])), same: true}}
}

func (a *aim) reflection() []shot {
	p, ok := a.message()
	if !ok {
		return nil
	}
	return []shot{{parcel: back(p), inert: true}}
}

func (a *aim) reflectionElsewhere() []shot { return a.away(a.reflection()) }

func (a *aim) otherID(b []byte) {
	id := binary.BigEndian.Uint32(b[20:])
	binary.BigEndian.PutUint32(b[20:], oneOf(a, id+1, id-1, id+2, id^1<<31, 0, 1, 0xffffffff, a.rand.Uint32()))
}

func (a *aim) otherSPIs(b []byte) {
	switch a.n(5) {
	case 0:
		clear(b[:8])
	case 1:
		clear(b[8:16])
	case 2:
		b[7]++
	case 3:
		b[15]++
	case 4:
		x := bytes.Clone(b[:8])
		copy(b, b[8:16])
		copy(b[8:], x)
	}
}

func (a *aim) spliced() []shot {
	p, ok := a.message()
	q, _ := a.message()
	if !ok {
		return nil
	}
	p.Data = iketest.FixLength(append(p.Data[:a.n(len(p.Data)+1)], q.Data[a.n(len(q.Data)+1):]...))
	return []shot{{parcel: p}}
}

// inChain changes the payloads of a message that is not encrypted.
func (a *aim) inChain(change func(*chain)) []shot {
	p, ok := a.messageOf(inClear)
	if !ok {
		return nil
	}
	c := chainOf(wire.PayloadType(p.Data[16]), p.Data[wire.HeaderSize:])
	change(&c)
	first, b := c.bytes()
	p.Data[16] = byte(first)
	p.Data = iketest.FixLength(append(p.Data[:wire.HeaderSize:wire.HeaderSize], b...))
	if a.n(4) == 0 { // not a retransmission, and not the attempt that is under way
		binary.BigEndian.PutUint64(p.Data, a.rand.Uint64()|1)
	}
	return []shot{{parcel: p}}
}

func (a *aim) rearranged() []shot {
	return a.inChain(func(c *chain) {
		for range 1 + a.n(3) {
			a.rearrange(c)
		}
	})
}

func (a *aim) lies() []shot {
	return a.inChain(func(c *chain) {
		for range 1 + a.n(2) {
			a.lie(c)
		}
	})
}

func (a *aim) added() []shot {
	return a.inChain(func(c *chain) { a.add(c, a.payload()) })
}

// clear makes a message of the exchange that is under way, or of another one, with payloads in clear.
func (a *aim) clear(ps ...wire.Payload) []shot {
	p, ok := a.message()
	if !ok {
		return nil
	}
	h, _ := wire.ParseHeader(p.Data)
	if a.coin() {
		p, h.Flags = back(p), h.Flags^(wire.FlagResponse|wire.FlagInitiator)
	}
	if h.Major == 1 {
		if h.Flags = 0; a.coin() {
			h.Exchange, h.ID = wire.ExchangeInfo1, oneOf(a, 0, h.ID, a.rand.Uint32())
		}
	} else if a.n(3) == 0 {
		h.Exchange, h.ID = wire.ExchangeInformational, oneOf(a, 0, 1, 2, h.ID, h.ID+1)
		h.Flags = wire.Flags(a.n(8)) << 3
	}
	p.Data = (&wire.Message{Header: h, Payloads: ps}).Marshal()
	return []shot{{parcel: p}}
}

func (a *aim) notified() []shot { return a.clear(a.notify()) }

func (a *aim) deleted() []shot { return a.clear(a.delete()) }

// otherGroup asks for another group, or has a public value of one, or one that is degenerate.
func (a *aim) otherGroup() []shot {
	group := oneOf[uint16](a, 0, 1, 2, 5, 14, 19, 22, 31, 1024, 0xffff)
	value := make([]byte, oneOf(a, 0, 1, 32, 64, 96, 128, 256, 512))
	if len(value) > 0 && a.coin() {
		value[len(value)-1] = oneOf[byte](a, 1, 2, 9)
	}
	if a.n(3) == 0 {
		for i := range value {
			value[i] = 0xff
		}
	}
	if a.st.story.version == 2 && a.n(3) == 0 {
		return a.clear(&wire.Notify{Kind: wire.InvalidKEPayload, Data: binary.BigEndian.AppendUint16(nil, group)})
	}
	return a.inChain(func(c *chain) {
		for i, k := range c.kinds {
			switch k {
			case wire.TypeKE:
				c.raw[i] = wire.AppendChain(nil, []wire.Payload{&wire.KE{Group: group, Data: value}})
			case wire.TypeKE1:
				c.raw[i] = wire.AppendChain(nil, []wire.Payload{&wire.Raw{Kind: k, Data: value}})
			}
		}
	})
}

// weaker changes the numbers of algorithms, groups and lifetimes in a proposal.
func (a *aim) weaker() []shot {
	return a.inChain(func(c *chain) {
		for i, k := range c.kinds {
			if p := c.raw[i]; (k == wire.TypeSA || k == wire.TypeSA1) && len(p) > 12 {
				for range 1 + a.n(2) {
					p[4+a.n(len(p)-4)] = byte(a.n(24))
				}
			}
		}
	})
}

// otherVersion speaks the other version in the peer's name, or says that the peer does.
func (a *aim) otherVersion() []shot {
	p, ok := a.message()
	if !ok {
		return nil
	}
	h, _ := wire.ParseHeader(p.Data)
	if a.coin() {
		h.SPIr = 0
	}
	if a.coin() {
		h.SPIi = a.rand.Uint64()
	}
	var ps []wire.Payload
	if h.Major == 1 {
		h.Major, h.Flags, h.ID = 2, oneOf(a, wire.FlagInitiator, wire.FlagResponse, 0), 0
		h.Exchange = oneOf(a, wire.ExchangeSAInit, wire.ExchangeAuth, wire.ExchangeInformational)
		ps = oneOf(a,
			[]wire.Payload{&wire.Notify{Kind: wire.InvalidMajorVersion}},
			[]wire.Payload{
				&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519")[0]}}},
				&wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)}, &wire.Nonce{Data: make([]byte, 32)},
			})
	} else {
		h.Major, h.Flags, h.ID = 1, 0, 0
		h.Exchange = oneOf(a, wire.ExchangeMain, wire.ExchangeAggressive, wire.ExchangeInfo1)
		ps = oneOf(a,
			[]wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: wire.NoProposalChosen1}},
			[]wire.Payload{&wire.SA1{Proposals: []wire.Proposal1{{Number: 1, Protocol: ipsec.ProtoIKE, Transforms: []wire.Transform1{{Number: 1, ID: 1}}}}}})
	}
	p.Data = (&wire.Message{Header: h, Payloads: ps}).Marshal()
	return []shot{{parcel: p}}
}

// fragments are pieces with gaps, twice, of different totals.
func (a *aim) fragments() (out []shot) {
	p, ok := a.message()
	if !ok {
		return nil
	}
	h, _ := wire.ParseHeader(p.Data)
	for range 1 + a.n(6) {
		q := clone(p)
		data := make([]byte, a.n(80)+1)
		number := oneOf[uint16](a, 0, 1, 1, 2, 2, 3, 255, 256, 0xffff)
		var f wire.Payload
		if h.Major == 1 {
			h.Flags = 0
			if a.coin() {
				data = p.Data[:a.n(len(p.Data))+1]
			}
			f = &wire.Fragment1{ID: uint16(a.n(3)), Number: uint8(number), Last: a.coin(), Data: data}
		} else {
			f = &wire.Fragment{Next: wire.PayloadType(oneOf(a, 0, 33, 41)), Number: number, Total: oneOf[uint16](a, 0, 1, 2, 3, 0xffff), Body: data}
		}
		q.Data = (&wire.Message{Header: h, Payloads: []wire.Payload{f}}).Marshal()
		out = append(out, shot{parcel: q})
	}
	return out
}

// noise has the right header, and no authentic contents. Its id may be in the window or out of it.
func (a *aim) noise() []shot {
	p, ok := a.messageOf(encrypted)
	if !ok {
		return nil
	}
	if a.coin() {
		a.otherID(p.Data)
	}
	for i := range p.Data[wire.HeaderSize:] {
		if i > 3 || a.n(8) == 0 {
			p.Data[wire.HeaderSize+i] = byte(a.rand.Uint32())
		}
	}
	return []shot{{parcel: p}}
}

// firsts begin an exchange in the peer's name, or in the name of somebody unknown.
func (a *aim) firsts() (out []shot) {
	p, ok := a.messageOf(func(p parcel) bool { return len(p.Data) > 16 && binary.BigEndian.Uint64(p.Data[8:]) == 0 })
	if !ok {
		return nil
	}
	if a.coin() {
		p.Remote = netip.AddrPortFrom(stranger, p.Remote.Port())
	}
	for range 1 + a.n(4) {
		q := clone(p)
		binary.BigEndian.PutUint64(q.Data, a.rand.Uint64())
		out = append(out, shot{parcel: q})
	}
	return out
}

func (a *aim) junk() []shot {
	p, ok := a.message()
	if !ok {
		return nil
	}
	p.Data = make([]byte, a.n(100))
	for i := range p.Data {
		p.Data[i] = byte(a.rand.Uint32())
	}
	if a.coin() {
		p.Data = iketest.FixLength(p.Data)
	}
	return []shot{{parcel: p}}
}
