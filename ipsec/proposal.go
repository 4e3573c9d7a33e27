package ipsec

import (
	"fmt"
	"slices"
	"strings"
)

// Protocol is an IKE security protocol id (RFC 7296 section 3.3.1).
type Protocol uint8

const (
	ProtoIKE Protocol = 1
	ProtoAH  Protocol = 2
	ProtoESP Protocol = 3
)

// Proposal has alternatives for each transform type, in order of
// preference. It has no SPI: the SPI belongs to the message.
type Proposal struct {
	Transforms []Transform
}

// Suite is a proposal with one algorithm chosen for each type. A zero
// Transform means that the suite has no algorithm of the type.
type Suite struct {
	Encr, PRF, Integ, KE Transform
	ESN                  bool
}

// Of returns the proposal's alternatives of one type.
func (p Proposal) Of(t TransformType) []Transform {
	var out []Transform
	for _, tr := range p.Transforms {
		if tr.Type == t {
			out = append(out, tr)
		}
	}
	return out
}

// ParseProposal reads "aes256gcm16-prfsha384-ecp384" or
// "aes128-aes256-sha256-modp2048". For IKE a PRF that is not named follows the
// integrity algorithm. An IKE proposal needs encryption, PRF and key exchange. Both
// kinds need integrity, except with an AEAD. An ESP proposal may name "esn" and "noesn"; naming
// neither means "noesn".
func ParseProposal(proto Protocol, s string) (Proposal, error) {
	var p Proposal
	for name := range strings.SplitSeq(s, "-") {
		a := ByName(name)
		if a == nil {
			return Proposal{}, fmt.Errorf("proposal %q: no algorithm is called %q", s, name)
		}
		if slices.Contains(p.Transforms, a.Transform) {
			return Proposal{}, fmt.Errorf("proposal %q: it names %q twice", s, name)
		}
		p.Transforms = append(p.Transforms, a.Transform)
	}
	return p.complete(proto, s)
}

func (p Proposal) complete(proto Protocol, s string) (Proposal, error) {
	bad := func(format string, args ...any) (Proposal, error) {
		return Proposal{}, fmt.Errorf("proposal %q: %s", s, fmt.Sprintf(format, args...))
	}
	encr, integ := p.Of(Encr), p.Of(Integ)
	aead := 0
	for _, e := range encr {
		if Lookup(e).AEAD {
			aead++
		}
	}
	switch {
	case len(encr) == 0:
		return bad("it names no encryption algorithm")
	case aead > 0 && aead < len(encr):
		return bad("AES-GCM or ChaCha20-Poly1305 cannot share a proposal with other ciphers; write two proposals")
	case aead == 0 && len(integ) == 0:
		return bad("%s needs an integrity algorithm beside it, such as sha256", encr[0])
	case aead > 0 && len(integ) > 0 && proto == ProtoESP:
		return bad("%s brings its own integrity; leave %s out", encr[0], integ[0])
	}
	if proto == ProtoESP {
		if len(p.Of(PRF)) > 0 {
			return bad("a PRF has no meaning for ESP")
		}
		if len(p.Of(ESN)) == 0 {
			p.Transforms = append(p.Transforms, Transform{ESN, ESNNo, 0})
		}
		return p, nil
	}
	if len(p.Of(ESN)) > 0 {
		return bad("esn has no meaning for IKE")
	}
	if slices.Contains(encr, Transform{Encr, EncrNull, 0}) {
		return bad("IKE must encrypt")
	}
	if len(p.Of(PRF)) == 0 {
		for _, i := range integ {
			p.Transforms = append(p.Transforms, Transform{PRF, prfOf[i.ID], 0})
		}
	}
	if aead > 0 { // "aes256gcm16-sha384-ecp384" names the PRF by its hash
		p.Transforms = slices.DeleteFunc(p.Transforms, func(t Transform) bool { return t.Type == Integ })
	}
	if len(p.Of(PRF)) == 0 {
		return bad("it names no PRF, such as prfsha256")
	}
	if len(p.Of(KE)) == 0 {
		return bad("it names no key exchange group, such as ecp256 or modp2048")
	}
	return p, nil
}

