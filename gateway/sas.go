package gateway

import (
	"fmt"
	"log/slog"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// installed is one Child SA that the data plane has.
type installed struct {
	sa   *ipsec.ChildSA
	path ipsec.Path // where it sends now
	out  bool       // the outbound half is in too
}

func (g *Gateway) installIn(c *ipsec.ChildSA) {
	if err := g.plane.InstallIn(c); err != nil {
		g.logSA(c).Error("cannot install inbound SA", "err", err)
		return
	}
	in := &installed{sa: c, path: c.Path}
	g.installed[c.SPIIn] = in
	if t := g.byName[c.Tunnel]; t != nil {
		t.sas[c.SPIIn], t.stale = in, true
	}
	g.dirty = true
}

func (g *Gateway) installOut(c *ipsec.ChildSA) {
	in := g.installed[c.SPIIn]
	if in == nil {
		return // installIn has failed and said so
	}
	t := g.byName[c.Tunnel]
	if t != nil {
		g.fitMTU(t, time.Now()) // before the first packet meets the SA
	}
	if err := g.plane.InstallOut(c); err != nil {
		g.logSA(c).Error("cannot install outbound SA", "err", err)
		return
	}
	in.out = true
	if t != nil {
		t.stale = true
	}
	g.dirty = true
}

func (g *Gateway) remove(a sa.Remove) {
	g.plane.Remove(a.SPIIn)
	if in := g.installed[a.SPIIn]; in != nil {
		g.logSA(in.sa).Debug("SA removed", "why", a.Why)
		if t := g.byName[in.sa.Tunnel]; t != nil {
			delete(t.sas, a.SPIIn)
			t.stale = true
		}
		delete(g.installed, a.SPIIn)
	}
	g.dirty = true
}

func (g *Gateway) move(a sa.Move) {
	g.plane.Move(a.SPIIn, a.Path)
	if in := g.installed[a.SPIIn]; in != nil {
		in.path = a.Path
		g.logSA(in.sa).Info("peer has moved", "peer", a.Path.Remote)
	}
	g.dirty = true
}

func (g *Gateway) logSA(c *ipsec.ChildSA) *slog.Logger {
	return g.Log.With("tunnel", c.Tunnel, "spi", spiString(c.SPIIn))
}

func spiString(spi uint32) string { return fmt.Sprintf("%08x", spi) }
