package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/host"
	"vpngw/ike"
	"vpngw/ike/sa"
)

// hostOwner is the one owner of everything that the gateway has in the kernel.
const hostOwner = "gateway"

// A host state that the kernel refused is tried again after so long.
const hostRetry = 5 * time.Second

// settle brings the host and the states of the tunnels in step with what IKE
// decided and the data plane has.
func (g *Gateway) settle(now time.Time) {
	g.forgetPaths(now)
	ikes := g.ikeStatus()
	for _, t := range g.tunnels {
		g.fitMTU(t, now)
		if t.held {
			t.routed = false
		} else if len(t.carrying()) > 0 {
			t.routed = true
		}
	}
	g.watchPaths()
	g.setHost(now)
	for _, t := range g.tunnels {
		g.setState(t, ikes[t.tunnel.Name], now)
	}
	g.tellSummary()
	if n := g.dropped.Load(); n != g.lost {
		g.Log.Warn("IKE messages dropped: more came than could be handled", "count", n-g.lost)
		g.lost = n
	}
	g.dirty = false
}

// setHost applies the wanted host state, unless it is what was applied last.
func (g *Gateway) setHost(now time.Time) {
	want := g.hostState()
	if g.unset == "" && reflect.DeepEqual(want, g.applied) {
		return
	}
	res, err := g.Host.Set(hostOwner, want)
	g.applied, g.hostErr, g.trouble = want, "", map[string]string{}
	for _, b := range res.Blocked {
		g.trouble[b.Device] = cmp.Or(g.trouble[b.Device], b.Cause.String())
	}
	if err == nil {
		g.unset = ""
		return
	}
	if g.unset != err.Error() {
		g.Log.Error("cannot set up devices and routes", "err", err)
	}
	g.unset = err.Error()
	g.wakeAt(now.Add(hostRetry))
	for _, err := range parts(err) {
		if d := (*host.DeviceError)(nil); errors.As(err, &d) {
			g.trouble[d.Device] = d.Error()
		} else {
			g.hostErr = join(g.hostErr, err.Error())
		}
	}
}

// parts are the errors that errors.Join has joined, however deep.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, err := range joined.Unwrap() {
		out = append(out, parts(err)...)
	}
	return out
}

// hostState is what should be in the kernel.
func (g *Gateway) hostState() host.State {
	var want host.State
	active := g.activeRoutes()
	for _, t := range g.tunnels {
		if t.tun == nil {
			continue
		}
		d := host.DeviceState{Name: t.device, MTU: t.mtu, Sources: t.tunnel.Local.Subnets}
		if t.routed {
			for _, p := range t.tunnel.Routes {
				if t.tunnel.Role == config.Standby && active[p] {
					continue
				}
				d.Routes = append(d.Routes, host.Route{
					Prefix: p, Source: sourceFor(p, t.tunnel.Local.Subnets, g.addresses),
				})
			}
		}
		want.Devices = append(want.Devices, d)
	}
	outer := map[netip.Addr]bool{}
	for a := range g.remotes {
		outer[a] = true
	}
	for _, in := range g.installed {
		outer[in.path.Remote.Addr()] = true
	}
	for a := range outer {
		want.Peers = append(want.Peers, a)
	}
	slices.SortFunc(want.Peers, netip.Addr.Compare)
	return want
}

// activeRoutes are those of the tunnels that are no standby. As there is no failover, a
// standby has none of them until `vpngw down` has taken the other tunnel down.
func (g *Gateway) activeRoutes() map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, t := range g.tunnels {
		if t.tunnel.Role == config.Standby || t.held {
			continue
		}
		for _, p := range t.tunnel.Routes {
			out[p] = true
		}
	}
	return out
}

// setState is the only place where a tunnel's state changes.
func (g *Gateway) setState(t *tunnel, in ikeView, now time.Time) {
	state, why := g.assess(t, in, now)
	changed := state != t.state
	if changed {
		t.state, t.since = state, now
	} else if why == t.why {
		return
	}
	t.why = why
	log := g.Log.With("conn", t.conn.Name, "tunnel", t.tunnel.Name, "peer", t.tunnel.Remote.Address)
	switch {
	case changed && state == Up:
		log.Info("tunnel is up", "device", t.device, "mtu", t.mtu)
		if weak := t.weak(in.ike); len(weak) > 0 {
			log.Warn("tunnel uses weak algorithms", "why", strings.Join(weak, "; "))
		}
	case changed && (why == "" || t.held):
		log.Info("tunnel is " + string(state))
	case t.fault != "":
		log.Error("tunnel is "+string(state), "why", why)
	case why != "":
		log.Warn("tunnel is "+string(state), "why", why)
	}
}

// weak is why the algorithms that the tunnel has agreed on are weak.
func (t *tunnel) weak(i *ike.IKEStatus) []string {
	var out []string
	if i != nil {
		out = append(out, i.Weak...)
	}
	for _, c := range t.carrying() {
		out = append(out, c.Suite.Weak()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tellSummary tells the service manager how many tunnels are up.
func (g *Gateway) tellSummary() {
	up := 0
	for _, t := range g.tunnels {
		if t.state == Up {
			up++
		}
	}
	s := fmt.Sprintf("STATUS=%d of %d tunnels up", up, len(g.tunnels))
	if s != g.summary {
		g.summary = s
		g.Notify(s)
	}
}

// silence is how long a peer may take to answer before status says that it does not.
const silence = 5 * time.Second

// assess says how a tunnel is, and if it is not up, why.
func (g *Gateway) assess(t *tunnel, in ikeView, now time.Time) (State, string) {
	switch {
	case t.fault != "":
		return Down, t.fault
	case t.held:
		return Down, "taken down by `vpngw down`"
	}
	carrying, open := t.carrying(), t.missing()
	trouble := cmp.Or(g.hostErr, g.trouble[t.device])
	switch {
	case len(open) == 0 && trouble == "":
		return Up, ""
	case len(carrying) > 0 && trouble != "":
		return Degraded, trouble
	case len(carrying) > 0:
		return Degraded, join("no SA carries "+list(open), in.why)
	}
	why := in.why
	if why == "" {
		why = g.remotes[t.tunnel.Remote.Address]
	}
	if i := in.ike; why == "" && i != nil && i.State == sa.Connecting.String() {
		// It is a minute until IKE gives up; an operator looks sooner.
		if patient := i.Since.Add(silence); due(patient, now) {
			why = fmt.Sprintf("no answer from %v so far: is it up, and do firewalls let UDP port %d through?", i.Remote.Addr(), i.Remote.Port())
		} else {
			g.wakeAt(patient)
		}
	}
	if t.initiates() {
		return Connecting, why
	}
	return Waiting, why
}

// list names a few of many.
func list(s []string) string {
	const few = 3
	if len(s) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(s[:few], ", "), len(s)-few)
	}
	return strings.Join(s, ", ")
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}
