package host

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A guard is an unreachable route beside the route of a prefix, in the same table and reached by the same
// rules, but with a worse metric and without a device. Packets to the prefix go into the tunnel while the
// tunnel's route is there, and nowhere while it is not: before the tunnel first comes up, while its device is down
// or gone, and after the end of the process, with which the kernel removes the device and its routes.
//
// The routes that devices have in their own tables (sharedTable) need no guards there: where such a
// table has no route, the packet goes on to the main table or our Table, which has the guard.
//
// A foreign route of a better metric wins against a guard, as against any route of ours.

// guardStep is how much worse a guard's metric is than the worst one that a route of ours to the prefix can have but for a
// replacement.
const guardStep = 10

// guard is a prefix that a part wants guarded.
type guard struct {
	part   *part
	prefix netip.Prefix
	metric int // of its routes

	carried bool // while a State takes another's place: it stays as it is
}

// ruleUser is whatever needs a rule: a claim or a guard.
type ruleUser interface {
	owner() *part
}

func (c *claim) owner() *part { return c.device.part }

// owner returns the part that is the first to want the prefix guarded. It must not be called when there is none.
func (q *contest) owner() *part { return q.guards[0].part }

// setGuard decides where the guard of a prefix stands.
func (h *Host) setGuard(p netip.Prefix, q *contest) {
	var at routeKey                                                                        // zero: there is no guard
	if len(q.guards) > 0 && (q.table != Table || q.obstacle.table != unix.RT_TABLE_MAIN) { // the rules ask our Table first
		at = routeKey{tablePrefix{q.table, p}, q.worst + guardStep}
	}
	if at == q.guard {
		// One that the kernel has refused is tried again, unless a foreign route has its place.
		if at.table != 0 && !h.have.guards.has(at) && !slices.ContainsFunc(h.have.foreign[at.tablePrefix], func(r foreignRoute) bool { return r.metric == at.metric }) {
			h.work.guards = append(h.work.guards, at.tablePrefix)
		}
		return
	}
	w := &h.want
	if was := q.guard; was.table != 0 {
		delete(w.guards, was.tablePrefix)
		h.work.guards = append(h.work.guards, was.tablePrefix)
		for _, r := range q.rules {
			h.unuseRule(r, q)
		}
		h.work.rules = append(h.work.rules, q.rules...)
	}
	q.guard, q.rules = at, nil
	if at.table == 0 {
		return
	}
	w.guards[at.tablePrefix] = q
	if at.table == Table {
		q.rules = capture(p)
	}
	for _, r := range q.rules {
		h.useRule(r, q)
	}
	h.work.rules = append(h.work.rules, q.rules...)
	h.work.guards = append(h.work.guards, at.tablePrefix, tablePrefix{otherTable(at.table), p}) // an earlier run may have had it there
}

func otherTable(table int) int {
	if table == Table {
		return unix.RT_TABLE_MAIN
	}
	return Table
}

// useRule notes that u needs a rule; unuseRule undoes it.
func (h *Host) useRule(r ruleKey, u ruleUser) {
	if h.want.rules[r] == nil {
		h.want.rules[r] = make(map[ruleUser]struct{})
	}
	h.want.rules[r][u] = struct{}{}
}

func (h *Host) unuseRule(r ruleKey, u ruleUser) {
	if delete(h.want.rules[r], u); len(h.want.rules[r]) == 0 {
		delete(h.want.rules, r)
	}
}

// enterGuards puts a part's guards into the sum, withdrawGuards takes them out. changed gets the prefixes to decide.
func (h *Host) enterGuards(p *part, changed map[netip.Prefix][]*claim) {
	for _, g := range p.guards {
		if g.carried {
			continue
		}
		q := h.contest(g.prefix)
		i, _ := slices.BinarySearchFunc(q.guards, g, compareGuards)
		q.guards = slices.Insert(q.guards, i, g)
		q.metrics.add(g.metric)
		mark(changed, g.prefix)
	}
}

func (h *Host) withdrawGuards(p *part, changed map[netip.Prefix][]*claim) {
	for _, g := range p.guards {
		if g.carried {
			continue
		}
		q := h.want.contests[g.prefix]
		if i, ok := slices.BinarySearchFunc(q.guards, g, compareGuards); ok {
			q.guards = slices.Delete(q.guards, i, i+1)
			q.metrics.remove(g.metric)
		}
		mark(changed, g.prefix)
	}
}

