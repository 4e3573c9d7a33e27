package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// liveness is dead peer detection where it is wanted and nothing says how.
var liveness = dpd.Config{Interval: 30 * time.Second}

// names are the names and devices in use, each with the path of its connection.
type names map[string]string

// connection makes one entry of the list a connection, or returns nil when it can't.
func (l *loader) connection(v *dialect.Value, i int, env dialect.Env, used names) *dialect.Draft {
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
	draft := d.Build(l.Check, bodyValue, env)
	if draft == nil {
		return nil
	}
	draft.Entry, draft.Body = v, bodyValue
	if unused := bodyValue.Unused(); len(unused) > 0 {
		draft.Notes = append(draft.Notes, strings.Join(unused, ", ")+": no meaning here")
	}
	l.name(v, draft, fmt.Sprintf("%s-%d", d.Name, i+1), used)
	for _, name := range []string{"device", "psk_file"} {
		if f := v.Field(name); f.OK() && (dialect.Is[[]*dialect.Value](f) || name == "device") && max(len(f.Items()), 1) != len(draft.Tunnels) && len(draft.Tunnels) > 0 {
			l.Fail(f, dialect.Ambiguous, "the connection has %d tunnels; give as many, in a list if it is two", len(draft.Tunnels))
			return draft
		}
	}
	for i := range draft.Tunnels {
		t := &draft.Tunnels[i]
		if t.Name = draft.Connection.Name; len(draft.Tunnels) > 1 {
			t.Name = fmt.Sprintf("%s-%d", t.Name, i+1)
		}
		if first, ok := used["tunnel "+t.Name]; ok && first != v.Path() && used["name "+draft.Connection.Name] == v.Path() {
			l.Fail(v, dialect.Twice, "a tunnel of %s is called %q already; write another name: beside the body", first, t.Name)
		}
		used["tunnel "+t.Name] = v.Path()
	}
	l.psk(v, draft)
	for i := range draft.Tunnels {
		t := &draft.Tunnels[i]
		l.device(ofTunnel(v.Field("device"), i), v, t, used)
		l.beside(v, &draft.Places[i], t)
		l.ends(v, &draft.Places[i], t)
	}
	l.partial(v.Field("partial"), bodyValue, draft.Connection)
	for i := range draft.Choices {
		c := &draft.Choices[i]
		c.Kept = string(c.What) + "-" + draft.Tunnels[c.Tunnel].Name
	}
	return draft
}

// partial is about what the connection asks for and vpngw does not serve yet.
func (l *loader) partial(v, body *dialect.Value, c *Connection) {
	what := c.Unserved()
	switch c.Partial = v.Bool(); {
	case c.Partial && len(what) == 0:
		l.Warn(v, dialect.NoEffect, "all that this connection asks for is served")
	case c.Partial:
	case len(what) > 0:
		l.WarnRun(body, dialect.Unsupported, "not served yet: %s; to run the connection without, write beside the body  partial: true", strings.Join(what, ", "))
	}
}

// device gives a tunnel the name of its TUN device.
func (l *loader) device(dev, v *dialect.Value, t *Tunnel, used names) {
	if !dev.OK() {
		return
	}
	t.Device = dev.Text()
	if first, ok := used["device "+t.Device]; ok {
		l.Fail(dev, dialect.Twice, "%s has this device already", first)
	}
	used["device "+t.Device] = v.Path()
}

// dialect finds the one body of a connection.
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
func (l *loader) name(v *dialect.Value, d *dialect.Draft, fallback string, used names) {
	own, at := v.Field("name"), v
	switch {
	case own.Given:
		d.Connection.Name, at = own.Text(), own
	case d.Name.Text() != "":
		at = d.Name
		if d.Connection.Name = safeName(at.Text()); d.Connection.Name != at.Text() {
			l.Warn(at, dialect.Illegal, "called %q here, because names stand in commands and paths; choose another with name: beside the body", d.Connection.Name)
		}
	default:
		d.Connection.Name = fallback
	}
	if first, ok := used["name "+d.Connection.Name]; ok && d.Connection.Name != "" {
		l.Fail(at, dialect.Twice, "%s is called %q already; write name: beside the body", first, d.Connection.Name)
		return
	}
	used["name "+d.Connection.Name] = v.Path()
}

// safeName is s with a hyphen for everything that a name may not hold.
func safeName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, s)
	if s = strings.TrimLeft(s, "._-"); s == "" {
		return "unnamed"
	}
	return s
}

