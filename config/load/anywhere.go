package load

import (
	"net/netip"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/native"
	"vpngw/ipsec"
)

// anywhere checks a tunnel whose peer may come from anywhere: only an identity tells who it is, and this end can only answer.
func (l *loader) anywhere(v *dialect.Value, d *dialect.Draft, i int) {
	t, at := &d.Tunnels[i], &d.Places[i]
	if t.Local.Any { // at the customer's end it is this host, whose address the route chooses
		if t.Local.Any = false; t.Local.ID.Type == 0 {
			l.Fail(idOf(d, at, false), dialect.Missing, "%q has no address at this end, so it needs an identity: write one", t.Name)
		}
	}
	if !t.Remote.Any {
		return
	}
	who, says := t.Remote.ID, ""
	switch {
	case who.Type == 0:
		says = "it is missing"
	case who == ipsec.AnyIdentity:
		says = "it is anybody's"
	case who == ipsec.IdentityOf(netip.IPv4Unspecified()), who == ipsec.IdentityOf(netip.IPv6Unspecified()), who.Type == ipsec.IDFQDN && strings.EqualFold(who.Data, config.Anywhere):
		says = "it is " + who.String()
	}
	if says != "" {
		id := idOf(d, at, true)
		l.Fail(id, dialect.Missing, "the peer of %q may come from anywhere (address: any), so its identity must tell who it is, and %s: write a name in %s, the same as at the other end", t.Name, says, inBody(id))
	}
	if s := v.Field("start"); s.OK() && s.Text() != string(config.StartPassive) {
		l.Fail(s, dialect.Conflict, "the peer of %q may come from anywhere (address: any), so this end can only answer: write  start: passive, or leave it out", t.Name)
	}
	if body := v.Field(native.Name); body.Given && body.Field("initiate").Bool() {
		l.Fail(body.Field("initiate"), dialect.Conflict, "the peer of %q may come from anywhere (address: any), so this end can only answer: write  initiate: false, or leave it out", t.Name)
	}
	if t.Remote.Port != 0 {
		l.Warn(v, dialect.NoEffect, "the port of a peer that may come from anywhere is the one that it sends from")
		t.Remote.Port = 0
	}
	t.Start = config.StartPassive
}

// idOf is the identity of the other end, or of this one, as the body names it.
func idOf(d *dialect.Draft, at *dialect.Place, remote bool) *dialect.Value {
	second := remote // a cloud's body names the cloud's end first
	if d.Dialect != native.Name && d.Side == config.Customer {
		second = !remote
	}
	if second {
		return at.IDs[1]
	}
	return at.IDs[0]
}

// inBody is the path of a parameter behind connections[N].
func inBody(v *dialect.Value) string {
	_, name, _ := strings.Cut(v.Path(), ".")
	return name
}

// apartFromAnywhere wants m to differ from the others whose peer may come from anywhere in an identity, or in this end's address. An
// initiator of IKEv1 does not say whom it wants, so there only its own identity counts. It returns false if m does not differ.
func (l *loader) apartFromAnywhere(m member, others map[ipsec.Identity][]member, budget *int) bool {
	t := m.tunnel()
	if !t.Remote.Any {
		return true
	}
	key := t.Remote.ID.Folded()
	if *budget -= len(others[key]); *budget < 0 {
		return true
	}
	for _, o := range others[key] {
		u := o.tunnel()
		switch a, b := t.Local.Address, u.Local.Address; {
		case a.IsValid() && b.IsValid() && a != b:
		case t.IKEVersion == 2 && u.IKEVersion == 2 && !t.Local.ID.Same(u.Local.ID):
		case !t.Local.ID.Same(u.Local.ID):
			l.Fail(idOf(m.Draft, m.place(), true), dialect.Twice, "connection %q has a peer with the identity %v too, which may come from anywhere: IKEv1 does not say which of this end's identities it wants, so each needs another identity (or both take IKEv2)", o.Connection.Name, t.Remote.ID)
			return false
		default:
			l.Fail(idOf(m.Draft, m.place(), true), dialect.Twice, "connection %q has a peer with the identity %v too, which may come from anywhere: nothing tells the two apart, so each needs an identity of its own", o.Connection.Name, t.Remote.ID)
			return false
		}
	}
	others[key] = append(others[key], m)
	return true
}
