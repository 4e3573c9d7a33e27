package host

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Examine looks at what of this host concerns a peer: the route, the addresses, forwarding and rp_filter, and which of
// the passages the packet filter drops. ask makes the passages from the route's device and source; tun is the tunnel's
// device. What concerns all peers may be from an earlier call, but not from before since. It changes nothing.
func (h *Host) Examine(since time.Time, peer netip.Addr, tun string, ask func(device string, source netip.Addr) []Passage) Exam {
	x := h.survey(since)
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

// surveyed is what Examine says of every peer.
type surveyed struct {
	mu   sync.Mutex
	at   time.Time
	exam Exam
}

// survey makes an Exam with what concerns all peers, which costs time on a host with many devices.
func (h *Host) survey(since time.Time) Exam {
	s := &h.surveyed
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || s.at.Before(since) {
		s.at = time.Now()
		s.exam = Exam{Findings: slices.Concat(forwarding(), h.filteredForward(), h.reversePath(), unread()), Others: h.strangers(), Unsynced: unsynced()}
		s.exam.Addresses, _ = h.Addresses()
	}
	x := s.exam
	x.Findings = slices.Clip(x.Findings)
	return x
}

// strangers are the programs beside this process that have one of our ports.
func (h *Host) strangers() (out []PortOwner) {
	self := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, port := range []uint16{PortIKE, PortNATT} {
		seen := map[string]bool{}
		for _, v6 := range []bool{false, true} {
			for _, inode := range udpInodes(v6, port) {
				if h.isSocket(inode) {
					continue
				}
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
