package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"vpngw/ipsec"
)

// maxTrailer is the most bytes that seal writes behind the inner packet.
const maxTrailer = aes.BlockSize - 1 + espTrailer

// A sealer makes ESP packets of one outbound SA. Not safe for concurrent use.
type sealer struct {
	transform
	spi uint32
	cbc resettable // nil: AEAD or NULL
	// ivs encrypts the sequence number, under ivKey, to a CBC IV. Nobody can predict such an IV, as RFC 3602
	// section 3 demands, and none of 16 bytes repeats.
	ivs   cipher.Block
	ivKey ipsec.Secret
	iv    [aes.BlockSize]byte
}

// newSealer makes the sealer of sa's outbound half.
func newSealer(sa *ipsec.ChildSA, rand io.Reader) (*sealer, error) {
	t, err := newTransform(sa.Suite, sa.Trunc96, sa.Out)
	if err != nil {
		return nil, err
	}
	s := &sealer{transform: t, spi: sa.SPIOut}
	if t.block == nil {
		return s, nil
	}
	key := make(ipsec.Secret, ivKeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("esp: key for initialisation vectors: %w", err)
	}
	s.cbc = cipher.NewCBCEncrypter(t.block, s.iv[:t.ivLen]).(resettable)
	return s, s.setIVKey(key)
}

const ivKeySize = 16

func (s *sealer) setIVKey(key ipsec.Secret) (err error) {
	s.ivKey = key
	s.ivs, err = aes.NewCipher(key)
	return err
}

// seal writes the ESP packet with number seq that carries inner into dst and
// returns it. dst has room for sealed(len(inner)) bytes and does not overlap inner. seal
// overwrites maxTrailer bytes of capacity behind inner.
func (s *sealer) seal(dst, inner []byte, next uint8, seq uint64) []byte {
	pad := s.padding(len(inner))
	plain := inner[:len(inner)+pad+espTrailer]
	for i := range pad {
		plain[len(inner)+i] = byte(i + 1)
	}
	plain[len(plain)-2], plain[len(plain)-1] = byte(pad), next

	out := dst[:espHeader+s.ivLen+len(plain)+s.icvLen]
	binary.BigEndian.PutUint32(out, s.spi)
	binary.BigEndian.PutUint32(out[4:], uint32(seq))
	body := out[espHeader+s.ivLen:]
	switch {
	case s.aead != nil:
		// The IV of an AEAD must not repeat; it may be a counter (RFC 4106 section 3.1).
		binary.BigEndian.PutUint64(out[espHeader:], seq)
		binary.BigEndian.PutUint64(s.nonce[4:], seq)
		s.aead.Seal(body[:0], s.nonce[:], plain, s.additional(out, seq))
		return out
	case s.cbc != nil:
		clear(s.iv[:8])
		binary.BigEndian.PutUint64(s.iv[8:], seq)
		s.ivs.Encrypt(s.iv[:], s.iv[:])
		copy(out[espHeader:], s.iv[:s.ivLen])
		s.cbc.SetIV(s.iv[:s.ivLen])
		s.cbc.CryptBlocks(body, plain)
	default:
		copy(body, plain)
	}
	signed := out[:len(out)-s.icvLen]
	copy(out[len(signed):], s.icvOf(signed, seq))
	return out
}