func compareParts(a, b *part) int { return cmp.Compare(a.rank, b.rank) }

func compareGuards(a, b *guard) int { return compareParts(a.part, b.part) }

// addGuards adds guards. later are those in whose place a route of ours still stands that another replaces.
func (h *Host) addGuards(keys []tablePrefix) (later []tablePrefix, failures []failure) {
	for _, k := range keys {
		q := h.want.guards[k]
		if q == nil || h.have.guards.has(q.guard) {
			continue
		}
		if _, ok := h.have.routes.get(q.guard); ok {
			later = append(later, k)
			continue
		}
		switch err := h.rt.RouteAdd(q.guard.guard()); { // with NLM_F_EXCL
		case err == nil:
			h.have.guards.put(q.guard, struct{}{})
		case errors.Is(err, unix.EEXIST): // another program has just added a route with that metric
			h.have.fresh = false
		default:
			err = fmt.Errorf("unreachable route %s: %w", k.prefix, err)
			for _, g := range q.guards {
				failures = append(failures, failure{g.part, err})
			}
		}
	}
	return later, failures
}

// removeGuards removes the guards in places that should have none, and those of other metrics than the place's guard has.
func (h *Host) removeGuards(keys []tablePrefix) (failures []failure) {
	for _, k := range keys {
		var keep routeKey
		if q := h.want.guards[k]; q != nil {
			keep = q.guard
		} else if len(h.have.guards[k]) > 0 && h.retains(k) {
			h.retained.guards = append(h.retained.guards, k)
			continue
		}
		for _, g := range h.have.guards.at(k) {
			key := routeKey{k, g.metric}
			if key == keep {
				continue
			}
			if err := h.rt.RouteDel(key.guard()); err != nil && !gone(err) {
				failures = append(failures, failure{err: fmt.Errorf("remove unreachable route %s: %w", k.prefix, err)})
				h.work.guards = append(h.work.guards, k)
				continue
			}
			h.have.guards.drop(key)
		}
	}
	return failures
}

// guard returns the route of a guard.
func (k routeKey) guard() *netlink.Route {
	return &netlink.Route{Dst: ipNet(k.prefix), Table: k.table, Priority: k.metric, Protocol: Protocol, Type: unix.RTN_UNREACHABLE}
}

// isGuard reports whether a route of ours is a guard.
func isGuard(typ int) bool { return typ == unix.RTN_UNREACHABLE }

// retained are the guards and rules that nobody wants at the moment, and that stay until Release.
type retained struct {
	on     bool
	guards []tablePrefix
	rules  []ruleKey
}

// retains reports whether a guard that nobody wants stays for now. A guard that would stop our own packets
// to a peer does not, nor one whose prefix has its guard in another table.
func (h *Host) retains(k tablePrefix) bool {
	if q := h.want.contests[k.prefix]; q != nil && q.guard.table != 0 {
		return false
	}
	return h.retained.on && (k.table == Table || !h.want.peers.contain(k.prefix))
}

// Retain keeps all guards and rules in the kernel until Release, so that no packet leaves in clear while
// prefixes go from one owner to another.
func (h *Host) Retain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retained.on = true
}

// Release removes the guards and rules that nobody has wanted since Retain or TakeOver.
func (h *Host) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.retained
	h.retained = retained{}
	if len(r.guards)+len(r.rules) == 0 {
		return nil
	}
	h.work.guards = append(h.work.guards, r.guards...)
	h.work.rules = append(h.work.rules, r.rules...)
	return h.enforceAll()
}

// Left returns the guards in the kernel, sorted. Between TakeOver and the first Set they are what an earlier run has left.
func (h *Host) Left() []Guard {
	h.mu.Lock()
	defer h.mu.Unlock()
	worst := make(map[netip.Prefix]int)
	for k, list := range h.have.guards {
		for _, g := range list {
			worst[k.prefix] = max(worst[k.prefix], g.metric)
		}
	}
	out := make([]Guard, 0, len(worst))
	for p, metric := range worst {
		out = append(out, Guard{p, metric - guardStep})
	}
	slices.SortFunc(out, func(a, b Guard) int { return a.Prefix.Compare(b.Prefix) })
	return out
}
