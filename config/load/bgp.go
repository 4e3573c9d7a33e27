package load

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// DefaultBGP is the session of a tunnel whose file says nothing beside a body of the dialect.
func DefaultBGP(name string, side config.Side, t *config.Tunnel) config.BGP {
	b := config.DefaultBGP(side, t.Role)
	if t.Internal() {
		b.Prepend = 0 // the peer would take it for a loop
	}
	b.Announce = t.OwnNetworks()
	rules := DialectOf(name).BGP
	if rules == nil {
		return b
	}
	if side == config.Customer {
		b.NeverTell, b.MaxTell = rules.Never, rules.Most
		return b
	}
	if b.Never = rules.Never; rules.Most > 0 {
		b.MaxPrefixes = rules.Most
	}
	return b
}

// sessions makes the BGP sessions of a connection, whose tunnels have their roles.
func (l *loader) sessions(d *dialect.Draft) {
	for i := range d.Tunnels {
		l.bgp(d.Entry.Field("bgp"), d, i)
	}
	if len(d.Tunnels) > 0 {
		l.needsRoutes(d.Entry.Field("routes"), &d.Tunnels[0])
	}
}

// bgp makes the session of tunnel i: what the body asks for, and what `bgp:` beside it says.
func (l *loader) bgp(v *dialect.Value, d *dialect.Draft, i int) {
	t := &d.Tunnels[i]
	rules := DialectOf(d.Dialect).BGP
	switch wanted := !dialect.Is[bool](v) || v.Bool(); {
	case v.OK() && !wanted && t.BGP == nil:
		l.Warn(v, dialect.NoEffect, "the body asks for no BGP")
		return
	case v.OK() && !wanted:
		t.BGP = nil
		d.Routing = config.RoutingOf(false, t.Local.Subnets, t.Remote.Subnets)
		if i == 0 {
			d.Notes = append(d.Notes, "bgp: no: the body asks for BGP, and vpngw speaks none; another program on this host may, between the addresses in the tunnel")
		}
		return
	case v.OK() && t.BGP == nil && rules != nil:
		l.Fail(v, dialect.Conflict, "the body asks for no BGP, so the cloud's end has none: write into the body %s", rules.Write)
		return
	case v.OK() && t.BGP == nil:
		if t.BGP = new(config.BGP); !t.Inside.IsValid() {
			l.Fail(v, dialect.Missing, "BGP needs the addresses in the tunnel: write into the body inside: {local: 169.254.11.2/30, remote: 169.254.11.1}")
			return
		}
		d.Routing = config.RouteBGP
	case t.BGP == nil:
		return
	}
	body := *t.BGP
	b := DefaultBGP(d.Dialect, d.Side, t)
	b.AuthKey = body.AuthKey
	if len(b.Announce) == 0 {
		b.Announce = body.Announce
	}
	t.BGP = &b
	l.bgpSession(v, d, i)
	l.bgpKey(v, d, i)
	l.bgpRoutes(v, t)
	l.bgpRank(v, d, i)
	l.bgpEnds(v, d, i)
}

