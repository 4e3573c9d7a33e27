package gateway

import (
	"fmt"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/schedule"
	"vpngw/tunnel"
)

// entry is one tunnel of the running configuration.
type entry struct {
	conn   *config.Connection
	tunnel *config.Tunnel
	device string  // the TUN's name
	group  *group  // which decides for it
	peer   *peer   // which it belongs to
	open   *device // nil: there is none
	pos    int     // in the order of the configuration
}

// group is a tunnel.Group with what the gateway keeps for it. Its name is the
// owner of its part of the host's state.
type group struct {
	*tunnel.Group
	name    string
	entries []*entry
	queued  bool
}

// status is how an entry's tunnel stands.
func (e *entry) status() tunnel.Status {
	s, _ := e.group.Status(e.tunnel.Name)
	return s
}

// fleet is the table of what runs.
type fleet struct {
	entries    []*entry            // in the order of the configuration
	byName     map[string]*entry   // by the tunnel's name
	byConn     map[string][]*entry // by the connection's
	groups     []*group
	groupNamed map[string]*group
	queue      []*group               // have facts that nothing was concluded from yet
	due        schedule.Queue[*group] // when a Group wants to be called without one
	up         int                    // tunnels that are up
}

// enqueue has a group's facts concluded from in this turn of the loop, or the next.
func (f *fleet) enqueue(g *group) {
	if !g.queued {
		g.queued = true
		f.queue = append(f.queue, g)
	}
}

// next is a group that has something to conclude at now, or nil.
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

// index makes what follows from the entries: who is found by a connection's name,
// and how many tunnels are up.
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

// summary is what the service manager shows: how many tunnels are up.
func (f *fleet) summary() string {
	return fmt.Sprintf("STATUS=%d of %d tunnels up", f.up, len(f.entries))
}

// forget drops a group that runs no more.
func (f *fleet) forget(g *group) {
	f.due.Remove(g)
	f.queue = slices.DeleteFunc(f.queue, func(o *group) bool { return o == g })
}

// named are the entries of a connection, or the one of a tunnel, of that name.
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
