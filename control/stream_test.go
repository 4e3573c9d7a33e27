package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/gateway"
)

// A client that ends a stream still gets its end.
func TestAStreamComesToItsEnd(t *testing.T) {
	c := NewClient(serve(t, &fakeDaemon{}))
	for _, interrupted := range []bool{false, true} {
		during := time.Second
		if interrupted {
			during = time.Hour
		}
		ctx, interrupt := context.WithCancel(t.Context())
		var got []gateway.KeyRows
		err := c.KeyLog(ctx, "hq", during, func(r gateway.KeyRows) error {
			if got = append(got, r); interrupted {
				interrupt()
			}
			return nil
		})
		if err != nil || len(got) != 2 || got[0].Tunnels[0] != "hq" || got[1].Table != "esp_sa" || got[1].Rows != "the last\n" {
			t.Errorf("interrupted %v: %+v, %v", interrupted, got, err)
		}
		interrupt()

		ctx, interrupt = context.WithCancel(t.Context())
		out := &writer{at: "a packet, "}
		if interrupted {
			out.then = interrupt
		}
		n, err := c.Capture(ctx, gateway.CaptureRequest{Name: "hq", For: during, Inner: true}, out)
		if err != nil || out.String() != "a packet, the end" || n != (gateway.Captured{Packets: 1, Dropped: 2}) {
			t.Errorf("interrupted %v: %q, %+v, %v", interrupted, out, n, err)
		}
		interrupt()
	}
}

// A client that ends a stream before it is connected gets none: its end would not come.
func TestAStreamThatIsEndedBeforeItBegins(t *testing.T) {
	c := NewClient(serve(t, &fakeDaemon{}))
	for range 20 {
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		done := make(chan error, 1)
		go func() { done <- c.KeyLog(ctx, "hq", time.Hour, func(gateway.KeyRows) error { return nil }) }()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
				t.Fatalf("got %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it goes on")
		}
	}
}

// writer calls then when it has got a text.
type writer struct {
	bytes.Buffer
	at   string
	then func()
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.Buffer.Write(b)
	if w.then != nil && w.String() == w.at {
		w.then()
	}
	return n, err
}

func TestAStreamsErrorsAreTold(t *testing.T) {
	for _, err := range []error{&gateway.BusyError{Text: "it is captured already"}, &gateway.UnknownNameError{Name: "hg"}, gateway.ErrStopped} {
		c := NewClient(serve(t, &fakeDaemon{err: err}))
		refused := (*RefusedError)(nil)
		if got := c.KeyLog(t.Context(), "hg", time.Minute, func(gateway.KeyRows) error { return nil }); !errors.As(got, &refused) || refused.Message != err.Error() {
			t.Errorf("keylog: got %v, want %v", got, err)
		}
		if _, got := c.Capture(t.Context(), gateway.CaptureRequest{Name: "hg", For: time.Minute}, io.Discard); !errors.As(got, &refused) || refused.Message != err.Error() {
			t.Errorf("capture: got %v, want %v", got, err)
		}
	}
	path := serve(t, &fakeDaemon{err: &gateway.BusyError{Text: "it is captured already"}})
	body := `{"name":"hq","seconds":1}`
	if got, text := ask(t, path, fmt.Sprintf("POST /v1/capture HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); got != http.StatusConflict {
		t.Errorf("got %d: %s", got, text)
	}
	full := errors.New("the disk is full")
	c := NewClient(serve(t, &fakeDaemon{}))
	if got := c.KeyLog(t.Context(), "hq", time.Minute, func(gateway.KeyRows) error { return full }); got != full {
		t.Errorf("got %v", got)
	}
	if _, got := c.Capture(t.Context(), gateway.CaptureRequest{Name: "hq", For: time.Minute}, failingWriter{full}); got != full {
		t.Errorf("got %v", got)
	}
}

// breaking ends a stream with an error.
type breaking struct{ *fakeDaemon }

func (breaking) Capture(_ context.Context, _ gateway.CaptureRequest, w io.Writer) (gateway.Captured, error) {
	w.Write([]byte("a packet"))
	return gateway.Captured{}, errors.New("the device is gone")
}

// What was broken off is not taken for whole.
func TestABrokenStreamIsAnError(t *testing.T) {
	c := NewClient(serve(t, breaking{&fakeDaemon{}}))
	if _, err := c.Capture(t.Context(), gateway.CaptureRequest{Name: "hq", For: time.Minute}, io.Discard); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct{ error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.error }

func TestTheBodyOfAStreamIsChecked(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	for _, c := range []struct{ verb, body, say string }{
		{"keylog", `{"name":"hq"}`, "seconds must be"},
		{"keylog", `{"name":"hq","seconds":-1}`, "seconds must be"},
		{"keylog", `{"name":"hq","seconds":86401}`, "seconds must be"},
		{"keylog", `{"seconds":1}`, "no name"},
		{"capture", `{"name":"hq"}`, "seconds must be"},
		{"capture", `{"name":"hq","seconds":1,"count":-1}`, "count must not"},
		{"capture", `{"name":"hq","seconds":1,"snaplen":63}`, "snaplen must be"},
		{"capture", `{"name":"hq","seconds":1,"snaplen":262145}`, "snaplen must be"},
		{"capture", `{"name":"hq","seconds":1,"file":"/etc/passwd"}`, "unknown field"},
	} {
		got, text := ask(t, path, fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c.verb, len(c.body), c.body))
		if got != http.StatusBadRequest || !strings.Contains(text, c.say) {
			t.Errorf("%s %s: got %d: %s", c.verb, c.body, got, text)
		}
	}
	if len(d.told) > 0 {
		t.Errorf("the daemon heard %q", d.told)
	}
}

// endless is a capture without end.
type endless struct {
	*fakeDaemon
	ended  chan error
	blocks atomic.Int64
}

func (d *endless) Capture(_ context.Context, _ gateway.CaptureRequest, w io.Writer) (gateway.Captured, error) {
	for block := make([]byte, 1<<16); ; d.blocks.Add(1) {
		if _, err := w.Write(block); err != nil {
			d.ended <- err
			return gateway.Captured{}, err
		}
	}
}

func TestAClientThatTakesNothingIsCut(t *testing.T) {
	d := &endless{fakeDaemon: &fakeDaemon{}, ended: make(chan error, 1)}
	path := serve(t, d, func(s *Server) { s.take = 50 * time.Millisecond })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"name":"hq","seconds":3600}`
	fmt.Fprintf(conn, "POST /v1/capture HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		t.Fatal("it is not cut")
	}
	if n := d.blocks.Load(); n > 100 {
		t.Errorf("%d blocks of 64 KiB wait for the client", n)
	}
}

// A stream outlives the time that a request has to come.
func TestAStreamOutlivesTheTimeForARequest(t *testing.T) {
	path := serve(t, &fakeDaemon{}, func(s *Server) { s.http.ReadTimeout, s.http.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	begun := time.Now()
	var after time.Duration
	err := NewClient(path).KeyLog(ctx, "hq", time.Hour, func(r gateway.KeyRows) error {
		if after = time.Since(begun); r.Tunnels != nil {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
		return nil
	})
	cancel()
	if err != nil || after < 300*time.Millisecond {
		t.Errorf("it ended after %v: %v", after, err)
	}
}
