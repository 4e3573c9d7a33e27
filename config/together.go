package config

import (
	"fmt"
	"net/netip"
	"reflect"

	"vpngw/config/dialect"
	"vpngw/diag"
)

// maxCompared bounds the comparisons of subnets, which are quadratic in the
// connections that share an IKE SA.
const maxCompared = 20_000_000

// member is a tunnel among those of all connections.
type member struct {
	*dialect.Draft
	i int
}

func (m member) tunnel() *Tunnel       { return &m.Tunnels[m.i] }
func (m member) place() *dialect.Place { return &m.Places[m.i] }

// together holds tunnels against each other. An IKE SA belongs to the
// addresses and identities of its ends: tunnels that have these in common share
// one, and must agree about it; and what they select must differ, or a
// packet or a request of the peer could belong to either. A cloud can be stricter
// and demand the same of all connections between the same two gateways.
func (l *loader) together(ds []*dialect.Draft) {
	budget := maxCompared
	gateways, shared := map[string][]member{}, map[string][]member{}
	mains := map[netip.Addr][]member{}
	blocks := map[netip.Prefix]member{}
	for _, d := range ds {
		for i := range d.Tunnels {
			m := member{d, i}
			t := m.tunnel()
			addresses := fmt.Sprintf("%v %v", t.Local.Address, t.Remote.Address)
			ids := fmt.Sprintf("%s %q %q", addresses, t.Local.ID, t.Remote.ID)
			if codes := sameGateways(d); codes != nil {
				key := d.Dialect + " " + addresses
				l.join(m, gateways[key], codes, &budget)
				gateways[key] = append(gateways[key], m)
			}
			if t.IKEVersion != 2 && !t.Aggressive {
				mains[t.Remote.Address] = l.mainKey(m, mains[t.Remote.Address])
			}
			l.join(m, shared[ids], nil, &budget)
			shared[ids] = append(shared[ids], m)
			l.block(m, blocks)
			if l.Full() {
				return
			}
		}
	}
	if budget < 0 {
		l.Add(diag.Problem{
			Severity: diag.Error, Code: "vpngw.connections.too-many", Path: "connections", File: l.main,
			Message: "too many connections with too many subnets share an IKE SA to be held against each other",
		})
	}
}

// block wants the addresses in m's tunnel to be no other tunnel's. A cloud can have a code
// for that, when both end at one gateway of its.
func (l *loader) block(m member, blocks map[netip.Prefix]member) {
	inside := m.tunnel().Inside
	if !inside.IsValid() {
		return
	}
	o, taken := blocks[inside.Masked()]
	if !taken {
		blocks[inside.Masked()] = m
		return
	}
	const says = "the addresses of tunnel %q are in this block too; each tunnel needs one of its own"
	codes := sameGateways(m.Draft)
	if codes != nil && codes.Inside != "" && o.Dialect == m.Dialect && m.place().Gateway.Text() != "" && m.place().Gateway.Text() == o.place().Gateway.Text() {
		l.FailCode(m.place().Inside, codes.Inside, says, o.tunnel().Name)
		return
	}
	at := m.place().Inside
	if at == nil {
		at = m.place().IKE
	}
	l.WarnRun(at, dialect.Twice, says, o.tunnel().Name)
}

// mainKey holds m against the tunnels of main mode with the same peer address, one
// of each address of ours, and adds it to them: "the key can only be identified by the
// IP address of the peers" (RFC 2409 section 5.4).
func (l *loader) mainKey(m member, others []member) []member {
	t := m.tunnel()
	for _, o := range others {
		u := o.tunnel()
		if a, b := t.Local.Address, u.Local.Address; a.IsValid() && b.IsValid() && a != b {
			continue
		}
		sameKey(m, o)
		if !t.PSK.Equal(u.PSK) {
			at := m.place().PSK
			if at == nil || !at.Given {
				at = m.place().IKE
			}
			l.Fail(at, dialect.Conflict, "connection %q has another pre-shared key for the same peer address, %v: main mode of IKEv1 finds the key by the address alone, so it must be the same (or take aggressive mode or IKEv2)",
				o.Connection.Name, t.Remote.Address)
		}
		return others
	}
	return append(others, m)
}

// sameKey makes m's key that of first, when this host is to choose both.
func sameKey(m, first member) {
	mine, theirs := choiceOf(m), choiceOf(first)
	if mine != nil && theirs != nil {
		mine.Kept = theirs.Kept
	}
}

func choiceOf(m member) *dialect.Choice {
	for i := range m.Choices {
		if c := &m.Choices[i]; c.What == dialect.ChoosePSK && c.Tunnel == m.i {
			return c
		}
	}
	return nil
}

