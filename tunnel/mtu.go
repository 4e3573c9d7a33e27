package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
)

// A path's MTU is measured again after this time, as RFC 1191 section 6.3 suggests: it may have grown.
const pathMTULife = 10 * time.Minute

// pathFresh is for how long after it began a search goes on where it is, though the tunnel goes down and comes up again: a peer that has
// it do so many times a second does not get a probe each time.
const pathFresh = 10 * time.Second

// The least MTU of a TUN device, whatever the path: below it IPv6 has no link
// (RFC 8200 section 5), and IPv4 little use (RFC 791's 576). The data plane
// gets the true value. It answers packets that are too big, clamps the MSS of
// TCP, and lets the underlay fragment IPv6 packets of the least MTU, and IPv4 packets
// of 552 bytes.
const (
	leastMTU4 = 576
	leastMTU6 = 1280
)

// path holds the largest outer packet of a path. While until is zero, a Measure is unanswered.
type path struct {
	host  int // as this host says; 0: unknown
	told  int // the least that a router said of it; 0: nothing
	until time.Time
	search
}

// paths are those of a Group, which mostly has one: a map of one takes ten times the room.
type paths []*pathTo

type pathTo struct {
	remote netip.Addr
	path
}

// to is what is known of the path to an address; nil: nothing.
func (ps paths) to(a netip.Addr) *pathTo {
	for _, p := range ps {
		if p.remote == a {
			return p
		}
	}
	return nil
}

// note replaces what is known of the path to an address.
func (ps *paths) note(a netip.Addr, now path) {
	if p := ps.to(a); p != nil {
		p.path = now
	} else {
		*ps = append(*ps, &pathTo{a, now})
	}
}

// most is the largest packet that can pass, as this host and the routers say.
func (p path) most() int {
	if p.told > 0 {
		return min(p.host, p.told)
	}
	return p.host
}

// path is what is known of the path to an address.
func (g *Group) path(a netip.Addr) (path, bool) {
	p := g.paths.to(a)
	if p == nil {
		return path{}, false
	}
	return p.path, true
}

func (g *Group) notePath(now time.Time, f PathMTU) {
	p, ok := g.path(f.Remote)
	if !ok {
		return
	}
	if f.MTU > 0 || p.until.IsZero() { // without a route for the moment, the old one holds on
		p.host, p.over = f.MTU, p.over && p.host == f.MTU
	}
	if p.until.IsZero() {
		p.until = now.Add(pathMTULife)
	}
	g.paths.note(f.Remote, p)
}

func (g *Group) noteTooBig(now time.Time, f TooBig) {
	p, known := g.path(f.Remote)
	switch {
	case !known: // no Child SA sends there
	case f.MTU <= 0:
		g.emit(Measure{f.Remote})
	case f.MTU < p.most():
		p.told, p.until, p.over = f.MTU, now.Add(pathMTULife), false
		g.paths.note(f.Remote, p)
	}
}

// noteUnderlay measures every path again. What routers said holds on while this host has the same addresses: it
// costs a packet to learn it again.
func (g *Group) noteUnderlay(addresses []netip.Addr) {
	if !slices.Equal(g.own, addresses) {
		g.paths = nil
	}
	g.gained = slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !slices.Contains(g.own, a) })
	g.own = addresses
	for _, p := range g.paths {
		g.emit(Measure{p.remote})
	}
}

// expirePaths forgets old paths, sooner those that no Child SA uses.
func (g *Group) expirePaths(now time.Time) {
	g.paths = slices.DeleteFunc(g.paths, func(p *pathTo) bool {
		due := sa.Due(now, g.expires(p))
		if due && g.sendsTo(p.remote) && (p.passed > 0 || p.deaf) {
			p.path = path{host: p.host, search: search{passed: p.passed, deaf: p.deaf}}
			g.emit(Measure{p.remote})
			return false
		}
		return due || p.until.IsZero() && !g.sendsTo(p.remote)
	})
}

// expires is when a path is old; zero: it is not measured yet. What probes have found of a narrow path is kept while no Child SA uses it: a tunnel
// that comes back must not fall into the same hole, and a search for a wider path begins where the last one ended.
func (g *Group) expires(p *pathTo) time.Time {
	if p.until.IsZero() || g.sendsTo(p.remote) || p.passed > 0 && p.failed > 0 {
		return p.until
	}
	return p.until.Add(pathFresh - pathMTULife)
}

func (g *Group) sendsTo(a netip.Addr) bool {
	for _, m := range g.members {
		for _, c := range m.sas {
			if c.path.Remote.Addr() == a {
				return true
			}
		}
	}
	return false
}

// fit sets each tunnel's MTU, and its device's above the least MTU, to the largest
// inner packet that fits on all of its Child SAs, or to the configured one if that is less. A tunnel without a Child SA
// keeps its MTU.
func (g *Group) fit() {
	for _, m := range g.members {
		mtu, cut := g.smallest(m)
		known := mtu > 0
		if c := m.Tunnel.MTU; c > 0 && known && (c < mtu || m.Tunnel.DF == config.DFClear) {
			mtu = c // with fragments the configured one always fits
		}
		if !known || mtu == m.fits && cut == m.cut || !m.fault.OK() {
			continue
		}
		least := leastMTU4
		for _, s := range m.Tunnel.Remote.Subnets {
			if s.Addr().Is6() {
				least = leastMTU6
			}
		}
		m.fits, m.cut, m.mtu = mtu, cut, max(mtu, least)
		g.emit(Fit{m.Tunnel.Name, mtu, cut})
	}
}

// smallest returns the largest inner packet that fits on all Child SAs of m, and whether their packets may be fragmented. It
// returns 0 while the MTU of a path is unknown.
func (g *Group) smallest(m *member) (mtu int, cut bool) {
	cut = m.Tunnel.DF == config.DFClear
	for _, c := range m.sas {
		remote := c.path.Remote.Addr()
		p, ok := g.path(remote)
		if !ok {
			g.paths.note(remote, path{})
			g.emit(Measure{remote})
			continue
		}
		outer := p.most()
		if m.Tunnel.DF == config.DFAuto {
			outer = p.found(remote)
			cut = cut || p.deaf && remote.Unmap().Is4()
		}
		if n := g.inner(outer, c.sa, c.path); n > 0 && (mtu == 0 || n < mtu) {
			mtu = n
		}
	}
	return mtu, cut
}
