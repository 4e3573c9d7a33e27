package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/control/metrics"
)

// lockedBuffer is a log that a test reads meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// publicAt starts a Public on an address and returns where it serves.
func publicAt(t *testing.T, e Exposer, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	p := NewPublic(e, slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	p.Listen(netip.MustParseAddrPort(at))
	awaitServed(t, at)
	return at
}

func awaitServed(t *testing.T, at string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// exchange sends a request as it stands, and returns the answer.
func exchange(t *testing.T, at, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, request)
	method, _, _ := strings.Cut(request, " ")
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return r, string(b)
}

// On TCP there is the page, for GET and HEAD, and nothing else: no verb, no body, and no foreign host on loopback.
func TestPublicServesItsPagesAndNothingElse(t *testing.T) {
	d := &fakeDaemon{}
	at := publicAt(t, d, "127.0.0.1:0")
	ask := func(line, host string, more ...string) (int, string, http.Header) {
		r, body := exchange(t, at, line+" HTTP/1.1\r\nHost: "+host+"\r\n"+strings.Join(more, "")+"\r\n")
		return r.StatusCode, body, r.Header
	}
	for _, tt := range []struct {
		line, host, more string
		status           int
		body             string
	}{
		{"GET /metrics", at, "", 200, "vpngw_tunnels 7\n"},
		{"GET /metrics", "localhost:9478", "", 200, "vpngw_tunnels 7\n"},
		{"GET /metrics", "[::1]:9478", "", 200, "vpngw_tunnels 7\n"},
		{"GET /metrics", "[::1]", "", 200, "vpngw_tunnels 7\n"},
		{"GET /metrics", at, "Accept-Encoding: br, gzip;q=0.5\r\n", 200, "packed"},
		{"GET /metrics", at, "Accept-Encoding: gzip;q=0\r\n", 200, "vpngw_tunnels 7\n"},
		{"HEAD /metrics", at, "", 200, ""},
		{"GET /metrics", "rebound.example", "", 403, ""},
		{"GET /metrics", "127.0.0.1.example:9478", "", 403, ""},
		{"GET /", at, "", 404, ""},
		{"GET /v1/status", at, "", 404, ""},
		{"GET /debug/pprof/", at, "", 404, ""},
		{"POST /metrics", at, "Content-Length: 0\r\n", 405, ""},
		{"POST /v1/down", at, "Content-Length: 13\r\n", 405, ""},
		{"OPTIONS /metrics", at, "", 405, ""},
		{"GET /metrics", at, "Content-Length: 4294967296\r\n", 413, ""},
	} {
		status, body, _ := ask(tt.line, tt.host, tt.more)
		if status != tt.status || tt.body != "" && body != tt.body {
			t.Errorf("%s of %s, %.40q: got %d %q, want %d %q", tt.line, tt.host, tt.more, status, body, tt.status, tt.body)
		}
	}
	if _, _, h := ask("GET /metrics", at); h.Get("Content-Type") != metrics.ContentType || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", h)
	}
	d.err = errors.New("shutting down")
	if status, body, _ := ask("GET /metrics", at); status != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("while the daemon ends: %d %q", status, body)
	}
	if len(d.told) > 0 {
		t.Errorf("the daemon was told: %q", d.told)
	}
}

// A request whose header is too long gets no page.
func TestPublicBoundsTheHeader(t *testing.T) {
	at := publicAt(t, &fakeDaemon{}, "127.0.0.1:0")
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	b, _ := io.ReadAll(c)
	if strings.Contains(string(b), "200 OK") {
		t.Errorf("got %.60q", b)
	}
}

// A page is served where the last Listen says, and an address in use is tried again until it is free.
func TestPublicFollowsItsAddress(t *testing.T) {
	var log lockedBuffer
	p := NewPublic(&fakeDaemon{}, slog.New(slog.NewTextHandler(&log, nil)))
	defer p.Close()
	p.retry = 50 * time.Millisecond
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := netip.MustParseAddrPort(taken.Addr().String())
	p.Listen(first)
	for !strings.Contains(log.String(), "address already in use") {
		time.Sleep(time.Millisecond)
	}
	taken.Close()
	awaitServed(t, first.String())
	second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), first.Port())
	p.Listen(second)
	awaitServed(t, second.String())
	if c, err := net.Dial("tcp", first.String()); err == nil {
		c.Close()
		t.Error("it is still served at the first address")
	}
	p.Listen(netip.AddrPort{})
	if c, err := net.Dial("tcp", second.String()); err == nil {
		c.Close()
		t.Error("it is still served")
	}
}

// huge is a Daemon with metrics that no buffer holds.
type huge struct{ fakeDaemon }

func (*huge) Exposition(context.Context) (metrics.Text, error) {
	return metrics.Text{Plain: bytes.Repeat([]byte("x"), 8<<20)}, nil
}

// Clients that say nothing, and clients that take nothing, keep nobody else from an answer.
func TestPublicAnswersBesideManyIdleClients(t *testing.T) {
	at := publicAt(t, &huge{}, "127.0.0.1:0")
	for i := range 100 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") // and reads nothing
		}
	}
	if r, body := exchange(t, at, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); r.StatusCode != 200 || len(body) != 8<<20 {
		t.Errorf("got %d, %d bytes", r.StatusCode, len(body))
	}
}

// The oldest idle connection of the address with the most leaves for a newcomer.
func TestLobbyMakesRoom(t *testing.T) {
	l := newLobby(nil).room
	guestOf := func(from string) *visitor {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return &visitor{Conn: a, room: l, from: netip.MustParseAddr(from)}
	}
	other := guestOf("192.0.2.2")
	l.admit(other)
	var crowd []*visitor
	for range maxPublic - 1 {
		crowd = append(crowd, guestOf("192.0.2.1"))
		if out := l.admit(crowd[len(crowd)-1]); out != nil {
			t.Fatal("somebody leaves though there is room")
		}
	}
	crowd[0].set(true)
	if out := l.admit(guestOf("192.0.2.3")); out != crowd[1] {
		t.Errorf("not the oldest idle one of the crowd leaves")
	}
	crowd[2].Close()
	if out := l.admit(guestOf("192.0.2.1")); out != nil {
		t.Error("a closed connection keeps its place")
	}
	for _, g := range l.guests {
		g.set(true)
	}
	last := guestOf("192.0.2.1")
	out := make(chan *visitor)
	go func() { out <- l.admit(last) }()
	select {
	case <-out:
		t.Fatal("a newcomer does not wait while the daemon works for all")
	case <-time.After(20 * time.Millisecond):
	}
	crowd[5].set(false)
	if <-out != crowd[5] {
		t.Error("who is done first does not leave")
	}
	if len(l.guests) != maxPublic {
		t.Errorf("%d guests", len(l.guests))
	}
}

// Each answer has a turn.
func TestTurnsAreApart(t *testing.T) {
	var turn turns
	begin := time.Now()
	for range 6 {
		if err := turn.wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 5*publicPace {
		t.Errorf("6 turns took %v, want %v at least", took, 5*publicPace)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	turn.next = time.Now().Add(time.Hour)
	if err := turn.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("who goes meanwhile: %v", err)
	}
}
