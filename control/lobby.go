package control

import (
	"context"
	"net"
	"net/http"
	"net/netip"
)

// lobby lets maxPublic connections in, of any address, as room has it. While the daemon works for all of them, the newcomer waits.
type lobby struct {
	net.Listener
	room *room[netip.Addr]
}

func newLobby(l net.Listener) *lobby { return &lobby{l, newRoom[netip.Addr](maxPublic, true)} }

// visitor is a connection of a lobby.
type visitor = guest[netip.Addr]

// Accept waits for a connection that is let in.
func (l *lobby) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visitor{Conn: conn, room: l.room}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		v.from = a.Addr().Unmap()
	}
	if out := l.room.admit(v); out != nil {
		out.Close()
	}
	return v, nil
}

func visitorOf(ctx context.Context) *visitor { return ctx.Value(connKey{}).(*visitor) }

// answering is the way to a visitor, who keeps the daemon waiting as soon as there is something to take.
type answering struct {
	http.ResponseWriter
	v *visitor
}

func (u answering) Write(b []byte) (int, error) {
	u.v.set(false)
	return u.ResponseWriter.Write(b)
}
