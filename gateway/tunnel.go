package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"vpngw/esp"
	"vpngw/ike/sa"
)

// initialMTU is a TUN's before the first Child SA says what fits.
const initialMTU = 1400

// A device that could not be made, or was lost, is tried again after so long.
const (
	deviceRetry = 5 * time.Second
	lostRetry   = time.Second // the first time
)

// tunnel is one tunnel of the running configuration. It belongs to the loop.
type tunnel struct {
	*wanted
	device string // the TUN's name

	tun   TUN         // nil: there is no device; fault says why
	data  *esp.Tunnel // its part of the data plane
	shut  func()      // ends its reading and closes the device
	fault string
	retry time.Time

	mtu    int                   // of the device
	fits   int                   // the largest inner packet that the path takes; 0: not known yet
	sas    map[uint32]*installed // what the data plane has of it, by SPIIn
	open   []string              // the wanted pairs that no SA carries
	stale  bool                  // open must be worked out anew
	held   bool                  // by `vpngw down`
	raised bool                  // by `vpngw up`: it is for us to bring up, whatever the configuration says
	routed bool                  // its routes are wanted: it has been up since it was last taken down

	stranded time.Time // since when its IKE SA's address is gone; zero: it is there

	state State
	since time.Time
	why   string
}

func newTunnel(w *wanted, device string) *tunnel {
	return &tunnel{wanted: w, device: device, mtu: initialMTU, sas: map[uint32]*installed{}, stale: true}
}

// initiates reports whether it is for us to bring the tunnel up.
func (t *tunnel) initiates() bool { return t.tunnel.Initiate || t.raised }

// ended tells the loop that the reader of a TUN has stopped.
type ended struct {
	t   *tunnel
	tun TUN
	err error
}

// open makes the tunnel's TUN device and starts its reader.
func (g *Gateway) open(t *tunnel, now time.Time) {
	tun, err := g.Host.CreateTUN(t.device, t.mtu)
	if err != nil {
		g.faulty(t, err.Error(), now.Add(deviceRetry))
		return
	}
	cfg := esp.TunnelConfig{Name: t.tunnel.Name, Frames: tun, MTU: t.mtu, CopyDSCP: t.tunnel.CopyDSCP}
	if g.config.Packets {
		cfg.Frames = nil
		if cfg.Device, err = tun.Packets(); err != nil {
			tun.Close()
			g.faulty(t, err.Error(), now.Add(deviceRetry))
			return
		}
	}
	data := g.plane.AddTunnel(cfg)
	if t.shut, err = g.read(t, tun, data); err != nil {
		g.plane.RemoveTunnel(t.tunnel.Name)
		tun.Close()
		g.faulty(t, err.Error(), now.Add(deviceRetry))
		return
	}
	t.tun, t.data, t.fits = tun, data, 0
	t.fault, t.retry = "", time.Time{}
	g.dirty = true
}

// read has the TUN read, and returns what ends that and closes the device.
func (g *Gateway) read(t *tunnel, tun TUN, data *esp.Tunnel) (shut func(), err error) {
	ctx, stop := context.WithCancel(g.io)
	tell := func(err error) {
		select {
		case g.ended <- ended{t, tun, err}:
		case <-ctx.Done():
		}
	}
	if data.Frames != nil {
		e := g.engine()
		// The engine must not wait for the loop, which may be waiting for the engine.
		ended := func(err error) {
			g.group.Go(func() error { tell(err); return nil })
		}
		if err := e.AddTunnel(data, ended); err != nil {
			stop()
			return nil, err
		}
		return func() {
			stop()
			e.RemoveTunnel(data)
			tun.Close()
		}, nil
	}
	done := make(chan struct{})
	g.group.Go(func() error {
		err := data.Run(ctx)
		close(done)
		tell(err)
		return nil
	})
	return func() {
		stop()
		tun.Close()
		<-done
	}, nil
}

// close ends the tunnel's reading and with it the device.
func (g *Gateway) close(t *tunnel) {
	if t.tun == nil {
		return
	}
	t.shut()
	g.plane.RemoveTunnel(t.tunnel.Name)
	t.tun, t.data = nil, nil
	g.dirty = true
}

// faulty notes why a tunnel has no device, and when to try again.
func (g *Gateway) faulty(t *tunnel, why string, retry time.Time) {
	t.fault, t.retry = why, retry
	g.wakeAt(t.retry)
	g.dirty = true
}

// lostDevice is called when a reader has stopped by itself: somebody deleted
// the device, or reading it fails. The tunnel's SAs go with it, for sequence numbers
// must never begin anew.
func (g *Gateway) lostDevice(e ended, now time.Time) {
	if e.t.tun != e.tun {
		return
	}
	err := e.err
	if err == nil {
		err = errors.New("somebody has removed it")
	}
	g.faulty(e.t, fmt.Sprintf("device %s is gone: %v", e.t.device, err), now.Add(lostRetry))
	g.setPeers(now)
	g.perform()
	g.close(e.t)
}

// reopen tries again the devices that are due.
func (g *Gateway) reopen(now time.Time) {
	again := false
	for _, t := range g.tunnels {
		switch {
		case t.fault == "":
		case due(t.retry, now):
			g.open(t, now)
			again = again || t.fault == ""
		default:
			g.wakeAt(t.retry)
		}
	}
	if again {
		g.setPeers(now)
	}
}

// setPeers hands IKE the peers of the tunnels that have a device.
func (g *Gateway) setPeers(now time.Time) {
	var with []*wanted
	for _, t := range g.tunnels {
		if t.fault == "" {
			with = append(with, t.wanted)
		}
	}
	peers, err := peersOf(with, g.local)
	if err != nil { // New and Reload have asked conflict
		g.Log.Error("bug: conflicting connections are running", "err", err)
		return
	}
	for _, p := range peers {
		for _, c := range p.Children {
			c.Initiate = g.byName[c.Tunnel].initiates()
		}
	}
	was := g.remotes
	g.remotes = make(map[netip.Addr]string, len(peers))
	for _, p := range peers {
		g.remotes[p.Remote] = was[p.Remote]
	}
	g.ike.SetPeers(now, peers)
	for _, t := range g.tunnels {
		if t.held {
			g.ike.Do(now, sa.Lower{Tunnel: t.tunnel.Name})
		}
	}
	g.dirty = true
}
