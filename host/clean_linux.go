package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Clean removes what an earlier vpngw left in this network namespace: devices,
// routes and rules that carry our marks. It asks the kernel for them.
//
// Call it at the start, after Open: free ports show that no other
// vpngw is running here. It also takes out the parts of all owners, in one go.
func (h *Host) Clean() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	links, err := retryDump(func() ([]netlink.Link, error) { return h.nl.LinkList() })
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
