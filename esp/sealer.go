package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"vpngw/ipsec"
	"vpngw/lanes"
)

// maxTrailer is the most bytes that seal writes behind the inner packet.
const maxTrailer = aes.BlockSize - 1 + espTrailer

// A sealer makes ESP packets of one outbound SA. Not safe for concurrent use.
type sealer struct {
	transform
	spi uint32
	aes *lanes.Encrypter // nil: not AES-CBC
	des resettable       // nil: neither 3DES nor DES
	// ivs encrypts the sequence number, under ivKey, to a CBC IV. Nobody can predict such an IV, as RFC 3602
	// section 3 demands, and none of 16 bytes repeats.
	ivs   *lanes.Encrypter
	ivKey ipsec.Secret
}

// newSealer makes the sealer of sa's outbound half.
func newSealer(sa *ipsec.ChildSA, rand io.Reader) (*sealer, error) {
	t, err := newTransform(sa.Suite, sa.Trunc96, sa.Out)
	if err != nil {
		return nil, err
	}
	s := &sealer{transform: t, spi: sa.SPIOut}
	switch sa.Suite.Encr.ID {
	case ipsec.EncrAESCBC:
		if s.aes, err = lanes.NewEncrypter(sa.Out.Encr); err != nil {
			return nil, err
		}
	case ipsec.Encr3DES, ipsec.EncrDES:
		b, err := newDES(sa.Suite.Encr.ID, sa.Out.Encr)
		if err != nil {
			return nil, err
		}
		s.des = cipher.NewCBCEncrypter(b, make([]byte, t.ivLen)).(resettable)
	case ipsec.EncrNull:
		return s, nil
	default:
		if s.mac != nil {
			return nil, fmt.Errorf("esp: %v has no transform", sa.Suite.Encr)
		}
		return s, nil
	}
	key := make(ipsec.Secret, ivKeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("esp: key for initialisation vectors: %w", err)
	}
	return s, s.setIVKey(key)
}

const ivKeySize = 16

func (s *sealer) setIVKey(key ipsec.Secret) (err error) {
	s.ivKey = key
	s.ivs, err = lanes.NewEncrypter(key)
	return err
}

func (s *sealer) wipe() {
	s.transform.wipe()
	s.ivKey.Clear()
	if s.ivs != nil {
		s.ivs.Clear()
	}
	if s.aes != nil {
		s.aes.Clear()
	}
}

// stage writes the ESP packet with number seq that carries inner into dst and returns it. dst has room for
// sealed(len(inner)) bytes and does not overlap inner. With an AEAD the packet is finished then, and stage overwrites maxTrailer bytes of
// capacity behind inner. Otherwise it lacks its IV, encryption and ICV, which sealing makes of many packets at once.
func (s *sealer) stage(dst, inner []byte, next uint8, seq uint64) []byte {
	pad := s.padding(len(inner))
	n := len(inner) + pad + espTrailer
	out := dst[:espHeader+s.ivLen+n+s.icvLen]
	binary.BigEndian.PutUint32(out, s.spi)
	binary.BigEndian.PutUint32(out[4:], uint32(seq))
	body := out[espHeader+s.ivLen:]
	plain := inner[:n:n]
	if s.mac != nil {
		plain = body[:copy(body, inner)][:n]
	}
	for i := range pad {
		plain[len(inner)+i] = byte(i + 1)
	}
	plain[n-2], plain[n-1] = byte(pad), next
	if s.mac == nil {
		// The IV of an AEAD must not repeat; it may be a counter (RFC 4106 section 3.1).
		binary.BigEndian.PutUint64(out[espHeader:], seq)
		binary.BigEndian.PutUint64(s.nonce[4:], seq)
		s.sealsWith().Seal(body[:0], s.nonce[:], plain, s.additional(out, seq))
	}
	return out
}

// sealing is packets of one SA that are staged.
type sealing struct {
	sealer *sealer
	together
	ivs [lanes.Max * aes.BlockSize]byte
}

// add takes a packet that s has staged. It may seal those before.
func (g *sealing) add(s *sealer, packet []byte, seq uint64) {
	if s != g.sealer {
		g.seal()
		g.sealer = s
	}
	g.together.add(packet, seq)
	if g.full() {
		g.seal()
	}
}

// seal finishes the packets.
func (g *sealing) seal() {
	if g.n == 0 {
		return
	}
	s := g.sealer
	if s.ivs != nil {
		g.encrypt()
	}
	s.icvs(&g.together)
	for i, b := range g.packets[:g.n] {
		copy(b[len(b)-s.icvLen:], g.icv(i))
	}
	g.n, g.sealer = 0, nil
}

// encrypt writes the IVs of the packets and encrypts what follows.
func (g *sealing) encrypt() {
	s := g.sealer
	clear(g.ivs[:aes.BlockSize*g.n])
	for i, seq := range g.seqs[:g.n] {
		binary.BigEndian.PutUint64(g.ivs[aes.BlockSize*i+8:], seq)
	}
	s.ivs.Blocks(&g.ivs, g.n)
	for i, b := range g.packets[:g.n] {
		b = b[espHeader : len(b)-s.icvLen]
		copy(b[:s.ivLen], g.ivs[aes.BlockSize*i:])
		g.parts[i] = b
	}
	if s.aes != nil {
		s.aes.CBC(g.parts[:g.n])
		return
	}
	for _, b := range g.parts[:g.n] {
		s.des.SetIV(b[:s.ivLen])
		s.des.CryptBlocks(b[s.ivLen:], b[s.ivLen:])
	}
}
