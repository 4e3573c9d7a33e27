package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// underlay is this host as its peers see it: its addresses and the sockets of
// IKE. The control loop owns it, apart from readIKE, readICMP,
// watch and disturbed.
type underlay struct {
	host      Host
	log       *slog.Logger
	listen    []netip.Addr // as configured; empty: all addresses
	sockets   *Sockets
	addresses []netip.Addr        // the host's present addresses
	seen      map[netip.Addr]bool // configured addresses that this host has or had
	disturbed disturbed
	measured  measured
}

// look reads the host's addresses.
func (u *underlay) look() {
	u.measured = measured{}
	addresses, err := u.host.Addresses()
	if err != nil {
		u.log.Error("cannot read the host's addresses", "err", err)
		return
	}
	u.addresses = addresses
}

// see reports whether the host has a configured address for the first time. An
// address that disappears stays in seen: a link that flaps must not cost the SAs.
func (u *underlay) see(configured netip.Addr) bool {
	if u.seen[configured] || !slices.Contains(u.addresses, configured) {
		return false
	}
	u.seen[configured] = true
	return true
}

// source returns the local address of packets to remote: the route's choice,
// unless `listen` narrows it.
func (u *underlay) source(remote netip.Addr) (netip.Addr, error) {
	a, err := u.host.Source(remote)
	if len(u.listen) == 0 || err == nil && slices.Contains(u.listen, a) {
		return a, err
	}
	if l, ok := u.listenFor(remote); ok {
		return l, nil
	}
	return netip.Addr{}, fmt.Errorf("`listen` has no address of the same family as the peer %v: add one", remote)
}

// local maps a configured outer address to an address of this host. Behind a
// NAT the host does not have it: the zero address lets the route to the peer
// choose.
func (u *underlay) local(a netip.Addr) netip.Addr {
	switch {
	case slices.Contains(u.listen, a) && (slices.Contains(u.addresses, a) || len(u.listen) == 1), len(u.listen) == 0 && u.seen[a]:
		return a
	}
	l, _ := u.listenFor(a)
	return l
}

// listenFor returns the first address in `listen` of a's family that this host has, else the first.
func (u *underlay) listenFor(a netip.Addr) (out netip.Addr, ok bool) {
	for _, l := range u.listen {
		switch {
		case l.Is4() != a.Is4():
		case slices.Contains(u.addresses, l):
			return l, true
		case !ok:
			out, ok = l, true
		}
	}
	return out, ok
}

// awaited logs which addresses of `listen` this host has got or lost since the addresses were was. Their sockets are bound
// all the time.
func (u *underlay) awaited(was []netip.Addr, first bool) {
	for _, l := range u.listen {
		had, has := slices.Contains(was, l), slices.Contains(u.addresses, l)
		switch {
		case !has && (had || first):
			u.log.Warn("no interface has an address of `listen`: waiting for it", "address", l)
		case has && !had && !first:
			u.log.Info("an address of `listen` is there", "address", l)
		}
	}
}

// pathMTU returns the MTU of the path to remote; 0: unknown.
func (u *underlay) pathMTU(now time.Time, remote netip.Addr) int {
	if now.Sub(u.measured.at) > measuredLife {
		u.measured.at, u.measured.mtus = now, map[netip.Addr]int{}
	}
	if mtu := u.measured.mtus[remote]; mtu > 0 {
		return mtu
	}
	mtu, err := u.host.PathMTU(remote)
	if err != nil {
		u.log.Debug("path MTU unknown", "peer", remote, "err", err)
		return 0
	}
	u.measured.mtus[remote] = mtu
	return mtu
}

// measured are the MTUs of paths as the host said them of late: the tunnels of one peer ask one after the other.
type measured struct {
	at   time.Time // of the oldest
	mtus map[netip.Addr]int
}

const measuredLife = time.Second

const portNATT = 4500

// marked is an IKE message as it goes out: on port 4500 behind the non-ESP marker (RFC 3948 section 2.2).
func marked(p ipsec.Path, data []byte) []byte {
	if p.Local.Port() == portNATT {
		return slices.Concat(make([]byte, 4), data)
	}
	return data
}

