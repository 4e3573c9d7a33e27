package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Clean removes what an earlier vpngw left in this network namespace: devices,
// routes and rules that carry our marks. It goes by the kernel alone.
//
// Call it at the start, after Open: that the ports were free shows that no other
// vpngw is at work here. It takes out what Set put in, of all owners, too.
func (h *Host) Clean() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	links, err := again(func() ([]netlink.Link, error) { return h.nl.LinkList() })
	if err != nil {
		return fmt.Errorf("dump links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if a := l.Attrs(); ours(l) && h.owned[a.Index] == nil {
			h.log.Info("removing a device that an earlier run left", "device", a.Name)
			if err := h.nl.LinkDel(l); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("remove device %s: %w", a.Name, err))
			}
		}
	}
	came := h.want.came
	h.want, h.work, h.have.fresh = newSum(), work{}, false
	h.want.came = came
	if err := h.update(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, f := range h.enforce() {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}
