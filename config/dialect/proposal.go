package dialect

import (
	"strings"

	"vpngw/ipsec"
)

// Proposal is a set of algorithms such as "aes256gcm16-prfsha384-ecp384", and becomes an
// ipsec.Proposal.
type Proposal struct {
	shown
	Proto ipsec.Protocol
}

func (t Proposal) Read(c *Check, v *Value) {
	text := Text{Min: 1, Max: 1000}
	if text.Read(c, v); !v.OK() {
		return
	}
	s := v.Text()
	v.Set(nil)
	for name := range strings.SplitSeq(s, "-") {
		if ipsec.ByName(name) == nil {
			c.Refuse(v, Illegal, name, algorithmNames(), "no algorithm is called %q", name)
			return
		}
	}
	p, err := ipsec.ParseProposal(t.Proto, s)
	if err != nil {
		c.Fail(v, Illegal, "%s", err)
		return
	}
	v.Set(p)
}

func algorithmNames() []string {
	var out []string
	for _, a := range ipsec.Algorithms {
		out = append(out, a.Name)
	}
	return out
}
