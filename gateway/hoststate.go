package gateway

import (
	"errors"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

// apply sets a group's part of the host's state.
func (g *Gateway) apply(now time.Time, gr *group, w tunnel.Want) tunnel.Applied {
	s := host.State{Peers: w.Peers, Guards: make([]host.Guard, 0, len(w.Guards))}
	for _, guard := range w.Guards {
		s.Guards = append(s.Guards, host.Guard(guard))
	}
	tunnelOf := map[string]string{} // by device
	for _, d := range w.Devices {
		tunnelOf[d.Device] = d.Tunnel
		ds := host.DeviceState{Name: d.Device, MTU: d.MTU, Metric: d.Metric, Sources: d.Sources, ByFlow: d.ByFlow}
		if d.Address.IsValid() {
			ds.Addresses = []netip.Prefix{d.Address}
		}
		ds.Routes = make([]host.Route, 0, len(d.Routes))
		for _, r := range d.Routes {
			ds.Routes = append(ds.Routes, host.Route{Prefix: r.Prefix, Source: r.Source})
		}
		s.Devices = append(s.Devices, ds)
	}
	res, err := g.Host.Set(gr.name, s)
	for _, name := range res.Others { // the kernel has more or less of their routes than before
		if o := g.fleet.groupNamed[name]; o != nil {
			o.Note(now, tunnel.Disturbed{})
			g.fleet.enqueue(o)
		}
	}
	gr.blocked = res.Blocked
	out := tunnel.Applied{Trouble: map[string]diag.Cause{}, Refused: err != nil}
	for _, b := range res.Blocked {
		if name := tunnelOf[b.Device]; out.Trouble[name].OK() {
			out.Trouble[name] = b.Cause
		}
	}
	if err != nil {
		g.Log.Error("cannot set up devices and routes", "conn", gr.name, "err", err)
		for _, c := range causesOf(err) {
			for device, name := range tunnelOf {
				if c.Device == "" || c.Device == device { // an error without a device concerns every tunnel
					out.Trouble[name] = c
				}
			}
		}
	}
	for _, d := range w.Devices {
		c := out.Trouble[d.Tunnel]
		if d.Address.IsValid() && !c.Is(diag.DeviceFailed) && !c.Is(diag.HostRefused) && !c.Is(diag.AddressTaken) {
			g.fleet.byName[d.Tunnel].addressed = d.Address
		}
	}
	return out
}

// causesOf returns the causes in an error of host.Set.
func causesOf(err error) []diag.Cause {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []diag.Cause
		for _, err := range joined.Unwrap() {
			out = append(out, causesOf(err)...)
		}
		return out
	}
	if d := (*host.DeviceError)(nil); errors.As(err, &d) {
		return []diag.Cause{d.Cause()}
	}
	return []diag.Cause{{Code: diag.HostRefused, Err: err.Error()}}
}
