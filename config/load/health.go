package load

import (
	"slices"

	"vpngw/config/dialect"
	"vpngw/config/native"
)

// health sets the check of `health:` beside a body.
func (l *loader) health(v *dialect.Value, d *dialect.Draft, i int) {
	if !v.OK() {
		return
	}
	t := &d.Tunnels[i]
	h := native.Pings(v)
	h.Ours = true
	inside := slices.ContainsFunc(d.Choices, func(c dialect.Choice) bool { return c.What == dialect.ChooseInside && c.Tunnel == i })
	switch source := v.Field("source"); {
	case !h.Target.IsValid() && !t.Peer.IsValid() && !inside:
		l.Fail(v.Field("target"), dialect.Missing, "a target is needed: the tunnel has no addresses of its own that the pings could go between")
	case h.Target.IsValid() && source.OK() && h.Source.Is4() != h.Target.Is4():
		l.Fail(source, dialect.Conflict, "it is not of the address family of the target, %v", h.Target)
	}
	if t.Health != nil && t.Health.Ours {
		l.Warn(v, dialect.Conflict, "this end pings as it says here, and not as the body says")
	}
	t.OwnHealth = h
}
