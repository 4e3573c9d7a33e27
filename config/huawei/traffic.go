package huawei

import (
	"net/netip"
	"slices"

	"vpngw/config"
	"vpngw/config/dialect"
)

// reserved are the blocks that the cloud gives to no tunnel.
var reserved = []netip.Prefix{netip.MustParsePrefix("169.254.195.0/24")}

// kept are the cloud's own addresses, with which no customer's subnet may overlap.
var kept = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("214.0.0.0/8")}

// traffic sets what the tunnel carries, seen from the cloud. In the styles static and
// bgp the selectors are 0.0.0.0/0, and the cloud routes peer_subnets into the tunnel.
func traffic(c *dialect.Check, v *dialect.Value, t *config.Tunnel) config.Routing {
	style, peers, rules := v.Field("style").Text(), v.Field("peer_subnets"), v.Field("policy_rules")
	for _, p := range peers.Prefixes() {
		for _, k := range kept {
			if p.Overlaps(k) {
				c.Fail(peers, dialect.Illegal, "%v must have nothing of %v, which the cloud keeps for itself", p, k)
			}
		}
	}
	if style == "policy" {
		if ps := pairs(c, v); len(ps) > 0 {
			t.SetPairs(ps)
		}
		return config.RouteFlows
	}
	if len(rules.Items()) > 0 {
		c.Fail(rules, dialect.Conflict, "they belong to the style policy; this is %s", style)
	}
	t.Local.Subnets, t.Remote.Subnets = []netip.Prefix{dialect.Everything}, []netip.Prefix{dialect.Everything}
	t.Routes = peers.Prefixes()
	if style == "bgp" {
		return config.RouteBGP
	}
	if style == "static" && len(peers.Prefixes()) == 0 && (peers.OK() || !peers.Given) {
		c.Fail(peers, dialect.Missing, "the style static needs the customer's subnets")
	}
	return config.RouteDestination
}

// maxPairs is the largest number of rules times the largest number of destinations.
const maxPairs = 5 * 50

// pairs are the pairs of the policy rules, in the order of the rules' indexes and last
// those without: "if multiple destination CIDR blocks are specified, the VPN service
// generates a rule for each destination CIDR block". Its answers list these generated rules.
func pairs(c *dialect.Check, v *dialect.Value) []config.Pair {
	list := v.Field("policy_rules")
	rules := slices.Clone(list.Items())
	switch {
	case len(rules) == 0 && (list.OK() || !list.Given):
		c.Fail(list, dialect.Missing, "the style policy needs policy rules")
		return nil
	case len(rules) > 5 && !v.Answer():
		c.Fail(list, dialect.TooMany, "%d policy rules; at most 5 are allowed", len(rules))
	}
	uniqueRules(c, rules, v.Answer())
	slices.SortStableFunc(rules, func(a, b *dialect.Value) int { return place(a) - place(b) })
	var out []config.Pair
	seen := map[config.Pair]bool{}
	for _, r := range rules {
		source, destination := r.Field("source"), r.Field("destination")
		for _, f := range []*dialect.Value{source, destination} {
			if r.OK() && !f.Given {
				c.Fail(f, dialect.Missing, "a rule needs both source and destination")
			}
		}
		for _, d := range destination.Prefixes() {
			p := config.Pair{Local: source.Prefix(), Remote: d}
			switch {
			case !p.Local.IsValid():
			case p.Local.Addr().Is4() != d.Addr().Is4():
				c.Fail(destination, dialect.Conflict, "%v and the source, %v, are of different families", d, p.Local)
			case seen[p]:
				c.Warn(destination, dialect.Twice, "the pair %v and %v stands in the rules twice", p.Local, d)
			default:
				out = append(out, p)
			}
			seen[p] = true
			outside(c, destination, d, v.Field("peer_subnets").Prefixes())
		}
	}
	if len(out) > maxPairs {
		c.Fail(list, dialect.TooMany, "%d pairs of subnets; at most %d are allowed", len(out), maxPairs)
	}
	return out
}

func place(rule *dialect.Value) int {
	if i := rule.Field("rule_index"); i.OK() {
		return int(i.Int())
	}
	return 51 // behind the largest index
}

// uniqueRules reports rules with the same index or source. In an answer rules share
// sources.
func uniqueRules(c *dialect.Check, rules []*dialect.Value, answer bool) {
	indexes, sources := map[int64]bool{}, map[netip.Prefix]bool{}
	for _, r := range rules {
		if i := r.Field("rule_index"); i.OK() {
			if indexes[i.Int()] {
				c.Fail(i, dialect.Twice, "another rule has the index %d already", i.Int())
			}
			indexes[i.Int()] = true
		}
		if s := r.Field("source"); s.OK() && !answer {
			if sources[s.Prefix()] {
				c.Fail(s, dialect.Twice, "another rule has the source %v already; put the destinations into one rule", s.Prefix())
			}
			sources[s.Prefix()] = true
		}
	}
}

// outside warns of a destination that is in none of peer_subnets. The page has such an
// example.
func outside(c *dialect.Check, v *dialect.Value, d netip.Prefix, peers []netip.Prefix) {
	in := func(p netip.Prefix) bool { return p.Bits() <= d.Bits() && p.Contains(d.Addr()) }
	if len(peers) > 0 && !slices.ContainsFunc(peers, in) {
		c.Warn(v, dialect.Conflict, "%v is in none of peer_subnets", d)
	}
}

// insideAddresses sets the ends' addresses in the tunnel, seen from the cloud. A /30 has
// two hosts, so one address tells the other.
func insideAddresses(c *dialect.Check, v *dialect.Value, d *dialect.Draft, t *config.Tunnel) {
	local, peer := v.Field("tunnel_local_address"), v.Field("tunnel_peer_address")
	if v.Field("style").Text() == "policy" {
		return
	}
	switch {
	case local.OK():
		t.SetInside(local.Prefix().Masked(), local.Prefix().Addr(), config.Cloud)
		if block := local.Prefix().Masked(); peer.OK() && peer.Prefix().Masked() != block {
			c.Fail(peer, dialect.Conflict, "it must be in the block of tunnel_local_address, %v", block)
		} else if peer.OK() && peer.Prefix() == local.Prefix() {
			c.Fail(peer, dialect.Conflict, "tunnel_local_address is the same")
		}
	case peer.OK() && !local.Given:
		t.SetInside(peer.Prefix().Masked(), peer.Prefix().Addr(), config.Customer)
	case local.Given || peer.Given: // its row has reported what is wrong
	case d.Side == config.Customer && v.Field("style").Text() == "static" && !v.Field("enable_nqa").Bool():
		d.Notes = append(d.Notes, "the cloud chose the tunnel addresses; nothing of this connection needs them")
	default:
		c.Chosen(local, d, dialect.Choice{What: dialect.ChooseInside, Within: dialect.LinkLocal, Not: reserved}, "its Show answer, with tunnel_peer_address")
	}
}
