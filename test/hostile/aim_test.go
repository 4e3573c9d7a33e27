package hostile

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"vpngw/ike/wire"
)

// aim makes the hostile messages of one case.
type aim struct {
	st   *state
	rand *rand.Rand
}

func newAim(st *state, seed uint64) *aim { return &aim{st, rand.New(rand.NewPCG(seed, 0))} }

// kind is one kind of hostile message. make returns nothing where the state has nothing to make it from.
type kind struct {
	name string
	make func(*aim) []shot
}

func (a *aim) n(n int) int { return a.rand.IntN(n) }

func (a *aim) coin() bool { return a.n(2) == 0 }

func oneOf[T any](a *aim, of ...T) T { return of[a.n(len(of))] }

// pending are the messages under way between a and b.
func (a *aim) pending() (out []parcel) {
	for _, p := range a.st.wire {
		if p.Local.Addr() != addrC && p.Remote.Addr() != addrC {
			out = append(out, p)
		}
	}
	return out
}

// message is a message to begin with: in half of the cases the one that arrives next.
func (a *aim) message() (parcel, bool) { return a.messageOf(func(parcel) bool { return true }) }

func (a *aim) messageOf(fit func(parcel) bool) (parcel, bool) {
	var fits []parcel
	for _, p := range a.st.history {
		if fit(p) {
			fits = append(fits, p)
		}
	}
	if ps := a.pending(); len(ps) > 0 && fit(ps[0]) && (len(fits) == 0 || a.coin()) {
		return clone(ps[0]), true
	}
	if len(fits) == 0 {
		return parcel{}, false
	}
	return clone(oneOf(a, fits...)), true
}

func clone(p parcel) parcel {
	p.Data = bytes.Clone(p.Data)
	return p
}

// encrypted reports whether a message has a protected payload.
func encrypted(p parcel) bool {
	h, _ := wire.ParseHeader(p.Data)
	return h.Major == 1 && h.Flags&wire.FlagEncrypted != 0 || h.Next == wire.TypeEncrypted || h.Next == wire.TypeFragment
}

func inClear(p parcel) bool { return !encrypted(p) }

// elsewhere makes a message come from another address or port.
func (a *aim) elsewhere(p parcel) parcel {
	switch a.n(4) {
	case 0:
		p.Remote = netip.AddrPortFrom(stranger, p.Remote.Port())
	case 1:
		p.Remote = netip.AddrPortFrom(stranger, 4500)
	case 2:
		p.Remote = netip.AddrPortFrom(p.Remote.Addr(), p.Remote.Port()+1)
	case 3:
		p.Remote = netip.AddrPortFrom(p.Remote.Addr(), 500^4500^p.Remote.Port())
	}
	return p
}

// back is a message as its sender sees it when somebody returns it.
func back(p parcel) parcel {
	p = clone(p)
	p.Local, p.Remote = p.sent.Local, p.sent.Remote
	return p
}

// flip changes some bits.
func (a *aim) flip(b []byte) {
	for range 1 + a.n(4) {
		if len(b) > 0 {
			b[a.n(len(b))] ^= 1 << a.n(8)
		}
	}
}

// run puts bytes that are zero, one or as many as possible where a count or a length may be.
func (a *aim) run(b []byte) {
	at, n, with := a.n(len(b)+1), oneOf(a, 1, 2, 4, 8), oneOf[byte](a, 0, 1, 0x7f, 0x80, 0xff)
	for i := at; i < min(at+n, len(b)); i++ {
		b[i] = with
	}
}

// chain are the generic payloads of a message as they stand there: type and bytes with header.
type chain struct {
	kinds []wire.PayloadType
	raw   [][]byte
}

func chainOf(first wire.PayloadType, b []byte) (c chain) {
	for kind := first; kind != 0 && len(b) >= 4; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			break
		}
		c.kinds, c.raw = append(c.kinds, kind), append(c.raw, bytes.Clone(b[:n]))
		kind, b = wire.PayloadType(b[0]), b[n:]
	}
	return c
}

// bytes writes the chain, with the types where the payloads are.
func (c *chain) bytes() (wire.PayloadType, []byte) {
	var out []byte
	for i, p := range c.raw {
		p = bytes.Clone(p)
		if p[0] = 0; i+1 < len(c.kinds) {
			p[0] = byte(c.kinds[i+1])
		}
		out = append(out, p...)
	}
	if len(c.kinds) == 0 {
		return 0, nil
	}
	return c.kinds[0], out
}

// rearrange changes which payloads there are, and their order. It keeps each as it is.
func (a *aim) rearrange(c *chain) {
	n := len(c.raw)
	if n == 0 {
		return
	}
	i, j := a.n(n), a.n(n)
	switch a.n(7) {
	case 0: // one less
		c.kinds, c.raw = slices.Delete(c.kinds, i, i+1), slices.Delete(c.raw, i, i+1)
	case 1: // one twice
		c.kinds, c.raw = slices.Insert(c.kinds, j, c.kinds[i]), slices.Insert(c.raw, j, c.raw[i])
	case 2: // one very often
		for range oneOf(a, 8, 60, 64, 200) {
			c.kinds, c.raw = append(c.kinds, c.kinds[i]), append(c.raw, c.raw[i])
		}
	case 3: // two in each other's place
		c.kinds[i], c.kinds[j], c.raw[i], c.raw[j] = c.kinds[j], c.kinds[i], c.raw[j], c.raw[i]
	case 4: // all backwards
		slices.Reverse(c.kinds)
		slices.Reverse(c.raw)
	case 5: // one in the name of another
		c.kinds[i] = c.kinds[j]
	case 6: // one only
		c.kinds, c.raw = c.kinds[i:i+1], c.raw[i:i+1]
	}
}

// lie has a payload say something false of itself: its length, its counts, whether it is critical, or its type.
func (a *aim) lie(c *chain) {
	if len(c.raw) == 0 {
		return
	}
	i := a.n(len(c.raw))
	p := c.raw[i]
	switch a.n(6) {
	case 0:
		p[1] |= 0x80
	case 1:
		p[1] |= byte(a.n(128))
	case 2:
		binary.BigEndian.PutUint16(p[2:], oneOf(a, 0, 1, 3, 4, uint16(len(p)-1), uint16(len(p)+1), uint16(len(p)+4), 0xffff))
	case 3: // nothing in it
		c.raw[i] = p[:4]
		binary.BigEndian.PutUint16(c.raw[i][2:], 4)
	case 4:
		a.run(p[4:])
	case 5:
		c.kinds[i] = wire.PayloadType(a.n(256))
	}
}

// add puts in a payload.
func (a *aim) add(c *chain, p wire.Payload) {
	i := a.n(len(c.raw) + 1)
	c.kinds = slices.Insert(c.kinds, i, p.Type())
	c.raw = slices.Insert(c.raw, i, wire.AppendChain(nil, []wire.Payload{p}))
}
