package ikev2

import (
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// keys are the seven secrets of an IKE SA (RFC 7296 section 2.14), with the PRF and
// the ciphers that use them.
type keys struct {
	prf        *sa.PRF
	d          ipsec.Secret // SK_d, from which the keys of Child SAs and of the successor are derived
	ai, ar     ipsec.Secret
	ei, er     ipsec.Secret
	pi, pr     ipsec.Secret
	fromI, toI *sa.Cipher // for the messages of the original initiator, and for the messages to it
}

// deriveKeys splits prf+(SKEYSEED, Ni | Nr | SPIi | SPIr):
//
//	{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr}
func deriveKeys(suite ipsec.Suite, seed, ni, nr []byte, spiI, spiR uint64) (*keys, error) {
	prf, err := sa.NewPRF(suite.PRF)
	if err != nil {
		return nil, err
	}
	var integ int
	if a := ipsec.Lookup(suite.Integ); a != nil {
		integ = a.Key
	}
	encr := ipsec.Lookup(suite.Encr).Key
	k := &keys{prf: prf}
	stream := prf.Plus(seed, concat(ni, nr, u64(spiI), u64(spiR)), 3*prf.KeySize()+2*integ+2*encr)
	take := func(n int) ipsec.Secret {
		out := ipsec.Secret(stream[:n:n])
		stream = stream[n:]
		return out
	}
	k.d = take(prf.KeySize())
	k.ai, k.ar = take(integ), take(integ)
	k.ei, k.er = take(encr), take(encr)
	k.pi, k.pr = take(prf.KeySize()), take(prf.KeySize())
	if k.fromI, err = sa.NewCipher(suite, k.ei, k.ai); err != nil {
		return nil, err
	}
	k.toI, err = sa.NewCipher(suite, k.er, k.ar)
	return k, err
}

// firstKeys derives the keys of IKE_SA_INIT, with SKEYSEED = prf(Ni | Nr, g^ir). It
// clears shared.
func firstKeys(suite ipsec.Suite, shared, ni, nr []byte, spiI, spiR uint64) (*keys, error) {
	defer clear(shared)
	prf, err := sa.NewPRF(suite.PRF)
	if err != nil {
		return nil, err
	}
	seed := prf.Sum(concat(ni, nr), shared)
	defer clear(seed)
	return deriveKeys(suite, seed, ni, nr, spiI, spiR)
}

// nextKeys derives the keys of the successor, with SKEYSEED = prf(SK_d (old), g^ir
// (new) | Ni | Nr) by the old SA's PRF (RFC 7296 section 2.18). It clears shared.
func (k *keys) nextKeys(suite ipsec.Suite, shared, ni, nr []byte, spiI, spiR uint64) (*keys, error) {
	defer clear(shared)
	seed := k.prf.Sum(k.d, shared, ni, nr)
	defer clear(seed)
	return deriveKeys(suite, seed, ni, nr, spiI, spiR)
}

// childKeys is KEYMAT = prf+(SK_d, [ g^ir (new) | ] Ni | Nr), for the initiator's
// direction first, encryption before integrity (RFC 7296 section 2.17).
func (k *keys) childKeys(suite ipsec.Suite, shared, ni, nr []byte) (fromI, toI ipsec.Keys) {
	encr := ipsec.Lookup(suite.Encr).Key
	integ := 0
	if a := ipsec.Lookup(suite.Integ); a != nil {
		integ = a.Key
	}
	mat := k.prf.Plus(k.d, concat(shared, ni, nr), 2*(encr+integ))
	take := func(n int) ipsec.Secret {
		out := ipsec.Secret(mat[:n:n])
		mat = mat[n:]
		return out
	}
	fromI = ipsec.Keys{Encr: take(encr), Integ: take(integ)}
	toI = ipsec.Keys{Encr: take(encr), Integ: take(integ)}
	return fromI, toI
}

// pskAuth is AUTH = prf(prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)
// with the signed octets of RFC 7296 section 2.15: the message, the other end's
// nonce, and prf(SK_p, RestOfIDPayload).
func (k *keys) pskAuth(psk ipsec.Secret, message, nonce []byte, skp ipsec.Secret, id *wire.ID) []byte {
	inner := k.prf.Sum(psk, []byte("Key Pad for IKEv2"))
	defer clear(inner)
	return k.prf.Sum(inner, message, nonce, k.prf.Sum(skp, id.Body()))
}

func (k *keys) clear() {
	for _, s := range []ipsec.Secret{k.d, k.ai, k.ar, k.ei, k.er, k.pi, k.pr} {
		s.Clear()
	}
}
