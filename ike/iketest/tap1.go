package iketest

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vpngw/ike/wire"
)

// Tap1 reads and forges what is inside messages of IKEv1. It knows one suite: aes128-md5. What the key log does
// not say (the public values and the last block of phase 1, the nonces, how far an exchange is) it reads on the wire.
type Tap1 struct {
	keys func() string
	sas  map[uint64]*tapped
}

// tapped is one ISAKMP SA, by the initiator's cookie.
type tapped struct {
	block  cipher.Block
	a      []byte   // SKEYID_a
	public [][]byte // g^xi, g^xr
	last   []byte   // block of phase 1
	ivs    map[uint32][]byte
	ni     map[uint32][]byte // of quick modes
}

// NewTap1 makes a Tap1. keys is as NewTap's.
func NewTap1(keys func() string) *Tap1 { return &Tap1{keys, map[uint64]*tapped{}} }

// Clone is a Tap1 that has seen the same, and learns no more keys.
func (t *Tap1) Clone() *Tap1 {
	t.learn()
	c := NewTap1(func() string { return "" })
	for spi, s := range t.sas {
		d := *s
		d.ivs, d.ni = maps.Clone(s.ivs), maps.Clone(s.ni)
		c.sas[spi] = &d
	}
	return c
}

func (t *Tap1) of(spiI uint64) *tapped {
	s := t.sas[spiI]
	if s == nil {
		s = &tapped{ivs: map[uint32][]byte{}, ni: map[uint32][]byte{}}
		t.sas[spiI] = s
	}
	return s
}

// learn reads the key log.
func (t *Tap1) learn() {
	lines := bufio.NewScanner(strings.NewReader(t.keys()))
	for lines.Scan() {
		f := strings.Split(lines.Text(), ",")
		key := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
		switch {
		case len(f) == 3 && f[0] == "# SKEYID_a":
			spi, _ := strconv.ParseUint(f[1], 16, 64)
			t.of(spi).a = key(f[2])
		case len(f) == 2:
			spi, _ := strconv.ParseUint(f[0], 16, 64)
			t.of(spi).block, _ = aes.NewCipher(key(f[1]))
		}
	}
}

// Knows reports whether the keys of an ISAKMP SA are known.
func (t *Tap1) Knows(spiI uint64) bool { return t.of(spiI).block != nil && t.of(spiI).last != nil }

// See notes a message, in the order of sending.
func (t *Tap1) See(data []byte) {
	h, err := wire.ParseHeader(data)
	if err != nil || h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive {
		return
	}
	s := t.of(h.SPIi)
	if h.Flags&wire.FlagEncrypted == 0 {
		if _, c, err := wire.Parse1(data); err == nil && c.Index(wire.TypeKE1) >= 0 {
			s.public = append(s.public, bytes.Clone(c.Body(c.Index(wire.TypeKE1))))
		}
		if len(s.public) == 2 && s.last == nil {
			sum := md5.Sum(append(bytes.Clone(s.public[0]), s.public[1]...))
			s.last = sum[:]
		}
	} else if len(data) >= wire.HeaderSize+16 {
		s.last = bytes.Clone(data[len(data)-16:])
	}
}

// iv is for the next message of an exchange.
func (t *Tap1) iv(s *tapped, id uint32) []byte {
	if id == 0 {
		return s.last
	}
	if iv := s.ivs[id]; iv != nil {
		return iv
	}
	sum := md5.Sum(binary.BigEndian.AppendUint32(bytes.Clone(s.last), id))
	return sum[:]
}

// Open decrypts a message; false: the tap cannot read it.
func (t *Tap1) Open(data []byte) (wire.Header, *wire.Chain1, bool) {
	t.learn()
	h, err := wire.ParseHeader(data)
	s := t.sas[h.SPIi]
	if err != nil || s == nil || s.block == nil || s.last == nil || h.Flags&wire.FlagEncrypted == 0 || (len(data)-wire.HeaderSize)%16 != 0 || len(data) <= wire.HeaderSize {
		return h, nil, false
	}
	plain := bytes.Clone(data[wire.HeaderSize:])
	cipher.NewCBCDecrypter(s.block, t.iv(s, h.ID)).CryptBlocks(plain, plain)
	c, err := wire.ParseChain1(h.Next, plain, s.block.BlockSize())
	return h, c, err == nil
}

// Passed notes that a message goes on to its receiver as it is.
func (t *Tap1) Passed(data []byte) {
	h, c, ok := t.Open(data)
	if !ok || h.Exchange != wire.ExchangeQuick {
		return
	}
	s := t.sas[h.SPIi]
	if n, has := wire.Find[*wire.Nonce1](c.Payloads); has && s.ni[h.ID] == nil {
		s.ni[h.ID] = n.Data
	}
	s.ivs[h.ID] = bytes.Clone(data[len(data)-16:])
}

