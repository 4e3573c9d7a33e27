package native

import (
	"slices"

	"vpngw/config"
	"vpngw/config/dialect"
)

// pair is an entry of children, which lists pairs where not every pair of subnets is wanted.
var pair = &dialect.Object{Rows: []dialect.Row{
	{Name: "local", Type: dialect.Prefix{}, Required: true, Goes: "pairs of networks", Doc: "a subnet of this end"},
	{Name: "remote", Type: dialect.Prefix{}, Required: true, Goes: "pairs of networks", Doc: "a subnet of the other end"},
}}

// listedPairs makes the listed pairs the tunnel's. A pair must be of subnets of the ends;
// a subnet in no pair draws a warning.
func listedPairs(c *dialect.Check, v *dialect.Value, t *config.Tunnel) {
	if !dialect.Is[[]*dialect.Value](v) {
		return
	}
	var ps []config.Pair
	for _, item := range v.Items() {
		local, remote := item.Field("local"), item.Field("remote")
		if !local.OK() || !remote.OK() {
			return
		}
		p := config.Pair{Local: local.Prefix(), Remote: remote.Prefix()}
		switch {
		case !slices.Contains(t.Local.Subnets, p.Local):
			c.Fail(local, dialect.Conflict, "%v is none of the subnets of this end; add it to local.subnets", p.Local)
		case !slices.Contains(t.Remote.Subnets, p.Remote):
			c.Fail(remote, dialect.Conflict, "%v is none of the subnets of the other end; add it to remote.subnets", p.Remote)
		case p.Local.Addr().Is4() != p.Remote.Addr().Is4():
			c.Fail(item, dialect.Conflict, "%v and %v are of different families", p.Local, p.Remote)
		case slices.Contains(ps, p):
			c.Fail(item, dialect.Twice, "the pair %v and %v stands in the list twice", p.Local, p.Remote)
		}
		ps = append(ps, p)
	}
	if len(ps) == 0 {
		c.Fail(v, dialect.Missing, "at least one pair is needed; write  lists  or  pairs  for all of them")
		return
	}
	own := config.Tunnel{}
	own.SetPairs(ps)
	for i, all := range [][]int{{len(own.Local.Subnets), len(t.Local.Subnets)}, {len(own.Remote.Subnets), len(t.Remote.Subnets)}} {
		if all[0] < all[1] {
			c.Warn(v, dialect.NoEffect, "the pairs listed here leave out a subnet of %s: it carries no traffic", []string{"local", "remote"}[i])
		}
	}
	t.Children, t.Pairs = config.Pairs, ps
}
