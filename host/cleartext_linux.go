package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// cleartext decides what comes in by another device than ours and is discarded, because it should
// have come through a tunnel. RFC 4301 section 5.2: "This ensures that non-IPsec-protected traffic
// that arrives and does not match any SPD-I entry will be discarded."
//
// The source of a packet decides, by the longest of the prefixes in want that contains it. A route
// of ours has its packets dropped. A peer's outer address, and a foreign route inside one of ours, such
// as an on-link network's, lets them pass. So a packet is dropped where the answer to it would go into a
// tunnel. Default routes and their halves lead there from everywhere, and drop nothing.
//
// The kernel's reverse path filter cannot do it: it is a setting of foreign devices, drops what comes by
// asymmetric routes, and has no IPv6. Nor can rules of policy routing: each packet asks them one by one.
type cleartext struct {
	table  packetTable
	events *events // of nftables
	on     bool    // by Discard

	routes  map[netip.Prefix]struct{} // ours that are in place, but for default routes
	lengths [2][129]int               // how many routes of IPv4 and IPv6 have a prefix of that length
	want    map[netip.Prefix]verdict
	dirty   map[netip.Prefix]struct{} // to be judged again
	made    bool                      // the kernel may have the table
	fresh   bool                      // the kernel has want
	failed  time.Time                 // when it refused want; zero: it did not
}

// verdict is what happens to packets from a prefix; zero: a shorter prefix decides.
type verdict uint8

const (
	passed verdict = iota + 1
	dropped
)

type element struct {
	prefix netip.Prefix
	verdict
}

// packetTable is the table of the kernel that drops and passes packets.
type packetTable interface {
	replace(all []element) error // makes the table, in place of one that may be there
	change(remove, add []element) error
	remove() error // also when there is none
	discarded() (uint64, error)
	mine(m syscall.NetlinkMessage) bool // reports whether we caused an event
	Close() error
}

func newCleartext() cleartext {
	return cleartext{routes: make(map[netip.Prefix]struct{}), want: make(map[netip.Prefix]verdict), dirty: make(map[netip.Prefix]struct{})}
}

// open opens the sockets to nftables. A kernel without netfilter has none, which Discard tells.
func (c *cleartext) open() error {
	ev, err := subscribeTo(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	} else if err != nil {
		return err
	}
	t, err := openTable()
	if err != nil {
		ev.Close()
		return err
	}
	c.events, c.table = ev, t
	return nil
}

func (c *cleartext) Close() error {
	if c.table == nil {
		return nil
	}
	return errors.Join(c.events.Close(), c.table.Close())
}

// refilter is how soon a table is tried again that the kernel refused.
const refilter = 10 * time.Second

// Discard drops cleartext until ctx ends: packets, forwarded or for this host, from a network that
// a route of ours leads to, unless they come by a device of ours. It puts the table back that another
// program removes. Where the kernel cannot do it, Discard logs diag.Cleartext. Leave removes the table.
func (h *Host) Discard(ctx context.Context) error {
	if err := h.canFilter(); err != nil {
		h.warnCleartext(err)
		return nil
	}
	h.mu.Lock()
	h.cleartext.on = true
	h.judgeAll()
	h.filterCleartext()
	h.mu.Unlock()
	ev := h.cleartext.events
	defer context.AfterFunc(ctx, func() { ev.SetReadDeadline(time.Unix(1, 0)) })()
	for again := false; ; {
		wait := refilter
		if again {
			wait = coalesce
		}
		ev.SetReadDeadline(time.Now().Add(wait))
		if ctx.Err() != nil {
			return nil
		}
		msgs, err := ev.wait()
		switch {
		case err == errOverrun, err == nil && h.meddled(msgs), again && errors.Is(err, os.ErrDeadlineExceeded):
			again = h.restoreTable()
		case errors.Is(err, os.ErrDeadlineExceeded):
			h.mu.Lock()
			h.filterCleartext()
			h.mu.Unlock()
		case err != nil:
			return ended(ctx, err)
		}
	}
}

// canFilter returns the error of a kernel without nftables.
func (h *Host) canFilter() error {
	if h.cleartext.table == nil {
		return unix.EPROTONOSUPPORT
	}
	_, err := h.filters.nft(unix.NFT_MSG_GETTABLE, unix.NFPROTO_INET)
	return err
}

func (h *Host) warnCleartext(err error) {
	c := diag.Cause{Code: diag.Cleartext, Err: err.Error()}
	h.log.Warn(c.String(), "code", c.Code)
}

// meddled reports whether another program changed our table.
func (h *Host) meddled(msgs []syscall.NetlinkMessage) bool {
	return slices.ContainsFunc(msgs, func(m syscall.NetlinkMessage) bool {
		if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < nl.SizeofNfgenmsg || m.Data[0] != unix.NFPROTO_INET || h.cleartext.table.mine(m) {
			return false
		}
		// In every kind of message, the first attribute but of a generation is the table's name.
		return slices.ContainsFunc(attributes(m.Data, nl.SizeofNfgenmsg), func(a syscall.NetlinkRouteAttr) bool {
			return a.Attr.Type == unix.NFTA_TABLE_NAME && string(a.Value) == ownTable+"\x00"
		})
	})
}

// restoreTable makes the table again, and reports whether another program changed it meanwhile. Our own
// events are no news, even if there are more than fit into the socket's buffer.
func (h *Host) restoreTable() (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleartext.fresh = false
	h.filterCleartext()
	for {
		msgs, err := h.cleartext.events.take()
		if err != nil && err != errOverrun {
			return again
		}
		again = again || h.meddled(msgs)
	}
}