func (t *Tap1) prf(key []byte, parts ...[]byte) []byte {
	m := hmac.New(md5.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// Forge makes a message of payloads, with the right HASH before them. end, if not nil, becomes its last block, so that
// what follows in the exchange can be read: a vendor ID payload more makes it the padding.
func (t *Tap1) Forge(h wire.Header, ps []wire.Payload, end []byte) []byte {
	return t.ForgeBytes(h, wire.FirstType(ps), wire.AppendChain(nil, ps), end)
}

// ForgeBytes is Forge of any bytes behind the HASH. If they are no payloads, their message does not end in end.
func (t *Tap1) ForgeBytes(h wire.Header, first wire.PayloadType, plain, end []byte) []byte {
	t.learn()
	s := t.of(h.SPIi)
	if !t.Knows(h.SPIi) {
		m := (&wire.Message{Header: h}).Marshal()
		m[nextAt] = byte(first)
		m = append(m, plain...)
		return FixLength(m)
	}
	h.Next = wire.TypeHash1
	return t.ending(h, first, plain, end, func(plain []byte) []byte {
		var salt [][]byte
		if h.Exchange == wire.ExchangeQuick && s.ni[h.ID] != nil && len(plain) > 0 {
			salt = [][]byte{s.ni[h.ID]}
		}
		parts := append([][]byte{binary.BigEndian.AppendUint32(nil, h.ID)}, salt...)
		hash := t.prf(s.a, append(parts, plain)...)
		head := wire.AppendChain(nil, []wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: hash}})
		head[0] = byte(first)
		return append(head, plain...)
	})
}

const nextAt = 16 // where the header has the type of the first payload

// Encrypt makes a message of payloads as they are.
func (t *Tap1) Encrypt(h wire.Header, ps []wire.Payload, end []byte) []byte {
	h.Next = wire.FirstType(ps)
	return t.EncryptBytes(h, wire.AppendChain(nil, ps), end)
}

// EncryptBytes makes a message of any bytes; end is as ForgeBytes has it.
func (t *Tap1) EncryptBytes(h wire.Header, plain, end []byte) []byte {
	return t.ending(h, h.Next, plain, end, func(plain []byte) []byte { return plain })
}

// ending makes a message of what whole makes of payloads. A receiver takes a random block as padding only if it ends in
// its length or one less (see wire.ParseChain1), so contents of the vendor ID are tried until it does.
func (t *Tap1) ending(h wire.Header, first wire.PayloadType, plain, end []byte, whole func([]byte) []byte) []byte {
	if c, err := wire.ParseChain1(first, plain, 0); end != nil && err == nil && len(c.Raw) > 0 {
		const size = 4 + 4
		last := len(plain) - len(c.Raw[len(c.Raw)-1])
		filled := slices.Concat(plain, make([]byte, size))
		filled[last] = byte(wire.TypeVendor1)
		for len(whole(filled))%aes.BlockSize != 0 {
			filled = append(filled, 0)
		}
		id := filled[len(plain):]
		binary.BigEndian.PutUint16(id[2:], uint16(len(id)))
		padding := make([]byte, aes.BlockSize)
		for try := range uint32(10_000) {
			binary.BigEndian.PutUint32(id[4:], try)
			b := t.encrypt(h, whole(filled))
			t.of(h.SPIi).block.Decrypt(padding, end)
			subtle.XORBytes(padding, padding, b[len(b)-aes.BlockSize:])
			if n := padding[len(padding)-1]; n == aes.BlockSize || n == aes.BlockSize-1 {
				return FixLength(append(b, end...))
			}
		}
	}
	return t.encrypt(h, whole(plain))
}

func (t *Tap1) encrypt(h wire.Header, plain []byte) []byte {
	s := t.of(h.SPIi)
	h.Flags |= wire.FlagEncrypted
	b := (&wire.Message{Header: h}).Marshal()
	b[nextAt] = byte(h.Next)
	b = append(b, plain...)
	for (len(b)-wire.HeaderSize)%aes.BlockSize != 0 {
		b = append(b, 0)
	}
	body := b[wire.HeaderSize:]
	cipher.NewCBCEncrypter(s.block, t.iv(s, h.ID)).CryptBlocks(body, body)
	return FixLength(b)
}

// FixLength has the header of a message say how long it is.
func FixLength(b []byte) []byte {
	if len(b) >= wire.HeaderSize {
		binary.BigEndian.PutUint32(b[wire.HeaderSize-4:], uint32(len(b)))
	}
	return b
}
