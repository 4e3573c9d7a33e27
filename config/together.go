package config

import (
	"fmt"
	"net/netip"
	"reflect"

	"vpngw/config/dialect"
)

// maxCompared bounds the comparisons of subnets, which are quadratic in the
// connections that share an IKE SA.
const maxCompared = 20_000_000

// together holds connections against each other. An IKE SA belongs to the
// addresses and identities of its ends: connections that have these in common share
// one, and must agree about it; and what they select must differ, or a
// packet or a request of the peer could belong to either. A cloud can be stricter
// and demand the same of all connections between the same two gateways.
func (l *loader) together(ds []*dialect.Draft) {
	budget := maxCompared
	gateways, shared := map[string][]*dialect.Draft{}, map[string][]*dialect.Draft{}
	mains := map[netip.Addr][]*dialect.Draft{}
	for _, d := range ds {
		t := &d.Tunnels[0]
		addresses := fmt.Sprintf("%v %v", t.Local.Address, t.Remote.Address)
		ids := fmt.Sprintf("%s %q %q", addresses, t.Local.ID, t.Remote.ID)
		if codes := sameGateways(d); codes != nil {
			key := d.Dialect + " " + addresses
			l.join(d, gateways[key], codes, &budget)
			gateways[key] = append(gateways[key], d)
		}
		if t.IKEVersion != 2 && !t.Aggressive {
			mains[t.Remote.Address] = l.mainKey(d, mains[t.Remote.Address])
		}
		l.join(d, shared[ids], nil, &budget)
		shared[ids] = append(shared[ids], d)
		if l.Full() {
			return
		}
	}
	if budget < 0 {
		l.Add(Problem{
			Severity: Error, Code: "vpngw.connections.too-many", Path: "connections", File: l.main,
			Message: "too many connections with too many subnets share an IKE SA to be held against each other",
		})
	}
}

// mainKey holds d against the connections of main mode with the same peer address, one
// of each address of ours, and adds it to them: "the key can only be identified by the
// IP address of the peers" (RFC 2409 section 5.4).
func (l *loader) mainKey(d *dialect.Draft, others []*dialect.Draft) []*dialect.Draft {
	t := &d.Tunnels[0]
	for _, o := range others {
		u := &o.Tunnels[0]
		if a, b := t.Local.Address, u.Local.Address; a.IsValid() && b.IsValid() && a != b {
			continue
		}
		if !t.PSK.Equal(u.PSK) {
			at := d.Places[0].PSK
			if at == nil || !at.Given {
				at = d.Places[0].IKE
			}
			l.Fail(at, dialect.Conflict, "connection %q has another pre-shared key for the same peer address, %v: main mode of IKEv1 finds the key by the address alone, so it must be the same (or take aggressive mode or IKEv2)",
				o.Connection.Name, t.Remote.Address)
		}
		return others
	}
	return append(others, d)
}

func sameGateways(d *dialect.Draft) *dialect.SameGateways {
	for _, known := range dialects {
		if known.Name == d.Dialect {
			return known.Same
		}
	}
	return nil
}

// join holds d against the connections that it joins. codes are a cloud's, for
// connections of its dialect between the same gateways; with nil the rule is ours.
func (l *loader) join(d *dialect.Draft, others []*dialect.Draft, codes *dialect.SameGateways, budget *int) {
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
	a, b := &first.Tunnels[0], &d.Tunnels[0]
	covered := codes == &ours && first.Dialect == d.Dialect && sameGateways(d) != nil // by the cloud's rule
	if what := differ(a, b); what != "" && !covered {
		fail(d.Places[0].IKE, codes.DifferentIKE, "the %s differs from that of connection %q, which is between the same ends and shares its IKE SA", what, first.Connection.Name)
	}
	if codes == &ours {
		l.agree(d, first)
	}
	for _, o := range others {
		t := &o.Tunnels[0]
		if codes == &ours && o.Dialect == d.Dialect && sameGateways(d) != nil {
			continue
		}
		if *budget -= len(t.Local.Subnets)*len(b.Local.Subnets) + len(t.Remote.Subnets)*len(b.Remote.Subnets); *budget < 0 {
			return
		}
		if anyOverlap(t.Local.Subnets, b.Local.Subnets) && anyOverlap(t.Remote.Subnets, b.Remote.Subnets) {
			fail(d.Places[0].Subnets, codes.Overlap, "its subnets overlap with those of connection %q, which is between the same ends", o.Connection.Name)
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

// agree makes d take over from first what is the shared IKE SA's and no error
// to have otherwise, with a warning.
func (l *loader) agree(d, first *dialect.Draft) {
	a, b := &first.Tunnels[0], &d.Tunnels[0]
	take := func(same bool, what, word string) {
		if !same {
			if d.Taken == nil {
				d.Taken = map[string]string{}
			}
			d.Taken[word] = first.Connection.Name
			l.Warn(d.Places[0].IKE, dialect.Conflict, "the %s is taken from connection %q, with which it shares its IKE SA", what, first.Connection.Name)
		}
	}
	take(a.NATT == b.NATT, "NAT traversal setting", "NAT traversal")
	take(a.Encap == b.Encap, "encap setting", "ESP encapsulation")
	take(a.DPD == b.DPD, "dead peer detection", "dead peer detection")
	b.NATT, b.Encap, b.DPD = a.NATT, a.Encap, a.DPD
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
