package host

import (
	"errors"
	"fmt"
	"maps"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Clean removes the devices, routes, guards, rules and nftables table of an earlier vpngw from
// this network namespace. It finds them by our marks.
//
// It claims the network namespace first, so it fails while another vpngw runs here. It also removes
// the parts of all owners.
func (h *Host) Clean() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retained = retained{}
	return h.clean()
}

// TakeOver is Clean, but the guards of the earlier vpngw stay, and so do the rules. Release removes those that no
// owner has wanted by then.
func (h *Host) TakeOver() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retained = retained{on: true}
	return h.clean()
}

func (h *Host) clean() error {
	if err := h.claim(); err != nil {
		return err
	}
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
	h.cleartext.fresh = false
	came := h.want.came
	h.want, h.work, h.have.fresh = newSum(), work{}, false
	h.want.came = came
	if err := h.update(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, h.finish())...)
}

// finish is enforce when no route of ours is wanted any more.
func (h *Host) finish() error {
	return errors.Join(h.enforceAll(), h.removeTable())
}

// Leave removes the parts of all owners except for their guards, and our devices. The caller must still
// close the TUNs. Like CreateTUN, Leave works in its caller's network
// namespace.
//
// The kernel removes the devices at once, by their group. One after another they
// would take it a grace period of RCU each, some 20 ms: 80 s for 4000 devices.
func (h *Host) Leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.claim(); err != nil {
		return err
	}
	h.have.fresh = false
	err := h.update()
	if err == nil {
		for owner, p := range maps.Clone(h.want.parts) {
			guards := State{Peers: p.peers}
			for _, g := range p.guards {
				guards.Guards = append(guards.Guards, Guard{g.prefix, g.metric})
			}
			h.replace(owner, guards)
		}
		err = h.finish()
	}
	return errors.Join(err, h.removeDevices())
}

func (h *Host) removeDevices() error {
	links, err := retryDump(func() ([]netlink.Link, error) { return h.nl.LinkList() })
	if err != nil {
		return fmt.Errorf("dump links: %w", err)
	}
	any := false
	for _, l := range links {
		if l.Attrs().Group != Group {
			continue
		}
		if !ours(l) { // another program uses the number of our group: each TUN removes its own device
			return nil
		}
		any = true
	}
	if !any {
		return nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(Group)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !gone(err) {
		return fmt.Errorf("remove our devices: %w", err)
	}
	return nil
}
