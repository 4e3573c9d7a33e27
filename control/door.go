package control

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// door lets clients in, with what the kernel says of each one's user. Those who may command
// and those who may only look have a room of maxConnections each, so the latter take no place from
// the former.
type door struct {
	net.Listener
	owner  int           // the user that the daemon runs as
	take   time.Duration // within which a client takes some of an answer
	admins *room[int]
	others *room[int]
}

func newDoor(l net.Listener, owner int, take time.Duration) *door {
	return &door{l, owner, take, newRoom[int](maxConnections, false), newRoom[int](maxConnections, false)}
}

// client is a connection of a client.
type client struct {
	*guest[int] // from a user
	door        *door
}

// client makes one of a connection of a user.
func (d *door) client(conn net.Conn, user int) *client {
	c := &client{&guest[int]{Conn: conn, room: d.others, from: user}, d}
	if c.admin() {
		c.room = d.admins
	}
	return c
}

// admin reports whether the client may command: root, and the daemon's own user.
func (c *client) admin() bool { return c.from == 0 || c.from == c.door.owner }

// Accept waits for a client who is let in.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		user, err := userOf(conn)
		if err != nil {
			conn.Close()
			continue
		}
		c := d.client(conn, user)
		if out := c.room.admit(c.guest); out != nil {
			out.Close()
		}
		return c, nil
	}
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

func clientOf(ctx context.Context) *client { return ctx.Value(connKey{}).(*client) }
