package host

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// sum is the desired state of all owners together. Its indexes keep the cost of
// a change proportional to the owner's own part, and to the other parts' routes
// to the prefixes that the change decides about.
//
// A sum changes without I/O: replace, decide and decideAddress note in Host.work the
// objects that may have to change, and enforce compares these with the kernel.
type sum struct {
	parts map[string]*part
	came  uint64 // the number of parts so far

	devices   map[string]*device // by name
	contests  map[netip.Prefix]*contest
	addresses map[netip.Addr][]*ownAddress
	sources   map[netip.Addr]map[*claim]struct{} // by Route.Source
	peers     peers

	// The desired objects of the kernel.
	links  map[int]*device
	addrs  map[address]*ownAddress
	routes map[tablePrefix]*claim
	rules  map[ruleKey]map[ruleUser]struct{} // with the claims and guards that need the rule
	guards map[tablePrefix]*contest
}

// part is one owner's desired state.
type part struct {
	owner   string
	rank    uint64 // the order of the owners' first Set
	devices []*device
	peers   []netip.Addr
	guards  []*guard
}

type device struct {
	part      *part
	name      string
	index     int // 0: the device does not exist
	mtu       int
	metric    int
	sources   []netip.Prefix
	addresses []*ownAddress
	claims    []*claim
}

// ownAddress is an address that one of our devices should have.
type ownAddress struct {
	device  *device
	prefix  netip.Prefix // with the host part
	takenBy int          // the foreign device that has the address; 0: none
	set     bool         // as its owner was last told
}

// claim asks for a route to a prefix into a device.
type claim struct {
	device  *device
	order   int // within the part
	prefix  netip.Prefix
	source  netip.Addr
	address *ownAddress // the route exists only with this address; nil: it is independent
	byFlow  bool
	removed bool // the owner's new State lacks it
	carried bool // while a State takes another's place: it stays as it is

	// The decision.
	placed bool
	in     bool        // as its owner was last told
	key    tablePrefix // the place of the route
	rules  []ruleKey   // the rules that lead to it
	second *claim      // the route leads to the second claim's device too, by flow; nil: to one device
	within *claim      // the claim whose route leads to this claim's device too; nil: none

	refused diag.Kept // by the kernel
	code    diag.Code // likewise: of what keeps the route out
}

// contest has the claims of all owners to one prefix, and its guard.
type contest struct {
	claims  []*claim // by the rank of their parts
	guards  []*guard // likewise
	metrics metrics  // of all of them
	standing

	guard routeKey  // the guard; zero: there is none
	rules []ruleKey // the rules that lead to it
}

// standing is the part of the decision that concerns every claim to a prefix.
type standing struct {
	table    int      // main, or Table if the prefix contains a peer
	worst    int      // the worst metric that a route of ours has, but for a replacement
	obstacle obstacle // a foreign route; it blocks every claim
	first    *claim   // has the prefix; nil: no claim's device is there
	second   *claim   // shares the prefix with first, by flow; nil: none
}

// obstacle is a foreign route in one of the tables; the zero obstacle is none.
type obstacle struct {
	table int
	route foreignRoute
}

func newSum() sum {
	return sum{
		parts: make(map[string]*part), devices: make(map[string]*device),
		contests: make(map[netip.Prefix]*contest), addresses: make(map[netip.Addr][]*ownAddress),
		sources: make(map[netip.Addr]map[*claim]struct{}), peers: newPeers(),
		links: make(map[int]*device), addrs: make(map[address]*ownAddress),
		routes: make(map[tablePrefix]*claim), rules: make(map[ruleKey]map[ruleUser]struct{}),
		guards: make(map[tablePrefix]*contest),
	}
}

// work lists the kernel objects to compare with the sum, and the claims and
// addresses of which the owners may have to learn the outcome. An object may be
// listed twice.
type work struct {
	links  []int
	addrs  []address
	routes []tablePrefix
	rules  []ruleKey
	guards []tablePrefix
	gone   []netip.Addr // addresses that this host lost; routes may have them as their source

	claims    []*claim
	addresses []*ownAddress
}

// replace makes s the part of an owner, and decides everything that this changes.
func (h *Host) replace(owner string, s State) []error {
	old := h.want.parts[owner]
	next, errs := h.newPart(owner, old, s)
	h.carry(old, next)
	changed := make(map[netip.Prefix][]*claim)
	if old != nil {
		h.withdraw(old, changed)
	}
	if next != nil {
		h.enter(next, changed)
	}
	next.settle()
	for p, claims := range changed {
		h.decide(p, claims...)
	}
	return errs
}

