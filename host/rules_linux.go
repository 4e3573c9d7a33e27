package host

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Rules of policy routing keep a tunnel's route from capturing the packets that
// carry the tunnel. A prefix P of length N that contains a peer's outer address
// has its route in our Table instead of main, and is looked up so:
//
//	7300+2·(128−N):  to P lookup main suppress_prefixlength N   main's longer prefixes first,
//	             +1: to P goto 7558                             then this P before a shorter one,
//	7558:            not fwmark Mark lookup Table               for all but our own packets
//
// The prefix 0.0.0.0/0 needs no goto, and is always kept so: the host keeps its
// default route. Longer prefixes come first, so that the longest match wins as
// it would within one table.
const (
	rulePriority    = 7300
	captureRule     = rulePriority + 2*128 + 2
	longestIPv6Bits = 128
)

// Two tunnels to one network, for different networks of ours, have a route to
// the same prefix. The first tunnel's route is in main. The other's is in a table of its device
// alone, for packets from its own networks, after main's longer prefixes:
//
//	7300+2·(128−N)+1:  from S to P lookup 737300000+ifindex
const sharedTable = 737300000

// capture returns the rules that lead to a route in our Table.
func capture(p netip.Prefix) []ruleKey {
	all := ruleKey{v6: p.Addr().Is6(), priority: captureRule, table: Table, suppress: -1, goTo: -1, mark: Mark, invert: true}
	better := better(p)
	if p.Bits() == 0 {
		return []ruleKey{better, all}
	}
	return []ruleKey{better, {v6: all.v6, priority: better.priority + 1, to: p, suppress: -1, goTo: captureRule}, all}
}

// share returns the rules that lead packets from the source networks to a route in a device's
// own table. It returns none if no network is of the prefix's family.
func share(p netip.Prefix, sources []netip.Prefix, table int) []ruleKey {
	better := better(p)
	rules := []ruleKey{better}
	for _, s := range sources {
		if s.Bits() > 0 && s.Addr().Is4() == p.Addr().Is4() {
			rules = append(rules, ruleKey{
				v6: better.v6, priority: better.priority + 1, from: s.Masked(), to: p,
				table: table, suppress: -1, goTo: -1,
			})
		}
	}
	if len(rules) == 1 {
		return nil
	}
	return rules
}

// better returns the rule that gives main's longer prefixes within p precedence.
func better(p netip.Prefix) ruleKey {
	k := ruleKey{
		v6: p.Addr().Is6(), priority: rulePriority + 2*(longestIPv6Bits-p.Bits()),
		table: unix.RT_TABLE_MAIN, suppress: p.Bits(), goTo: -1,
	}
	if p.Bits() > 0 {
		k.to = p
	}
	return k
}

// sortRules puts rules in the order in which the kernel asks them, each once.
func sortRules(rules []ruleKey) []ruleKey {
	slices.SortFunc(rules, func(a, b ruleKey) int {
		family := 0
		if a.v6 != b.v6 {
			if family = 1; b.v6 {
				family = -1
			}
		}
		return cmp.Or(
			family, cmp.Compare(a.priority, b.priority), a.to.Addr().Compare(b.to.Addr()),
			cmp.Compare(b.from.Bits(), a.from.Bits()), a.from.Addr().Compare(b.from.Addr()),
			cmp.Compare(a.table, b.table))
	})
	return slices.Compact(rules)
}
