package load

import (
	"fmt"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
)

// names maps the names in use so far to the paths of their connections.
type names struct {
	connections, tunnels, devices map[string]string
}

// entry makes Drafts of the i-th entry, v, of the list of connections: one, or one for each body where the request or
// answer there holds several. It returns nil when it can't.
func (l *loader) entry(v *dialect.Value, i int, env dialect.Env) []*dialect.Draft {
	d, bodyValue := l.dialect(v)
	if d == nil {
		return nil
	}
	if s := v.Field("side"); s.OK() {
		env.Side = sides[s.Text()]
	}
	if !bodyValue.OK() {
		return nil
	}
	bodies := bodyValue.Bodies()
	var out []*dialect.Draft
	tunnels := 0
	for k, b := range bodies {
		if !b.OK() || l.Full() {
			continue
		}
		draft := d.Build(l.Check, b, env)
		if draft == nil {
			continue
		}
		draft.Entry, draft.Body, draft.Before = v, b, tunnels
		tunnels += len(draft.Tunnels)
		what := fmt.Sprintf("%s-%d", d.Name, i+1)
		if len(bodies) > 1 {
			draft.Notes = append(draft.Notes, fmt.Sprintf("one of the %d connections of %s", len(bodies), bodyValue.Path()))
			if own := v.Field("name"); own.OK() {
				what = own.Text()
			}
			what = fmt.Sprintf("%s-%d", what, k+1)
		}
		l.name(v, draft, what, len(bodies) > 1)
		out = append(out, draft)
	}
	for _, draft := range out {
		draft.Among = tunnels
	}
	if !l.oneEach(v, tunnels) {
		return out
	}
	for _, draft := range out {
		l.connection(v, draft)
	}
	return out
}

// connection applies what stands beside a body to its Draft.
func (l *loader) connection(v *dialect.Value, draft *dialect.Draft) {
	var unused, newer []string
	if draft.Before == 0 { // once of what is around several bodies
		unused, newer = draft.Entry.Field(draft.Dialect).Around()
	}
	if unused = append(unused, draft.Body.Unused()...); len(unused) > 0 {
		slices.Sort(unused)
		draft.Notes = append(draft.Notes, strings.Join(slices.Compact(unused), ", ")+": no meaning here")
	}
	const most = 20
	if newer = append(newer, draft.Body.Newer()...); len(newer) > most {
		newer = append(newer[:most], fmt.Sprintf("and %d more", len(newer)-most))
	}
	if len(newer) > 0 {
		draft.Notes = append(draft.Notes, strings.Join(newer, ", ")+": newer than what vpngw knows of these answers, and left out")
	}
	l.tunnelNames(v, draft)
	l.psk(v, draft)
	for i := range draft.Tunnels {
		t := &draft.Tunnels[i]
		l.device(ofTunnel(v.Field("device"), draft.Before+i), v, t)
		l.beside(v, &draft.Places[i], t)
		l.limits(v, &draft.Places[i], t)
		l.port(ofTunnel(v.Field("remote_port"), draft.Before+i), t)
		l.anywhere(v, draft, i)
		l.ends(v, &draft.Places[i], t)
		l.health(v.Field("health"), draft, i)
	}
	for i := range draft.Choices {
		c := &draft.Choices[i]
		c.Kept = string(c.What) + "-" + draft.Tunnels[c.Tunnel].Name
	}
}

// oneEach reports whether a value beside the body that each tunnel has for itself is
// there as often as there are tunnels.
func (l *loader) oneEach(v *dialect.Value, tunnels int) bool {
	for _, name := range []string{"device", "psk_file", "remote_port"} {
		if f := v.Field(name); f.OK() && (dialect.Is[[]*dialect.Value](f) || name == "device") && max(len(f.Items()), 1) != tunnels && tunnels > 0 {
			l.Fail(f, dialect.Ambiguous, "the connection has %d tunnels; give one value for each, in a list", tunnels)
			return false
		}
	}
	return true
}

