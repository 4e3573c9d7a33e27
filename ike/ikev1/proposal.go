package ikev1

import (
	"math"
	"slices"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Attribute classes and values of phase 1 (RFC 2409 appendix A) and of phase 2
// (RFC 2407 section 4.5), and their names in package ipsec.
const (
	ikeCipher    = 1
	ikeHash      = 2
	ikeAuth      = 3
	ikeGroup     = 4
	ikeLifeType  = 11
	ikeLife      = 12
	ikeKeyLength = 14

	espLifeType  = 1
	espLife      = 2
	espGroup     = 3
	espMode      = 4
	espAuth      = 5
	espKeyLength = 6

	authPSK      = 1
	transformIKE = 1 // KEY_IKE
	lifeSeconds  = 1
	lifeKBytes   = 2
	modeTunnel   = 1
	modeUDP      = 3     // UDP-Encapsulated-Tunnel (RFC 3947 section 5.1)
	modeUDPDraft = 61443 // the same in drafts 02 and 03
)

// defaultLife is what an offer without a lifetime means: "If unspecified, the
// default value shall be assumed to be 28800 seconds (8 hours)" (RFC 2407 section 4.5).
const defaultLife = 28800 * time.Second

var (
	ikeCiphers = map[uint16]uint16{1: ipsec.EncrDES, 5: ipsec.Encr3DES, 7: ipsec.EncrAESCBC}
	ikeHashes  = map[uint16]uint16{1: ipsec.PRFHMACMD5, 2: ipsec.PRFHMACSHA1, 4: ipsec.PRFHMACSHA256, 5: ipsec.PRFHMACSHA384, 6: ipsec.PRFHMACSHA512}
	espAuths   = map[uint16]uint16{1: ipsec.IntegMD5_96, 2: ipsec.IntegSHA1_96, 5: ipsec.IntegSHA256_128, 6: ipsec.IntegSHA384_192, 7: ipsec.IntegSHA512_256}
	hashOf     = map[uint16]uint16{
		ipsec.IntegMD5_96: ipsec.PRFHMACMD5, ipsec.IntegSHA1_96: ipsec.PRFHMACSHA1, ipsec.IntegSHA256_128: ipsec.PRFHMACSHA256,
		ipsec.IntegSHA384_192: ipsec.PRFHMACSHA384, ipsec.IntegSHA512_256: ipsec.PRFHMACSHA512,
	}
	// The transform ids of ESP are those of IKEv2 (RFC 2407 section 4.4.4, RFC 4106 section 8.3).
	espCiphers = []uint16{ipsec.EncrDES, ipsec.Encr3DES, ipsec.EncrNull, ipsec.EncrAESCBC, ipsec.EncrAESGCM16}
	// So are the numbers of the groups. IKEv1 does not have these groups:
	noGroups = []uint16{ipsec.KEX25519}
)

// number is the key of a value in m.
func number(m map[uint16]uint16, value uint16) (uint16, bool) {
	for k, v := range m {
		if v == value {
			return k, true
		}
	}
	return 0, false
}

// maxSuites is the most transforms in an offer: their number has one byte.
const maxSuites = 255

// ikeSuites are the combinations in proposals for phase 1 that IKEv1 can express, in order of
// preference: a cipher that is no AEAD, and one hash for both integrity and PRF.
func ikeSuites(ps []ipsec.Proposal) []ipsec.Suite {
	var out []ipsec.Suite
	for _, p := range ps {
		for _, encr := range p.Of(ipsec.Encr) {
			if _, ok := number(ikeCiphers, encr.ID); !ok {
				continue
			}
			for _, integ := range p.Of(ipsec.Integ) {
				prf := ipsec.Transform{Type: ipsec.PRF, ID: hashOf[integ.ID]}
				if !slices.Contains(p.Transforms, prf) {
					continue
				}
				for _, ke := range p.Of(ipsec.KE) {
					if !slices.Contains(noGroups, ke.ID) {
						out = append(out, ipsec.Suite{Encr: encr, PRF: prf, Integ: integ, KE: ke})
					}
				}
			}
		}
	}
	return out[:min(len(out), maxSuites)]
}

// espSuites are the combinations in ESP proposals that IKEv1 can express. All of them have the
// group of the first, because one offer has one key exchange value; with anyGroup each has its own.
func espSuites(ps []ipsec.Proposal, anyGroup bool) []ipsec.Suite {
	var out []ipsec.Suite
	var group *ipsec.Transform
	for _, p := range ps {
		groups := slices.DeleteFunc(p.Of(ipsec.KE), func(t ipsec.Transform) bool { return slices.Contains(noGroups, t.ID) })
		if len(p.Of(ipsec.KE)) == 0 {
			groups = []ipsec.Transform{{}}
		}
		integs := p.Of(ipsec.Integ)
		if len(integs) == 0 {
			integs = []ipsec.Transform{{}}
		}
		for _, encr := range p.Of(ipsec.Encr) {
			if !slices.Contains(espCiphers, encr.ID) {
				continue
			}
			for _, integ := range integs {
				for _, ke := range groups {
					if ke.ID == 0 {
						ke = ipsec.Transform{} // "none"
					}
					if group == nil {
						group = &ke
					}
					if anyGroup || ke == *group {
						out = append(out, ipsec.Suite{Encr: encr, Integ: integ, KE: ke})
					}
				}
			}
		}
	}
	return out[:min(len(out), maxSuites)]
}

// lifetime is the lifetime in a transform. Zero fields: none.
type lifetime struct {
	time  time.Duration
	bytes uint64
}

// lifeAttributes leaves zero fields out: no attribute says "for ever".
func lifeAttributes(l lifetime, kind, value uint16) []wire.Attribute {
	var out []wire.Attribute
	if n := l.time / time.Second; n > 0 {
		out = append(out, wire.ShortAttribute(kind, lifeSeconds), wire.NumberAttribute(value, uint32(min(n, math.MaxUint32))))
	}
	if n := l.bytes / 1024; n > 0 {
		out = append(out, wire.ShortAttribute(kind, lifeKBytes), wire.NumberAttribute(value, uint32(min(n, math.MaxUint32))))
	}
	return out
}

// offerIKE is the SA payload of phase 1. It has no lifetime in bytes.
func offerIKE(suites []ipsec.Suite, life time.Duration) *wire.SA1 {
	p := wire.Proposal1{Number: 1, Protocol: ipsec.ProtoIKE}
	for i, s := range suites {
		encr, _ := number(ikeCiphers, s.Encr.ID)
		hash, _ := number(ikeHashes, s.PRF.ID)
		attrs := []wire.Attribute{wire.ShortAttribute(ikeCipher, encr)}
		if s.Encr.KeyBits != 0 {
			attrs = append(attrs, wire.ShortAttribute(ikeKeyLength, s.Encr.KeyBits))
		}
		attrs = append(attrs, wire.ShortAttribute(ikeHash, hash), wire.ShortAttribute(ikeGroup, s.KE.ID), wire.ShortAttribute(ikeAuth, authPSK))
		attrs = append(attrs, lifeAttributes(lifetime{time: life}, ikeLifeType, ikeLife)...)
		p.Transforms = append(p.Transforms, wire.Transform1{Number: uint8(i + 1), ID: transformIKE, Attributes: attrs})
	}
	return &wire.SA1{Proposals: []wire.Proposal1{p}}
}

// offerESP is the SA payload of a quick mode: one proposal with all transforms.
func offerESP(spi uint32, suites []ipsec.Suite, life lifetime, mode uint16) *wire.SA1 {
	p := wire.Proposal1{Number: 1, Protocol: ipsec.ProtoESP, SPI: u32(spi)}
	for i, s := range suites {
		attrs := lifeAttributes(life, espLifeType, espLife)
		if s.KE.ID != 0 {
			attrs = append(attrs, wire.ShortAttribute(espGroup, s.KE.ID))
		}
		attrs = append(attrs, wire.ShortAttribute(espMode, mode))
		if auth, ok := number(espAuths, s.Integ.ID); ok && s.Integ.Type != 0 {
			attrs = append(attrs, wire.ShortAttribute(espAuth, auth))
		}
		if s.Encr.KeyBits != 0 {
			attrs = append(attrs, wire.ShortAttribute(espKeyLength, s.Encr.KeyBits))
		}
		p.Transforms = append(p.Transforms, wire.Transform1{Number: uint8(i + 1), ID: uint8(s.Encr.ID), Attributes: attrs})
	}
	return &wire.SA1{Proposals: []wire.Proposal1{p}}
}

// attributes are the attributes of one transform.
type attributes struct {
	values map[uint16]uint16
	life   lifetime
	bad    bool // an attribute is unknown, or comes twice
}

// readAttributes reads attributes of the classes in known, and a lifetime in the classes lifeType and life.
func readAttributes(as []wire.Attribute, lifeType, life uint16, known ...uint16) attributes {
	out := attributes{values: map[uint16]uint16{}}
	var unit uint64
	for _, a := range as {
		n, ok := a.Number()
		if !ok {
			out.bad = true
			continue
		}
		switch {
		case a.Kind == lifeType:
			unit = n
		case a.Kind == life && unit == lifeSeconds:
			out.life.time = time.Duration(min(n, math.MaxUint32)) * time.Second
		case a.Kind == life && unit == lifeKBytes:
			out.life.bytes = min(n, 1<<53) * 1024
		case slices.Contains(known, a.Kind) && n <= math.MaxUint16:
			if _, twice := out.values[a.Kind]; twice {
				out.bad = true
			}
			out.values[a.Kind] = uint16(n)
		default:
			out.bad = true
		}
	}
	return out
}

// cipherOf is an encryption transform; AES without a key length has 128 bits (RFC 3602 section 5.2).
func cipherOf(id, bits uint16) ipsec.Transform {
	t := ipsec.Transform{Type: ipsec.Encr, ID: id, KeyBits: bits}
	if id == ipsec.EncrAESCBC && bits == 0 {
		t.KeyBits = 128
	}
	return t
}

// readIKE reads a transform of phase 1; false: vpngw does not know all of it.
func readIKE(t wire.Transform1) (ipsec.Suite, lifetime, bool) {
	a := readAttributes(t.Attributes, ikeLifeType, ikeLife, ikeCipher, ikeHash, ikeAuth, ikeGroup, ikeKeyLength)
	encr, okE := ikeCiphers[a.values[ikeCipher]]
	prf, okP := ikeHashes[a.values[ikeHash]]
	integ, _ := number(hashOf, prf)
	s := ipsec.Suite{
		Encr:  cipherOf(encr, a.values[ikeKeyLength]),
		PRF:   ipsec.Transform{Type: ipsec.PRF, ID: prf},
		Integ: ipsec.Transform{Type: ipsec.Integ, ID: integ},
		KE:    ipsec.Transform{Type: ipsec.KE, ID: a.values[ikeGroup]},
	}
	return s, a.life, !a.bad && okE && okP && t.ID == transformIKE && a.values[ikeAuth] == authPSK && s.KE.ID != 0
}

// readESP reads a transform of phase 2.
func readESP(t wire.Transform1) (s ipsec.Suite, mode uint16, life lifetime, ok bool) {
	a := readAttributes(t.Attributes, espLifeType, espLife, espGroup, espMode, espAuth, espKeyLength)
	s.Encr = cipherOf(uint16(t.ID), a.values[espKeyLength])
	ok = !a.bad && slices.Contains(espCiphers, s.Encr.ID)
	if v, given := a.values[espAuth]; given {
		integ, known := espAuths[v]
		s.Integ = ipsec.Transform{Type: ipsec.Integ, ID: integ}
		ok = ok && known
	}
	if g := a.values[espGroup]; g != 0 {
		s.KE = ipsec.Transform{Type: ipsec.KE, ID: g}
	}
	if mode = a.values[espMode]; mode == 0 {
		mode = modeTunnel
	}
	return s, mode, a.life, ok
}

// choice is the transform of an offer that was taken, and its meaning.
type choice struct {
	proposal  wire.Proposal1 // with this transform only
	suite     ipsec.Suite
	life      lifetime
	transform wire.Transform1
}

// answer is the SA payload with the chosen transform, attribute by attribute as it came: "The
// responder SHOULD retain the Proposal # field in the Proposal payload and the
// Transform # field in each Transform payload of the selected Proposal" (RFC 2408 section 4.2).
func (c *choice) answer(spi []byte) *wire.SA1 {
	p := c.proposal
	p.SPI, p.Transforms = spi, []wire.Transform1{c.transform}
	return &wire.SA1{Proposals: []wire.Proposal1{p}}
}

// protoIPComp is PROTO_IPCOMP (RFC 2407 section 4.4.1).
const protoIPComp = 4

// single are the proposals whose number no other has. Two proposals with one number mean
// "both protocols together", which vpngw does not do; but compression beside ESP is declined by an answer without it.
func single(o *wire.SA1, proto ipsec.Protocol) []wire.Proposal1 {
	count := map[uint8]int{}
	for _, p := range o.Proposals {
		if p.Protocol != protoIPComp {
			count[p.Number]++
		}
	}
	var out []wire.Proposal1
	for _, p := range o.Proposals {
		if p.Protocol == proto && count[p.Number] == 1 {
			out = append(out, p)
		}
	}
	return out
}

// chooseIKE takes the first suite of own that is in the offer.
func chooseIKE(o *wire.SA1, own []ipsec.Suite) (*choice, bool) {
	best, found := len(own), (*choice)(nil)
	for _, p := range single(o, ipsec.ProtoIKE) {
		for _, t := range p.Transforms {
			s, life, ok := readIKE(t)
			if i := slices.Index(own, s); ok && i >= 0 && i < best {
				best, found = i, &choice{proposal: p, suite: s, life: life, transform: t}
			}
		}
	}
	return found, found != nil
}

// chooseESP takes the first suite of own that is in the offer with one of modes.
func chooseESP(o *wire.SA1, own []ipsec.Suite, modes []uint16) (*choice, bool) {
	best, found := len(own), (*choice)(nil)
	for _, p := range single(o, ipsec.ProtoESP) {
		for _, t := range p.Transforms {
			s, mode, life, ok := readESP(t)
			if i := slices.Index(own, s); ok && i >= 0 && i < best && slices.Contains(modes, mode) {
				best, found = i, &choice{proposal: p, suite: s, life: life, transform: t}
			}
		}
	}
	return found, found != nil
}

// offered are the transforms of an offer as proposals, for a sentence.
func offered(o *wire.SA1, proto ipsec.Protocol) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, p := range o.Proposals {
		for _, t := range p.Transforms {
			var s ipsec.Suite
			if proto == ipsec.ProtoIKE {
				s, _, _ = readIKE(t)
			} else {
				s, _, _, _ = readESP(t)
			}
			out = append(out, s.Proposal())
		}
	}
	return out
}
