package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vpngw/host"
	"vpngw/ike/sa"
)

// watch runs the link monitor. When that fails the tunnels go on: it is started again.
func (g *Gateway) watch() error {
	for {
		err := g.Host.Watch(g.io, func([]string) { g.underlayChanged() })
		if err != nil && g.io.Err() == nil {
			g.Log.Error("the link monitor failed", "err", err)
		}
		select {
		case <-g.io.Done():
			return nil
		case <-time.After(hostRetry):
			g.underlayChanged() // what happened in between was not seen
		}
	}
}

// underlayChanged wakes the loop; one wake-up stands for many changes.
func (g *Gateway) underlayChanged() {
	select {
	case g.underlay <- struct{}{}:
	default:
	}
}

// newUnderlay is called after links, addresses or routes have changed.
func (g *Gateway) newUnderlay(now time.Time) {
	if g.lookAround() {
		g.setPeers(now)
	}
	g.rescue(now)
}

// lookAround reads what the host's underlay is now. It reports whether see has news.
func (g *Gateway) lookAround() (news bool) {
	addresses, err := g.Host.Addresses()
	if err != nil {
		g.Log.Error("cannot read the host's addresses", "err", err)
	} else {
		g.addresses = addresses
	}
	news = g.see()
	clear(g.paths)           // learned on an underlay that has changed
	g.applied = host.State{} // what was blocked may be free now, and the other way round
	g.dirty = true
	return news
}

// see remembers which of the configured outer addresses this host has, and
// reports whether there is one that it never had. One that went is still
// remembered: a link that flaps must not cost the SAs.
func (g *Gateway) see() (news bool) {
	for _, t := range g.tunnels {
		if a := t.tunnel.Local.Address; !g.seen[a] && slices.Contains(g.addresses, a) {
			g.seen[a], news = true, true
		}
	}
	return news
}

// source is the local address that packets to remote leave from: the route's
// choice, unless `listen` narrows it.
func (g *Gateway) source(remote netip.Addr) (netip.Addr, error) {
	a, err := g.Host.Source(remote)
	listen := g.config.Listen
	if len(listen) == 0 || err == nil && slices.Contains(listen, a) {
		return a, err
	}
	if l, ok := listenFor(listen, remote); ok {
		return l, nil
	}
	return netip.Addr{}, fmt.Errorf("none of the addresses under `listen` is of %v's family", remote)
}

// local is which of this host's addresses a configured outer address stands
// for. Behind NAT it is on none of them, and the route to the peer chooses.
func (g *Gateway) local(a netip.Addr) netip.Addr {
	listen := g.config.Listen
	switch {
	case slices.Contains(listen, a), len(listen) == 0 && g.seen[a]:
		return a
	}
	l, _ := listenFor(listen, a)
	return l
}

// listenFor is the first of listen that is of a's family.
func listenFor(listen []netip.Addr, a netip.Addr) (netip.Addr, bool) {
	for _, l := range listen {
		if l.Is4() == a.Is4() {
			return l, true
		}
	}
	return netip.Addr{}, false
}

// An address may go and come back, as when a lease is renewed. After so long
// it is taken to be gone.
const strandedGrace = 2 * time.Second

// rescue connects tunnels anew whose IKE SA sends from an address that this
// host has lost, once the route to the peer offers another. Liveness
// checks would find out too, but only after a minute.
func (g *Gateway) rescue(now time.Time) {
	for name, in := range g.ikeStatus() {
		t := g.byName[name]
		if t == nil || in.ike == nil {
			continue
		}
		old := in.ike.Local.Addr()
		if !old.IsValid() || len(g.addresses) == 0 || slices.Contains(g.addresses, old) {
			t.stranded = time.Time{}
			continue
		}
		if t.stranded.IsZero() {
			t.stranded = now
		}
		if again := t.stranded.Add(strandedGrace); !due(again, now) {
			g.wakeAt(again)
			continue
		}
		if a, err := g.source(in.remote); err != nil || a == old || t.held {
			continue // the next change of the underlay asks again
		}
		g.Log.Info("our address is gone: connecting anew", "conn", t.conn.Name, "tunnel", name, "address", old)
		t.stranded = time.Time{}
		g.ike.Do(now, sa.Lower{Tunnel: name})
		g.ike.Do(now, sa.Raise{Tunnel: name})
	}
}