// beside applies what stands beside the body to a tunnel.
func (l *loader) beside(v *dialect.Value, at *dialect.Place, t *Tunnel) {
	if e := v.Field("encap"); e.OK() {
		t.Encap = Encap(e.Text())
	}
	t.CopyDSCP = v.Field("copy_dscp").Bool()
	if cut := v.Field("sha256_96"); cut.Bool() {
		t.Trunc96 = true
		if !uses(t.ESPProposals, ipsec.Transform{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}) {
			l.Warn(cut, dialect.NoEffect, "no ESP proposal of this connection has HMAC-SHA-256")
		}
	}
	switch d := v.Field("dpd"); {
	case d.OK() && dialect.Data[bool](d):
		if t.DPD == (dpd.Config{}) {
			t.DPD = liveness
		}
	case dialect.Is[bool](d):
		t.DPD = dpd.Config{}
	case d.OK():
		if t.DPD == (dpd.Config{}) {
			t.DPD = liveness
		}
		set(&t.DPD.Interval, d.Field("interval"))
		set(&t.DPD.Timeout, d.Field("timeout"))
		if m := d.Field("message"); m.OK() {
			t.DPD.Order = dpdOrders[m.Text()]
			if t.IKEVersion == 2 {
				l.Warn(m, dialect.NoEffect, "only IKEv1 has messages of this kind; this connection is IKEv2")
			}
		}
	}
	if o := v.Field("lifetime"); o.OK() {
		if f := o.Field("ike"); f.OK() && !isNative(v) && f.Duration() != t.IKELifetime {
			l.Warn(f, dialect.Conflict, "by the body the other end has %v; the lifetimes must agree", t.IKELifetime)
		}
		if f := o.Field("esp"); f.OK() && !isNative(v) && f.Duration() != t.ESPLifetime.Time {
			l.Warn(f, dialect.Conflict, "by the body the other end has %v; the lifetimes must agree", t.ESPLifetime.Time)
		}
		set(&t.IKELifetime, o.Field("ike"))
		set(&t.ESPLifetime.Time, o.Field("esp"))
		set(&t.ESPLifetime.Bytes, o.Field("bytes"))
		set(&t.ESPLifetime.Packets, o.Field("packets"))
	}
	l.allow(v.Field("allow"), at, t)
	l.routes(v.Field("routes"), t)
}

var dpdOrders = map[string]dpd.Order{
	dpd.HashNotify.String(): dpd.HashNotify, dpd.NotifyHash.String(): dpd.NotifyHash,
}

// allow refuses what has to be allowed by name.
func (l *loader) allow(v *dialect.Value, at *dialect.Place, t *Tunnel) {
	allowed := slices.ContainsFunc(v.Items(), func(i *dialect.Value) bool { return i.Text() == allowNull })
	null := uses(t.ESPProposals, ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrNull})
	switch {
	case null && !allowed:
		l.Fail(at.ESP, dialect.Illegal, "NULL does not encrypt at all; if that is what you want, write beside the body  allow: [%s]", allowNull)
	case allowed && !null:
		l.Warn(v, dialect.NoEffect, "no ESP proposal of this connection has NULL encryption")
	}
}

// isNative reports whether a connection's body is our own, which speaks for this end alone.
func isNative(v *dialect.Value) bool { return v.Field(nativeName).Given }

// set changes to when v is given.
func set[T time.Duration | uint64](to *T, v *dialect.Value) {
	switch {
	case dialect.Is[time.Duration](v):
		*to = T(v.Duration())
	case dialect.Is[int64](v):
		*to = T(v.Int())
	}
}

func uses(ps []ipsec.Proposal, t ipsec.Transform) bool {
	return slices.ContainsFunc(ps, func(p ipsec.Proposal) bool { return slices.Contains(p.Transforms, t) })
}

// routes are those listed, or else those of the body, or else the remote subnets without
// the default routes.
func (l *loader) routes(v *dialect.Value, t *Tunnel) {
	if !v.Given {
		if t.Routes != nil {
			return
		}
		for _, p := range t.Remote.Subnets {
			if p.Bits() > 0 && !slices.Contains(t.Routes, p) {
				t.Routes = append(t.Routes, p)
			}
		}
		return
	}
	t.Routes = v.Prefixes()
	for _, p := range t.Routes {
		if !slices.ContainsFunc(t.Remote.Subnets, func(r netip.Prefix) bool { return contains(r, p) }) {
			l.Warn(v, dialect.NoEffect, "%v is not within a remote subnet of the connection: its packets will be dropped", p)
		}
	}
}

// contains reports whether all of q is in p.
func contains(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }

// ends checks what is between the two ends of a tunnel.
func (l *loader) ends(v *dialect.Value, at *dialect.Place, t *Tunnel) {
	a, b := t.Local, t.Remote
	if a.Address.IsValid() && b.Address.IsValid() && a.Address.Is4() != b.Address.Is4() {
		l.Fail(v, dialect.Conflict, "the ends' addresses, %v and %v, are of different families", a.Address, b.Address)
	}
	if len(a.Subnets) == 0 || len(b.Subnets) == 0 {
		return // said already
	}
	families := func(ps []netip.Prefix) (v4, v6 bool) {
		for _, p := range ps {
			v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
		}
		return v4, v6
	}
	a4, a6 := families(a.Subnets)
	b4, b6 := families(b.Subnets)
	switch {
	case !(a4 && b4) && !(a6 && b6):
		l.Fail(at.Subnets, dialect.Conflict, "the local and the remote subnets are of different families, so there is no traffic between them")
	case a4 != b4 || a6 != b6:
		l.Warn(at.Subnets, dialect.NoEffect, "one end has subnets of a family that the other end has not: they carry no traffic")
	}
	if p, q, ok := overlap(a.Subnets, b.Subnets); ok {
		report := l.WarnRun // Alibaba's page has it in an example
		if at.Subnets.Row.Codes[dialect.Conflict] != "" {
			report = l.Fail // and another page a code for it
		}
		report(at.Subnets, dialect.Conflict, "the local subnet %v and the remote subnet %v overlap", p, q)
	}
}

// overlap finds two blocks, neither of them everything, that have addresses in common.
func overlap(a, b []netip.Prefix) (p, q netip.Prefix, ok bool) {
	for _, p := range a {
		for _, q := range b {
			if p.Bits() > 0 && q.Bits() > 0 && p.Overlaps(q) {
				return p, q, true
			}
		}
	}
	return p, q, false
}