// bgpSession sets the times of a session, and how its ends find each other.
func (l *loader) bgpSession(v *dialect.Value, d *dialect.Draft, i int) {
	b := d.Tunnels[i].BGP
	hold, keepalive := v.Field("hold"), v.Field("keepalive")
	for _, f := range []*dialect.Value{hold, keepalive} {
		if f.OK() && f.Duration()%time.Second != 0 {
			l.Fail(f, dialect.Illegal, "it goes in whole seconds")
		}
	}
	if hold.OK() {
		b.Hold = hold.Duration()
		b.Keepalive = b.Hold / 3 / time.Second * time.Second
	}
	if keepalive.OK() {
		if most := b.Keepalive; keepalive.Duration() > most {
			l.Fail(keepalive, dialect.Conflict, "it must be at most a third of hold, %v, or one lost packet ends the session", most)
		}
		b.Keepalive = keepalive.Duration()
	}
	b.TTLSecurity = v.Field("ttl_security").Bool()
	if g := v.Field("graceful_restart"); g.OK() {
		b.Graceful = g.Bool()
	}
	switch f := v.Field("bfd"); {
	case dialect.Is[bool](f) && !f.Bool(), !f.OK():
	case dialect.Is[bool](f):
		asked := dpd.DefaultBFD
		b.BFD = &asked
	default:
		b.BFD = &dpd.BFD{Interval: f.Field("interval").Duration(), Multiplier: int(f.Field("multiplier").Int())}
	}
	if p := v.Field("passive"); p.OK() {
		b.Passive = p.Bool()
	}
	id := v.Field("router_id")
	switch b.RouterID = id.Addr(); {
	case id.OK() && !b.RouterID.Is4():
		l.Fail(id, dialect.Illegal, "it must be an IPv4 address")
	case !id.Given && !d.Tunnels[i].NamesIPv4():
		l.WarnRun(id, dialect.Missing, "the addresses in the tunnel are IPv6, so the session needs a name of its own: write beside the body bgp: {router_id: A.B.C.D}, an IPv4 address of this host")
	}
}

// bgpKey sets the key of a session: the body's, or that of key or key_file.
func (l *loader) bgpKey(v *dialect.Value, d *dialect.Draft, i int) {
	b := d.Tunnels[i].BGP
	key, file := v.Field("key"), v.Field("key_file")
	given := key
	if file.Given {
		given = file
	}
	for _, f := range []*dialect.Value{key, file} {
		if items := f.Items(); dialect.Is[[]*dialect.Value](f) && len(items) != d.Among {
			l.Fail(f, dialect.Ambiguous, "the connection has %d tunnels; give one key for all, or one for each", d.Among)
			return
		}
	}
	switch {
	case !given.Given:
	case key.Given && file.Given:
		l.Fail(file, dialect.Conflict, "key stands here too; give one of the two")
	case len(b.AuthKey) > 0:
		l.Fail(given, dialect.Conflict, "the body has a key too; give one of the two")
	case file.OK():
		b.AuthKey = l.bgpKeyFile(ofTunnel(file, d.Before+i))
	default:
		one := ofTunnel(key, d.Before+i)
		b.AuthKey = one.Secret()
		if one.OK() {
			if name := one.Node.Pos().File; othersRead(l.modes[name]) {
				l.Warn(one, dialect.Exposed, "everybody on this host can read the key: chmod o= %s, or use key_file", name)
			}
		}
	}
}

func (l *loader) bgpKeyFile(v *dialect.Value) ipsec.Secret {
	if !v.OK() {
		return nil
	}
	return l.keyFile(v, bgpKeyWant)
}

// bgpRoutes sets what is announced and accepted.
func (l *loader) bgpRoutes(v *dialect.Value, t *config.Tunnel) {
	b := t.BGP
	if n := v.Field("never"); n.OK() {
		b.Never = n.Prefixes()
	}
	if n := v.Field("never_announce"); n.OK() {
		b.NeverTell = n.Prefixes()
	}
	if n := v.Field("max_announced"); n.OK() {
		b.MaxTell = int(n.Int())
	}
	if n := v.Field("max_prefixes"); n.OK() {
		b.MaxPrefixes = int(n.Int())
	}
	if o := v.Field("over_limit"); o.OK() {
		b.OverLimit = config.OverLimit(o.Text())
	}
	b.Transit = v.Field("transit").Bool()
	if p := v.Field("prefer"); p.OK() {
		b.Prefer = config.Preference(p.Text())
	}
	l.announce(v, t)
	accept := v.Field("accept")
	b.Accept = l.ofFamily(accept, t, accept.Prefixes())
	for _, p := range b.Accept {
		if slices.ContainsFunc(b.Never, func(n netip.Prefix) bool { return n.Bits() > 0 && contains(n, p) }) {
			l.Warn(accept, dialect.NoEffect, "%v is never accepted, by never: %v", p, b.Never)
		}
	}
}

