package host

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Examine looks at what of this host concerns a peer: the route, the addresses, forwarding and rp_filter, and which of
// the passages the packet filter drops. ask makes the passages from the route's device and source; tun is the tunnel's
// device. It changes nothing.
func (h *Host) Examine(peer netip.Addr, tun string, ask func(device string, source netip.Addr) []Passage) Exam {
	x := Exam{Findings: slices.Concat(forwarding(), h.filteredForward(), reversePath(), unread()), Others: others(), Unsynced: unsynced()}
	x.Addresses, _ = h.Addresses()
	if l, err := h.nl.LinkByName(tun); err == nil {
		x.MTU = l.Attrs().MTU
	}
	r, err := h.route(peer, false)
	if x.NoRoute = err; err == nil {
		x.Source = addrOf(r.Src)
		if l, err := h.nl.LinkByIndex(r.LinkIndex); err == nil {
			x.Device = l.Attrs().Name
		}
	}
	filter := readFilter()
	defer filter.Close()
	for _, p := range ask(x.Device, x.Source) {
		if ch, verdict := filter.judge(p); verdict != passes {
			x.Filtered = append(x.Filtered, Filtered{p, chainText(ch), verdict == drops, filter.remedy(p, ch)})
		}
		if p.Hook == HookForward && p.Out == tun {
			x.Findings = append(x.Findings, h.obstacles(filter, p)...)
		}
	}
	return x
}

// others are the programs beside this process that have one of our ports.
func others() (out []PortOwner) {
	self := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, port := range []uint16{PortIKE, PortNATT} {
		seen := map[string]bool{}
		for _, v6 := range []bool{false, true} {
			for _, inode := range udpInodes(v6, port) {
				name, pid := socketProcess(inode)
				who := fmt.Sprintf("%s (pid %d)", name, pid)
				if pid > 0 && !strings.HasSuffix(who, self) && !seen[who] {
					seen[who] = true
					out = append(out, PortOwner{port, who})
				}
			}
		}
	}
	return out
}

// unsynced reports whether the kernel says that its clock is not synchronised.
func unsynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0)
}
