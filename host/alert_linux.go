package host

import (
	"context"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// alerts are the events of what may get in the way of packets and is none of Watch's: the rules of nftables, which
// iptables writes today too, and the kernel's settings of forwarding. The kernel's older iptables, its IPsec policies, and
// disable_ipv6 of a device without an address of IPv6 have no event, or none that is heard without loading a module.
type alerts struct{ filter, settings *events } // nil: this kernel has none, or we may not hear it

// alertBuffer bounds the events that wait. If more come some are lost, and that is a change like any other.
const alertBuffer = 128 << 10

func openAlerts() (a alerts) {
	a.filter, _ = subscribeTo(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	a.settings, _ = subscribeTo(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	for _, e := range a.all() {
		e.rc.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, alertBuffer) })
	}
	return a
}

func (a alerts) all() []*events {
	return slices.DeleteFunc([]*events{a.filter, a.settings}, func(e *events) bool { return e == nil })
}

func (a alerts) Close() {
	for _, e := range a.all() {
		e.Close()
	}
}

const (
	alertSettle = 100 * time.Millisecond // a program that changes one thing often changes more
	alertPause  = 300 * time.Millisecond // between two reports, for which nothing is read
)

// WatchFilter calls changed after another program has changed the rules of nftables, and WatchSettings after a setting of
// forwarding has changed: once for what comes at about the same time, a few times a second at most. They return nil when
// ctx ends, and at once where the kernel tells no such thing: who must know asks from time to time all the same.
func (h *Host) WatchFilter(ctx context.Context, changed func()) error {
	return h.alerts.filter.watch(ctx, h.refiltered, changed)
}

// WatchSettings is described at WatchFilter.
func (h *Host) WatchSettings(ctx context.Context, changed func()) error {
	return h.alerts.settings.watch(ctx, reset, changed)
}

// reset reports whether a message tells of one setting. A new device is told with all of its settings, as each of ours is;
// another's is of interest when it gets an address, which Watch tells.
func reset(m syscall.NetlinkMessage) bool {
	const header, index = 4, 1 // struct netconfmsg, NETCONFA_IFINDEX
	settings := 0
	for _, a := range attributes(m.Data, header) {
		if a.Attr.Type != index {
			settings++
		}
	}
	return m.Header.Type == unix.RTM_NEWNETCONF && settings == 1
}

// refiltered reports whether a message ends a transaction of nftables that is not ours.
func (h *Host) refiltered(m syscall.NetlinkMessage) bool {
	const ends = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	return m.Header.Type == ends && (h.cleartext.table == nil || !h.cleartext.table.mine(m))
}

// watch calls changed after messages that matter, until ctx ends. One watch at a time.
func (e *events) watch(ctx context.Context, matters func(syscall.NetlinkMessage) bool, changed func()) error {
	if e == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { e.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		msgs, err := e.wait()
		if err != nil && err != errOverrun {
			return ended(ctx, err)
		}
		if err == nil && !slices.ContainsFunc(msgs, matters) {
			continue
		}
		if !pause(ctx, alertSettle) {
			return nil
		}
		for range 64 { // what changed will see; the rest is one more change
			if _, err := e.take(); err != nil && err != errOverrun {
				break
			}
		}
		changed()
		if !pause(ctx, alertPause) {
			return nil
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