// newPart makes the part that a State describes, nil for the empty State. It leaves invalid devices
// and routes out and reports them.
func (h *Host) newPart(owner string, old *part, s State) (*part, []error) {
	if len(s.Devices) == 0 && len(s.Peers) == 0 && len(s.Guards) == 0 {
		return nil, nil
	}
	p := &part{owner: owner}
	if old != nil {
		p.rank = old.rank
	} else {
		h.want.came++
		p.rank = h.want.came
	}
	for _, a := range s.Peers {
		if a = a.Unmap().WithZone(""); !slices.Contains(p.peers, a) {
			p.peers = append(p.peers, a)
		}
	}
	var errs []error
	var guards distinct
	for _, g := range s.Guards {
		if !g.Prefix.IsValid() {
			errs = append(errs, fmt.Errorf("the prefix %s to guard is invalid", g.Prefix))
			continue
		}
		want := &guard{part: p, prefix: g.Prefix.Masked(), metric: cmp.Or(g.Metric, Metric)}
		if guards.first(want.prefix, p.guarded()) {
			p.guards = append(p.guards, want)
			continue
		}
		i := slices.IndexFunc(p.guards, func(o *guard) bool { return o.prefix == want.prefix })
		p.guards[i].metric = max(p.guards[i].metric, want.metric)
	}
	order := 0
	for _, ds := range s.Devices {
		other := h.want.devices[ds.Name]
		switch {
		case slices.ContainsFunc(p.devices, func(d *device) bool { return d.name == ds.Name }):
			errs = append(errs, &DeviceError{ds.Name, errors.New("named twice")})
			continue
		case other != nil && other.part != old:
			errs = append(errs, &DeviceError{ds.Name, errors.New("belongs to " + other.part.owner)})
			continue
		}
		d := &device{part: p, name: ds.Name, mtu: ds.MTU, metric: cmp.Or(ds.Metric, Metric), sources: slices.Clone(ds.Sources)}
		if t := h.tuns[d.name]; t != nil {
			d.index = t.index
		} else {
			errs = append(errs, &DeviceError{d.name, errors.New("not created")})
		}
		var seen distinct
		for _, r := range ds.Routes {
			if !r.Prefix.IsValid() || (r.Source.IsValid() && r.Source.Is4() != r.Prefix.Addr().Is4()) {
				errs = append(errs, &DeviceError{d.name, fmt.Errorf("route %s with source %s is invalid: prefix and source must be of one address family", r.Prefix, r.Source)})
				continue
			}
			d.claim(r, nil, &seen)
		}
		for _, a := range ds.Addresses {
			own := &ownAddress{device: d, prefix: a}
			d.addresses = append(d.addresses, own)
			if !a.IsSingleIP() {
				d.claim(Route{Prefix: a, Source: a.Addr()}, own, &seen)
			}
		}
		for _, c := range d.claims {
			c.byFlow = ds.ByFlow && c.address == nil
			c.order = order
			order++
		}
		p.devices = append(p.devices, d)
	}
	return p, errs
}

// claim adds a claim unless the device has one to that prefix.
func (d *device) claim(r Route, a *ownAddress, seen *distinct) {
	prefix := r.Prefix.Masked()
	if seen.first(prefix, d.claimed()) {
		d.claims = append(d.claims, &claim{device: d, prefix: prefix, source: r.Source, address: a})
	}
}

// enter puts a part into the sum. changed gets the prefixes to decide.
func (h *Host) enter(p *part, changed map[netip.Prefix][]*claim) {
	w := &h.want
	w.parts[p.owner] = p
	for _, a := range p.peers {
		mark(changed, w.peers.add(a)...)
		h.judge(around(a, a.BitLen()))
	}
	h.enterGuards(p, changed)
	for _, d := range p.devices {
		w.devices[d.name] = d
		if d.index != 0 {
			w.links[d.index] = d
			h.work.links = append(h.work.links, d.index)
		}
		for _, a := range d.addresses {
			w.addresses[a.prefix.Addr()] = append(w.addresses[a.prefix.Addr()], a)
			h.decideAddress(a)
			h.markSource(a.prefix.Addr(), changed)
		}
		for _, c := range d.claims {
			if c.carried {
				continue
			}
			q := h.contest(c.prefix)
			i, _ := slices.BinarySearchFunc(q.claims, c, compareClaims)
			q.claims = slices.Insert(q.claims, i, c)
			q.metrics.add(d.metric)
			if c.source.IsValid() {
				if w.sources[c.source] == nil {
					w.sources[c.source] = make(map[*claim]struct{})
				}
				w.sources[c.source][c] = struct{}{}
			}
			changed[c.prefix] = append(changed[c.prefix], c)
		}
	}
}

