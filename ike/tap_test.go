package ike

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// tap reads and forges what is inside encrypted messages, with the keys of the
// key log. It knows one suite: aes128-sha256.
type tap struct {
	w       *world
	ciphers map[uint64]*[2]*sa.Cipher // by the initiator's SPI: what it seals, what it opens
	rand    *rand.ChaCha8
}

func newTap(w *world) *tap {
	return &tap{w: w, ciphers: map[uint64]*[2]*sa.Cipher{}, rand: rand.NewChaCha8([32]byte{1})}
}

var tapSuite = func() ipsec.Suite {
	p := proposals(ipsec.ProtoIKE, "aes128-sha256-x25519")[0]
	s, _ := p.Choose(p, true)
	return s
}()

// cipher finds the keys of a message.
func (t *tap) cipher(h wire.Header) *sa.Cipher {
	for _, n := range t.w.order {
		lines := bufio.NewScanner(strings.NewReader(n.keys.String()))
		for lines.Scan() {
			t.learn(lines.Text())
		}
		n.keys.Reset()
	}
	c := t.ciphers[h.SPIi]
	if c == nil {
		return nil
	}
	if h.Flags&wire.FlagInitiator != 0 {
		return c[0]
	}
	return c[1]
}

func (t *tap) learn(line string) {
	f := strings.Split(line, ",")
	if len(f) != 8 || strings.HasPrefix(line, `"`) {
		return
	}
	spi, err := strconv.ParseUint(f[0], 16, 64)
	if err != nil {
		panic(err)
	}
	key := func(s string) ipsec.Secret {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic(err)
		}
		return b
	}
	var c [2]*sa.Cipher
	for i := range c {
		if c[i], err = sa.NewCipher(tapSuite, key(f[2+i]), key(f[5+i])); err != nil {
			panic(fmt.Sprintf("the tap knows %v only: %v", tapSuite, err))
		}
	}
	t.ciphers[spi] = &c
}

// open decrypts a message; false: it has no encrypted payload that the tap can read.
func (t *tap) open(data []byte) (h wire.Header, first wire.PayloadType, plain []byte, ok bool) {
	m, err := wire.Parse(data)
	if err != nil || len(m.Payloads) == 0 {
		return
	}
	sk, ok := m.Payloads[len(m.Payloads)-1].(*wire.Encrypted)
	if !ok {
		return
	}
	c := t.cipher(m.Header)
	if c == nil {
		return m.Header, 0, nil, false
	}
	plain, err = c.Open(data, sk.Offset)
	return m.Header, sk.Next, plain, err == nil
}

// payloads decrypts and parses a message.
func (t *tap) payloads(data []byte) (wire.Header, []wire.Payload, bool) {
	h, first, plain, ok := t.open(data)
	if !ok {
		return h, nil, false
	}
	ps, err := wire.ParseChain(first, plain)
	return h, ps, err == nil
}

// seal makes an authentic message.
func (t *tap) seal(h wire.Header, first wire.PayloadType, plain []byte) []byte {
	c := t.cipher(h)
	m := (&wire.Message{Header: h, Payloads: []wire.Payload{&wire.Encrypted{Next: first, Body: make([]byte, c.Size(len(plain)))}}}).Marshal()
	n := len(m) - c.Size(len(plain))
	out, err := c.Seal(m[:n:n], plain, t.rand)
	if err != nil {
		panic(err)
	}
	return out
}

// forge is seal of payloads.
func (t *tap) forge(h wire.Header, ps ...wire.Payload) []byte {
	return t.seal(h, wire.FirstType(ps), wire.AppendChain(nil, ps))
}

// change replaces the payloads of every message for which f returns others.
func (t *tap) change(f func(h *wire.Header, ps []wire.Payload) []wire.Payload) func(*ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool {
		if h, ps, ok := t.payloads(d.Data); ok {
			if ps = f(&h, ps); ps != nil {
				d.Data = t.forge(h, ps...)
			}
		}
		return true
	}
}
