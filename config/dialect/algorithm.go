package dialect

import (
	"net/netip"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// Algorithms turns a cloud's words into proposals: a cloud's body has exactly one value
// of each kind. It warns once of each weak algorithm.
type Algorithms struct {
	// Words maps the cloud's words to our names of algorithms, or to "" for none. A word
	// that is missing here is our name already.
	Words map[string]string
	Weaknesses
}

// Propose makes one proposal of its parts: cipher, hash and group, in any order. The hash
// of an IKE SA serves integrity and PRF. Beside an AEAD, which authenticates by itself,
// the hash serves the PRF alone, and ESP leaves it out. Propose returns nil when a part is
// not valid; its table has reported that.
func (a *Algorithms) Propose(c *Check, proto ipsec.Protocol, parts ...*Value) []ipsec.Proposal {
	var found []*ipsec.Algorithm
	var at []*Value
	aead := false
	for _, part := range parts {
		name, ok := a.Words[part.Text()]
		if !ok {
			name = part.Text()
		}
		if ok && name == "" {
			continue
		}
		alg := ipsec.ByName(name)
		if alg == nil {
			return nil
		}
		aead = aead || alg.AEAD
		found, at = append(found, alg), append(at, part)
	}
	var names []string
	for i, alg := range found {
		name := alg.Name
		if aead && alg.Transform.Type == ipsec.Integ {
			if proto == ipsec.ProtoESP {
				continue
			}
			name = "prf" + name
		}
		a.Tell(c, at[i], alg.Transform)
		names = append(names, name)
	}
	p, err := ipsec.ParseProposal(proto, strings.Join(names, "-"))
	if err != nil {
		return nil
	}
	return []ipsec.Proposal{p}
}

// IKEv1 sets the phase 1 mode of a tunnel whose version is 1, and refuses an AEAD for its
// IKE SA.
func (a *Algorithms) IKEv1(c *Check, t *config.Tunnel, mode, encr *Value) {
	if t.IKEVersion != 1 {
		return
	}
	t.Aggressive = strings.EqualFold(mode.Text(), "aggressive")
	WarnAggressive(c, mode, t.Aggressive)
	name, ok := a.Words[encr.Text()]
	if !ok {
		name = encr.Text()
	}
	if alg := ipsec.ByName(name); alg != nil && alg.AEAD {
		c.Fail(encr, Conflict, "IKEv1 cannot protect itself with an AEAD such as AES-GCM; take IKEv2, or a cipher without GCM (ESP may have GCM)")
	}
}

// Apart checks that the two gateways have different addresses. v has the customer's.
func Apart(c *Check, v *Value, cloud, customer netip.Addr) {
	if cloud.IsValid() && cloud == customer {
		c.Fail(v, Conflict, "the customer gateway and the VPN gateway have the same address, %v", cloud)
	}
}

// End is where the gateway is.
func (g Gateway) End() config.End {
	return config.End{Address: g.Address, Host: g.Host, Any: g.Any, ASN: g.ASN}
}

// EndOf makes one end of a tunnel. Its identity is the value of id, else its own, else its address, which is not known yet where it has a name.
func EndOf(g Gateway, subnets, id *Value) config.End {
	e := g.End()
	e.Subnets = subnets.Prefixes()
	switch {
	case id.Text() != "":
		e.ID = ipsec.ParseIdentity(id.Text())
	case g.ID.Type != 0:
		e.ID = g.ID
	case g.Address.IsValid():
		e.ID = ipsec.IdentityOf(g.Address)
	}
	return e
}

// Liveness is dead peer detection for a cloud whose page gives no numbers: it asks
// only a silent peer, and finds a dead one within a minute.
var Liveness = dpd.Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}

// WarnEndless warns of lifetimes, in seconds, that are 0.
func WarnEndless(c *Check, lifetimes ...*Value) {
	for _, l := range lifetimes {
		if l.OK() && l.Duration() == 0 {
			c.Warn(l, Weak, "0 means that the SA is never rekeyed because of its age")
		}
	}
}

// TagsTwice reports tags with the same key, which stands in the row called key.
func TagsTwice(c *Check, tags *Value, key string) {
	seen := map[string]bool{}
	for _, t := range tags.Items() {
		if !t.OK() {
			continue
		}
		k := t.Field(key)
		if k.OK() && seen[k.Text()] {
			c.Fail(k, Twice, "the tag key %q stands here twice", printable(k.Text()))
		}
		seen[k.Text()] = true
	}
}
