package ikev1

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// keys are the secrets of an ISAKMP SA that authenticated with a pre-shared key
// (RFC 2409 section 5).
type keys struct {
	prf     *sa.PRF
	skeyid  ipsec.Secret
	d, a, e ipsec.Secret
	block   cipher.Block // the cipher with key
	key     ipsec.Secret // made of e
}

// deriveKeys is the key schedule of RFC 2409 section 5:
//
//	SKEYID   = prf(pre-shared-key, Ni_b | Nr_b)
//	SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0)
//	SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
//	SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
//
// The caller overwrites shared (g^xy).
func deriveKeys(suite ipsec.Suite, psk ipsec.Secret, shared, ni, nr []byte, spiI, spiR uint64) (*keys, error) {
	prf, err := sa.NewPRF(suite.PRF)
	if err != nil {
		return nil, err
	}
	k := &keys{prf: prf}
	cookies := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, spiI), spiR)
	k.skeyid = prf.Sum(psk, ni, nr)
	k.d = prf.Sum(k.skeyid, shared, cookies, []byte{0})
	k.a = prf.Sum(k.skeyid, k.d, shared, cookies, []byte{1})
	k.e = prf.Sum(k.skeyid, k.a, shared, cookies, []byte{2})
	alg := ipsec.Lookup(suite.Encr)
	if alg == nil || alg.Type != ipsec.Encr || alg.AEAD || alg.Key == 0 {
		return nil, fmt.Errorf("encryption %v: IKEv1 cannot protect itself with it", suite.Encr)
	}
	k.key = k.cipherKey(alg.Key)
	k.block, err = sa.NewBlock(suite.Encr, k.key)
	return k, err
}

// cipherKey is the first n bytes of SKEYID_e, or of Ka when SKEYID_e is too short:
//
//	Ka = K1 | K2 | K3
//
//	K1 = prf(SKEYID_e, 0)
//	K2 = prf(SKEYID_e, K1)
//	K3 = prf(SKEYID_e, K2)
//
// "and 0 is represented by a single octet" (RFC 2409 appendix B).
func (k *keys) cipherKey(n int) ipsec.Secret {
	if n <= len(k.e) {
		return slices.Clone(k.e[:n])
	}
	var ka []byte
	for last := []byte{0}; len(ka) < n; ka = append(ka, last...) {
		last = k.prf.Sum(k.e, last)
	}
	return ka[:n:n]
}

// hashI and hashR are the proofs that an end knows the pre-shared key (RFC 2409 section 5):
//
//	HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b )
//	HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b )
func (k *keys) hashI(gxi, gxr []byte, spiI, spiR uint64, sai, id []byte) []byte {
	return k.prf.Sum(k.skeyid, gxi, gxr, u64(spiI), u64(spiR), sai, id)
}

func (k *keys) hashR(gxi, gxr []byte, spiI, spiR uint64, sai, id []byte) []byte {
	return k.prf.Sum(k.skeyid, gxr, gxi, u64(spiR), u64(spiI), sai, id)
}

// firstIV is the IV of the first encrypted message of phase 1: "a hash of a
// concatenation of the initiator's public Diffie-Hellman value and the
// responder's public Diffie-Hellman value" (RFC 2409 appendix B).
func (k *keys) firstIV(gxi, gxr []byte) []byte {
	return k.prf.Hash(gxi, gxr)[:k.block.BlockSize()]
}

// nextIV is the IV of the first message of a later exchange: "a hash of a
// concatenation of the last phase 1 CBC output block and the phase 2 message id".
func (k *keys) nextIV(last []byte, id uint32) []byte {
	return k.prf.Hash(last, u32(id))[:k.block.BlockSize()]
}

// hash1, hash2 and hash3 authenticate the messages of a quick mode, and hash1 also an
// informational exchange (RFC 2409 sections 5.5 and 5.7):
//
//	HASH(1) = prf(SKEYID_a, M-ID | SA | Ni [ | KE ] [ | IDci | IDcr )
//	HASH(2) = prf(SKEYID_a, M-ID | Ni_b | SA | Nr [ | KE ] [ | IDci | IDcr )
//	HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b)
//
// rest is the payloads behind the HASH payload.
func (k *keys) hash1(id uint32, rest ...[]byte) []byte {
	return k.prf.Sum(k.a, append([][]byte{u32(id)}, rest...)...)
}

func (k *keys) hash2(id uint32, ni []byte, rest ...[]byte) []byte {
	return k.prf.Sum(k.a, append([][]byte{u32(id), ni}, rest...)...)
}

func (k *keys) hash3(id uint32, ni, nr []byte) []byte {
	return k.prf.Sum(k.a, []byte{0}, u32(id), ni, nr)
}

// childKeys are the keys of one half of a Child SA, with the SPI that its receiver
// chose (RFC 2409 section 5.5), encryption before integrity:
//
//	KEYMAT = K1 | K2 | K3 | ...
//
//	K1 = prf(SKEYID_d, [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
//	K2 = prf(SKEYID_d, K1 | [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
//	K3 = prf(SKEYID_d, K2 | [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
func (k *keys) childKeys(suite ipsec.Suite, shared []byte, spi uint32, ni, nr []byte) ipsec.Keys {
	encr, integ := ipsec.Lookup(suite.Encr).Key, 0
	if a := ipsec.Lookup(suite.Integ); a != nil {
		integ = a.Key
	}
	var mat, last []byte
	for len(mat) < encr+integ {
		last = k.prf.Sum(k.d, last, shared, []byte{byte(ipsec.ProtoESP)}, u32(spi), ni, nr)
		mat = append(mat, last...)
	}
	return ipsec.Keys{Encr: mat[:encr:encr], Integ: mat[encr : encr+integ : encr+integ]}
}

func (k *keys) clear() {
	for _, s := range []ipsec.Secret{k.skeyid, k.d, k.a, k.e, k.key} {
		s.Clear()
	}
}

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
