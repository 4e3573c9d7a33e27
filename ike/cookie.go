package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"vpngw/ike/wire"
)

// cookieLife is how long cookies are made with one secret. They are accepted for as long again.
const cookieLife = time.Minute

// cookies are stateless proofs that the sender of a first message receives at the
// address that it claims (RFC 7296 section 2.6):
//
//	Cookie = <VersionIDofSecret> | Hash(Ni | IPi | SPIi | <secret>)
//
// with HMAC-SHA-256 for the hash.
type cookies struct {
	rand    io.Reader
	version byte
	secret  [2][32]byte // by version modulo 2: the present one, and the one before
	made    time.Time
	old     bool // the secret before is still accepted
}

func (c *cookies) turn(now time.Time) {
	age := now.Sub(c.made)
	if !c.made.IsZero() && age < cookieLife {
		return
	}
	c.old = !c.made.IsZero() && age < 2*cookieLife
	c.version++
	c.made = now
	if _, err := io.ReadFull(c.rand, c.secret[c.version%2][:]); err != nil {
		panic("ike: no randomness: " + err.Error())
	}
}

func (c *cookies) mint(now time.Time, ni []byte, remote netip.AddrPort, spiI uint64) []byte {
	c.turn(now)
	return c.sum(c.version, ni, remote, spiI)
}

func (c *cookies) sum(version byte, ni []byte, remote netip.AddrPort, spiI uint64) []byte {
	h := hmac.New(sha256.New, c.secret[version%2][:])
	h.Write(ni)
	a := remote.Addr().As16()
	h.Write(a[:])
	h.Write(binary.BigEndian.AppendUint16(nil, remote.Port()))
	h.Write(binary.BigEndian.AppendUint64(nil, spiI))
	return h.Sum([]byte{version})
}

// valid reports whether the message has a cookie of ours for its sender.
func (c *cookies) valid(now time.Time, m *wire.Message, remote netip.AddrPort) bool {
	c.turn(now)
	n := wire.FindNotify(m.Payloads, wire.Cookie)
	ni, ok := wire.Find[*wire.Nonce](m.Payloads)
	if n == nil || !ok || len(n.Data) == 0 {
		return false
	}
	v := n.Data[0]
	if v != c.version && (v != c.version-1 || !c.old) {
		return false
	}
	return hmac.Equal(n.Data, c.sum(v, ni.Data, remote, m.SPIi))
}
