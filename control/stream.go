package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"vpngw/capture"
	"vpngw/gateway"
)

// Bounds on a key log and a capture.
const (
	MaxExposure = 24 * time.Hour
	minSnaplen  = 64
)

// keylog is the body of keylog.
type keylog struct {
	target
	Seconds int `json:"seconds"`
}

func (k *keylog) check() error { return exposedFor(k.Seconds) }

func exposedFor(seconds int) error {
	if most := int(MaxExposure / time.Second); seconds < 1 || seconds > most {
		return fmt.Errorf("seconds must be a number from 1 to %d, and is %d", most, seconds)
	}
	return nil
}

// capturing is the body of capture.
type capturing struct {
	target
	Seconds int  `json:"seconds"`
	Count   int  `json:"count,omitempty"`   // of packets; 0: any number
	Snaplen int  `json:"snaplen,omitempty"` // bytes of each packet; 0: all
	Inner   bool `json:"inner,omitempty"`   // neither: both
	Outer   bool `json:"outer,omitempty"`
}

func (c *capturing) check() error {
	if c.Count < 0 {
		return fmt.Errorf("count must not be negative, and is %d", c.Count)
	}
	if c.Snaplen != 0 && (c.Snaplen < minSnaplen || c.Snaplen > capture.MaxSnaplen) {
		return fmt.Errorf("snaplen must be a number from %d to %d, and is %d", minSnaplen, capture.MaxSnaplen, c.Snaplen)
	}
	return exposedFor(c.Seconds)
}

func (c *capturing) request() gateway.CaptureRequest {
	r := gateway.CaptureRequest{
		Name: c.Name, For: time.Duration(c.Seconds) * time.Second, Count: c.Count, Snaplen: c.Snaplen, Inner: c.Inner, Outer: c.Outer,
	}
	if r.Snaplen == 0 {
		r.Snaplen = capture.MaxSnaplen
	}
	if !r.Inner && !r.Outer {
		r.Inner, r.Outer = true, true
	}
	return r
}

// streams are the requests with an answer that goes on until its time is over or the client closes its side of the
// connection. Then it still gets the end.
func streams(d Daemon) []verb {
	return []verb{
		{pattern: "POST /v1/keylog", admin: true, body: func() named { return new(keylog) }, stream: func(ctx context.Context, in any, s *stream) error {
			k := in.(*keylog)
			s.kind = lineByLine
			enc := json.NewEncoder(s)
			return d.LogKeys(ctx, k.Name, time.Duration(k.Seconds)*time.Second, func(r gateway.KeyRows) error { return enc.Encode(r) })
		}},
		{pattern: "POST /v1/capture", admin: true, body: func() named { return new(capturing) }, stream: func(ctx context.Context, in any, s *stream) error {
			s.kind = "application/x-pcapng"
			n, err := d.Capture(ctx, in.(*capturing).request(), s)
			if err == nil {
				text, _ := json.Marshal(n)
				s.w.Header().Set(http.TrailerPrefix+capturedTrailer, string(text))
			}
			return err
		}},
	}
}

// capturedTrailer has how many packets a capture has recorded.
const capturedTrailer = "Vpngw-Captured"

// lineByLine is the type of an answer that is any number of lines of JSON.
const lineByLine = "application/x-ndjson"

// stream is an answer of any length, of which each Write is sent at once. The door cuts a client that takes nothing of it.
type stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	kind  string
	begun bool
}

func newStream(w http.ResponseWriter, kind string) *stream {
	return &stream{w: w, rc: http.NewResponseController(w), kind: kind}
}

func (s *stream) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.kind)
	}
	n, err := s.w.Write(b)
	if err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// serveStream answers with a stream. An error before its begin is an answer as any other; one after it breaks it off, so that
// the client does not take it for whole.
func (v verb) serveStream(w http.ResponseWriter, r *http.Request, in any) {
	s := newStream(w, "")
	var err error
	clientOf(r.Context()).work(func() { err = v.stream(r.Context(), in, s) })
	switch {
	case err != nil && !s.begun:
		answer(w, nil, err)
	case err != nil:
		panic(http.ErrAbortHandler)
	}
}

// KeyLog writes down the keys of a connection or tunnel: take gets those of now and each new one, until the time is over, ctx
// ends or take fails.
func (c *Client) KeyLog(ctx context.Context, name string, during time.Duration, take func(gateway.KeyRows) error) error {
	_, err := c.stream(ctx, "/v1/keylog", keylog{target{name}, int(during / time.Second)}, func(r io.Reader) error {
		return eachLine(c, r, take)
	})
	return err
}

// Capture writes the packets of a connection or tunnel to w, as a pcapng file, until the time or number is reached or ctx
// ends.
func (c *Client) Capture(ctx context.Context, r gateway.CaptureRequest, w io.Writer) (n gateway.Captured, err error) {
	body := capturing{target{r.Name}, int(r.For / time.Second), r.Count, r.Snaplen, r.Inner, r.Outer}
	trailer, err := c.stream(ctx, "/v1/capture", body, func(r io.Reader) error {
		_, err := io.Copy(sink{w}, r)
		if out := (*sinkError)(nil); errors.As(err, &out) {
			return out.error
		} else if err != nil {
			return c.unreachable(err)
		}
		return nil
	})
	if err == nil {
		err = json.Unmarshal([]byte(trailer.Get(capturedTrailer)), &n)
	}
	return n, err
}

// sink tells errors of its Writer from those of what is read.
type sink struct{ w io.Writer }

type sinkError struct{ error }

func (s sink) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil {
		err = &sinkError{err}
	}
	return n, err
}

// lastWords is how long the daemon has for the end of a stream that the client ends.
const lastWords = 5 * time.Second

// stream sends a request and gives take the answer. When ctx ends, the client closes its side, and the answer comes to
// its end.
func (c *Client) stream(ctx context.Context, path string, in any, take func(io.Reader) error) (http.Header, error) {
	dialed := make(chan net.Conn, 1)
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := c.dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		select {
		case <-dialed: // it was displaced: see ask
		default:
		}
		dialed <- conn
		if err := ctx.Err(); err != nil { // nobody will end it
			conn.Close()
			return nil, err
		}
		return conn, nil
	}}
	stop := context.AfterFunc(ctx, func() {
		select {
		case conn := <-dialed:
			conn.(*net.UnixConn).CloseWrite()
			time.AfterFunc(lastWords, func() { conn.Close() })
		default:
		}
	})
	defer stop()
	resp, err := c.ask(context.WithoutCancel(ctx), &http.Client{Transport: t}, http.MethodPost, path, in)
	if end := ctx.Err(); end != nil && errors.Is(err, end) {
		return nil, end
	} else if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := take(resp.Body); err != nil {
		return nil, err
	}
	return resp.Trailer, nil
}
