package native

import (
	"slices"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// version1 checks that IKEv1, where t may speak it, has what the body asks for.
func version1(c *dialect.Check, v *dialect.Value, t *config.Tunnel) {
	mode := v.Field("mode")
	if t.IKEVersion == 2 {
		if mode.Given {
			c.Warn(mode, dialect.NoEffect, "it belongs to IKEv1; this connection is IKEv2")
		}
		t.Aggressive = false
		return
	}
	dialect.WarnAggressive(c, mode, t.Aggressive)
	ike, esp := v.Field("ike"), v.Field("esp")
	if t.IKEVersion == 0 { // each version uses the proposals that it can say
		for _, p := range t.IKEProposals {
			if q := inV1(p); len(q.Of(ipsec.KE)) > 0 && unsayable(q) == "" {
				return
			}
		}
		c.Fail(ike.Field("proposals"), dialect.Conflict, "none of the proposals can be said in IKEv1, which ike_version any is to answer as well: %s", unsayable(t.IKEProposals[0]))
		return
	}
	t.IKEProposals = sayable(c, ike.Field("proposals"), t.IKEProposals)
	t.ESPProposals = sayable(c, esp.Field("proposals"), t.ESPProposals)
	if esp.Field("esn").Text() == "yes" {
		c.Fail(esp.Field("esn"), dialect.Conflict, "IKEv1 has no extended sequence numbers; write no, or leave it out")
	}
	for i, item := range esp.Field("proposals").Items() {
		if p := dialect.Data[ipsec.Proposal](item); i < len(t.ESPProposals) && len(p.Of(ipsec.ESN)) == 1 && p.Of(ipsec.ESN)[0].ID == ipsec.ESNYes {
			c.Fail(item, dialect.Conflict, "IKEv1 has no extended sequence numbers; leave esn out")
		}
	}
	for i := range t.ESPProposals {
		t.ESPProposals[i].Transforms = slices.DeleteFunc(slices.Clone(t.ESPProposals[i].Transforms), func(tr ipsec.Transform) bool {
			return tr == ipsec.Transform{Type: ipsec.ESN, ID: ipsec.ESNYes}
		})
	}
	for _, l := range []*dialect.Value{ike.Field("lifetime"), esp.Field("lifetime")} {
		if l.OK() && l.Duration() == 0 {
			c.Warn(l, dialect.Weak, "0 means that this end never rekeys because of the SA's age; IKEv1 cannot say so, and the peer may take it for 8 hours")
		}
	}
}

// sayable are the proposals that IKEv1 can say. A given proposal that it can't say is an
// error; of the defaults the rest remains.
func sayable(c *dialect.Check, v *dialect.Value, ps []ipsec.Proposal) []ipsec.Proposal {
	var out []ipsec.Proposal
	items := v.Items()
	for i, p := range ps {
		if !v.Given { // the defaults have alternatives of each kind
			p = inV1(p)
		}
		why := unsayable(p)
		switch {
		case why == "":
			out = append(out, p)
		case v.Given && i < len(items):
			c.Fail(items[i], dialect.Conflict, "%s", why)
		}
	}
	return out
}

// notInV1 are algorithms that IKEv1 has no number for.
var notInV1 = map[ipsec.Transform]string{
	{Type: ipsec.KE, ID: ipsec.KEX25519}:               "IKEv1 has no group x25519; take ecp256 or modp2048",
	{Type: ipsec.Encr, ID: ipsec.EncrChaCha20Poly1305}: "IKEv1 has no ChaCha20-Poly1305",
}

// inV1 is a proposal without the algorithms that IKEv1 has no number for.
func inV1(p ipsec.Proposal) ipsec.Proposal {
	return ipsec.Proposal{Transforms: slices.DeleteFunc(slices.Clone(p.Transforms), func(t ipsec.Transform) bool { return notInV1[t] != "" })}
}

// unsayable is why IKEv1 cannot say a proposal, or empty.
func unsayable(p ipsec.Proposal) string {
	for _, t := range p.Transforms {
		if a := ipsec.Lookup(t); len(p.Of(ipsec.PRF)) > 0 && a != nil && a.AEAD {
			return a.Name + ": IKEv1 cannot protect itself with an AEAD such as AES-GCM; take a cipher and a hash, such as aes128-sha256-modp2048 (ESP may have AES-GCM)"
		}
		if why := notInV1[t]; why != "" {
			return why
		}
	}
	if integ, prf := p.Of(ipsec.Integ), p.Of(ipsec.PRF); len(prf) > 0 {
		same := slices.ContainsFunc(integ, func(i ipsec.Transform) bool {
			q, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128-"+i.String()+"-modp2048")
			return err == nil && slices.Contains(prf, q.Of(ipsec.PRF)[0])
		})
		if !same {
			return "IKEv1 has one hash for both integrity and PRF; leave the PRF out"
		}
	}
	return ""
}
