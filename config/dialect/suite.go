package dialect

import (
	"strings"

	"vpngw/ipsec"
)

// Suite makes proposals of a cloud's words: each of its connections has exactly
// one value of each kind. The hash is that of the PRF too. Extended sequence numbers
// have no word, and are not proposed.
type Suite struct {
	Words   map[string]string // the cloud's words in ours, those that differ
	Version int               // of IKE

	weak Weaknesses
}

// Propose makes the one proposal of an SA, or nothing when a part is not valid, which is
// told already. group is nil where there is none.
func (s *Suite) Propose(c *Check, proto ipsec.Protocol, encr, hash, group *Value) []ipsec.Proposal {
	var names []string
	for _, part := range []*Value{encr, hash, group} {
		if part == nil || part == hash && proto == ipsec.ProtoESP && s.algorithm(encr).AEAD {
			continue
		}
		a := s.algorithm(part)
		if a.Name == "" {
			return nil
		}
		s.weak.Tell(c, part, a.Transform)
		names = append(names, a.Name)
	}
	if proto == ipsec.ProtoIKE && s.Version == 1 && s.algorithm(encr).AEAD {
		c.Fail(encr, Conflict, "IKEv1 cannot protect itself with an AEAD such as AES-GCM; take IKEv2, or a cipher without GCM (ESP may have GCM)")
		return nil
	}
	p, err := ipsec.ParseProposal(proto, strings.Join(names, "-"))
	if err != nil {
		return nil
	}
	return []ipsec.Proposal{p}
}

// algorithm is what v names, or the zero Algorithm.
func (s *Suite) algorithm(v *Value) ipsec.Algorithm {
	name := v.Text()
	if ours, ok := s.Words[name]; ok {
		name = ours
	}
	if a := ipsec.ByName(name); a != nil {
		return *a
	}
	return ipsec.Algorithm{}
}
