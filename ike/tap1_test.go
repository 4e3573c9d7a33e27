package ike

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// tap1 reads and forges what is inside messages of IKEv1, with the keys of the key log.
// It knows one suite: aes128-md5. What the log does not say (the last block of phase 1, the
// nonces, how far an exchange is) it reads on the wire.
type tap1 struct {
	w    *world
	read map[*end]int // of its key log
	sas  map[uint64]*tapped
}

// tapped is one ISAKMP SA, by the initiator's cookie.
type tapped struct {
	block cipher.Block
	a     []byte // SKEYID_a
	last  []byte // block of phase 1
	ivs   map[uint32][]byte
	ni    map[uint32][]byte // of quick modes
}

func newTap1(w *world) *tap1 { return &tap1{w: w, read: map[*end]int{}, sas: map[uint64]*tapped{}} }

func (t *tap1) of(spiI uint64) *tapped {
	s := t.sas[spiI]
	if s == nil {
		s = &tapped{ivs: map[uint32][]byte{}, ni: map[uint32][]byte{}}
		t.sas[spiI] = s
	}
	return s
}

// learn reads the ends' key logs.
func (t *tap1) learn() {
	for _, n := range t.w.order {
		text := n.keys.String()
		lines := bufio.NewScanner(strings.NewReader(text[t.read[n]:]))
		t.read[n] = len(text)
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
}

// see notes a message, in the order of sending.
func (t *tap1) see(data []byte) {
	h, err := wire.ParseHeader(data)
	if err != nil || h.Flags&wire.FlagEncrypted == 0 || len(data) < wire.HeaderSize+16 {
		return
	}
	if h.Exchange == wire.ExchangeMain || h.Exchange == wire.ExchangeAggressive {
		t.of(h.SPIi).last = bytes.Clone(data[len(data)-16:])
	}
}

// iv is for the next message of an exchange.
func (t *tap1) iv(s *tapped, id uint32) []byte {
	if iv := s.ivs[id]; iv != nil {
		return iv
	}
	sum := md5.Sum(binary.BigEndian.AppendUint32(bytes.Clone(s.last), id))
	return sum[:]
}

// open decrypts a quick mode's or informational message.
func (t *tap1) open(data []byte) (wire.Header, *wire.Chain1, bool) {
	t.learn()
	h, err := wire.ParseHeader(data)
	s := t.sas[h.SPIi]
	if err != nil || s == nil || s.block == nil || s.last == nil || h.Flags&wire.FlagEncrypted == 0 || h.ID == 0 || (len(data)-wire.HeaderSize)%16 != 0 || len(data) <= wire.HeaderSize {
		return h, nil, false
	}
	plain := bytes.Clone(data[wire.HeaderSize:])
	cipher.NewCBCDecrypter(s.block, t.iv(s, h.ID)).CryptBlocks(plain, plain)
	c, err := wire.ParseChain1(h.Next, plain)
	return h, c, err == nil
}

// passed notes that a message goes on to its receiver as it is.
func (t *tap1) passed(data []byte) {
	h, c, ok := t.open(data)
	if !ok || h.Exchange != wire.ExchangeQuick {
		return
	}
	s := t.sas[h.SPIi]
	if n, has := wire.Find[*wire.Nonce1](c.Payloads); has && s.ni[h.ID] == nil {
		s.ni[h.ID] = n.Data
	}
	s.ivs[h.ID] = bytes.Clone(data[len(data)-16:])
}

func (t *tap1) prf(key []byte, parts ...[]byte) []byte {
	m := hmac.New(md5.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// forge makes a message of payloads, with the right HASH before them. The padding makes end its last block, if end
// is not nil.
func (t *tap1) forge(h wire.Header, ps []wire.Payload, end []byte) []byte {
	t.learn()
	s := t.of(h.SPIi)
	if s.block == nil || s.last == nil {
		return (&wire.Message{Header: h, Payloads: ps}).Marshal()
	}
	var salt [][]byte
	if h.Exchange == wire.ExchangeQuick && s.ni[h.ID] != nil && len(ps) > 0 {
		salt = [][]byte{s.ni[h.ID]}
	}
	parts := append([][]byte{binary.BigEndian.AppendUint32(nil, h.ID)}, salt...)
	hash := t.prf(s.a, append(parts, wire.AppendChain(nil, ps))...)
	return t.encrypt(h, append([]wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: hash}}, ps...), end)
}

// encrypt makes a message of payloads as they are.
func (t *tap1) encrypt(h wire.Header, ps []wire.Payload, end []byte) []byte {
	s := t.of(h.SPIi)
	h.Flags |= wire.FlagEncrypted
	b := (&wire.Message{Header: h, Payloads: ps}).Marshal()
	for (len(b)-wire.HeaderSize)%16 != 0 {
		b = append(b, 0)
	}
	body := b[wire.HeaderSize:]
	cipher.NewCBCEncrypter(s.block, t.iv(s, h.ID)).CryptBlocks(body, body)
	b = append(b, end...)
	binary.BigEndian.PutUint32(b[wire.HeaderSize-4:], uint32(len(b)))
	return b
}

// toOf is the header of a message to an end on the ISAKMP SA that it uses.
func toOf(n *end, x wire.Exchange, id uint32) wire.Header {
	in := n.ikeOf()
	return wire.Header{SPIi: in.SPIi, SPIr: in.SPIr, Major: 1, Exchange: x, ID: id}
}

func notify1(kind wire.NotifyType1, data ...byte) wire.Payload {
	return &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: kind, Data: data}
}
