package export

import (
	"slices"
	"unicode/utf8"

	"vpngw/config"
	"vpngw/config/explain"
	"vpngw/config/load"
)

// otherBGP is the session b of a tunnel t as the other end has it, which is of side: t is that end's. What both ends must
// agree in is the same; what one accepts, the other announces; the rest is each end's own.
func otherBGP(b *config.BGP, side config.Side, t *config.Tunnel) *config.BGP {
	o := config.DefaultBGP(side, t.Role)
	o.AuthKey, o.Hold, o.Keepalive, o.TTLSecurity, o.Graceful, o.BFD = b.AuthKey, b.Hold, b.Keepalive, b.TTLSecurity, b.Graceful, b.BFD
	o.Never, o.NeverTell = b.NeverTell, b.Never
	o.Passive = o.Passive && !b.Passive // one end connects
	o.Announce = t.OwnNetworks()
	if t.Internal() {
		o.Prepend = 0
	}
	if b.MaxTell > 0 {
		o.MaxPrefixes = b.MaxTell
	}
	if b.MaxPrefixes != config.DefaultMaxPrefixes {
		o.MaxTell = b.MaxPrefixes
	}
	return &o
}

// session writes `bgp:` beside a body: what the sessions of its tunnels have that is not so by default. The body has their keys if
// bodyKeys says so.
func (w *writer) session(m *mapping, side config.Side, ts []*config.Tunnel, bodyKeys bool) {
	first := ts[max(0, slices.IndexFunc(ts, func(t *config.Tunnel) bool { return t.Role != config.Standby }))]
	b := first.BGP
	if b == nil {
		return
	}
	usual := load.DefaultBGP(w.Format, side, first)
	f := flow{}
	if b.Hold != usual.Hold || b.Keepalive != usual.Keepalive {
		f.add("hold", explain.Span(b.Hold))
		f.add("keepalive", explain.Span(b.Keepalive))
	}
	if !bodyKeys || !w.reveals(b) {
		w.sessionKeys(m, &f, ts)
	}
	for _, s := range []struct {
		key       string
		is, usual bool
	}{
		{"ttl_security", b.TTLSecurity, usual.TTLSecurity},
		{"graceful_restart", b.Graceful, usual.Graceful},
		{"passive", b.Passive, usual.Passive},
		{"transit", b.Transit, usual.Transit},
	} {
		if s.is != s.usual {
			f.add(s.key, yesNo(s.is))
		}
	}
	if b.BFD != nil {
		f.add("bfd", flow{{"interval", explain.Span(b.BFD.Interval)}, {"multiplier", whole(b.BFD.Multiplier)}})
	}
	if b.RouterID.IsValid() {
		f.add("router_id", b.RouterID.String())
	}
	learned(&f, b, &usual)
	rank(&f, b, &usual)
	for _, t := range ts {
		if len(ts) > 1 && t.Role == config.Standby && t.BGP != nil {
			usual, own := load.DefaultBGP(w.Format, side, t), flow{}
			if rank(&own, t.BGP, &usual); len(own) > 0 {
				f.add("standby", own)
			}
		}
	}
	if len(f) > 0 {
		m.add("bgp", f)
	}
}

// learned writes what is announced and accepted.
func learned(f *flow, b, usual *config.BGP) {
	if b.Connected || b.Kernel || !slices.Equal(b.Announce, usual.Announce) {
		f.add("announce", load.Announced(b))
	}
	if len(b.Export) > 0 {
		f.add("export", prefixTexts(b.Export))
	}
	if len(b.Accept) > 0 {
		f.add("accept", prefixTexts(b.Accept))
	}
	if !slices.Equal(b.Never, usual.Never) {
		f.add("never", prefixTexts(b.Never))
	}
	if !slices.Equal(b.NeverTell, usual.NeverTell) {
		f.add("never_announce", prefixTexts(b.NeverTell))
	}
	if b.MaxPrefixes != usual.MaxPrefixes {
		f.add("max_prefixes", whole(b.MaxPrefixes))
	}
	if b.OverLimit != usual.OverLimit {
		f.add("over_limit", string(b.OverLimit))
	}
	if b.MaxTell != usual.MaxTell {
		f.add("max_announced", whole(b.MaxTell))
	}
	if b.Prefer != usual.Prefer {
		f.add("prefer", string(b.Prefer))
	}
	if len(b.Communities) > 0 {
		var list []string
		for _, n := range b.Communities {
			list = append(list, load.Community(n))
		}
		f.add("communities", list)
	}
}

func rank(f *flow, b, usual *config.BGP) {
	if b.MED != usual.MED {
		f.add("med", whole(b.MED))
	}
	if b.Prepend != usual.Prepend {
		f.add("prepend", whole(b.Prepend))
	}
}

// reveals reports whether the key of a session is written out.
func (w *writer) reveals(b *config.BGP) bool {
	return w.Reveal && len(b.AuthKey) > 0 && utf8.Valid(b.AuthKey)
}

// sessionKeys writes the keys of sessions, or names files for them: one for all, or one for each tunnel.
func (w *writer) sessionKeys(m *mapping, f *flow, ts []*config.Tunnel) {
	var keys, files []string
	same := true
	for _, t := range ts {
		if t.BGP == nil || len(t.BGP.AuthKey) == 0 {
			continue
		}
		keys, files = append(keys, string(t.BGP.AuthKey)), append(files, t.Name+".bgp-key")
		same = same && t.BGP.AuthKey.Equal(ts[0].BGP.AuthKey)
	}
	switch {
	case len(keys) == 0:
		return
	case len(keys) < len(ts):
		m.comment(w.cannot("a key of BGP in one tunnel and none in the other"))
		return
	case same:
		keys, files = keys[:1], files[:1]
	}
	name, list := "key", keys
	if !w.reveals(ts[0].BGP) {
		m.comment("The key of BGP: a file that others cannot read.")
		name, list = "key_file", files
	}
	if len(list) == 1 {
		f.add(name, list[0])
	} else {
		f.add(name, list)
	}
}