// announce sets what is announced, and warns where it is nothing.
func (l *loader) announce(v *dialect.Value, t *config.Tunnel) {
	b := t.BGP
	list, export := v.Field("announce"), v.Field("export")
	told := b.Announce // by the body
	if list.OK() {
		b.Announce = nil
		for _, item := range list.Items() {
			switch p := item.Prefix(); {
			case item.Text() == connected:
				b.Connected = true
			case item.Text() == kernel:
				b.Kernel = true
			case !p.IsValid():
			case slices.Contains(b.Announce, p):
				l.Warn(item, dialect.Twice, "%v stands in the list twice", p)
			case b.Withholds(p):
				l.Fail(item, dialect.Illegal, "%v is refused at the other end, by never_announce: %v, with what is within and what contains one", p, b.NeverTell)
			default:
				b.Announce = append(b.Announce, l.ofFamily(item, t, []netip.Prefix{p})...)
			}
		}
	} else if slices.ContainsFunc(b.Announce, b.Withholds) {
		l.Warn(list, dialect.Conflict, "of the networks behind this end, %v, those that overlap with %v are not announced: the other end refuses them", b.Announce, b.NeverTell)
		b.Announce = slices.DeleteFunc(slices.Clone(b.Announce), b.Withholds)
	}
	if n := len(b.Announce); b.MaxTell > 0 && n > b.MaxTell {
		l.Warn(list, dialect.TooMany, "%d networks; the other end takes %d, and the rest is not announced", n, b.MaxTell)
	}
	b.Export = l.ofFamily(export, t, export.Prefixes())
	switch dynamic := b.Connected || b.Kernel; {
	case dynamic && !export.Given:
		l.Fail(export, dialect.Missing, "with connected and kernel write export: [NETWORK, …], the networks that may be announced with what is within; 0.0.0.0/0 is all of them, this host's way to the internet too")
	case !dynamic && export.OK():
		l.Warn(export, dialect.NoEffect, "it is about connected and kernel in announce, and neither stands there")
	case !list.Given && len(told) == 0:
		l.Warn(list, dialect.Missing, "BGP announces nothing, since the body does not say what is behind this end: write beside the body bgp: {announce: [NETWORK, …]}, or announce: [] for nothing")
	}
}

// ofFamily are the networks that the session can tell of, of a list in v; others are an error.
func (l *loader) ofFamily(v *dialect.Value, t *config.Tunnel, ps []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		if p.Addr().Is4() != t.NamesIPv4() {
			family := map[bool]string{true: "IPv4", false: "IPv6"}[t.NamesIPv4()]
			l.Fail(v, dialect.Conflict, "%v is not %s, as the addresses in the tunnel are: the session tells networks of their family only", p, family)
			continue
		}
		out = append(out, p)
	}
	return out
}

// bgpRank sets what makes the peer choose among tunnels.
func (l *loader) bgpRank(v *dialect.Value, d *dialect.Draft, i int) {
	t := &d.Tunnels[i]
	b := t.BGP
	for _, item := range v.Field("communities").Items() {
		if n, ok := community(item.Text()); ok && !slices.Contains(b.Communities, n) {
			b.Communities = append(b.Communities, n)
		}
	}
	standby := v.Field("standby")
	if standby.OK() && !slices.ContainsFunc(d.Tunnels, func(t config.Tunnel) bool { return t.Role == config.Standby }) {
		l.Warn(standby, dialect.NoEffect, "the connection has no standby tunnel")
	}
	of := func(name string) *dialect.Value {
		if own := standby.Field(name); t.Role == config.Standby && (own.OK() || len(d.Tunnels) > 1) {
			return own
		}
		return v.Field(name)
	}
	if m := of("med"); m.OK() {
		b.MED = uint32(m.Int())
	}
	if p := of("prepend"); p.OK() {
		b.Prepend = int(p.Int())
		if t.Internal() && b.Prepend > 0 {
			l.Fail(p, dialect.Conflict, "both ends have the AS number %d, and the peer drops what its own AS stands in, as a loop; take med", t.Local.ASN)
		}
	}
}
