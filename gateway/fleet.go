package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/schedule"
	"vpngw/tunnel"
)

// entry is one tunnel of the running configuration.
type entry struct {
	conn   *config.Connection
	tunnel *config.Tunnel
	device string        // the TUN's name
	group  *group        // decides its state
	peer   *peer         // the other end
	open   *device       // nil: there is none
	past   TrafficStatus // what earlier devices carried
	tally  Tally

	pastDrops map[string]uint64 // what earlier devices dropped

	// Of BGP.
	addressed netip.Prefix   // the address that the device has or had
	reachable *bool          // as the group last said; nil: it did not
	report    *bgp.Report    // the last one; nil: none
	learned   []netip.Prefix // of it
	announced []netip.Prefix

	discriminator uint32 // of BFD; 0: it had none yet
	pos           int32  // in the order of the configuration
}

// part takes the device from the tunnel, for closing. What it carried stays counted.
func (e *entry) part() *device {
	d := e.open
	e.open = nil
	if d != nil {
		c := d.data.Counters()
		e.past.add(c)
		e.pastDrops = sumOf(e.pastDrops, c.Drops)
	}
	return d
}

// group is a tunnel.Group with the gateway's bookkeeping for it. The group owns
// its part of the host's state under its name.
type group struct {
	*tunnel.Group
	name    string
	entries []*entry // in the order of the configuration
	queued  bool
	blocked []host.BlockedRoute // by the last Set
}

// status returns the status of the entry's tunnel.
func (e *entry) status() tunnel.Status {
	s, _ := e.group.Status(e.tunnel.Name)
	return s
}

// advice is who has to change what, in the words of the entry's dialect.
func (e *entry) advice(c diag.Cause) diag.Advice {
	return c.Advice(e.conn.Dialect, e.conn.Side == config.Cloud)
}

// fleet is the table of the running tunnels and groups.
type fleet struct {
	entries    []*entry            // in the order of the configuration
	byName     map[string]*entry   // by the tunnel's name
	byConn     map[string][]*entry // by the connection's
	groups     []*group
	groupNamed map[string]*group
	queue      []*group               // have facts since their last Advance
	due        schedule.Queue[*group] // each Group's Deadline
	up         int                    // tunnels that are up
	drawn      discriminators
}

// enqueue schedules a group's Advance for this turn of the loop, or the next.
func (f *fleet) enqueue(g *group) {
	if !g.queued {
		g.queued = true
		f.queue = append(f.queue, g)
	}
}

// next returns a group that needs an Advance at now, or nil.
func (f *fleet) next(now time.Time) *group {
	if g, ok := f.due.Due(now); ok {
		f.due.Remove(g)
		f.enqueue(g)
	}
	if len(f.queue) == 0 {
		f.queue = nil
		return nil
	}
	g := f.queue[0]
	f.queue = f.queue[1:]
	g.queued = false
	return g
}

// index recomputes byConn and the number of tunnels that are up.
func (f *fleet) index() {
	f.up, f.byConn, f.groupNamed = 0, map[string][]*entry{}, map[string]*group{}
	for _, g := range f.groups {
		f.groupNamed[g.name] = g
	}
	for _, e := range f.entries {
		f.byConn[e.conn.Name] = append(f.byConn[e.conn.Name], e)
		if e.status().State == tunnel.Up {
			f.up++
		}
	}
}

// summary is the line for the service manager: how many tunnels are up.
func (f *fleet) summary() string {
	return fmt.Sprintf("STATUS=%d of %d tunnels up", f.up, len(f.entries))
}

// named returns the entries of the connection of that name, or else the entry of the tunnel of that
// name.
func (f *fleet) named(name string) ([]*entry, error) {
	if hit := f.byConn[name]; len(hit) > 0 {
		return hit, nil
	}
	if e := f.byName[name]; e != nil {
		return []*entry{e}, nil
	}
	var known []string
	for _, e := range f.entries {
		if len(known) == 0 || known[len(known)-1] != e.conn.Name {
			known = append(known, e.conn.Name)
		}
	}
	return nil, &UnknownNameError{name, known}
}