// judge notes that the verdict about a prefix may change.
func (h *Host) judge(p netip.Prefix) {
	if h.cleartext.on {
		h.cleartext.dirty[p] = struct{}{}
	}
}

// judgeAll is judge for every prefix.
func (h *Host) judgeAll() {
	for p := range h.want.contests {
		h.judge(p)
	}
	for a := range h.want.peers.owners {
		h.judge(around(a, a.BitLen()))
	}
	for key := range h.have.foreign {
		h.judge(key.prefix)
	}
	for p := range h.cleartext.want {
		h.judge(p)
	}
}

// filterCleartext brings the table in step with our routes. It costs what changed, and what foreign
// routes are inside of that. An error does not concern the routes: it is logged, and the table tried again.
func (h *Host) filterCleartext() {
	c := &h.cleartext
	if !c.on {
		return
	}
	for p := range c.dirty {
		is := p.Bits() > 1 && h.installed(p)
		if _, was := c.routes[p]; is == was {
			continue
		}
		n := &c.lengths[family(p.Addr())][p.Bits()]
		if is {
			c.routes[p] = struct{}{}
			*n++
		} else {
			delete(c.routes, p)
			*n--
		}
		for _, q := range h.have.inside(p) {
			c.dirty[q] = struct{}{} // which changes no route of ours
		}
	}
	var remove, add []element
	for p := range c.dirty {
		was, is := c.want[p], h.verdict(p)
		if was == is {
			continue
		}
		delete(c.want, p)
		if was != 0 {
			remove = append(remove, element{p, was})
		}
		if is != 0 {
			c.want[p] = is
			add = append(add, element{p, is})
		}
	}
	c.dirty = make(map[netip.Prefix]struct{}) // cleared, it would keep the room for all that the start judged
	if len(c.routes) == 0 {
		c.fresh = false
		if c.made {
			err := h.removeTable()
			if c.made = err != nil; c.made {
				h.log.Debug("the nftables table for cleartext stays for now, and is removed later", "err", err)
			}
		}
		return
	}
	if c.fresh && len(remove)+len(add) > 0 {
		c.fresh = c.table.change(remove, add) == nil
	}
	if c.fresh || !c.failed.IsZero() && time.Since(c.failed) < refilter {
		return
	}
	all := make([]element, 0, len(c.want))
	for p, v := range c.want {
		all = append(all, element{p, v})
	}
	c.made = true
	if err := c.table.replace(all); err != nil {
		if c.failed.IsZero() {
			h.warnCleartext(err)
		}
		c.failed = time.Now()
		return
	}
	c.fresh, c.failed = true, time.Time{}
}

// removeTable removes our table, or an earlier run's.
func (h *Host) removeTable() error {
	if h.cleartext.table == nil {
		return nil
	}
	if err := h.cleartext.table.remove(); err != nil && !gone(err) && !lacks(err) {
		return fmt.Errorf("remove the nftables table %s: %w", ownTable, err)
	}
	return nil
}

// Discarded returns how many packets of cleartext were dropped since the table was made.
func (h *Host) Discarded() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.cleartext.fresh {
		return 0
	}
	n, err := h.cleartext.table.discarded()
	if err != nil {
		h.log.Debug("cannot read the count of discarded cleartext", "err", err)
	}
	return n
}

// installed reports whether a route of ours to a prefix is in place.
func (h *Host) installed(p netip.Prefix) bool {
	q := h.want.contests[p]
	return q != nil && slices.ContainsFunc(q.claims, h.isIn)
}

func (h *Host) verdict(p netip.Prefix) verdict {
	if p.IsSingleIP() && h.want.peers.owners[p.Addr()] > 0 {
		return passed
	}
	if _, ok := h.cleartext.routes[p]; ok {
		return dropped
	}
	if h.have.leads(p) && h.cleartext.covers(p) {
		return passed
	}
	return 0
}

// covers reports whether a route of ours has a shorter prefix that contains p.
func (c *cleartext) covers(p netip.Prefix) bool {
	for bits := range p.Bits() {
		if c.lengths[family(p.Addr())][bits] > 0 {
			if _, ok := c.routes[around(p.Addr(), bits)]; ok {
				return true
			}
		}
	}
	return false
}

// family is the index of an address family.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// leads reports whether a foreign route leads to a prefix.
func (k *kernel) leads(p netip.Prefix) bool {
	return slices.ContainsFunc(k.foreign[tablePrefix{unix.RT_TABLE_MAIN, p}], func(r foreignRoute) bool { return r.typ == unix.RTN_UNICAST })
}

// inside returns the prefixes inside p that foreign routes of the main table have.
func (k *kernel) inside(p netip.Prefix) []netip.Prefix {
	if k.sorted == nil {
		k.sorted = make([]netip.Prefix, 0, len(k.foreign))
		for key := range k.foreign {
			if key.table == unix.RT_TABLE_MAIN {
				k.sorted = append(k.sorted, key.prefix)
			}
		}
		slices.SortFunc(k.sorted, netip.Prefix.Compare)
	}
	first, _ := slices.BinarySearchFunc(k.sorted, p, netip.Prefix.Compare)
	end := first
	for end < len(k.sorted) && p.Overlaps(k.sorted[end]) {
		end++
	}
	return k.sorted[first:end]
}
