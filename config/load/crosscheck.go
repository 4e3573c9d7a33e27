package load

import (
	"net/netip"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// maxCompared bounds the comparisons of subnets, whose number is quadratic in the
// connections that share an IKE SA.
const maxCompared = 20_000_000

// member is a tunnel among those of all connections.
type member struct {
	*dialect.Draft
	i int
}

func (m member) tunnel() *config.Tunnel { return &m.Tunnels[m.i] }
func (m member) place() *dialect.Place  { return &m.Places[m.i] }

// gatewayPair is the two gateways of a tunnel. A cloud's rules hold among the
// connections of its dialect.
type gatewayPair struct {
	dialect       string
	local, remote netip.Addr
	host          string
}

// place is where a peer is: an address, or a name.
type place struct {
	address netip.Addr
	host    string
}

// crossCheck checks tunnels against each other. Tunnels that share an IKE SA must agree
// about it. What they select must differ, or a packet or a request of the peer could
// belong to either. A cloud can be stricter and demand the same of all connections between
// the same two gateways.
func (l *loader) crossCheck(ds []*dialect.Draft) {
	budget := maxCompared
	gateways, shared := map[gatewayPair][]member{}, map[sa.PeerKey][]member{}
	mains := map[place][]member{}
	strangers := map[ipsec.Identity][]member{}
	blocks := map[netip.Prefix]member{}
	for _, d := range ds {
		for i := range d.Tunnels {
			m := member{d, i}
			t := m.tunnel()
			if !l.apartFromAnywhere(m, strangers, &budget) {
				continue
			}
			if rules := DialectOf(d.Dialect).Same; rules != nil && !t.Remote.Any {
				key := gatewayPair{d.Dialect, t.Local.Address, t.Remote.Address, t.Remote.Host}
				l.cloudRules(m, gateways[key], rules, &budget)
				gateways[key] = append(gateways[key], m)
			}
			if t.IKEVersion != 2 && !t.Aggressive {
				at := place{t.Remote.Address, t.Remote.Host}
				mains[at] = l.mainKey(m, mains[at])
			}
			key := t.PeerKey()
			l.shareIKE(m, shared[key], &budget)
			shared[key] = append(shared[key], m)
			l.block(m, blocks)
			if l.Full() {
				return
			}
		}
	}
	if budget < 0 {
		l.Add(diag.Problem{
			Severity: diag.Error, Code: "vpngw.connections.too-many", Path: "connections", File: l.main,
			Message: "too many connections with too many subnets share an IKE SA to compare them all",
		})
	}
}

// cloudRules checks m against the others of its cloud between the same two gateways.
func (l *loader) cloudRules(m member, others []member, rules *dialect.SameGateways, budget *int) {
	if len(others) == 0 {
		return
	}
	sameKey(m, others[0])
	if rules.DifferentIKE != "" {
		l.sameIKE(m, others[0], rules.DifferentIKE)
	}
	l.apart(m, others, rules.Overlap, budget)
}

// shareIKE checks m against the others of its IKE SA.
func (l *loader) shareIKE(m member, others []member, budget *int) {
	if len(others) == 0 {
		return
	}
	first, rules := others[0], DialectOf(m.Dialect).Same
	sameKey(m, first)
	// A cloud's rule for the same two gateways has covered this too.
	if rules == nil || first.Dialect != m.Dialect || rules.DifferentIKE == "" {
		l.sameIKE(m, first, "")
	}
	l.takeOver(m, first)
	if rules != nil {
		var rest []member
		for _, o := range others {
			if o.Dialect != m.Dialect {
				rest = append(rest, o)
			}
		}
		others = rest
	}
	l.apart(m, others, "", budget)
}

// failCode is Fail with a cloud's code, if there is one.
func (l *loader) failCode(at *dialect.Value, code, format string, args ...any) {
	if code == "" {
		l.Fail(at, dialect.Conflict, format, args...)
	} else {
		l.FailCode(at, code, format, args...)
	}
}

// adopted are the settings of an IKE SA that a tunnel takes over from the first one that
// shares it, each with its name for people, the parameter of explain that shows it, and how
// it is taken. To have any other setting differ is an error.
var adopted = map[string]struct {
	name, word string
	take       func(t, from *config.Tunnel)
}{
	"NAT traversal setting": {"NAT traversal setting", "NAT traversal", func(t, from *config.Tunnel) { t.NATT = from.NATT }},
	"encap":                 {"encap setting", "ESP encapsulation", func(t, from *config.Tunnel) { t.Encap = from.Encap }},
	"DPD settings":          {"dead peer detection", "dead peer detection", func(t, from *config.Tunnel) { t.DPD = from.DPD }},
}

// singular are the settings whose names for people are plural, which a sentence here
// speaks of as one.
var singular = map[string]string{"IKE proposals": "set of IKE proposals"}

// differ names a setting of the IKE SA in which two tunnels may not differ, and do.
func differ(a, b *config.Tunnel) string {
	s, t := a.Settings(), b.Settings()
	for _, name := range s.Diff(&t) {
		if _, ok := adopted[name]; ok {
			continue
		}
		if one := singular[name]; one != "" {
			return one
		}
		return name
	}
	switch k, l := a.PeerKey(), b.PeerKey(); {
	case k.LocalID != l.LocalID:
		return "identity of this end"
	case k.RemoteID != l.RemoteID:
		return "identity of the other end"
	}
	return ""
}

// sameIKE wants m to have the IKE settings of first.
func (l *loader) sameIKE(m, first member, code string) {
	if what := differ(first.tunnel(), m.tunnel()); what != "" {
		l.failCode(m.place().IKE, code, "the %s differs from that of connection %q, which is between the same ends and shares its IKE SA", what, first.Connection.Name)
	}
}

// takeOver makes m take over from first the adopted settings, with a warning.
func (l *loader) takeOver(m, first member) {
	s, t := first.tunnel().Settings(), m.tunnel().Settings()
	for _, name := range s.Diff(&t) {
		a, ok := adopted[name]
		if !ok {
			continue
		}
		a.take(m.tunnel(), first.tunnel())
		if m.Taken == nil {
			m.Taken = map[string]string{}
		}
		m.Taken[a.word] = first.Connection.Name
		l.Warn(m.place().IKE, dialect.Conflict, "the %s is taken from connection %q, with which it shares its IKE SA", a.name, first.Connection.Name)
	}
}

// apart wants m to select no packet that one of the others selects.
func (l *loader) apart(m member, others []member, code string, budget *int) {
	b := m.tunnel()
	for _, o := range others {
		t := o.tunnel()
		if *budget -= len(t.Local.Subnets)*len(b.Local.Subnets) + len(t.Remote.Subnets)*len(b.Remote.Subnets) + len(t.Pairs)*len(b.Pairs); *budget < 0 {
			return
		}
		if t.Overlaps(b) {
			l.failCode(m.place().Subnets, code, "its subnets overlap with those of connection %q, which is between the same ends", o.Connection.Name)
			return
		}
	}
}

// block wants the block that m's addresses in the tunnel are in to be no other tunnel's.
// A cloud can have a code for that, when both end at one gateway of its.
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
	rules := DialectOf(m.Dialect).Same
	if rules != nil && rules.Inside != "" && o.Dialect == m.Dialect && m.place().Gateway.Text() != "" && m.place().Gateway.Text() == o.place().Gateway.Text() {
		l.FailCode(m.place().Inside, rules.Inside, says, o.tunnel().Name)
		return
	}
	at := m.place().Inside
	if at == nil {
		at = m.place().IKE
	}
	l.WarnRun(at, dialect.Twice, says, o.tunnel().Name)
}

// mainKey checks m against the tunnels of main mode with the same peer address, others,
// which has one for each address of ours, and returns others with m: "the key can only be
// identified by the IP address of the peers" (RFC 2409 section 5.4).
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
			if t.Remote.Any {
				l.Fail(at, dialect.Conflict, "connection %q has another pre-shared key, and its peer may come from anywhere too: main mode of IKEv1 takes the key before it knows the peer, so all such peers need the same key (or take aggressive mode or IKEv2)",
					o.Connection.Name)
				return others
			}
			l.Fail(at, dialect.Conflict, "connection %q has another pre-shared key for the same peer address, %v: main mode of IKEv1 finds the key by the address alone, so it must be the same (or take aggressive mode or IKEv2)",
				o.Connection.Name, t.Remote.Where())
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
