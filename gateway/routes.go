package gateway

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/tunnel"
)

// RouteStatus is one prefix of a tunnel, as `vpngw routes --json` prints it.
type RouteStatus struct {
	Connection string `json:"connection"`
	Tunnel     string `json:"tunnel"`
	Prefix     string `json:"prefix"`
	// Sources say where it is from: "static", the configuration; "bgp", the peer; "inside", the addresses in the tunnel. Empty:
	// the peer told it in an earlier session.
	Sources   []string `json:"sources"`
	Device    string   `json:"device"`
	Metric    int      `json:"metric"`
	Installed bool     `json:"installed"` // in the kernel, into this tunnel
	Other     string   `json:"other"`     // the tunnel that has it instead; empty: none
	Guarded   bool     `json:"guarded"`   // its packets leave by a tunnel or not at all
	diag.Report
	Path []uint32 `json:"as_path,omitempty"` // of BGP
	MED  uint32   `json:"med,omitempty"`
}

// Routes lists what each tunnel leads to, with a name those of the connection or tunnel of that name. It may be called from any
// goroutine while Run runs.
func (g *Gateway) Routes(ctx context.Context, name string) ([]RouteStatus, error) {
	var tunnels []string
	err := g.call(ctx, func(time.Time) error {
		hit := g.fleet.entries
		if name != "" {
			var err error
			if hit, err = g.fleet.named(name); err != nil {
				return err
			}
		}
		for _, e := range hit {
			tunnels = append(tunnels, e.tunnel.Name)
		}
		return nil
	})
	out := []RouteStatus{}
	for _, t := range tunnels { // one in a turn of the loop: each may have many
		if err == nil {
			err = g.call(ctx, func(time.Time) error {
				if e := g.fleet.byName[t]; e != nil {
					out = append(out, e.routes()...)
				}
				return nil
			})
		}
	}
	return out, err
}

// routes lists the prefixes of a tunnel, sorted: those that it leads to, and those that were refused.
func (e *entry) routes() []RouteStatus {
	blocked := map[netip.Prefix]diag.Cause{}
	for _, b := range e.group.blocked {
		if b.Device == e.device {
			blocked[b.Route.Prefix] = b.Cause
		}
	}
	var r bgp.Report
	if e.report != nil {
		r = *e.report
	}
	told := make(map[netip.Prefix]bgp.Learned, len(r.Routes))
	for _, l := range r.Routes {
		told[l.Prefix] = l
	}
	st := e.status()
	row := func(p netip.Prefix, sources ...string) RouteStatus {
		return RouteStatus{
			Connection: e.conn.Name, Tunnel: e.tunnel.Name, Prefix: p.String(), Sources: append([]string{}, sources...),
			Device: e.device, Metric: cmp.Or(e.tunnel.Metric, config.DefaultMetric),
		}
	}
	type sorted struct {
		prefix netip.Prefix
		RouteStatus
	}
	var list []sorted
	for _, t := range e.group.Routes(e.tunnel.Name) {
		s := row(t.Prefix)
		if t.Static {
			s.Sources = append(s.Sources, "static")
		}
		if t.Learned {
			s.Sources = append(s.Sources, "bgp")
			s.Path, s.MED = told[t.Prefix].Path, told[t.Prefix].MED
		}
		s.Guarded, s.Other = t.Guarded, t.On
		why := e.missing(t, blocked[t.Prefix], st)
		s.Installed = t.Wanted && why.OK()
		s.Report = why.Report()
		list = append(list, sorted{t.Prefix, s})
	}
	if in := e.tunnel.Inside; in.IsValid() {
		s := row(in.Masked(), "inside")
		why := blocked[in.Masked()]
		s.Installed = why.OK() && e.addressed == in && e.open != nil && !st.Held
		s.Report = why.Report()
		list = append(list, sorted{in.Masked(), s})
	}
	for _, x := range r.Refused {
		s := row(x.Prefix, "bgp")
		s.Report = x.Cause.Report()
		list = append(list, sorted{x.Prefix, s})
	}
	slices.SortStableFunc(list, func(a, b sorted) int { return a.prefix.Compare(b.prefix) })
	out := make([]RouteStatus, len(list))
	for i, s := range list {
		out[i] = s.RouteStatus
	}
	return out
}

// missing is why a route that is this tunnel's is not in the kernel.
func (e *entry) missing(t tunnel.RouteEntry, blocked diag.Cause, st tunnel.Status) diag.Cause {
	switch {
	case t.Wanted && !blocked.OK():
		return blocked
	case t.Wanted && (st.Cause.Is(diag.DeviceFailed) || st.Cause.Is(diag.HostRefused)):
		return st.Cause
	case t.Wanted || t.On != "":
		return diag.Cause{}
	}
	return t.Why
}
