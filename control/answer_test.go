package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/desired"
	"vpngw/gateway"
)

// eager starts a server that gives clients a short time to take some of an answer.
func eager(t *testing.T, d Daemon, take time.Duration) string {
	t.Helper()
	return serve(t, d, func(s *Server) { s.take = take })
}

// large has a status of some MB.
func large() *fakeDaemon {
	return &fakeDaemon{status: desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{{Name: strings.Repeat("x", 4<<20)}}}}}
}

// A client that takes nothing of its answer is cut off. One that takes little, but always some, gets all of it.
func TestWhoTakesNothingIsCutOff(t *testing.T) {
	const take = time.Second
	path := eager(t, large(), take)
	get := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		return c
	}
	stuck, slow := get(), get()
	read, b := 0, make([]byte, 5000)
	for i := 0; ; i++ {
		n, err := slow.Read(b)
		read += n
		if err != nil {
			break
		}
		if i < 20 { // all of these together take many times as long as a client has for some
			time.Sleep(take / 5)
		}
	}
	if read < 4<<20 {
		t.Errorf("a slow reader got %d bytes", read)
	}
	n, err := io.Copy(io.Discard, stuck)
	if n >= 4<<20 {
		t.Errorf("who took nothing for %v gets all %d bytes, %v", 10*take, n, err)
	}
}

// waiting has its event when come is closed.
type waiting struct {
	*fakeDaemon
	come chan struct{}
}

func (d waiting) Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error) {
	if wait == 0 {
		return nil, d.err
	}
	select {
	case <-d.come:
		return d.fakeDaemon.Events(ctx, name, after, wait)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flooding has a new event whenever it is asked.
type flooding struct{ *fakeDaemon }

func (d flooding) Events(ctx context.Context, name string, after uint64, _ time.Duration) ([]gateway.Event, error) {
	if name == "none" {
		return nil, &gateway.UnknownNameError{Name: name, Known: []string{"hq"}}
	}
	return []gateway.Event{{Number: after + 1, Tunnel: name}}, ctx.Err()
}

func TestEventsAreFollowed(t *testing.T) {
	path := eager(t, flooding{&fakeDaemon{}}, 300*time.Millisecond)
	c, last, enough := NewClient(path), uint64(41), errors.New("enough")
	err := c.Follow(t.Context(), "a b/ü", last, func(e gateway.Event) error {
		if e.Number != last+1 || e.Tunnel != "a b/ü" {
			t.Fatalf("got %+v after %d", e, last)
		}
		if last = e.Number; last == 1000 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	var refused *RefusedError
	if err := c.Follow(t.Context(), "none", 0, nil); !errors.As(err, &refused) {
		t.Errorf("an unknown name: %v", err)
	}
	status, body := ask(t, serve(t, &fakeDaemon{err: gateway.ErrStopped}), "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	if status != http.StatusServiceUnavailable {
		t.Errorf("a daemon that ends: %d %s", status, body)
	}
}

// Who follows and takes nothing is cut off, and a daemon that ends ends the stream.
func TestAStreamEnds(t *testing.T) {
	path := eager(t, flooding{&fakeDaemon{}}, 200*time.Millisecond)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	time.Sleep(time.Second)
	if n, err := io.Copy(io.Discard, conn); err != nil || n == 0 {
		t.Errorf("%d bytes, then %v", n, err)
	}

	d := waiting{&fakeDaemon{}, make(chan struct{})}
	path = filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, d, "", slog.New(slog.DiscardHandler))
	heard := make(chan error)
	got := make(chan uint64, 10)
	go func() {
		heard <- NewClient(path).Follow(t.Context(), "", 6, func(e gateway.Event) error { got <- e.Number; return nil })
	}()
	close(d.come)
	if n := <-got; n != 7 {
		t.Errorf("event %d", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-heard; !errors.Is(err, ErrUnreachable) {
		t.Errorf("the daemon has ended: %v", err)
	}
}

// Where many come at once a client may be shown out before its request is read. It comes again.
func TestAClientThatIsDisplacedComesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 10)
	go func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if i >= 3 {
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(r.Body)
				heard <- r.Method + " " + string(body)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			} else {
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				raw, _ := c.(*net.UnixConn).SyscallConn()
				raw.Read(func(fd uintptr) bool { // until there is something, which stays
					n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
					return err == nil && n > 0
				})
			}
			c.Close()
		}
	}()
	if err := NewClient(path).Down(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != `POST {"name":"hq"}` || len(heard) > 0 {
		t.Errorf("the daemon heard %s", got)
	}
}
