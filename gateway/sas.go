package gateway

import (
	"log/slog"
	"net/netip"
	"slices"

	"vpngw/esp"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// installed is one Child SA of the data plane.
type installed struct {
	sa   *ipsec.ChildSA
	path ipsec.Path // the present path
	out  bool       // the outbound half is installed too
}

func (d *dataPlane) installIn(c *ipsec.ChildSA) {
	if err := d.InstallIn(c); err != nil {
		d.logSA(c).Error("cannot install inbound SA", "err", err)
		return
	}
	in := &installed{sa: c, path: c.Path}
	d.installed[c.SPIIn] = in
	d.byTunnel[c.Tunnel] = append(d.byTunnel[c.Tunnel], in)
	d.sendsTo(in)
}

// sendsTo notes where an SA sends to.
func (d *dataPlane) sendsTo(in *installed) {
	a := in.path.Remote.Addr()
	d.byRemote[a] = append(d.byRemote[a], in)
}

// sendsNoMore undoes sendsTo.
func (d *dataPlane) sendsNoMore(in *installed) {
	a := in.path.Remote.Addr()
	if rest := slices.DeleteFunc(d.byRemote[a], func(o *installed) bool { return o == in }); len(rest) > 0 {
		d.byRemote[a] = rest
	} else {
		delete(d.byRemote, a)
	}
}

func (d *dataPlane) installOut(c *ipsec.ChildSA) {
	in := d.installed[c.SPIIn]
	if in == nil {
		return // installIn has logged the failure
	}
	if err := d.InstallOut(c); err != nil {
		d.logSA(c).Error("cannot install outbound SA", "err", err)
		return
	}
	in.out = true
}

func (d *dataPlane) removeOut(spiIn uint32) {
	d.RemoveOut(spiIn)
	if in := d.installed[spiIn]; in != nil {
		in.out = false
	}
}

func (d *dataPlane) remove(a sa.Remove) {
	d.Remove(a.SPIIn)
	in := d.installed[a.SPIIn]
	if in == nil {
		return
	}
	d.logSA(in.sa).Debug("SA removed", "why", a.Why.String(), "code", a.Why.Code)
	delete(d.installed, a.SPIIn)
	in.sa.In.Clear()
	in.sa.Out.Clear()
	d.sendsNoMore(in)
	if rest := slices.DeleteFunc(d.byTunnel[in.sa.Tunnel], func(o *installed) bool { return o == in }); len(rest) > 0 {
		d.byTunnel[in.sa.Tunnel] = rest
	} else {
		delete(d.byTunnel, in.sa.Tunnel)
	}
}

// move changes the path of an SA. It returns nil if there is no such SA.
func (d *dataPlane) move(a sa.Move) *installed {
	d.Move(a.SPIIn, a.Path)
	in := d.installed[a.SPIIn]
	if in != nil {
		d.sendsNoMore(in)
		in.path = a.Path
		d.sendsTo(in)
		d.logSA(in.sa).Info("peer has moved", "peer", a.Path.Remote)
	}
	return in
}

// concerned returns the tunnels that a Fact is about. A Child SA that could not
// be installed concerns none.
func (d *dataPlane) concerned(f sa.Fact) []string {
	switch f := f.(type) {
	case sa.ChildIn:
		if d.installed[f.SA.SPIIn] != nil {
			return []string{f.SA.Tunnel}
		}
	case sa.ChildOut:
		if in := d.installed[f.SA.SPIIn]; in != nil && in.out {
			return []string{f.SA.Tunnel}
		}
	case sa.ChildGone:
		return []string{f.SA.Tunnel}
	case sa.ChildFailed:
		return []string{f.Child.Tunnel}
	case sa.IKEConnecting:
		return f.SA.Peer.Tunnels()
	case sa.IKEEstablished:
		return f.SA.Peer.Tunnels()
	case sa.IKERekeyed:
		return f.SA.Peer.Tunnels()
	case sa.IKEEnded:
		return f.SA.Peer.Tunnels()
	case sa.PeerMoved:
		return f.SA.Peer.Tunnels()
	case sa.Measured:
		return f.SA.Peer.Tunnels()
	case sa.IKEFailed:
		return f.Peer.Tunnels()
	}
	return nil
}

// groupsTo returns the groups that have an SA that sends to remote.
func (d *dataPlane) groupsTo(remote netip.Addr, byName map[string]*entry) []*group {
	var out []*group
	seen := map[*group]bool{}
	for _, in := range d.byRemote[remote] {
		if e := byName[in.sa.Tunnel]; e != nil && !seen[e.group] {
			seen[e.group] = true
			out = append(out, e.group)
		}
	}
	return out
}

// inner implements tunnel.Inner.
func (d *dataPlane) inner(outer int, c *ipsec.ChildSA, path ipsec.Path) int {
	return esp.MTU(outer, c.Suite, c.Trunc96, path.UDP, path.Remote.Addr().Is6())
}

func (d *dataPlane) logSA(c *ipsec.ChildSA) *slog.Logger {
	return d.log.With("tunnel", c.Tunnel, "spi", sa.Hex32(c.SPIIn))
}
