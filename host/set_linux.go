package host

import (
	"errors"
	"fmt"
	"slices"

	"vpngw/diag"
)

// Set makes s the part of an owner in what we want in the kernel: addresses, routes and rules
// as s says, and the owner's devices up with their MTU. State{} takes the owner's part out.
// What the kernel gets is the sum of the parts of all owners. Set is its only writer.
//
// Set is idempotent. It touches only what differs from what is there, and costs what the owner's
// part costs, not what all parts cost: except at the start, after an overrun of netlink's events
// and when somebody else changed something of ours, when it compares everything with the kernel.
//
// Owners meet in five places:
//
//   - A device belongs to the owner that named it first; another gets a *DeviceError until it
//     is given up.
//   - Of several routes to one prefix the one of the owner that came first counts, and within
//     an owner that of the first device. An owner comes with its first Set and stays in its
//     place until Set(owner, State{}). So it does not matter in which order routes come and go:
//     a route that is in is displaced only by an owner that was there before. (By name, a
//     new owner could take over the traffic of one that runs.) The others' devices have theirs for
//     packets from their Sources; without Sources, or where the prefix contains a peer, they are blocked.
//   - A prefix that contains a peer of any owner has its route in our own table.
//   - A route whose Source is an address of another owner's device is in while the address is.
//   - Rules are shared.
//
// So a Set may bring in, move or take out routes of other owners. It does so at once. Owners
// whose own Set would now have another Result, because something of theirs came in or went out or
// could not be done, are listed in Result.Others: Set them again to learn it.
//
// Nothing foreign is changed or replaced: what it blocks is told in the
// Result, and tried again by the owner's next Set. An error does not stop the rest: it
// is errors.Join of all that came, a *DeviceError each where it concerns one device.
func (h *Host) Set(owner string, s State) (Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.update(); err != nil {
		return Result{}, err
	}
	errs := h.replace(owner, s)
	failures := h.enforce()
	res := Result{Blocked: h.blocked(h.want.parts[owner]), Others: h.others(owner, failures)}
	for _, f := range failures {
		if f.part == nil || f.part.owner == owner {
			errs = append(errs, f.err)
		}
	}
	return res, errors.Join(errs...)
}

// others are the owners other than one that have something new to learn.
func (h *Host) others(but string, failures []failure) []string {
	owners := make(map[string]struct{})
	for _, c := range h.work.claims {
		if c.removed {
			continue
		}
		if in := h.isIn(c); in != c.in {
			c.in = in
			owners[c.device.part.owner] = struct{}{}
		}
	}
	for _, a := range h.work.addresses {
		if set := a.takenBy == 0; set != a.set {
			a.set = set
			owners[a.device.part.owner] = struct{}{}
		}
	}
	for _, f := range failures {
		if f.part != nil {
			owners[f.part.owner] = struct{}{}
		}
	}
	h.work.claims, h.work.addresses = nil, nil
	delete(owners, but)
	var out []string
	for o := range owners {
		if h.want.parts[o] != nil {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

func (h *Host) isIn(c *claim) bool {
	if !c.placed {
		return false
	}
	_, ok := h.haveRoute(c)
	return ok
}

// blocked lists the routes and addresses of a part that something foreign or another part keeps out.
func (h *Host) blocked(p *part) (out []BlockedRoute) {
	if p == nil {
		return nil
	}
	for _, d := range p.devices {
		for _, a := range d.addresses {
			if a.takenBy != 0 && d.index != 0 {
				out = append(out, BlockedRoute{
					Device: d.name, Route: Route{Prefix: around(a.prefix.Addr(), a.prefix.Addr().BitLen())},
					Cause: diag.Cause{Code: diag.AddressTaken, Device: d.name, Addr: a.prefix.Addr(), Name: h.linkName(a.takenBy)},
				})
			}
		}
		for _, c := range d.claims {
			if why := h.why(c); !why.OK() {
				out = append(out, BlockedRoute{Device: d.name, Route: Route{c.prefix, c.source}, Cause: why})
			}
		}
	}
	return out
}

// why says what keeps a claim's route out.
func (h *Host) why(c *claim) diag.Cause {
	if !c.alive() {
		return diag.Cause{} // an error or the blocked address tells
	}
	why := diag.Cause{Device: c.device.name, Prefix: c.prefix}
	switch q := h.want.contests[c.prefix]; {
	case q.obstacle != (obstacle{}):
		why.Code, why.Err = diag.RouteBlocked, h.describe(c.prefix, q.obstacle)
	case !c.placed:
		why.Code, why.Name = diag.RouteTaken, q.first.device.name
	default:
		return c.refused
	}
	return why
}

func (h *Host) describe(p fmt.Stringer, o obstacle) string {
	s := "the route " + p.String()
	if o.route.gateway.IsValid() {
		s += " via " + o.route.gateway.String()
	}
	if o.route.index != 0 {
		s += " on " + h.linkName(o.route.index)
	}
	if o.route.metric != 0 {
		s += fmt.Sprintf(", metric %d", o.route.metric)
	}
	if o.table == Table {
		s += fmt.Sprintf(" in table %d", o.table)
	}
	return s
}

func (h *Host) linkName(index int) string {
	if l, err := h.rt.LinkByIndex(index); err == nil {
		return l.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}
