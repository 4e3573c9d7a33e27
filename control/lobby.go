package control

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// lobby lets maxPublic connections in. When one more comes, it takes the place of another of the address that has the most: of the
// oldest that keeps the daemon waiting, for a request or for taking the answer. So one address is in no other's way. While
// the daemon works for all of them, the newcomer waits.
type lobby struct {
	net.Listener
	mu     sync.Mutex
	change sync.Cond // of what follows
	guests []*guest  // in the order of their arrival
}

func newLobby(l net.Listener) *lobby {
	lo := &lobby{Listener: l}
	lo.change.L = &lo.mu
	return lo
}

// guest is one connection.
type guest struct {
	net.Conn
	lobby   *lobby
	from    netip.Addr
	working bool // the daemon works for it; under lobby.mu
}

// Accept waits for a connection that is let in.
func (l *lobby) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: conn, lobby: l}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		g.from = a.Addr().Unmap()
	}
	if out := l.admit(g); out != nil {
		out.Close()
	}
	return g, nil
}

// admit lets g in and returns the guest who must leave for it, or nil.
func (l *lobby) admit(g *guest) *guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if len(l.guests) < maxPublic {
			l.guests = append(l.guests, g)
			return nil
		}
		if out := l.leaves(g); !out.working {
			l.remove(out)
			l.guests = append(l.guests, g)
			return out
		}
		l.change.Wait()
	}
}

// leaves is who leaves for g.
func (l *lobby) leaves(g *guest) *guest {
	count := map[netip.Addr]int{g.from: 1}
	for _, o := range l.guests {
		count[o.from]++
	}
	out := l.guests[0]
	for _, o := range l.guests {
		if more := count[o.from] - count[out.from]; more > 0 || more == 0 && out.working && !o.working {
			out = o
		}
	}
	return out
}

func (l *lobby) remove(g *guest) {
	l.guests = slices.DeleteFunc(l.guests, func(o *guest) bool { return o == g })
	l.change.Broadcast()
}

// Close closes the connection and gives its place away.
func (g *guest) Close() error {
	g.lobby.mu.Lock()
	g.lobby.remove(g)
	g.lobby.mu.Unlock()
	return g.Conn.Close()
}

func (g *guest) set(working bool) {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	g.working = working
	g.lobby.change.Broadcast()
}

// work does what the guest has asked for.
func (g *guest) work(f func()) {
	g.set(true)
	defer g.set(false)
	f()
}

// answering is the way to a guest, who keeps the daemon waiting as soon as there is something to take.
type answering struct {
	http.ResponseWriter
	g *guest
}

func (u answering) Write(b []byte) (int, error) {
	u.g.set(false)
	return u.ResponseWriter.Write(b)
}

type guestKey struct{}

// withGuest is a http.Server's ConnContext.
func withGuest(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, c.(*guest))
}
