package host

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// Examination looks at this host for one tunnel after the other. What they have in common, such as the rules of the packet
// filter and the flows of connection tracking, is read once. It changes nothing. Not safe for concurrent use.
type Examination struct {
	h        *Host
	common   Exam // of every tunnel
	filter   *packetFilter
	flows    map[int][]flow               // by address family
	policies map[int][]netlink.XfrmPolicy // likewise
	routes   map[netip.Addr]wayTo         // by peer
	names    map[int]string               // of devices
	knobs    map[string]string            // as sysctl reads them
}

// wayTo is how this host sends to a peer.
type wayTo struct {
	source netip.Addr
	device string
	err    error
}

// Examination reads what concerns every tunnel. Close gives its sockets back.
func (h *Host) Examination() *Examination {
	x := &Examination{
		h: h, filter: readFilter(), flows: map[int][]flow{}, policies: map[int][]netlink.XfrmPolicy{},
		routes: map[netip.Addr]wayTo{}, names: map[int]string{}, knobs: map[string]string{},
	}
	x.common = Exam{Findings: slices.Concat(forwarding(), h.filteredForward(), h.reversePath(), unread()), Others: h.strangers(), Unsynced: unsynced()}
	x.common.Addresses = h.presentAddresses()
	return x
}

// presentAddresses is Addresses without asking the kernel, where its events have told all.
func (h *Host) presentAddresses() (out []netip.Addr) {
	h.mu.Lock()
	h.readEvents(h.apply)
	fresh := h.have.fresh
	if fresh {
		for a := range h.have.owners {
			if a.IsGlobalUnicast() {
				out = append(out, a)
			}
		}
	}
	h.mu.Unlock()
	if !fresh {
		out, _ = h.Addresses()
	}
	return out
}

// wayTo asks the kernel once for each peer.
func (x *Examination) wayTo(peer netip.Addr) wayTo {
	w, ok := x.routes[peer]
	if !ok {
		var r netlink.Route
		if r, w.err = x.h.route(peer, false); w.err == nil {
			w.source, w.device = addrOf(r.Src), x.name(r.LinkIndex)
		}
		x.routes[peer] = w
	}
	return w
}

// name is that of a device; empty: it is gone.
func (x *Examination) name(index int) string {
	name, ok := x.names[index]
	if !ok {
		if l, err := x.h.nl.LinkByIndex(index); err == nil {
			name = l.Attrs().Name
		}
		x.names[index] = name
	}
	return name
}

func (x *Examination) sysctl(name string) string {
	v, ok := x.knobs[name]
	if !ok {
		v = sysctl(name)
		x.knobs[name] = v
	}
	return v
}

// Close ends the examination.
func (x *Examination) Close() { x.filter.Close() }

// Examine looks at what of this host concerns a peer: the route, the addresses, forwarding and rp_filter, and which of
// the passages the packet filter drops. ask makes the passages from the route's device and source; tun is the tunnel's
// device.
func (x *Examination) Examine(peer netip.Addr, tun string, ask func(device string, source netip.Addr) []Passage) Exam {
	out := x.common
	out.Findings = slices.Clone(out.Findings)
	if l, err := x.h.nl.LinkByName(tun); err == nil {
		out.MTU = l.Attrs().MTU
	}
	w := x.wayTo(peer)
	out.NoRoute, out.Source, out.Device = w.err, w.source, w.device
	var stopped, hindered alike
	pairs := 0
	for _, p := range ask(out.Device, out.Source) {
		into := p.Hook == HookForward && p.Out == tun
		if into {
			pairs++
		}
		if ch, verdict := x.filter.judge(p); verdict != passes {
			stopped.add(p, Filtered{p, chainText(ch), verdict == drops, x.filter.remedy(p, ch), ""}, diag.Cause{})
		}
		if into {
			for _, c := range x.obstacles(p) {
				hindered.add(p, Filtered{}, c)
			}
		}
	}
	for _, s := range stopped {
		s.filtered.Among = s.among(pairs)
		out.Filtered = append(out.Filtered, s.filtered)
	}
	for _, s := range hindered {
		if s.cause.Is(diag.SNAT) { // the others name devices or networks
			s.cause.Theirs = s.among(pairs)
		}
		out.Findings = append(out.Findings, Finding{s.cause, false})
	}
	return out
}

// alike are answers about passages, those that say the same of several pairs of networks as one.
type alike []*answered

type answered struct {
	first    Passage
	count    int // of pairs
	filtered Filtered
	cause    diag.Cause
}

func (a *alike) add(p Passage, f Filtered, c diag.Cause) {
	for _, o := range *a {
		same := o.filtered.Rule == f.Rule && o.filtered.Sure == f.Sure && o.filtered.Do == f.Do && o.cause.Equal(c)
		if same && p.Hook == HookForward && o.first.Hook == HookForward && o.first.In == p.In && o.first.Out == p.Out {
			o.count++
			return
		}
	}
	*a = append(*a, &answered{p, 1, f, c})
}

// among says which of several pairs of networks are concerned; empty: all, or they are no pairs.
func (a *answered) among(all int) string {
	if a.first.Hook != HookForward || a.count >= all || !a.first.Sources.IsValid() {
		return ""
	}
	text := fmt.Sprintf("from %v to %v", a.first.Sources, a.first.Targets)
	switch a.count {
	case 1:
		return text
	case 2:
		return text + " and between one other pair of networks"
	}
	return fmt.Sprintf("%s and between %d other pairs of networks", text, a.count-1)
}

// strangers are the programs beside this process that have one of our ports.
func (h *Host) strangers() (out []PortOwner) {
	self := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, port := range []uint16{PortIKE, PortNATT} {
		seen := map[string]bool{}
		for _, v6 := range []bool{false, true} {
			for _, inode := range udpInodes(v6, port) {
				if h.opened.has(inode) {
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
