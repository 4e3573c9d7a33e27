package gateway

import (
	"context"
	"reflect"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
)

// Class is what a change of its settings does to a tunnel that runs.
type Class string

const (
	Nothing Class = "nothing" // nothing that runs depends on it
	Live    Class = "live"    // it takes effect, and every SA goes on, until its end by the new settings
	Rekey   Class = "rekey"   // Child SAs are replaced by others that are negotiated first; the IKE SA and the device stay
	Restart Class = "restart" // the tunnel goes down and comes up with another IKE SA or on another device
)

var classes = []Class{Nothing, Live, Rekey, Restart}

// worst is the one of two classes that disturbs more.
func worst(a, b Class) Class {
	return classes[max(slices.Index(classes, a), slices.Index(classes, b))]
}

// Change is what becomes of a connection or a tunnel.
type Change string

const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// Plan says what an Adopt of a configuration changes.
type Plan struct {
	// DaemonRestart are the settings of the whole file for which the daemon must be restarted. While there is one, a
	// reload is refused.
	DaemonRestart []string           `json:"daemon_restart"`
	Connections   []ConnectionChange `json:"connections"` // those that change, in the order of the file, the removed ones last
	Unchanged     int                `json:"unchanged"`   // how many other connections there are
}

// ConnectionChange is what becomes of a connection.
type ConnectionChange struct {
	Name    string         `json:"name"`
	Change  Change         `json:"change"`
	Class   Class          `json:"class,omitempty"` // the worst of its tunnels that run already
	Tunnels []TunnelChange `json:"tunnels"`         // those that change
}

// TunnelChange is what becomes of a tunnel.
type TunnelChange struct {
	Name   string        `json:"name"`
	Change Change        `json:"change"`
	Class  Class         `json:"class,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is a setting that changes, by its name, and what it alone would do. No value is told: it may be secret.
type FieldChange struct {
	Field string `json:"field"`
	Class Class  `json:"class"`
}

// Plan says what Adopt of c, which must be valid, would change. It changes nothing.
func (g *Gateway) Plan(ctx context.Context, c *config.Config) (p Plan, err error) {
	err = g.call(ctx, func(time.Time) error {
		placed, _ := g.names.filled(c)
		plan, err := planOf(placed, &g.fleet)
		if err != nil {
			return err
		}
		p = g.fleet.compare(plan).report()
		p.DaemonRestart = append(p.DaemonRestart, g.config.Startup.Diff(c.Startup)...)
		return nil
	})
	return p, err
}

// comparison is what a plan changes in the fleet. Plan reports it, and regroup carries it out.
type comparison struct {
	tunnels []compared // in the order of the plan
	removed []*entry
}

// compared is one tunnel of a plan beside the one that runs.
type compared struct {
	plannedTunnel
	entry  *entry // nil: it is added
	class  Class  // empty: nothing is different
	fields []FieldChange
}

func (f *fleet) compare(plan []plannedTunnel) comparison {
	var out comparison
	kept := make(map[string]bool, len(plan))
	for _, w := range plan {
		c := compared{plannedTunnel: w, entry: f.byName[w.tunnel.Name]}
		if c.entry != nil {
			kept[w.tunnel.Name] = true
			c.tunnel = aligned(w.tunnel, c.entry.tunnel)
			c.class, c.fields = c.entry.compare(c.plannedTunnel)
		}
		out.tunnels = append(out.tunnels, c)
	}
	for _, e := range f.entries {
		if !kept[e.tunnel.Name] {
			out.removed = append(out.removed, e)
		}
	}
	return out
}

// compare judges what w changes in the tunnel. The class is empty when nothing is different.
func (e *entry) compare(w plannedTunnel) (Class, []FieldChange) {
	if w.conn == e.conn && w.tunnel == e.tunnel && w.device == e.device {
		return "", nil
	}
	was, is := judgedOf(e.conn, e.tunnel, e.device), judgedOf(w.conn, w.tunnel, w.device)
	if reflect.DeepEqual(was, is) { // as nearly always, and the loop waits
		return "", nil
	}
	var out []FieldChange
	whole := classOf(was, is)
	for _, f := range fields {
		switch {
		case f.equal(was, is):
		case f.path == "Tunnel.Remote.Address" && was.Tunnel.Remote.Host != is.Tunnel.Remote.Host: // the name says it
		case f.path == "Tunnel.Remote.Address" && was.Tunnel.Remote.Any != is.Tunnel.Remote.Any: // that says it
		case f.path == "Tunnel.Device" && e.device != w.device: // "Device" says it
		default:
			// A field alone can do more than all together, such as one list of two that say the same in the end.
			alone := classOf(was, was.with(f, is))
			out = append(out, FieldChange{f.name, classes[min(slices.Index(classes, alone), slices.Index(classes, whole))]})
		}
	}
	return whole, out
}

// classOf judges by what carries a change out: sa.Settings.Keeps and sa.Child.Same are what ike keeps SAs by.
func classOf(was, is *judged) Class {
	ours, theirs := was.Tunnel.Settings(), is.Tunnel.Settings()
	switch {
	case was.Device != is.Device || was.Tunnel.PeerKey() != is.Tunnel.PeerKey() || !ours.Keeps(&theirs):
		return Restart
	case replaces(was.Tunnel.ChildSAs(), is.Tunnel.ChildSAs()):
		return Rekey
	}
	for _, f := range fields {
		if idle := f.idle || f.bgp && was.Tunnel.BGP == nil && is.Tunnel.BGP == nil; !idle && !f.equal(was, is) {
			return Live
		}
	}
	return Nothing
}

// replaces reports whether one of the Child SAs that a tunnel wanted is not wanted any more.
func replaces(was, is []*sa.Child) bool {
	return slices.ContainsFunc(was, func(c *sa.Child) bool { return !slices.ContainsFunc(is, c.Same) })
}

// report says a comparison in the words of a Plan.
func (c comparison) report() Plan {
	p := Plan{DaemonRestart: []string{}, Connections: []ConnectionChange{}}
	at := map[string]int{} // in p.Connections, by name
	seen := map[string]int{}
	there := map[string]bool{} // connections that run already
	entry := func(name string) *ConnectionChange {
		i, ok := at[name]
		if !ok {
			i = len(p.Connections)
			at[name] = i
			p.Connections = append(p.Connections, ConnectionChange{Name: name, Change: Changed})
		}
		return &p.Connections[i]
	}
	for _, t := range c.tunnels {
		seen[t.conn.Name]++
		if t.entry != nil {
			there[t.entry.conn.Name] = true
		}
		switch {
		case t.entry == nil:
			cc := entry(t.conn.Name)
			cc.Tunnels = append(cc.Tunnels, TunnelChange{Name: t.tunnel.Name, Change: Added})
		case t.class != "":
			cc := entry(t.conn.Name)
			cc.Tunnels = append(cc.Tunnels, TunnelChange{Name: t.tunnel.Name, Change: Changed, Class: t.class, Fields: t.fields})
			cc.Class = worst(cc.Class, t.class)
		}
	}
	for _, e := range c.removed {
		there[e.conn.Name] = true
		cc := entry(e.conn.Name)
		cc.Tunnels = append(cc.Tunnels, TunnelChange{Name: e.tunnel.Name, Change: Removed})
	}
	for i := range p.Connections {
		switch cc := &p.Connections[i]; {
		case !there[cc.Name]:
			cc.Change = Added
		case seen[cc.Name] == 0:
			cc.Change = Removed
		}
	}
	for name := range seen {
		if _, changes := at[name]; !changes {
			p.Unchanged++
		}
	}
	return p
}