// tunnelNames gives the tunnels their names, which follow from the connection's.
func (l *loader) tunnelNames(v *dialect.Value, d *dialect.Draft) {
	for i := range d.Tunnels {
		t := &d.Tunnels[i]
		if t.Name = d.Connection.Name; len(d.Tunnels) > 1 {
			t.Name = fmt.Sprintf("%s-%d", t.Name, i+1)
		}
		if first, ok := l.tunnels[t.Name]; ok && first != v.Path() && l.connections[d.Connection.Name] == v.Path() {
			l.Fail(v, dialect.Twice, "a tunnel of %s is called %q already; write another name: beside the body", first, t.Name)
		}
		l.tunnels[t.Name] = v.Path()
	}
}

// partial says what the connection asks for and the daemon does not serve, which
// `partial: true` accepts.
func (l *loader) partial(d *dialect.Draft) {
	v := d.Entry.Field("partial")
	d.Partial = v.Bool()
	if l.Unserved == nil {
		return
	}
	d.Unserved = l.Unserved(d.Connection)
	refused := d.Unserved
	if len(d.Tunnels) == 1 && !d.Entry.Field("pair").Given {
		// Two connections that are a pair by their bodies' ha_role ran before vpngw knew of
		// pairs, so they go on to run; a note says that failover is not served. Who writes
		// `pair:` asks for failover, and must accept that it is not served.
		refused = slices.DeleteFunc(slices.Clone(refused), func(f config.Feature) bool { return f == config.Failover })
	}
	switch {
	case d.Partial && len(d.Unserved) == 0:
		l.Warn(v, dialect.NoEffect, "everything that this connection asks for is served")
	case d.Partial:
	case len(refused) > 0:
		l.WarnRun(d.Body, dialect.Unsupported, "not served yet: %v; to run the connection without, write beside the body  partial: true", refused)
	}
}

// device gives a tunnel the name of its TUN device.
func (l *loader) device(dev, v *dialect.Value, t *config.Tunnel) {
	if !dev.OK() {
		return
	}
	t.Device = dev.Text()
	if first, ok := l.devices[t.Device]; ok {
		l.Fail(dev, dialect.Twice, "%s has this device already", first)
	}
	l.devices[t.Device] = v.Path()
}

// dialect finds the one body of a connection, and the dialect that it is in.
func (l *loader) dialect(v *dialect.Value) (*dialect.Dialect, *dialect.Value) {
	if !v.OK() {
		return nil, nil
	}
	var known, given []string
	var found *dialect.Dialect
	for _, d := range dialects {
		known = append(known, d.Name)
		if v.Field(d.Name).Given {
			given = append(given, d.Name)
			found = d
		}
	}
	switch len(given) {
	case 0:
		l.Fail(v, dialect.Missing, "a body is missing: one of %s", strings.Join(known, ", "))
		return nil, nil
	case 1:
		return found, v.Field(found.Name)
	}
	l.Fail(v, dialect.Conflict, "%s stand here; a connection has one body", strings.Join(given, " and "))
	return nil, nil
}

// name gives the connection its name: the one beside the body, else the body's, else fallback.
// Of several, the one beside the body is a part of fallback.
func (l *loader) name(v *dialect.Value, d *dialect.Draft, fallback string, several bool) {
	own, at := v.Field("name"), v
	switch {
	case own.Given && several:
		d.Connection.Name, at = fallback, own
	case own.Given:
		d.Connection.Name, at = own.Text(), own
	case d.Name.Text() != "":
		at = d.Name
		if d.Connection.Name = config.SafeName(at.Text()); d.Connection.Name != at.Text() {
			l.Warn(at, dialect.Illegal, "called %q here, because names stand in commands and paths; choose another with name: beside the body", d.Connection.Name)
		}
	default:
		d.Connection.Name = fallback
	}
	if first, ok := l.connections[d.Connection.Name]; ok && d.Connection.Name != "" {
		l.Fail(at, dialect.Twice, "%s is called %q already; write name: beside the body", first, d.Connection.Name)
		return
	}
	l.connections[d.Connection.Name] = v.Path()
}
