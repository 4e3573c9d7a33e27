package tunnel

import (
	"net/netip"
	"time"

	"vpngw/ike/sa"
)

// A path's MTU is measured again after this time: the kernel keeps the MTU that
// a router reported for ten minutes (RFC 1191 section 6.3).
const pathMTULife = 10 * time.Minute

// The least MTU of a TUN device, whatever the path: below it IPv6 has no link
// (RFC 8200 section 5), and IPv4 little use (RFC 791's 576). The data plane
// gets the true value. It answers packets that are too big, clamps the MSS of
// TCP, and lets the underlay fragment IPv6 packets of the least MTU.
const (
	leastMTU4 = 576
	leastMTU6 = 1280
)

// path holds the largest outer packet of a path; 0: unknown. While until is
// zero, a Measure is unanswered.
type path struct {
	mtu   int
	until time.Time
}

func (g *Group) notePath(now time.Time, f PathMTU) {
	if _, ok := g.paths[f.Remote]; ok {
		g.paths[f.Remote] = path{f.MTU, now.Add(pathMTULife)}
	}
}

func (g *Group) noteTooBig(now time.Time, f TooBig) {
	was, known := g.paths[f.Remote]
	switch {
	case !known: // no Child SA sends there
	case f.MTU <= 0:
		delete(g.paths, f.Remote) // measured again
	case f.MTU < was.mtu:
		g.paths[f.Remote] = path{f.MTU, now.Add(pathMTULife)}
	}
}

// expirePaths forgets old paths, and paths that no Child SA uses.
func (g *Group) expirePaths(now time.Time) {
	for a, p := range g.paths {
		if sa.Due(now, p.until) || !g.sendsTo(a) {
			delete(g.paths, a)
		}
	}
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
// inner packet that fits on all of its Child SAs. A tunnel without a Child SA
// keeps its MTU.
func (g *Group) fit() {
	for _, m := range g.members {
		mtu, known := g.smallest(m)
		if !known || mtu == m.fits || !m.fault.OK() {
			continue
		}
		least := leastMTU4
		for _, s := range m.Tunnel.Remote.Subnets {
			if s.Addr().Is6() {
				least = leastMTU6
			}
		}
		m.fits, m.mtu = mtu, max(mtu, least)
		g.emit(Fit{m.Tunnel.Name, mtu})
	}
}

// smallest returns the largest inner packet that fits on all Child SAs of m. It
// returns false while the MTU of a path is unknown.
func (g *Group) smallest(m *member) (int, bool) {
	mtu := 0
	for _, c := range m.sas {
		remote := c.path.Remote.Addr()
		p, ok := g.paths[remote]
		if !ok {
			g.paths[remote] = path{}
			g.emit(Measure{remote})
			continue
		}
		if n := g.inner(p.mtu, c.sa, c.path); n > 0 && (mtu == 0 || n < mtu) {
			mtu = n
		}
	}
	return mtu, mtu > 0
}
