package host

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// Set replaces an owner's part of the desired state with s: addresses, routes, guards and rules, and
// the owner's devices up with their MTU. State{} removes the part. The kernel gets the sum of
// the parts of all owners. Beside Set only TakeOver, Release, Leave and Clean write it.
//
// Set is idempotent. It changes only objects that differ from the desired state, and its cost
// depends on the owner's part, not on all parts. It compares everything with the kernel only at
// the start, after an overrun of netlink's events, and when another program has changed an
// object of ours.
//
// Five rules apply where owners meet:
//
//   - A device belongs to the owner that named it first. Another owner gets a *DeviceError until
//     the first owner gives the device up.
//   - Of several claims to one prefix, the owner with the earliest first Set gets the route, and
//     within an owner the first device. An owner keeps its place until Set(owner, State{}). So the
//     order in which routes come and go does not matter: only an earlier owner displaces a route.
//     (If names decided, a new owner could take over the traffic of a running one.) The other
//     devices get a route for packets from their Sources; without Sources, or where the prefix
//     contains a peer, their routes are blocked.
//   - A prefix that contains a peer of any owner has its route in our own table.
//   - A route whose Source is an address of another owner's device exists only with that address.
//   - Owners share rules.
//
// So a Set may add, move or remove routes of other owners, and does so at once. Result.Others
// lists the owners whose own Set would now have another Result or error: Set them again to learn it.
//
// Set never changes or replaces a foreign object. The Result lists the routes and
// addresses that foreign objects block; the owner's next Set tries them again. An
// error does not stop Set: it returns errors.Join of all errors, with a *DeviceError
// for each that concerns one device.
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

// others returns the owners, except one, whose last Result or error is out of date.
func (h *Host) others(but string, failures []failure) []string {
	owners := make(map[string]struct{})
	for _, c := range h.work.claims {
		if c.removed {
			continue
		}
		if in, code := h.isIn(c), h.why(c).Code; in != c.in || code != c.code {
			c.in, c.code = in, code
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
	if c.within != nil {
		c = c.within
	}
	if !c.placed {
		return false
	}
	_, ok := h.haveRoute(c)
	return ok
}

// blocked lists the routes and addresses of a part that a foreign object or another part blocks.
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

// why returns the cause that blocks a claim's route.
func (h *Host) why(c *claim) diag.Cause {
	if !c.alive() {
		return diag.Cause{} // the error or the blocked address is reported instead
	}
	why := diag.Cause{Device: c.device.name, Prefix: c.prefix}
	switch q := h.want.contests[c.prefix]; {
	case q.obstacle != (obstacle{}):
		why.Code, why.Err = diag.RouteBlocked, h.describe(c.prefix, q.obstacle)
	case c.within != nil:
		why = c.within.refused.Cause()
	case !c.placed:
		why.Code, why.Name = diag.RouteTaken, q.first.device.name
	default:
		return c.refused.Cause()
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
	if o.table != unix.RT_TABLE_MAIN {
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
