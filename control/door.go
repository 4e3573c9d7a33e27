package control

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// door lets clients in, with what the kernel says of each one's user. Those who may command
// and those who may only look have maxConnections each, so the latter take no place from
// the former.
//
// When one more comes, it takes the place of another of the user who has the most, the
// newcomer included: of the oldest that keeps the daemon waiting, for a request or for taking
// the answer. So a client that says nothing is closed before one that speaks is
// refused, and a user with many clients is in no other user's way.
type door struct {
	net.Listener
	owner   int           // the user that the daemon runs as
	take    time.Duration // within which a client takes some of an answer
	mu      sync.Mutex
	clients []*client // in the order of their arrival
}

// client is a connection of a client.
type client struct {
	net.Conn
	door    *door
	user    int
	working bool // the daemon is executing its request; under door.mu
}

// admin reports whether the client may command: root, and the daemon's own user.
func (c *client) admin() bool { return c.user == 0 || c.user == c.door.owner }

// Accept waits for a client who is let in.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &client{Conn: conn, door: d}
		if c.user, err = userOf(conn); err != nil {
			conn.Close()
			continue
		}
		if out := d.admit(c); out != nil {
			out.Close()
		}
		return c, nil
	}
}

// admit lets c in and returns the client who must leave for it: nobody, another, or c.
func (d *door) admit(c *client) *client {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients = append(d.clients, c)
	alike := slices.DeleteFunc(slices.Clone(d.clients), func(o *client) bool { return o.admin() != c.admin() })
	if len(alike) <= maxConnections {
		return nil
	}
	count := map[int]int{}
	for _, o := range alike {
		count[o.user]++
	}
	out := alike[0]
	for _, o := range alike {
		if more := count[o.user] - count[out.user]; more > 0 || more == 0 && out.working && !o.working {
			out = o
		}
	}
	d.remove(out)
	return out
}

func (d *door) remove(c *client) {
	d.clients = slices.DeleteFunc(d.clients, func(o *client) bool { return o == c })
}

// writeOnce is small, so that a client that takes little has still taken one of these in that time.
const writeOnce = 4 << 10

// Write writes for as long as the client takes some of it in each door.take.
func (c *client) Write(b []byte) (n int, err error) {
	for n < len(b) {
		before := unread(c.Conn)
		c.SetWriteDeadline(time.Now().Add(c.door.take))
		wrote, err := c.Conn.Write(b[n:min(n+writeOnce, len(b))])
		n += wrote
		takes := wrote > 0 || unread(c.Conn) < before
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && takes) {
			return n, err
		}
	}
	return n, nil
}

// Close closes the connection and gives its place away.
func (c *client) Close() error {
	c.door.mu.Lock()
	c.door.remove(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// work does what the client has asked for.
func (c *client) work(f func() (any, error)) (any, error) {
	set := func(working bool) {
		c.door.mu.Lock()
		c.working = working
		c.door.mu.Unlock()
	}
	set(true)
	defer set(false)
	return f()
}

type clientKey struct{}

// withClient is a http.Server's ConnContext.
func withClient(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, c.(*client))
}

func clientOf(ctx context.Context) *client { return ctx.Value(clientKey{}).(*client) }
