package lab

import (
	"encoding/binary"
	"math/rand/v2"
)

// Poison is a message that no speaker should send.
type Poison struct {
	Name   string
	First  bool   // it is sent instead of OPEN
	Opens  bool   // it is an OPEN
	Strict bool   // RFC 7606 lets nothing but the end of the session answer it
	Bytes  []byte // with the header
}

// route is an UPDATE of a prefix with the attributes that every route has and more, in front and behind.
func route(s Speaking, front []byte, behind ...[]byte) []byte {
	attrs := Join(append([][]byte{front, Origin(), NextHop(s.Local), Path(s.ASN)}, behind...)...)
	return BGPMessage(BGPUpdate, UpdateBody(nil, attrs, NLRI("10.66.0.0/24"))...)
}

// Killers are messages that end a process of GoBGP 3.37, each tried with a bare one.
func Killers(s Speaking) []Poison {
	sid := func(value ...byte) []byte { return route(s, nil, Attr(0xc0, 40, value...)) }
	as4 := binary.BigEndian.AppendUint32([]byte{2, 1}, s.ASN)
	return []Poison{
		{Name: "an unknown type before OPEN", First: true, Bytes: BGPMessage(77)},
		{Name: "an unknown type", Bytes: BGPMessage(77)},
		{Name: "AS4_PATH before AS_PATH", Bytes: route(s, Attr(0xc0, 17, as4...))},
		{Name: "Prefix-SID: a service without a value", Bytes: sid(5, 0, 0, 0)},
		{Name: "Prefix-SID: information of one octet", Bytes: sid(5, 0, 5, 0, 1, 0, 1, 0)},
		{Name: "Prefix-SID: an unknown sub-TLV", Bytes: sid(5, 0, 5, 0, 9, 0, 1, 0)},
		{Name: "OPEN in a session", Bytes: BGPMessage(BGPOpen, OpenBody(s.ASN, s.Hold, s.Local)...)},
	}
}

