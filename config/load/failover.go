package load

import (
	"vpngw/config"
	"vpngw/config/dialect"
)

// failover applies `failover:` to the connections with two tunnels and to the pairs. It may stand beside either
// connection of a pair, or beside both if they agree.
func (l *loader) failover(ds []*dialect.Draft) {
	said := map[string]*dialect.Draft{} // by the pair: the connection whose failover holds
	for _, d := range ds {
		v := d.Entry.Field("failover")
		two := len(d.Tunnels) > 1 || d.Pair != ""
		switch {
		case v.OK() && !two:
			l.Warn(v, dialect.NoEffect, "the connection has one tunnel and is of no pair: there is nothing to move its traffic to")
			continue
		case !two:
			continue
		case !v.OK():
			d.Switching = config.DefaultSwitching
			continue
		}
		d.Switching = config.Switching{Hold: v.Field("hold").Duration(), Manual: v.Field("switch_back").Text() == "manual"}
		if first := said[d.Pair]; d.Pair != "" && first != nil && first.Switching != d.Switching {
			l.Fail(v, dialect.Conflict, "it differs from the failover of connection %q of the same pair; write the same, or write it beside one of the two", first.Connection.Name)
		} else if d.Pair != "" {
			said[d.Pair] = d
		}
	}
	for _, d := range ds {
		if first := said[d.Pair]; d.Pair != "" && first != nil {
			d.Switching = first.Switching
		}
	}
}