func sameGateways(d *dialect.Draft) *dialect.SameGateways {
	for _, known := range dialects {
		if known.Name == d.Dialect {
			return known.Same
		}
	}
	return nil
}

// join holds m against the tunnels that it joins. codes are a cloud's, for
// connections of its dialect between the same gateways; with nil the rule is ours.
func (l *loader) join(m member, others []member, codes *dialect.SameGateways, budget *int) {
	if len(others) == 0 {
		return
	}
	fail := func(at *dialect.Value, code, format string, args ...any) {
		if code == "" {
			l.Fail(at, dialect.Conflict, format, args...)
		} else {
			l.FailCode(at, code, format, args...)
		}
	}
	ours := dialect.SameGateways{}
	if codes == nil {
		codes = &ours
	}
	first := others[0]
	a, b := first.tunnel(), m.tunnel()
	sameKey(m, first)
	cloud := sameGateways(m.Draft)
	covered := cloud != nil && first.Dialect == m.Dialect && cloud.DifferentIKE != "" // by the cloud's rule
	if what := differ(a, b); what != "" && (codes != &ours && codes.DifferentIKE != "" || codes == &ours && !covered) {
		fail(m.place().IKE, codes.DifferentIKE, "the %s differs from that of connection %q, which is between the same ends and shares its IKE SA", what, first.Connection.Name)
	}
	if codes == &ours {
		l.agree(m, first)
	}
	for _, o := range others {
		t := o.tunnel()
		if codes == &ours && o.Dialect == m.Dialect && sameGateways(m.Draft) != nil {
			continue
		}
		if *budget -= len(t.Local.Subnets)*len(b.Local.Subnets) + len(t.Remote.Subnets)*len(b.Remote.Subnets) + len(t.Pairs)*len(b.Pairs); *budget < 0 {
			return
		}
		if bothOverlap(t, b) {
			fail(m.place().Subnets, codes.Overlap, "its subnets overlap with those of connection %q, which is between the same ends", o.Connection.Name)
			return
		}
	}
}

// differ names a setting of the IKE SA in which two tunnels differ.
func differ(a, b *Tunnel) string {
	for _, s := range []struct {
		name string
		same bool
	}{
		{"pre-shared key", a.PSK.Equal(b.PSK)},
		{"IKE version", a.IKEVersion == b.IKEVersion},
		{"mode of IKEv1", a.Aggressive == b.Aggressive},
		{"set of IKE proposals", reflect.DeepEqual(a.IKEProposals, b.IKEProposals)},
		{"IKE lifetime", a.IKELifetime == b.IKELifetime},
		{"identity of this end", a.Local.ID == b.Local.ID},
		{"identity of the other end", a.Remote.ID == b.Remote.ID},
	} {
		if !s.same {
			return s.name
		}
	}
	return ""
}

// agree makes m take over from first what is the shared IKE SA's and no error
// to have otherwise, with a warning.
func (l *loader) agree(m, first member) {
	a, b := first.tunnel(), m.tunnel()
	take := func(same bool, what, word string) {
		if !same {
			if m.Taken == nil {
				m.Taken = map[string]string{}
			}
			m.Taken[word] = first.Connection.Name
			l.Warn(m.place().IKE, dialect.Conflict, "the %s is taken from connection %q, with which it shares its IKE SA", what, first.Connection.Name)
		}
	}
	take(a.NATT == b.NATT, "NAT traversal setting", "NAT traversal")
	take(a.Encap == b.Encap, "encap setting", "ESP encapsulation")
	take(a.DPD == b.DPD, "dead peer detection", "dead peer detection")
	b.NATT, b.Encap, b.DPD = a.NATT, a.Encap, a.DPD
}

// bothOverlap reports whether there is a packet that both tunnels select.
func bothOverlap(t, u *Tunnel) bool {
	if !anyOverlap(t.Local.Subnets, u.Local.Subnets) || !anyOverlap(t.Remote.Subnets, u.Remote.Subnets) {
		return false
	}
	if t.Pairs == nil && u.Pairs == nil {
		return true
	}
	for _, p := range t.EachPair() {
		for _, q := range u.EachPair() {
			if p.Local.Overlaps(q.Local) && p.Remote.Overlaps(q.Remote) {
				return true
			}
		}
	}
	return false
}

func anyOverlap(a, b []netip.Prefix) bool {
	for _, p := range a {
		for _, q := range b {
			if p.Overlaps(q) {
				return true
			}
		}
	}
	return false
}
