package gateway

import (
	"net/netip"
	"time"

	"vpngw/esp"
)

// What is known of a path's MTU is asked anew after so long: the kernel keeps
// what routers told it for ten minutes (RFC 1191 section 6.3).
const pathMTULife = 10 * time.Minute

// The least MTU of a TUN device, whatever the path: below it IPv6 has no link
// (RFC 8200 section 5), and IPv4 little use (RFC 791's 576). The data plane is told what
// fits all the same: it answers for the kernel, clamps the MSS of TCP to that, and
// lets the underlay cut what IPv6 may send.
const (
	leastMTU4 = 576
	leastMTU6 = 1280
)

// pathMTU is the largest outer packet that a path takes.
type pathMTU struct {
	mtu   int
	until time.Time
}

// outerMTU is what the path to remote takes; 0 when nobody knows.
func (g *Gateway) outerMTU(remote netip.Addr, now time.Time) int {
	if p, ok := g.paths[remote]; ok && now.Before(p.until) {
		return p.mtu
	}
	mtu, err := g.Host.PathMTU(remote)
	if err != nil {
		g.Log.Debug("path MTU unknown", "peer", remote, "err", err)
		mtu = 0
	}
	g.paths[remote] = pathMTU{mtu, now.Add(pathMTULife)}
	return mtu
}

// lowerPathMTU is called when the underlay refused a packet as too big. mtu 0
// means that only the kernel knows what fits.
func (g *Gateway) lowerPathMTU(remote netip.Addr, mtu int, now time.Time) {
	was, known := g.paths[remote]
	if !known {
		return // no SA goes there
	}
	if mtu <= 0 {
		delete(g.paths, remote)
	} else if mtu < was.mtu {
		g.paths[remote] = pathMTU{mtu, now.Add(pathMTULife)}
	}
	g.dirty = true
}

// forgetPaths drops what has expired.
func (g *Gateway) forgetPaths(now time.Time) {
	for a, p := range g.paths {
		if due(p.until, now) {
			delete(g.paths, a)
		}
	}
}

// watchPaths wakes the loop when the next path expires.
func (g *Gateway) watchPaths() {
	for _, p := range g.paths {
		g.wakeAt(p.until)
	}
}

// fitMTU makes the tunnel's MTU, and if it can the device's, the largest inner packet that fits on each of
// its SAs. Without an SA it stays as it is.
func (g *Gateway) fitMTU(t *tunnel, now time.Time) {
	mtu := 0
	for _, in := range t.sas {
		remote := in.path.Remote.Addr()
		m := esp.MTU(g.outerMTU(remote, now), in.sa.Suite, in.sa.Trunc96, in.path.UDP, remote.Is6())
		if m > 0 && (mtu == 0 || m < mtu) {
			mtu = m
		}
	}
	if mtu == 0 {
		return
	}
	least := leastMTU4
	for _, s := range t.tunnel.Remote.Subnets {
		if s.Addr().Is6() {
			least = leastMTU6
		}
	}
	if mtu != t.fits && t.data != nil {
		g.Log.Info("tunnel MTU", "conn", t.conn.Name, "tunnel", t.tunnel.Name, "device", t.device, "mtu", mtu)
		t.fits, t.mtu = mtu, max(mtu, least)
		t.data.SetMTU(mtu)
		g.dirty = true
	}
}
