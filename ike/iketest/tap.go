// Package iketest reads and forges protected IKE messages, for tests. It knows what the key log says, and reads the
// rest on the wire.
package iketest

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Tap reads and forges what is inside messages of IKEv2. It knows one suite: aes128-sha256.
type Tap struct {
	Rand    io.Reader
	keys    func() string
	ciphers map[uint64]*[2]*sa.Cipher // by the initiator's SPI: what it seals, what it opens
}

// NewTap makes a Tap. keys returns the lines of the key log that were not returned before.
func NewTap(rand io.Reader, keys func() string) *Tap {
	return &Tap{Rand: rand, keys: keys, ciphers: map[uint64]*[2]*sa.Cipher{}}
}

var tapSuite = func() ipsec.Suite {
	p, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128-sha256-x25519")
	if err != nil {
		panic(err)
	}
	s, _ := p.Choose(p, true)
	return s
}()

// Cipher finds the keys of a message; nil: there are none.
func (t *Tap) Cipher(h wire.Header) *sa.Cipher {
	lines := bufio.NewScanner(strings.NewReader(t.keys()))
	for lines.Scan() {
		t.learn(lines.Text())
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

func (t *Tap) learn(line string) {
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

// Open decrypts a message; false: it has no encrypted payload that the tap can read.
func (t *Tap) Open(data []byte) (h wire.Header, first wire.PayloadType, plain []byte, ok bool) {
	m, err := wire.Parse(data)
	if err != nil || len(m.Payloads) == 0 {
		return
	}
	sk, ok := m.Payloads[len(m.Payloads)-1].(*wire.Encrypted)
	if !ok {
		return
	}
	c := t.Cipher(m.Header)
	if c == nil {
		return m.Header, 0, nil, false
	}
	plain, err = c.Open(data, sk.Offset)
	return m.Header, sk.Next, plain, err == nil
}

// Payloads decrypts and parses a message.
func (t *Tap) Payloads(data []byte) (wire.Header, []wire.Payload, bool) {
	h, first, plain, ok := t.Open(data)
	if !ok {
		return h, nil, false
	}
	ps, err := wire.ParseChain(first, plain)
	return h, ps, err == nil
}

// Seal makes an authentic message.
func (t *Tap) Seal(h wire.Header, first wire.PayloadType, plain []byte) []byte {
	c := t.Cipher(h)
	return t.sealed(c, h, &wire.Encrypted{Next: first, Body: make([]byte, c.Size(len(plain)))}, plain)
}

// SealFragment makes an authentic fragment of a message.
func (t *Tap) SealFragment(h wire.Header, first wire.PayloadType, number, total uint16, plain []byte) []byte {
	c := t.Cipher(h)
	return t.sealed(c, h, &wire.Fragment{Next: first, Number: number, Total: total, Body: make([]byte, c.Size(len(plain)))}, plain)
}

func (t *Tap) sealed(c *sa.Cipher, h wire.Header, p wire.Payload, plain []byte) []byte {
	m := (&wire.Message{Header: h, Payloads: []wire.Payload{p}}).Marshal()
	n := len(m) - c.Size(len(plain))
	out, err := c.Seal(m[:n:n], plain, t.Rand)
	if err != nil {
		panic(err)
	}
	return out
}

// Forge is Seal of payloads.
func (t *Tap) Forge(h wire.Header, ps ...wire.Payload) []byte {
	return t.Seal(h, wire.FirstType(ps), wire.AppendChain(nil, ps))
}