// withdraw takes a part out of the sum.
func (h *Host) withdraw(p *part, changed map[netip.Prefix][]*claim) {
	w := &h.want
	delete(w.parts, p.owner)
	for _, a := range p.peers {
		mark(changed, w.peers.remove(a)...)
		h.judge(around(a, a.BitLen()))
	}
	h.withdrawGuards(p, changed)
	for _, d := range p.devices {
		delete(w.devices, d.name)
		delete(w.links, d.index)
		for _, c := range d.claims {
			if c.carried {
				continue
			}
			c.removed = true
			q := w.contests[c.prefix]
			if i := slices.Index(q.claims, c); i >= 0 { // carried claims have the order of the new part already
				q.claims = slices.Delete(q.claims, i, i+1)
				q.metrics.remove(d.metric)
			}
			if delete(w.sources[c.source], c); len(w.sources[c.source]) == 0 {
				delete(w.sources, c.source)
			}
			changed[c.prefix] = append(changed[c.prefix], c)
		}
		for _, a := range d.addresses {
			h.removeAddress(a)
			h.markSource(a.prefix.Addr(), changed)
		}
	}
}

// mark adds prefixes to changed of which no claim changed.
func mark(changed map[netip.Prefix][]*claim, prefixes ...netip.Prefix) {
	for _, p := range prefixes {
		if _, ok := changed[p]; !ok {
			changed[p] = nil
		}
	}
}

// markSource adds the claims with an address as their source to changed, when one of our
// devices gets or loses that address.
func (h *Host) markSource(a netip.Addr, changed map[netip.Prefix][]*claim) {
	for c := range h.want.sources[a] {
		changed[c.prefix] = append(changed[c.prefix], c)
	}
}

func compareClaims(a, b *claim) int {
	return cmp.Or(compareParts(a.device.part, b.device.part), cmp.Compare(a.order, b.order))
}

func (h *Host) decideAddress(a *ownAddress) {
	a.takenBy = 0
	if on := h.have.owners[a.prefix.Addr()]; len(on) > 0 {
		a.takenBy = on[0]
	}
	key := address{a.device.index, a.prefix}
	if a.assigned() {
		h.want.addrs[key] = a
	} else if h.want.addrs[key] == a {
		delete(h.want.addrs, key)
	}
	h.work.addrs = append(h.work.addrs, key)
	h.work.addresses = append(h.work.addresses, a)
}

func (h *Host) removeAddress(a *ownAddress) {
	w := &h.want
	addr, key := a.prefix.Addr(), address{a.device.index, a.prefix}
	if w.addrs[key] == a {
		delete(w.addrs, key)
	}
	h.work.addrs = append(h.work.addrs, key)
	list := w.addresses[addr]
	if list = slices.DeleteFunc(list, func(b *ownAddress) bool { return b == a }); len(list) == 0 {
		delete(w.addresses, addr)
	} else {
		w.addresses[addr] = list
	}
}

func (a *ownAddress) assigned() bool { return a.device.index != 0 && a.takenBy == 0 }

// alive reports whether a claim counts: its device exists, and so does the address
// that it depends on.
func (c *claim) alive() bool {
	return c.device.index != 0 && (c.address == nil || c.address.assigned())
}

// partner returns the claim that shares a prefix with c by flow; nil: none does.
func (c *claim) partner(among []*claim) *claim {
	if !c.byFlow {
		return nil
	}
	i := slices.IndexFunc(among, func(o *claim) bool { return o.byFlow && o.device.part == c.device.part && o.alive() })
	if i < 0 {
		return nil
	}
	return among[i]
}

// decide chooses the claim that gets a prefix. changed are its claims that are new, were removed,
// or may have become alive or dead. Another claim is decided again only if the change concerns it:
// a new or lost first place, another table, a foreign route.
func (h *Host) decide(p netip.Prefix, changed ...*claim) {
	q := h.want.contests[p]
	if q == nil {
		return
	}
	was := q.standing
	q.standing = h.standing(p, q)
	switch {
	case was.table != q.table || was.obstacle != q.obstacle:
		changed = slices.Concat(changed, q.claims)
	case was.first != q.first || was.second != q.second:
		changed = append(slices.Clip(changed), was.first, was.second, q.first, q.second)
	}
	for _, c := range changed {
		if c != nil {
			h.displace(c)
		}
	}
	for _, c := range changed {
		if c != nil && !c.removed && !c.placed && c.within == nil {
			h.place(q, c)
			h.work.claims = append(h.work.claims, c)
		}
	}
	h.setGuard(p, q)
	if len(q.claims) == 0 && len(q.guards) == 0 {
		delete(h.want.contests, p)
	}
}

// contest returns the contest of a prefix, a new one if need be.
func (h *Host) contest(p netip.Prefix) *contest {
	q := h.want.contests[p]
	if q == nil {
		q = new(contest)
		h.want.contests[p] = q
	}
	return q
}

