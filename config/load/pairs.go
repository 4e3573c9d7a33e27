package load

import (
	"vpngw/config"
	"vpngw/config/dialect"
)

// half is a connection that names its pair.
type half struct {
	entry          *dialect.Value
	at             *dialect.Value // its `pair:`
	*dialect.Draft                // nil: its body is too broken
}

// pairs finds the pairs of connections and gives each connection of a pair its role.
// `pair:` makes a pair of any two connections. Without it, two connections whose dialect
// says so are a pair by their bodies.
func (l *loader) pairs(gateways map[string]*dialect.Value, entries []*dialect.Value, ds []*dialect.Draft) {
	made := map[*dialect.Value][]*dialect.Draft{}
	for _, d := range ds {
		made[d.Entry] = append(made[d.Entry], d)
	}
	var names []string
	halves := map[string][]half{}
	for _, entry := range entries {
		at := entry.Field("pair")
		if !at.OK() {
			continue
		}
		name := at.Text()
		if halves[name] == nil {
			names = append(names, name)
		}
		if made[entry] == nil {
			halves[name] = append(halves[name], half{entry, at, nil})
		}
		for _, d := range made[entry] {
			halves[name] = append(halves[name], half{entry, at, d})
		}
	}
	for _, name := range names {
		hs := halves[name]
		for _, h := range hs {
			if h.Draft != nil {
				h.Pair = name
			}
		}
		if len(hs) == 1 {
			l.Fail(hs[0].at, dialect.Missing, "no other connection is of the pair %q; a pair is two connections, with  pair: %s  beside both", name, name)
			continue
		}
		for _, h := range hs[2:] {
			l.Fail(h.at, dialect.TooMany, "%s and %s are the pair %q already; a pair is two connections", hs[0].entry.Path(), hs[1].entry.Path(), name)
		}
		if len(hs) == 2 && hs[0].Draft != nil && hs[1].Draft != nil {
			l.pair(hs[0], hs[1], activeActive(gateways, hs[0].Draft, hs[1].Draft))
		}
	}
	implied(gateways, ds)
}

// pair checks the two connections of a pair against each other, a before b in the file,
// and gives them their roles. both: their gateways are active-active.
func (l *loader) pair(a, b half, both bool) {
	for _, h := range []half{a, b} {
		if len(h.Tunnels) > 1 {
			l.Fail(h.at, dialect.Conflict, "this connection has two tunnels, active and standby; a pair is two connections with one tunnel each")
		}
	}
	if a.Side != b.Side {
		l.Fail(b.at, dialect.Conflict, "this end of the connection is the %v's, and of connection %q in the same pair the %v's; the sides must agree", b.Side, a.Connection.Name, a.Side)
	}
	if len(a.Tunnels) != 1 || len(b.Tunnels) != 1 {
		return
	}
	if onePeer(a.Draft, b.Draft) {
		l.Fail(b.at, dialect.Conflict, "connection %q of the same pair is between the same ends, so one peer would have both tunnels; a pair needs two peers", a.Connection.Name)
	}
	l.roles(a, b, both)
}

// roles gives a connection without a role the role that the other one leaves: where none is
// given, the first in the file is active. Two tunnels that carry traffic at once may both be active by their bodies, as
// Huawei's answers about an active-active gateway have it: "the value of ha_role can only be master".
func (l *loader) roles(a, b half, both bool) {
	pa, pb := &a.Places[0], &b.Places[0]
	ok := true
	for _, p := range []*dialect.Place{pa, pb} {
		if p.Part == config.Single {
			l.Fail(p.Role, dialect.Conflict, "a connection of a pair is active or standby; write one of these, or leave it out")
			ok = false
		}
	}
	switch first, second := pa.Part, pb.Part; {
	case !ok:
	case first != "" && first == second && !(both && first == config.Active):
		l.Fail(pb.Role, dialect.Conflict, "connection %q of the same pair is %s too; one must be active and one standby", a.Connection.Name, first)
	case first == config.Standby || second == config.Active && first != second:
		a.Tunnels[0].Role, b.Tunnels[0].Role = config.Standby, config.Active
	default:
		a.Tunnels[0].Role, b.Tunnels[0].Role = config.Active, config.Standby
	}
}

// onePeer reports whether the tunnels of two connections are with the same peer, and so
// share an IKE SA.
func onePeer(a, b *dialect.Draft) bool {
	t, u := &a.Tunnels[0], &b.Tunnels[0]
	return t.Remote.Known() && t.PeerKey() == u.PeerKey()
}

// between has the properties that the two connections of a pair without `pair:` share.
type between struct {
	dialect, ends string
	side          config.Side
}

// implied makes the pairs that need no `pair:`. Three connections between the same ends are
// no pair, since nothing says which two of them would be.
func implied(gateways map[string]*dialect.Value, ds []*dialect.Draft) {
	at := map[between][]*dialect.Draft{}
	for _, d := range ds {
		if d.Ends != "" && !d.Entry.Field("pair").Given && len(d.Tunnels) == 1 {
			key := between{d.Dialect, d.Ends, d.Side}
			at[key] = append(at[key], d)
		}
	}
	for _, both := range at {
		if len(both) != 2 || onePeer(both[0], both[1]) {
			continue
		}
		active, standby := both[0], both[1]
		if active.Places[0].Part == config.Standby {
			active, standby = standby, active
		}
		if active.Places[0].Part == config.Standby || standby.Places[0].Part != config.Standby && !activeActive(gateways, active, standby) {
			continue
		}
		// No pair that the file names can have this name, because CheckName allows no plus.
		name := active.Connection.Name + "+" + standby.Connection.Name
		for _, d := range both {
			d.Pair = name
		}
		active.Tunnels[0].Role, standby.Tunnels[0].Role = config.Active, config.Standby
	}
}
