package esp

import (
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"fmt"

	"vpngw/ipsec"
	"vpngw/lanes"
)

// An opener checks and decrypts ESP packets of one inbound SA. Not safe for
// concurrent use.
type opener struct {
	transform
	aes *lanes.Decrypter // nil: not AES-CBC
	des resettable       // nil: neither 3DES nor DES
	// sha256 says that the ICV is one of HMAC-SHA-256, which peers cut to one of two lengths.
	sha256 bool
}

// newOpener makes the opener of sa's inbound half.
func newOpener(sa *ipsec.ChildSA) (*opener, error) {
	t, err := newTransform(sa.Suite, sa.Trunc96, sa.In)
	if err != nil {
		return nil, err
	}
	o := &opener{transform: t, sha256: sa.Suite.Integ.ID == ipsec.IntegSHA256_128}
	switch sa.Suite.Encr.ID {
	case ipsec.EncrAESCBC:
		o.aes, err = lanes.NewDecrypter(sa.In.Encr)
	case ipsec.Encr3DES, ipsec.EncrDES:
		var b cipher.Block
		if b, err = newDES(sa.Suite.Encr.ID, sa.In.Encr); err == nil {
			o.des = cipher.NewCBCDecrypter(b, make([]byte, t.ivLen)).(resettable)
		}
	case ipsec.EncrNull:
	default:
		if o.mac != nil {
			err = fmt.Errorf("esp: %v has no transform", sa.Suite.Encr)
		}
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (o *opener) wipe() {
	o.transform.wipe()
	if o.aes != nil {
		o.aes.Clear()
	}
}

// whole reports whether b is long enough for a packet, and has whole blocks.
func (o *opener) whole(b []byte) bool {
	n := len(b) - espHeader - o.ivLen - o.icvLen // length of the encrypted part
	return n >= o.align && n%o.align == 0
}

// open decrypts the ESP packet b, whose whole sequence number is seq, into dst
// and returns the payload, which aliases dst, and its next header. dst is as
// large as b and does not overlap it. After a failure the contents of dst mean
// nothing. icv is the ICV that b must have, whole; an AEAD needs none.
func (o *opener) open(dst, b []byte, seq uint64, icv []byte) (payload []byte, next uint8, why reason) {
	if !o.whole(b) {
		return nil, 0, dropMalformed
	}
	if o.mac == nil {
		copy(o.nonce[4:], b[espHeader:][:o.ivLen])
		var err error
		payload, err = o.sealsWith().Open(dst[:0], o.nonce[:], b[espHeader+o.ivLen:], o.additional(b, seq))
		if err != nil {
			return nil, 0, dropBadICV
		}
		return trim(payload)
	}
	end := len(b) - o.icvLen
	if !hmac.Equal(icv[:o.icvLen], b[end:]) {
		return nil, 0, dropBadICV
	}
	body := b[espHeader+o.ivLen : end]
	payload = dst[:len(body)]
	switch {
	case o.aes != nil:
		o.aes.CBC(payload, b[espHeader:end])
	case o.des != nil:
		o.des.SetIV(b[espHeader:][:o.ivLen])
		o.des.CryptBlocks(payload, body)
	default:
		copy(payload, body)
	}
	return trim(payload)
}

// otherLength reports whether b, which o.open refused, is authentic with HMAC-SHA-256 cut to the other of the two
// lengths that there are: some peers take 96 bits where RFC 4868 says 128.
func (o *opener) otherLength(b []byte, seq uint64, scratch *together) bool {
	if !o.sha256 {
		return false
	}
	const short, long = 12, 16
	other := *o
	other.icvLen = short + long - o.icvLen
	if !other.whole(b) {
		return false
	}
	scratch.n = 0
	scratch.add(b, seq)
	other.icvs(scratch)
	scratch.n = 0
	return hmac.Equal(scratch.icv(0)[:other.icvLen], b[len(b)-other.icvLen:])
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