// Malformed are OPEN, UPDATE and NOTIFICATION that RFC 4271 and RFC 7606 call malformed.
func Malformed(s Speaking) []Poison {
	open := func(change func(b []byte) []byte) []byte {
		return BGPMessage(BGPOpen, change(OpenBody(s.ASN, s.Hold, s.Local))...)
	}
	set := func(i int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[i:], v); return b }
	}
	update := func(nlri []byte, attrs ...[]byte) []byte {
		return BGPMessage(BGPUpdate, UpdateBody(nil, Join(attrs...), nlri)...)
	}
	nlri, path, next := NLRI("10.66.0.0/24"), Path(s.ASN), NextHop(s.Local)
	length := func(n uint16) []byte {
		b := BGPMessage(BGPKeepalive)
		binary.BigEndian.PutUint16(b[16:], n)
		return b
	}
	v6 := append([]byte{0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 19: 1}, 0, 32, 0x20, 1, 0xd, 0xb8)
	return []Poison{
		{Name: "OPEN: version 3", Opens: true, Bytes: open(set(0, 3))},
		{Name: "OPEN: hold time 1", Opens: true, Bytes: open(set(3, 0, 1))},
		{Name: "OPEN: AS 0", Opens: true, Bytes: open(func(b []byte) []byte { copy(b[1:], []byte{0, 0}); copy(b[len(b)-4:], make([]byte, 4)); return b })},
		{Name: "OPEN: identifier 0", Opens: true, Bytes: open(set(5, 0, 0, 0, 0))},
		{Name: "OPEN: another AS", Opens: true, Bytes: BGPMessage(BGPOpen, OpenBody(s.ASN+1, s.Hold, s.Local)...)},
		{Name: "OPEN: options longer than the message", Opens: true, Bytes: open(set(9, 200))},
		{Name: "OPEN: a capability longer than its option", Opens: true, Bytes: open(set(13, 200))},
		{Name: "OPEN: nothing", Opens: true, Bytes: BGPMessage(BGPOpen)},
		{Name: "ORIGIN 3", Bytes: update(nlri, Attr(0x40, 1, 3), path, next)},
		{Name: "ORIGIN of two octets", Bytes: update(nlri, Attr(0x40, 1, 0, 0), path, next)},
		{Name: "ORIGIN twice", Bytes: update(nlri, Origin(), Origin(), path, next)},
		{Name: "ORIGIN flagged optional", Bytes: update(nlri, Attr(0xc0, 1, 0), path, next)},
		{Name: "no attribute at all", Bytes: update(nlri)},
		{Name: "no NEXT_HOP", Bytes: update(nlri, Origin(), path)},
		{Name: "NEXT_HOP of three octets", Bytes: update(nlri, Origin(), path, Attr(0x40, 3, 1, 2, 3))},
		{Name: "AS_PATH: an unknown segment", Bytes: update(nlri, Origin(), next, Attr(0x40, 2, 9, 1, 0, 0, 0, 1))},
		{Name: "AS_PATH: a segment past the end", Bytes: update(nlri, Origin(), next, Attr(0x40, 2, 2, 9, 0, 0, 0, 1))},
		{Name: "AS_PATH: a segment of nothing", Bytes: update(nlri, Origin(), next, Attr(0x40, 2, 2, 0))},
		{Name: "AS4_PATH of nothing after an empty AS_PATH", Bytes: update(nlri, Origin(), next, Attr(0x40, 2), Attr(0xc0, 17, 2, 0))},
		{Name: "MED of three octets", Bytes: update(nlri, Origin(), path, next, Attr(0x80, 4, 0, 0, 1))},
		{Name: "LOCAL_PREF of three octets", Bytes: update(nlri, Origin(), path, next, Attr(0x40, 5, 0, 0, 1))},
		{Name: "ATOMIC_AGGREGATE with a value", Bytes: update(nlri, Origin(), path, next, Attr(0x40, 6, 1))},
		{Name: "AGGREGATOR of five octets", Bytes: update(nlri, Origin(), path, next, Attr(0xc0, 7, 1, 2, 3, 4, 5))},
		{Name: "COMMUNITIES of three octets", Bytes: update(nlri, Origin(), path, next, Attr(0xc0, 8, 1, 2, 3))},
		{Name: "extended communities of seven octets", Bytes: update(nlri, Origin(), path, next, Attr(0xc0, 16, 1, 2, 3, 4, 5, 6, 7))},
		{Name: "large communities of eleven octets", Bytes: update(nlri, Origin(), path, next, Attr(0xc0, 32, make([]byte, 11)...))},
		{Name: "an unknown well-known attribute", Bytes: update(nlri, Origin(), path, next, Attr(0x40, 99, 1))},
		{Name: "an attribute past the end", Bytes: update(nlri, Origin(), path, append(next[:2:2], 200, 1))},
		{Name: "attributes past the end", Strict: true, Bytes: BGPMessage(BGPUpdate, 0, 0, 1, 0)},
		{Name: "withdrawn routes past the end", Strict: true, Bytes: BGPMessage(BGPUpdate, 1, 0, 0, 0)},
		{Name: "a prefix of 33 bits", Bytes: update([]byte{33, 10, 66, 0, 0, 0}, Origin(), path, next)},
		{Name: "half a prefix", Strict: true, Bytes: update(nlri[:2], Origin(), path, next)},
		{Name: "MP_REACH: a next hop of three octets", Bytes: update(nil, Origin(), path, Attr(0x80, 14, 0, 1, 1, 3, 1, 2, 3, 0))},
		{Name: "MP_REACH of a family never negotiated", Bytes: BGPMessage(BGPUpdate, UpdateBody(nil,
			Join(Origin(), Path(s.ASN), Attr(0x80, 14, v6...)), nil)...)},
		{Name: "MP_REACH twice", Strict: true, Bytes: update(nil, Origin(), path, Attr(0x80, 14, 0, 1, 1, 4, 1, 2, 3, 4, 0), Attr(0x80, 14, 0, 1, 1, 4, 1, 2, 3, 4, 0))},
		{Name: "MP_REACH of nothing", Bytes: update(nil, Origin(), path, Attr(0x80, 14))},
		{Name: "MP_UNREACH of two octets", Bytes: update(nil, Attr(0x80, 15, 0, 1))},
		{Name: "NOTIFICATION: nothing", Strict: true, Bytes: BGPMessage(BGPNotification)},
		{Name: "NOTIFICATION: unknown code", Strict: true, Bytes: BGPMessage(BGPNotification, 200, 200)},
		{Name: "NOTIFICATION: a long reason past the end", Strict: true, Bytes: BGPMessage(BGPNotification, append([]byte{6, 2, 255}, make([]byte, 9)...)...)},
		{Name: "KEEPALIVE with a body", Strict: true, Bytes: BGPMessage(BGPKeepalive, 1)},
		{Name: "ROUTE-REFRESH of two octets", Bytes: BGPMessage(BGPRefresh, 0, 1)},
		{Name: "ROUTE-REFRESH of another family", Bytes: BGPMessage(BGPRefresh, 0, 25, 0, 70)},
		{Name: "a header of 18 octets", Strict: true, Bytes: length(18)},
		{Name: "a header of 65535 octets", Strict: true, Bytes: append(length(65535), make([]byte, 65535-19)...)},
		{Name: "a marker of zeros", Strict: true, Bytes: append(make([]byte, 16), 0, 19, BGPKeepalive)},
	}
}

// Fuzzed are count messages that are nearly right, the same for the same seed.
func Fuzzed(s Speaking, seed uint64, count int) []Poison {
	r := rand.New(rand.NewPCG(seed, 7))
	seeds := append(Killers(s), Malformed(s)...)
	out := make([]Poison, count)
	for i := range out {
		var b []byte
		switch r.IntN(3) {
		case 0: // an UPDATE of random attributes
			attrs := Join(Origin(), Path(s.ASN), NextHop(s.Local))
			for range 1 + r.IntN(3) {
				value := make([]byte, r.IntN(40))
				for j := range value {
					value[j] = byte(r.IntN(1 << (1 + r.IntN(8))))
				}
				attrs = append(attrs, Attr([]byte{0x40, 0x80, 0xc0, 0xe0}[r.IntN(4)], byte(1+r.IntN(45)), value...)...)
			}
			b = BGPMessage(BGPUpdate, UpdateBody(nil, attrs, NLRI("10.66.0.0/24"))...)
		default: // some octets of a known one are others
			p := seeds[r.IntN(len(seeds))]
			for p.First || p.Opens {
				p = seeds[r.IntN(len(seeds))]
			}
			b = append([]byte(nil), p.Bytes...)
			for range 1 + r.IntN(4) {
				if len(b) > 19 {
					b[19+r.IntN(len(b)-19)] = byte(r.IntN(256))
				}
			}
			if r.IntN(4) == 0 && len(b) > 20 { // cut, with the right length
				b = b[:19+r.IntN(len(b)-19)]
			}
			binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
		}
		out[i] = Poison{Name: "fuzzed", Bytes: b}
	}
	return out
}
