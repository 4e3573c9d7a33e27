package control

import (
	"context"
	"net"
	"slices"
	"sync"
)

// room has places for connections. When one more comes, it takes the place of another of whoever has the most, the
// newcomer included: of the oldest that keeps the daemon waiting, for a request or for taking
// the answer. So a client that says nothing is closed before one that speaks is
// refused, and whoever has many connections is in no other's way.
type room[From comparable] struct {
	places  int
	patient bool // while the daemon works for all who could leave, the newcomer waits; otherwise it, or one of them, leaves

	mu     sync.Mutex
	change sync.Cond      // of what follows
	guests []*guest[From] // in the order of their arrival
}

// guest is a connection.
type guest[From comparable] struct {
	net.Conn
	room    *room[From]
	from    From // whose it is
	working bool // the daemon works for it; under room.mu
}

func newRoom[From comparable](places int, patient bool) *room[From] {
	r := &room[From]{places: places, patient: patient}
	r.change.L = &r.mu
	return r
}

// admit lets g in and returns the guest who must leave for it: nobody, another, or g.
func (r *room[From]) admit(g *guest[From]) (out *guest[From]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.guests) >= r.places {
		out = r.leaves(g)
		if !r.patient || out != g && !out.working {
			break
		}
		out = nil
		r.change.Wait()
	}
	r.guests = append(r.guests, g)
	if out != nil {
		r.remove(out)
	}
	return out
}

// leaves is who leaves for g.
func (r *room[From]) leaves(g *guest[From]) *guest[From] {
	all := append(slices.Clone(r.guests), g)
	count := map[From]int{}
	for _, o := range all {
		count[o.from]++
	}
	out := all[0]
	for _, o := range all {
		if more := count[o.from] - count[out.from]; more > 0 || more == 0 && out.working && !o.working {
			out = o
		}
	}
	return out
}

func (r *room[From]) remove(g *guest[From]) {
	r.guests = slices.DeleteFunc(r.guests, func(o *guest[From]) bool { return o == g })
	r.change.Broadcast()
}

// Close closes the connection and gives its place away.
func (g *guest[From]) Close() error {
	g.room.mu.Lock()
	g.room.remove(g)
	g.room.mu.Unlock()
	return g.Conn.Close()
}

func (g *guest[From]) set(working bool) {
	g.room.mu.Lock()
	defer g.room.mu.Unlock()
	g.working = working
	g.room.change.Broadcast()
}

// work does what the guest has asked for.
func (g *guest[From]) work(f func()) {
	g.set(true)
	defer g.set(false)
	f()
}

type connKey struct{}

// withConn is a http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}
