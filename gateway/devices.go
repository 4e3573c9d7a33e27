package gateway

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp"
	"vpngw/tunnel"
)

// device is a TUN device with its part of the data plane.
type device struct {
	tunnel string
	data   *esp.Tunnel
	stop   func() // ends its reading
	shut   func() // removes it

	unasked string // why the last Ping could not be sent; empty: it was
	unsent  string // likewise of BFD
}

// open makes the TUN device of an entry and starts reading it, in run until ctx
// ends. losses gets the loss of the device.
func (d *dataPlane) open(e *entry, run *errgroup.Group, ctx context.Context, losses chan<- *device) (*device, diag.Cause) {
	failed := func(err error) (*device, diag.Cause) {
		return nil, diag.Cause{Code: diag.DeviceFailed, Device: e.device, Err: strings.TrimPrefix(err.Error(), "device "+e.device+": ")}
	}
	tun, err := d.host.CreateTUN(e.device, tunnel.InitialMTU)
	if err != nil {
		return failed(err)
	}
	cfg := esp.TunnelConfig{Name: e.tunnel.Name, Frames: tun, MTU: tunnel.InitialMTU, CopyDSCP: e.tunnel.CopyDSCP}
	if d.packets {
		cfg.Frames = nil
		if cfg.Device, err = tun.Packets(); err != nil {
			tun.Close()
			return failed(err)
		}
	}
	dev := &device{tunnel: e.tunnel.Name, data: d.AddTunnel(cfg)}
	tell := func(ctx context.Context) {
		select {
		case losses <- dev:
		case <-ctx.Done():
		}
	}
	if d.packets {
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		run.Go(func() error {
			err := dev.data.Run(ctx)
			close(done)
			tell(ctx)
			return err
		})
		dev.stop = stop
		dev.shut = func() {
			tun.Close()
			<-done
		}
		return dev, diag.Cause{}
	}
	reader := d.reader()
	// The engine must not wait for the loop, which may be waiting for the engine.
	ended := func() {
		run.Go(func() error { tell(ctx); return nil }) // the loop knows which of its devices it has closed
	}
	if err := reader.AddTunnel(dev.data, ended); err != nil {
		d.RemoveTunnel(e.tunnel.Name)
		tun.Close()
		return failed(err)
	}
	dev.stop = func() { reader.RemoveTunnel(dev.data) }
	dev.shut = func() { tun.Close() }
	return dev, diag.Cause{}
}

// closedAtOnce is how many devices are removed at a time: the kernel mostly waits meanwhile.
const closedAtOnce = 32

// close stops reading devices and removes them. A nil device is none.
func (d *dataPlane) close(devs ...*device) {
	var run errgroup.Group
	run.SetLimit(closedAtOnce)
	for _, dev := range devs {
		if dev != nil {
			dev.stop()
			run.Go(func() error { dev.shut(); return nil })
		}
	}
	run.Wait()
	for _, dev := range devs {
		if dev != nil {
			d.RemoveTunnel(dev.tunnel)
		}
	}
}

const devicePrefix = "vpngw"

// deviceNames returns the device name of each tunnel: the configured name, else
// its name in taken, else the lowest vpngwN that is free.
func deviceNames(tunnels []*config.Tunnel, taken map[string]string) (map[string]string, error) {
	names := make(map[string]string, len(tunnels))
	owner := make(map[string]string, len(tunnels))
	for _, t := range tunnels {
		if d := t.Device; d != "" {
			if other, ok := owner[d]; ok {
				return nil, fmt.Errorf("tunnels %q and %q both want device %s: give one of them another name under `device`", other, t.Name, d)
			}
			names[t.Name], owner[d] = d, t.Name
		}
	}
	for _, t := range tunnels {
		if d := taken[t.Name]; t.Device == "" && strings.HasPrefix(d, devicePrefix) && owner[d] == "" {
			names[t.Name], owner[d] = d, t.Name
		}
	}
	n := 0
	for _, t := range tunnels {
		if names[t.Name] != "" {
			continue
		}
		d := fmt.Sprintf("%s%d", devicePrefix, n)
		for ; owner[d] != ""; d = fmt.Sprintf("%s%d", devicePrefix, n) {
			n++
		}
		names[t.Name], owner[d] = d, t.Name
	}
	return names, nil
}