// send puts one packet on the socket of its local port: an IKE message, or a keepalive, which has no
// marker. The caller reports a failure in the status; IKE retransmits.
func (u *underlay) send(p ipsec.Path, data []byte, isIKE bool) diag.Cause {
	if isIKE {
		data = marked(p, data)
	}
	err := errors.New("there is no socket of its address family")
	if a := p.Local.Addr(); slices.Contains(u.listen, a.Unmap()) && !slices.Contains(u.addresses, a.Unmap()) {
		return diag.Cause{Code: diag.AddressAwaited, Addr: a.Unmap()}
	}
	if so := u.sockets.ForIKE(p.Local, p.Remote.Addr()); so != nil {
		err = so.WriteFragmentable(ipsec.Datagram{Local: p.Local, Remote: p.Remote, Data: data})
	}
	if err == nil {
		return diag.Cause{}
	}
	u.log.Debug("cannot send IKE", "peer", p.Remote, "err", err)
	return diag.Cause{Code: diag.SendFailed, Peer: p.Remote, Err: err.Error()}
}

// readPause separates a failure to read a socket from the next attempt.
const readPause = time.Second

// readIKE reads a socket of port 500 until ctx ends. deliver copies what it keeps.
func (u *underlay) readIKE(ctx context.Context, so Socket, deliver func(ipsec.Datagram)) error {
	const batch, size = 8, 1 << 16
	ds := make([]ipsec.Datagram, batch)
	space := make([]byte, batch*size)
	for {
		for i := range ds {
			ds[i] = ipsec.Datagram{Data: space[i*size : (i+1)*size : (i+1)*size]}
		}
		n, err := so.ReadBatch(ds)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read port 500: %w", err)
		case err != nil: // for instance, the kernel is short of memory
			u.log.Error("cannot read port 500", "err", err)
			pause(ctx, readPause)
			continue
		}
		for _, d := range ds[:n] {
			run, segment := d.Data, d.Segment
			if segment <= 0 {
				segment = len(run)
			}
			for d.Segment = 0; len(run) > 0; run = run[len(d.Data):] {
				d.Data = run[:min(segment, len(run))]
				deliver(d)
			}
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// readICMP reads an ICMP socket until ctx ends.
func (u *underlay) readICMP(ctx context.Context, so ICMPSocket, deliver func([]byte)) error {
	b := make([]byte, 1<<16)
	for {
		n, err := so.Read(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read ICMP: %w", err)
		case err != nil:
			u.log.Error("cannot read ICMP", "err", err)
			pause(ctx, readPause)
		default:
			deliver(b[:n])
		}
	}
}

// disturbed collects the owners whose part of the host's state another program
// changed, until the control loop takes them. Safe for concurrent use.
type disturbed struct {
	mu     sync.Mutex
	owners map[string]bool
	all    bool
}

func (d *disturbed) add(owners []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owners == nil {
		d.owners = map[string]bool{}
	}
	for _, o := range owners {
		d.owners[o] = true
	}
}

func (d *disturbed) addAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = true
}

// take returns a function that reports whether an owner was added, and clears the set.
func (d *disturbed) take() func(owner string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	owners, all := d.owners, d.all
	d.owners, d.all = nil, false
	return func(o string) bool { return all || owners[o] }
}

// probe sends an IKE message that must arrive whole or not at all. A failure is no news: the answer fails to come.
func (u *underlay) probe(p ipsec.Path, data []byte) {
	data = marked(p, data)
	so := u.sockets.ForWhole(p.Local, p.Remote.Addr())
	if so == nil {
		return
	}
	if err := so.WriteWhole(ipsec.Datagram{Local: p.Local, Remote: p.Remote, Data: data}); err != nil {
		u.log.Debug("cannot send a probe of the path MTU", "peer", p.Remote, "bytes", len(data), "err", err)
	}
}

// watchRetry separates a failure of the link monitor from its next start.
const watchRetry = 5 * time.Second

// watch runs the link monitor until ctx ends. A failure of the monitor does not stop the tunnels.
func (u *underlay) watch(ctx context.Context, changed func()) error {
	for {
		err := u.host.Watch(ctx, func(owners []string) {
			u.disturbed.add(owners)
			changed()
		})
		if err != nil && ctx.Err() == nil {
			u.log.Error("the link monitor failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchRetry):
			u.disturbed.addAll() // changes in between were not seen
			changed()
		}
	}
}
