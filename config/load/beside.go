package load

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/native"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// beside applies what stands beside the body to a tunnel.
func (l *loader) beside(v *dialect.Value, at *dialect.Place, t *config.Tunnel) {
	if e := v.Field("encap"); e.OK() {
		t.Encap = config.Encap(e.Text())
	}
	l.start(v, t)
	t.CopyDSCP = v.Field("copy_dscp").Bool()
	t.DF = config.DF(v.Field("df").Text())
	if m := v.Field("mtu"); m.OK() {
		t.MTU = int(m.Int())
		if six := func(p netip.Prefix) bool { return p.Addr().Is6() }; t.MTU < 1280 && slices.ContainsFunc(t.Remote.Subnets, six) {
			l.Warn(m, dialect.NoEffect, "IPv6 has no packets of under 1280 bytes (RFC 8200 section 5): those that do not fit go in fragments outside")
		}
	}
	t.EarlyRekey = v.Field("early_rekey").Bool()
	if cut := v.Field("sha256_96"); cut.Bool() {
		t.Trunc96 = true
		if !uses(t.ESPProposals, ipsec.Transform{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}) {
			l.Warn(cut, dialect.NoEffect, "no ESP proposal of this connection has HMAC-SHA-256")
		}
	}
	switch d := v.Field("dpd"); {
	case d.OK() && dialect.Data[bool](d):
		if t.DPD == (dpd.Config{}) {
			t.DPD = native.Liveness
		}
	case dialect.Is[bool](d):
		t.DPD = dpd.Config{}
	case d.OK():
		if t.DPD == (dpd.Config{}) {
			t.DPD = native.Liveness
		}
		set(&t.DPD.Interval, d.Field("interval"))
		set(&t.DPD.Timeout, d.Field("timeout"))
		if a := d.Field("action"); a.OK() {
			t.DPD.Clear = a.Text() == "clear"
		}
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
	t.Pass = v.Field("before_up").Text() == "pass"
	t.Metric = int(v.Field("metric").Int())
	l.allow(v.Field("allow"), at, t)
	l.routes(v.Field("routes"), t)
}

// start applies `start:`. In a native body `initiate:` says a part of the same.
func (l *loader) start(v *dialect.Value, t *config.Tunnel) {
	s := v.Field("start")
	if !s.OK() {
		return
	}
	if body := v.Field(native.Name); body.Given && body.Field("initiate").OK() && config.Start(s.Text()) != t.Start {
		l.Fail(s, dialect.Conflict, "initiate in the body is %v, which is start: %s; write one of the two", body.Field("initiate").Bool(), t.Start)
	}
	t.Start = config.Start(s.Text())
}

// port applies `remote_port:`. In a native body remote.port says the same.
func (l *loader) port(p *dialect.Value, t *config.Tunnel) {
	if !p.OK() {
		return
	}
	port := uint16(p.Int())
	if t.Remote.Port != 0 && t.Remote.Port != port {
		l.Fail(p, dialect.Conflict, "remote.port in the body is %d; write one of the two", t.Remote.Port)
	}
	t.Remote.Port = port
}

var dpdOrders = map[string]dpd.Order{
	dpd.HashNotify.String(): dpd.HashNotify, dpd.NotifyHash.String(): dpd.NotifyHash,
}

// allow refuses NULL encryption, unless `allow:` names it.
func (l *loader) allow(v *dialect.Value, at *dialect.Place, t *config.Tunnel) {
	allowed := slices.ContainsFunc(v.Items(), func(i *dialect.Value) bool { return i.Text() == allowNull })
	null := uses(t.ESPProposals, ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrNull})
	switch {
	case null && !allowed:
		l.Fail(at.ESP, dialect.Illegal, "NULL does not encrypt at all; if that is what you want, write beside the body  allow: [%s]", allowNull)
	case allowed && !null:
		l.Warn(v, dialect.NoEffect, "no ESP proposal of this connection has NULL encryption")
	}
}

// isNative reports whether a connection's body is native: that says nothing about the
// other end.
func isNative(v *dialect.Value) bool { return v.Field(native.Name).Given }

// set stores v in to, if v has a value.
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

// routes sets the tunnel's routes: v's list, else the body's, else the default.
func (l *loader) routes(v *dialect.Value, t *config.Tunnel) {
	if !v.Given {
		if t.Routes != nil {
			return
		}
		t.Routes = t.DefaultRoutes()
		return
	}
	t.Routes = v.Prefixes()
	for _, p := range t.Routes {
		if !slices.ContainsFunc(t.Remote.Subnets, func(r netip.Prefix) bool { return contains(r, p) }) {
			l.Warn(v, dialect.NoEffect, "%v is not within a remote subnet of the connection: its packets will be dropped", p)
		}
	}
}

// needsRoutes refuses to run a connection without routes whose remote network is everything: its tunnel would be up, and everything
// leave in clear.
func (l *loader) needsRoutes(v *dialect.Value, t *config.Tunnel) {
	if !v.Given && t.Unrouted() {
		i := slices.IndexFunc(t.Remote.Subnets, func(p netip.Prefix) bool { return p.Bits() == 0 })
		l.WarnRun(v, dialect.Missing, "the remote network is %v, and nothing says what goes into the tunnel: write beside the body routes: [NETWORK, …] with "+
			"the networks behind the peer, %[1]v for everything, or routes: [] for nothing", t.Remote.Subnets[i])
	}
}

// contains reports whether all of q is in p.
func contains(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }
