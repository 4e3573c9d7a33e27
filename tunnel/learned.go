package tunnel

import (
	"net/netip"
	"slices"

	"vpngw/config"
)

// table is what the members' routes and guards are, computed again only when something changed that they follow from: a peer may
// tell many thousand prefixes, and the Group looks at every fact.
type table struct {
	from   []basis
	own    []netip.Addr
	routes [][]Route // by member
	guards []Guard
}

// basis is what the routes and guards of one member follow from. Lists are the same while their first element is.
type basis struct {
	tunnel                      *config.Tunnel
	static, well, takes, held   bool
	learned, guarded, announced list
}

type list struct {
	first *netip.Prefix
	n     int
}

func listOf(ps []netip.Prefix) list {
	if len(ps) == 0 {
		return list{}
	}
	return list{&ps[0], len(ps)}
}

// tabulate brings g.table in step with the members.
func (g *Group) tabulate() {
	from := make([]basis, len(g.members))
	for i, m := range g.members {
		from[i] = basis{
			tunnel: m.Tunnel, static: m.routed && !g.revoked(m), takes: g.takes(m), held: m.held, learned: listOf(m.learned()),
			guarded: listOf(m.guarded), announced: listOf(m.session.Announced),
		}
		if from[i].learned.n > 0 || len(g.members) > 1 {
			from[i].well = g.well(m)
		}
	}
	if slices.Equal(from, g.table.from) && slices.Equal(g.own, g.table.own) {
		return
	}
	t := table{from: from, own: g.own, guards: g.guards()}
	c := g.choice(from)
	for i, m := range g.members {
		t.routes = append(t.routes, c.routesOf(g, i, m))
	}
	g.table = t
}

// choice says which members have the route to a prefix.
//
// A static route wins over a learned one, unless `prefer: bgp` turns it or no tunnel that has the static one is well. Of several
// members that have a route of the kind that won, those have it that take the group's traffic; if none of these does, all have.
type choice struct {
	from    []basis
	static  [][]netip.Prefix // sorted, by member
	learned [][]netip.Prefix // sorted, by member
	bgp     bool             // `prefer: bgp`
}

func (g *Group) choice(from []basis) choice {
	c := choice{from: from}
	for _, m := range g.members {
		c.static = append(c.static, slices.SortedFunc(slices.Values(m.Tunnel.Routes), netip.Prefix.Compare))
		c.learned = append(c.learned, m.learned())
		c.bgp = c.bgp || m.Tunnel.BGP != nil && m.Tunnel.BGP.Prefer == config.PreferBGP
	}
	return c
}

func in(sorted []netip.Prefix, p netip.Prefix) bool {
	_, ok := slices.BinarySearchFunc(sorted, p, netip.Prefix.Compare)
	return ok
}

// cursor is a sorted list that is asked for prefixes in their order.
type cursor []netip.Prefix

func (c *cursor) at(p netip.Prefix) bool {
	for len(*c) > 0 {
		switch o := (*c)[0].Compare(p); {
		case o == 0:
			return true
		case o > 0:
			return false
		}
		*c = (*c)[1:]
	}
	return false
}

// given returns which prefixes, of a sorted list that member i has as static or learned ones, get a route into it.
func (c *choice) given(i int, ps []netip.Prefix) []bool {
	static, learned := make([]cursor, len(c.from)), make([]cursor, len(c.from))
	for j := range c.from {
		static[j], learned[j] = c.static[j], c.learned[j]
	}
	out := make([]bool, len(ps))
	hasStatic, hasLearned := make([]bool, len(c.from)), make([]bool, len(c.from))
	for n, p := range ps {
		var isStatic, isLearned, good bool
		for j := range c.from {
			hasStatic[j], hasLearned[j] = static[j].at(p), learned[j].at(p)
			isStatic, isLearned, good = isStatic || hasStatic[j], isLearned || hasLearned[j], good || hasStatic[j] && c.from[j].well
		}
		has := hasStatic
		if isLearned && (!isStatic || c.bgp || !good) {
			has = hasLearned
		}
		out[n] = has[i] && (c.from[i].takes || !c.taken(has))
	}
	return out
}

// taken reports whether a member has a prefix that takes the group's traffic.
func (c *choice) taken(has []bool) bool {
	for j := range c.from {
		if has[j] && c.from[j].takes {
			return true
		}
	}
	return false
}

// routesOf returns the routes of member i: the static ones in the order of the configuration, then the learned ones.
func (c *choice) routesOf(g *Group, i int, m *member) []Route {
	out := make([]Route, 0, len(m.Tunnel.Routes)+len(c.learned[i]))
	if c.from[i].static {
		given := c.given(i, c.static[i])
		for _, p := range m.Tunnel.Routes {
			if n, _ := slices.BinarySearchFunc(c.static[i], p, netip.Prefix.Compare); given[n] {
				out = append(out, Route{p, g.staticSource(m, p)})
			}
		}
	}
	if len(c.learned[i]) == 0 {
		return out
	}
	s, static := g.learnedSources(m), cursor(c.static[i])
	for n, is := range c.given(i, c.learned[i]) {
		if p := c.learned[i][n]; is && !(c.from[i].static && static.at(p)) {
			out = append(out, s.route(p))
		}
	}
	return out
}

func (g *Group) staticSource(m *member, p netip.Prefix) netip.Addr {
	src := sourceFor(p, m.Tunnel.Local.Subnets, g.own)
	if !src.IsValid() && m.Tunnel.Inside.IsValid() {
		src = otherSource(p, g.own, m.Tunnel.Local.Address)
	}
	return src
}

// sources are the source addresses of learned routes, by family.
type sources struct{ v4, v6 netip.Addr }

func (s sources) route(p netip.Prefix) Route {
	if p.Addr().Is4() {
		return Route{p, s.v4}
	}
	return Route{p, s.v6}
}

// learnedSources are addresses that the peer can answer, for they are in what it is told, and else the source of a static route.
func (g *Group) learnedSources(m *member) sources {
	of := func(p netip.Prefix) netip.Addr {
		if src := sourceFor(p, m.session.Announced, g.own); src.IsValid() {
			return src
		}
		return g.staticSource(m, p)
	}
	if m.Tunnel.BGP == nil {
		return sources{}
	}
	return sources{of(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), of(netip.PrefixFrom(netip.IPv6Unspecified(), 0))}
}

// guards returns what the routes of the wanted tunnels cover, from the start on, whether they are up or not, and what BGP has
// told of.
func (g *Group) guards() []Guard {
	var out []Guard
	lists := 0
	for _, m := range g.members {
		if m.held || m.Tunnel.Pass {
			continue
		}
		for _, ps := range [][]netip.Prefix{m.Tunnel.Routes, m.guarded} {
			if len(ps) == 0 {
				continue
			}
			list := make([]Guard, len(ps))
			for i, p := range ps {
				list[i] = Guard{p, m.Tunnel.Metric}
			}
			if lists++; lists == 1 {
				out = list
			} else { // several may have the same, and the worst metric counts
				out = union(out, list)
			}
		}
	}
	return out
}

// union sorts two lists of guards into one.
func union(a, b []Guard) []Guard {
	byPrefix := func(a, b Guard) int { return a.Prefix.Compare(b.Prefix) }
	for _, l := range [][]Guard{a, b} {
		if !slices.IsSortedFunc(l, byPrefix) {
			slices.SortFunc(l, byPrefix)
		}
	}
	out := make([]Guard, 0, len(a)+len(b))
	add := func(g Guard) {
		if n := len(out); n > 0 && out[n-1].Prefix == g.Prefix {
			out[n-1].Metric = max(out[n-1].Metric, g.Metric)
			return
		}
		out = append(out, g)
	}
	for len(a) > 0 && len(b) > 0 {
		if byPrefix(a[0], b[0]) <= 0 {
			add(a[0])
			a = a[1:]
		} else {
			add(b[0])
			b = b[1:]
		}
	}
	for _, g := range append(a, b...) { // one of them is empty
		add(g)
	}
	return out
}