func (h *Host) standing(p netip.Prefix, q *contest) standing {
	s := standing{table: unix.RT_TABLE_MAIN, worst: q.metrics.worst()}
	if p.Bits() == 0 || h.want.peers.contain(p) {
		s.table = Table
	}
	s.obstacle = h.obstacle(tablePrefix{s.table, p}, s.worst+guardStep)
	if i := slices.IndexFunc(q.claims, (*claim).alive); i >= 0 {
		s.first = q.claims[i]
		s.second = s.first.partner(q.claims[i+1:])
	}
	return s
}

// obstacle returns the foreign route that a route of ours would compete with. A route of a worse metric than
// worst, which our guard has, is no obstacle: it comes after ours, as its metric says. Nor is
// the host's default route: our Table has a separate 0.0.0.0/0.
func (h *Host) obstacle(key tablePrefix, worst int) obstacle {
	for _, table := range []int{unix.RT_TABLE_MAIN, key.table} {
		if table == unix.RT_TABLE_MAIN && key.prefix.Bits() == 0 {
			continue
		}
		in := h.have.foreign[tablePrefix{table, key.prefix}]
		if i := slices.IndexFunc(in, func(r foreignRoute) bool { return r.metric <= worst }); i >= 0 {
			return obstacle{table, in[i]}
		}
	}
	return obstacle{}
}

// place gives a claim its route and rules, if it gets one.
func (h *Host) place(q *contest, c *claim) {
	c.refused = diag.Kept{}
	if !c.alive() || q.obstacle != (obstacle{}) {
		return
	}
	key := tablePrefix{q.table, c.prefix}
	var rules []ruleKey
	switch {
	case c == q.second:
		c.within = q.first
		return
	case c != q.first && q.table == Table:
		return
	case c != q.first:
		key.table = sharedTable + c.device.index
		if rules = share(c.prefix, c.device.sources, key.table); len(rules) == 0 {
			return
		}
	case q.table == Table:
		rules = capture(c.prefix)
	}
	c.placed, c.key, c.rules = true, key, rules
	if c == q.first {
		c.second = q.second
	}
	h.want.routes[key] = c
	for _, r := range rules {
		h.useRule(r, c)
	}
	h.touch(c)
}

// displace undoes place.
func (h *Host) displace(c *claim) {
	c.within = nil
	if !c.placed {
		return
	}
	h.touch(c)
	delete(h.want.routes, c.key)
	for _, r := range c.rules {
		h.unuseRule(r, c)
	}
	c.placed, c.rules, c.second = false, nil, nil
}

// touch adds a claim's route and rules to the work.
func (h *Host) touch(c *claim) {
	h.work.routes = append(h.work.routes, c.key)
	h.work.rules = append(h.work.rules, c.rules...)
}

// decideAll decides about every prefix again, and adds all our objects in the kernel to the work.
func (h *Host) decideAll() {
	w := &h.want
	for index := range w.links {
		h.work.links = append(h.work.links, index)
	}
	for _, list := range w.addresses {
		for _, a := range list {
			h.decideAddress(a)
		}
	}
	for p, q := range w.contests {
		h.decide(p, slices.Clone(q.claims)...)
	}
	for a := range h.have.addrs {
		h.work.addrs = append(h.work.addrs, a)
	}
	for key, q := range w.guards {
		h.work.guards = append(h.work.guards, key)
		h.work.rules = append(h.work.rules, q.rules...)
	}
	for key := range h.have.guards {
		h.work.guards = append(h.work.guards, key)
	}
	for key := range h.have.routes {
		h.work.routes = append(h.work.routes, key)
	}
	for r := range h.have.rules {
		h.work.rules = append(h.work.rules, r)
	}
	h.judgeAll()
}

// unbind notes that a device disappeared, with its addresses and routes. Other
// claims to its prefixes get their routes in the next Set.
func (h *Host) unbind(name string) {
	d := h.want.devices[name]
	if d == nil || d.index == 0 {
		return
	}
	for _, a := range d.addresses {
		delete(h.want.addrs, address{d.index, a.prefix})
		delete(h.have.addrs, address{d.index, a.prefix})
	}
	for _, c := range d.claims {
		switch key, ok := h.haveRoute(c); {
		case c.second != nil || c.within != nil: // IPv4 has removed the route to both, IPv6 a half of it
			h.have.fresh = false
			h.judge(c.prefix)
		case c.placed && ok:
			h.have.routes.drop(key)
			h.judge(key.prefix)
		}
	}
	delete(h.want.links, d.index)
	d.index = 0
	for _, c := range d.claims {
		h.decide(c.prefix, c)
	}
}
