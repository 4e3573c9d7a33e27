package host

import (
	"iter"
	"net/netip"
	"slices"
)

// A part with thousands of routes changes by one of them, as BGP has it. So what a new part has in common with the old one is
// carried over, and costs no decision.

// carry moves the claims and guards that are in place as both parts want them from old to next, and marks them: withdraw and enter leave
// them alone. The devices must come in the same order, which decides between two claims to one prefix. What several devices share by flow is
// decided anew.
func (h *Host) carry(old, next *part) {
	if old == nil || next == nil {
		return
	}
	h.carryGuards(old, next)
	if !slices.EqualFunc(old.devices, next.devices, (*device).like) {
		return
	}
	for i, d := range next.devices {
		was := old.devices[i]
		at := finder[*claim]{list: was.claims, prefix: func(c *claim) netip.Prefix { return c.prefix }}
		for j, c := range d.claims {
			o := at.find(c.prefix)
			if o == nil || o.source != c.source || o.byFlow || c.byFlow || c.address != nil || o.address != nil || !o.settled(h) {
				continue
			}
			o.device, o.order, o.carried = d, c.order, true
			d.claims[j] = o
		}
	}
}

// finder finds the elements of a list by their prefix, nearly for nothing while it is asked in the order of the list.
type finder[E any] struct {
	list   []E
	prefix func(E) netip.Prefix
	next   int
	at     map[netip.Prefix]int // nil: the order has been the list's so far
}

// find returns the zero E where there is none.
func (f *finder[E]) find(p netip.Prefix) (none E) {
	for skip := range 2 { // one may have gone
		if i := f.next + skip; i < len(f.list) && f.prefix(f.list[i]) == p {
			f.next = i + 1
			return f.list[i]
		}
	}
	if f.at == nil {
		f.at = make(map[netip.Prefix]int, len(f.list))
		for i, e := range f.list {
			f.at[f.prefix(e)] = i
		}
	}
	i, ok := f.at[p]
	if !ok {
		return none
	}
	f.next = i + 1
	return f.list[i]
}

// distinct finds out whether prefixes repeat, for nothing while they ascend.
type distinct struct {
	last netip.Prefix
	seen map[netip.Prefix]struct{} // nil: they ascended so far
}

// first reports whether p comes for the first time. before are those that came.
func (d *distinct) first(p netip.Prefix, before iter.Seq[netip.Prefix]) bool {
	if d.seen == nil && (!d.last.IsValid() || d.last.Compare(p) < 0) {
		d.last = p
		return true
	}
	if d.seen == nil {
		d.seen = make(map[netip.Prefix]struct{})
		for b := range before {
			d.seen[b] = struct{}{}
		}
	}
	_, again := d.seen[p]
	d.seen[p] = struct{}{}
	return !again
}

// guarded and claimed are the prefixes of a part's guards and of a device's claims.
func (p *part) guarded() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, g := range p.guards {
			if !yield(g.prefix) {
				return
			}
		}
	}
}

func (d *device) claimed() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, c := range d.claims {
			if !yield(c.prefix) {
				return
			}
		}
	}
}

// like reports whether claims of two devices are decided alike.
func (d *device) like(o *device) bool {
	return d.name == o.name && d.index == o.index && d.metric == o.metric && slices.Equal(d.sources, o.sources)
}

// settled reports whether the kernel has what was decided about a claim.
func (c *claim) settled(h *Host) bool {
	if !c.placed || !c.refused.OK() {
		return false
	}
	_, ok := h.haveRoute(c)
	return ok
}

func (h *Host) carryGuards(old, next *part) {
	at := finder[*guard]{list: old.guards, prefix: func(g *guard) netip.Prefix { return g.prefix }}
	for i, g := range next.guards {
		o := at.find(g.prefix)
		if o == nil || o.metric != g.metric {
			continue
		}
		if q := h.want.contests[g.prefix]; q == nil || q.guard.table == 0 || !h.have.guards.has(q.guard) {
			continue
		}
		o.part, o.carried = next, true
		next.guards[i] = o
	}
}

// settle ends the marks of carry.
func (p *part) settle() {
	if p == nil {
		return
	}
	for _, g := range p.guards {
		g.carried = false
	}
	for _, d := range p.devices {
		for _, c := range d.claims {
			c.carried = false
		}
	}
}