var prfOf = map[uint16]uint16{
	IntegMD5_96: PRFHMACMD5, IntegSHA1_96: PRFHMACSHA1, IntegSHA256_128: PRFHMACSHA256,
	IntegSHA384_192: PRFHMACSHA384, IntegSHA512_256: PRFHMACSHA512,
}

// Equal reports whether p and q have the same transforms in the same order.
func (p Proposal) Equal(q Proposal) bool { return slices.Equal(p.Transforms, q.Transforms) }

// String is p as ParseProposal reads it, with every PRF written out.
func (p Proposal) String() string {
	var names []string
	for _, typ := range [...]TransformType{Encr, Integ, PRF, KE, ESN} {
		for _, t := range p.Of(typ) {
			if t != (Transform{ESN, ESNNo, 0}) || len(p.Of(ESN)) > 1 {
				names = append(names, t.String())
			}
		}
	}
	return strings.Join(names, "-")
}

// Choose picks a suite that offer and own have in common, by own's order of
// algorithms. A type that one side leaves out must be absent, or offered as "none" (0), on
// the other side (RFC 7296 section 3.3.6). Without withKE, Choose ignores key exchange groups. A proposal for ESP without
// a transform for ESN, which RFC 7296 wants and some peers leave out, means sequence numbers of 32 bits.
func (own Proposal) Choose(offer Proposal, withKE bool) (Suite, bool) {
	var s Suite
	for _, f := range [...]struct {
		typ TransformType
		to  *Transform
	}{{Encr, &s.Encr}, {PRF, &s.PRF}, {Integ, &s.Integ}, {KE, &s.KE}} {
		if f.typ == KE && !withKE {
			continue
		}
		a, b := own.Of(f.typ), offer.Of(f.typ)
		t, ok := common(a, b)
		if !ok {
			return Suite{}, false
		}
		*f.to = t
	}
	mine, theirs := own.Of(ESN), offer.Of(ESN)
	if len(mine) > 0 || len(theirs) > 0 {
		t, ok := common(orShort(mine), orShort(theirs))
		if !ok {
			return Suite{}, false
		}
		s.ESN = t.ID == ESNYes
	}
	return s, true
}

// orShort is what a list of ESN transforms means.
func orShort(esn []Transform) []Transform {
	if len(esn) == 0 {
		return []Transform{{ESN, ESNNo, 0}}
	}
	return esn
}

// common is the first transform of a that is in b too. An empty list means "none".
func common(a, b []Transform) (Transform, bool) {
	none := func(t Transform) bool { return t.ID == 0 && t.Type != ESN }
	if len(a) == 0 || len(b) == 0 {
		rest := slices.Concat(a, b)
		return Transform{}, len(rest) == 0 || slices.ContainsFunc(rest, none)
	}
	for _, t := range a {
		if slices.Contains(b, t) {
			if none(t) {
				return Transform{}, true
			}
			return t, true
		}
	}
	return Transform{}, false
}

// Proposal is the suite as a proposal with one algorithm for each type.
func (s Suite) Proposal() Proposal {
	var p Proposal
	for _, t := range [...]Transform{s.Encr, s.PRF, s.Integ, s.KE} {
		if t.Type != 0 {
			p.Transforms = append(p.Transforms, t)
		}
	}
	if s.PRF.Type == 0 { // ESP
		esn := Transform{ESN, ESNNo, 0}
		if s.ESN {
			esn.ID = ESNYes
		}
		p.Transforms = append(p.Transforms, esn)
	}
	return p
}

func (s Suite) String() string { return s.Proposal().String() }

// Weak lists the reasons why algorithms of the suite are weak.
func (s Suite) Weak() []string {
	var out []string
	for _, t := range [...]Transform{s.Encr, s.PRF, s.Integ, s.KE} {
		if w := t.Weak(); w != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}
