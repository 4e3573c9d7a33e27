package load

import (
	"net/netip"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// ends checks the two ends of a tunnel against each other.
func (l *loader) ends(v *dialect.Value, at *dialect.Place, t *config.Tunnel) {
	a, b := t.Local, t.Remote
	if a.Address.IsValid() && b.Address.IsValid() && a.Address.Is4() != b.Address.Is4() {
		l.Fail(v, dialect.Conflict, "the ends' addresses, %v and %v, are of different families", a.Address, b.Address)
	}
	if a.Host != "" {
		l.Fail(v, dialect.Illegal, "this end's address is the name %s: write the address itself; only the other end's is looked up", a.Host)
	}
	l.sameIdentity(at, t)
	if len(a.Subnets) == 0 || len(b.Subnets) == 0 {
		return // that has been reported
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
		l.Warn(at.Subnets, dialect.NoEffect, "one end has subnets of a family that the other end lacks: they carry no traffic")
	}
	if p, q, ok := overlap(a.Subnets, b.Subnets); ok {
		switch {
		case at.Subnets.Row.Codes[dialect.Conflict] != "": // a cloud has a code for it
			l.Fail(at.Subnets, dialect.Conflict, "the local subnet %v and the remote subnet %v overlap", p, q)
		case p == q: // an example on Alibaba's page has them so
			l.WarnRun(at.Subnets, dialect.Conflict, "the local subnet %v and the remote subnet %v are the same: no route can tell them apart", p, q)
		}
	}
}

// sameIdentity refuses a tunnel whose ends have one identity: both then authenticate with
// the same key over the same name, so that who returns our own messages could pass for the
// peer. Ends with one address have been reported.
func (l *loader) sameIdentity(at *dialect.Place, t *config.Tunnel) {
	a, b := t.Local, t.Remote
	if !a.ID.Same(b.ID) || a.ID == (ipsec.Identity{}) || a.Address == b.Address && b.Host == "" {
		return
	}
	where := at.IDs[1]
	if !where.Given {
		where = at.IDs[0]
	}
	l.Fail(where, dialect.Conflict, "both ends of %q have the identity %v, so they cannot be told apart: change %s or %s, the same at both ends",
		t.Name, a.ID, inBody(at.IDs[0]), inBody(at.IDs[1]))
}

// overlap is a block of a and one of b that have addresses in common, equal blocks if there are any. A block of
// everything does not count. Of blocks of different sizes, the smaller one is a part of the larger one that is elsewhere, and the
// longer prefix decides.
func overlap(a, b []netip.Prefix) (p, q netip.Prefix, ok bool) {
	for _, x := range a {
		for _, y := range b {
			if x.Bits() > 0 && y.Bits() > 0 && x.Overlaps(y) && (!ok || x == y && p != q) {
				p, q, ok = x, y, true
			}
		}
	}
	return p, q, ok
}
