package load

import (
	"slices"

	"vpngw/config/dialect"
)

// haMode is the ha_mode of a connection's gateway in the cloud; nil: none is given.
func haMode(gateways map[string]*dialect.Value, d *dialect.Draft) *dialect.Value {
	if len(d.Places) == 0 {
		return nil
	}
	id := d.Places[0].Gateway
	if id == nil || !id.OK() || gateways[id.Text()] == nil {
		return nil
	}
	if m := gateways[id.Text()].Field("ha_mode"); m.OK() {
		return m
	}
	return nil
}

// activeActive reports whether the gateways of all these connections carry traffic by all tunnels at once.
func activeActive(gateways map[string]*dialect.Value, ds ...*dialect.Draft) bool {
	return !slices.ContainsFunc(ds, func(d *dialect.Draft) bool {
		m := haMode(gateways, d)
		return m == nil || m.Text() != dialect.ActiveActive
	})
}

// balance applies `balance:`, and where nothing beside a body says it, the ha_mode of the cloud's gateway. What stands beside one connection of a
// pair holds for both.
func (l *loader) balance(gateways map[string]*dialect.Value, ds []*dialect.Draft) {
	beside, modes := map[string]*dialect.Draft{}, map[string]*dialect.Draft{} // by the pair: the connection whose word holds
	mode := func(d *dialect.Draft) *dialect.Value { return haMode(gateways, d) }
	for _, d := range ds {
		v, two := d.Entry.Field("balance"), len(d.Tunnels) > 1 || d.Pair != ""
		switch m := mode(d); {
		case v.OK() && !two:
			if v.Bool() {
				l.Warn(v, dialect.NoEffect, "the connection has one tunnel and is of no pair: there is nothing to share its traffic with")
			}
			continue
		case !two:
			continue
		case v.OK():
			d.Switching.Balance = v.Bool()
		case m != nil:
			d.Switching.Balance = m.Text() == dialect.ActiveActive
		}
		if d.Pair == "" {
			continue
		}
		first := beside[d.Pair]
		switch {
		case v.OK() && first != nil && first.Switching.Balance != d.Switching.Balance:
			l.Fail(v, dialect.Conflict, "it differs from the balance of connection %q of the same pair; write the same, or write it beside one of the two", first.Connection.Name)
		case v.OK():
			beside[d.Pair] = d
		case mode(d) != nil && modes[d.Pair] == nil:
			modes[d.Pair] = d
		}
	}
	for _, d := range ds {
		if d.Pair == "" {
			continue
		}
		first := beside[d.Pair]
		if first == nil {
			first = modes[d.Pair]
		}
		if first == nil {
			continue
		}
		if m := mode(d); first == modes[d.Pair] && m != nil && (m.Text() == dialect.ActiveActive) != first.Switching.Balance {
			l.Fail(d.Places[0].Gateway, dialect.Conflict, "its ha_mode differs from that of the gateway of connection %q in the same pair; write balance: yes or no beside the two", first.Connection.Name)
		}
		d.Switching.Balance = first.Switching.Balance
	}
}
