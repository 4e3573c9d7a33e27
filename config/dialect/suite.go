package dialect

import (
	"strings"

	"vpngw/ipsec"
)

// Suite makes proposals of a cloud's words: each of its connections has exactly
// one value of each kind. The hash is that of the PRF too. Extended sequence numbers
// have no word, and are not proposed.
type Suite struct {
	Words   map[string]string // the cloud's words in ours; "" is a word for nothing
	Version int               // of IKE

	weak Weaknesses
}

// Propose makes the one proposal of an SA, or nothing when a part is not valid, which is told already.
func (s *Suite) Propose(c *Check, proto ipsec.Protocol, encr, hash, group *Value) []ipsec.Proposal {
	var names []string
	for _, part := range []*Value{encr, hash, group} {
		if part == nil {
			return nil
		}
		name, known := s.Words[part.Text()]
		if known && name == "" || part == hash && proto == ipsec.ProtoESP && s.aead(encr) {
			continue
		}
		if !known {
			name = part.Text()
		}
		a := ipsec.ByName(name)
		if a == nil {
			return nil
		}
		s.weak.Tell(c, part, a.Transform)
		names = append(names, name)
	}
	if proto == ipsec.ProtoIKE && s.Version == 1 && s.aead(encr) {
		c.Fail(encr, Conflict, "IKEv1 cannot protect itself with an AEAD such as AES-GCM; take IKEv2, or a cipher without GCM (ESP may have GCM)")
		return nil
	}
	p, err := ipsec.ParseProposal(proto, strings.Join(names, "-"))
	if err != nil {
		return nil
	}
	return []ipsec.Proposal{p}
}

func (s *Suite) aead(encr *Value) bool {
	a := ipsec.ByName(s.Words[encr.Text()])
	return a != nil && a.AEAD
}
