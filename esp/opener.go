package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"vpngw/ipsec"
)

// An opener checks and decrypts ESP packets of one inbound SA. Not safe for
// concurrent use.
type opener struct {
	transform
	cbc resettable // nil: AEAD or NULL
}

// newOpener makes the opener of sa's inbound half.
func newOpener(sa *ipsec.ChildSA) (*opener, error) {
	t, err := newTransform(sa.Suite, sa.Trunc96, sa.In)
	if err != nil {
		return nil, err
	}
	o := &opener{transform: t}
	if t.block != nil {
		var iv [aes.BlockSize]byte
		o.cbc = cipher.NewCBCDecrypter(t.block, iv[:t.ivLen]).(resettable)
	}
	return o, nil
}

// open decrypts the ESP packet b, whose whole sequence number is seq, into dst
// and returns the payload, which aliases dst, and its next header. dst is as
// large as b and does not overlap it. After a failure the contents of dst mean
// nothing.
func (o *opener) open(dst, b []byte, seq uint64) (payload []byte, next uint8, why reason) {
	n := len(b) - espHeader - o.ivLen - o.icvLen // length of the encrypted part
	if n < o.align || n%o.align != 0 {
		return nil, 0, dropMalformed
	}
	iv := b[espHeader:][:o.ivLen]
	body := b[espHeader+o.ivLen:]
	if o.aead != nil {
		copy(o.nonce[4:], iv)
		var err error
		payload, err = o.aead.Open(dst[:0], o.nonce[:], body, o.additional(b, seq))
		if err != nil {
			return nil, 0, dropBadICV
		}
		return trim(payload)
	}
	signed := b[:len(b)-o.icvLen]
	if !hmac.Equal(o.icvOf(signed, seq), b[len(signed):]) {
		return nil, 0, dropBadICV
	}
	payload = dst[:n]
	if o.cbc != nil {
		o.cbc.SetIV(iv)
		o.cbc.CryptBlocks(payload, body[:n])
	} else {
		copy(payload, body)
	}
	return trim(payload)
}

// otherLength reports whether b, which o.open refused, is authentic with HMAC-SHA-256 cut to the other of the two
// lengths that there are: some peers take 96 bits where RFC 4868 says 128.
func (o *opener) otherLength(b []byte, seq uint64) bool {
	if o.mac == nil || o.mac.Size() != sha256.Size {
		return false
	}
	const short, long = 12, 16
	icv := short + long - o.icvLen
	n := len(b) - espHeader - o.ivLen - icv
	if n < o.align || n%o.align != 0 {
		return false
	}
	signed := b[:len(b)-icv]
	o.icvOf(signed, seq)
	return hmac.Equal(o.sum[:icv], b[len(signed):])
}

// sequence is the sequence number field of an ESP packet.
func sequence(b []byte) uint32 { return binary.BigEndian.Uint32(b[4:]) }

// trim takes the padding and the trailer off a decrypted payload. The padding bytes must be
// 1, 2, 3, … (RFC 4303 section 2.4).
func trim(b []byte) (payload []byte, next uint8, why reason) {
	n := len(b) - espTrailer
	pad := int(b[n])
	if pad > n {
		return nil, 0, dropPadding
	}
	for i, v := range b[n-pad : n] {
		if v != byte(i+1) {
			return nil, 0, dropPadding
		}
	}
	return b[:n-pad], b[n+1], carried
}
