package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
)

// ErrUnreachable says that no daemon answers on the socket, or that its answer breaks off.
var ErrUnreachable = errors.New("the vpngw daemon is not reachable")

// RefusedError is the daemon's own answer to a request that failed.
type RefusedError struct {
	Message  string
	Problems diag.Problems // of a reload
}

func (e *RefusedError) Error() string { return e.Message }

// Client commands a daemon.
type Client struct {
	path string
	http http.Client
}

// NewClient makes a client of the daemon behind a socket. It opens nothing yet.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = http.Client{
		Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true},
		Timeout:   answerTime,
	}
	return c
}

// dial connects to the socket, whatever address a request names.
func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", c.path)
}

// Status returns the state of every connection.
func (c *Client) Status(ctx context.Context) (s desired.Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// StatusText is the JSON of Status, as the daemon wrote it.
func (c *Client) StatusText(ctx context.Context) (json.RawMessage, error) {
	return c.text(ctx, http.MethodGet, "/v1/status", nil)
}

// Counters returns the counts of dropped packets and refused messages.
func (c *Client) Counters(ctx context.Context) (n gateway.Counters, err error) {
	return n, c.do(ctx, http.MethodGet, "/v1/counters", nil, &n)
}

// Events returns the events after that of a number, with a name those of the connection or tunnel of that name. If there
// is none, it waits for one, for so long at most; the daemon waits no longer than 30 s.
func (c *Client) Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error) {
	var e Events
	q := url.Values{
		"name":  {name},
		"after": {fmt.Sprint(after)},
		"wait":  {fmt.Sprint(int(min(wait, maxEventsWait) / time.Second))},
	}
	err := c.do(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &e)
	return e.Events, err
}

// Follow calls each for the events after that of a number, with a name those of the connection or tunnel of that name,
// and then for each new one, until each fails or the daemon ends, which is ErrUnreachable.
func (c *Client) Follow(ctx context.Context, name string, after uint64, each func(gateway.Event) error) error {
	q := url.Values{"name": {name}, "after": {fmt.Sprint(after)}, "follow": {"1"}}
	patient := http.Client{Transport: c.http.Transport}
	answer, err := c.ask(ctx, &patient, http.MethodGet, "/v1/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := eachLine(c, answer.Body, each); err != nil {
		return err
	}
	return c.unreachable(io.EOF)
}

// eachLine calls each for the lines of an answer that goes on, until that ends or each fails.
func eachLine[T any](c *Client, r io.Reader, each func(T) error) error {
	for in := json.NewDecoder(r); ; {
		var v T
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return c.unreachable(err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
}

// LogLevel returns the least level that the daemon logs.
func (c *Client) LogLevel(ctx context.Context) (l LogLevel, err error) {
	return l, c.do(ctx, http.MethodGet, "/v1/log-level", nil, &l)
}

// SetLogLevel changes it, for a time of whole seconds or, with none, until the daemon ends.
func (c *Client) SetLogLevel(ctx context.Context, to slog.Level, during time.Duration) (l LogLevel, err error) {
	return l, c.do(ctx, http.MethodPost, "/v1/log-level", level{Level: nameOf(to), For: int(during / time.Second)}, &l)
}

// Diagnose examines the tunnels of a connection, or one tunnel.
func (c *Client) Diagnose(ctx context.Context, name string) ([]doctor.Diagnosis, error) {
	var d Diagnoses
	err := c.do(ctx, http.MethodGet, "/v1/diagnosis?"+url.Values{"name": {name}}.Encode(), nil, &d)
	return d.Tunnels, err
}

// Routes lists what each tunnel leads to, with a name those of the connection or tunnel of that name.
func (c *Client) Routes(ctx context.Context, name string) ([]gateway.RouteStatus, error) {
	var r Routes
	err := c.do(ctx, http.MethodGet, "/v1/routes?"+url.Values{"name": {name}}.Encode(), nil, &r)
	return r.Routes, err
}

// Explain returns the effective parameters of what runs, with a name those of the connection or tunnel of that name.
func (c *Client) Explain(ctx context.Context, name string) (e desired.Explained, err error) {
	return e, c.do(ctx, http.MethodGet, "/v1/config?"+url.Values{"name": {name}}.Encode(), nil, &e)
}

// Version returns the daemon's version.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	return v, c.do(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// Up brings a connection or tunnel up.
func (c *Client) Up(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/v1/up", target{name}, nil)
}

// Down takes a connection or tunnel down.
func (c *Client) Down(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/v1/down", target{name}, nil)
}

// Failover moves the traffic of a connection's tunnels, or of its pair's, to the standby.
func (c *Client) Failover(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/v1/failover", target{name}, nil)
}

// Failback moves it back to the active tunnel.
func (c *Client) Failback(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/v1/failback", target{name}, nil)
}

// Rekey replaces the Child SAs of a connection or tunnel, with ike its IKE SA.
func (c *Client) Rekey(ctx context.Context, name string, what gateway.Rekeying) error {
	return c.do(ctx, http.MethodPost, "/v1/rekey", rekey{target{name}, what == gateway.RekeyIKE, what == gateway.TryRekey}, nil)
}

// Reload makes the daemon read its config file again.
func (c *Client) Reload(ctx context.Context) (r desired.Reloaded, err error) {
	return r, c.do(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Plan asks what a Reload would change.
func (c *Client) Plan(ctx context.Context) (p desired.Planned, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/plan", nil, &p)
}

// Try is a Reload that the daemon goes back on after whole seconds, unless Confirm comes first.
func (c *Client) Try(ctx context.Context, during time.Duration) (r desired.Reloaded, err error) {
	return r, c.do(ctx, http.MethodPost, fmt.Sprintf("/v1/try?seconds=%d", during/time.Second), nil, &r)
}

// Confirm keeps what a Try has adopted.
func (c *Client) Confirm(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/v1/confirm", nil, nil)
}

// Get returns an answer as it is.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.text(ctx, http.MethodGet, path, nil)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	text, err := c.text(ctx, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the daemon's answer on %s: %w", c.path, err)
	}
	return nil
}

// text sends a request and reads all of its answer.
func (c *Client) text(ctx context.Context, method, path string, in any) ([]byte, error) {
	answer, err := c.ask(ctx, &c.http, method, path, in)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return text, nil
}

// ask sends a request and returns the answer, if that is no refusal; the caller closes its body.
func (c *Client) ask(ctx context.Context, by *http.Client, method, path string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if in == nil {
		body = nil
	}
	resp, err := c.send(ctx, by, method, path, body)
	for n := 1; n <= displacedTries && displaced(err) && ctx.Err() == nil; n++ {
		time.Sleep(time.Duration(n) * displacedPause)
		resp, err = c.send(ctx, by, method, path, body)
	}
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.unreachable(err)
	}
	var f failure
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		return nil, fmt.Errorf("the daemon on %s answers %s", c.path, resp.Status)
	}
	return nil, &RefusedError{f.Error, f.Problems}
}

func (c *Client) send(ctx context.Context, by *http.Client, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://vpngw"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return by.Do(req)
}

// Where very many clients come at once the door may close on one whose request nobody has read yet.
const (
	displacedTries = 10
	displacedPause = 10 * time.Millisecond // after the first try, and longer after each
)

// displaced reports whether the daemon has closed the connection before it read the request: a Unix socket is reset only then, and a
// request of ours is read at once.
func displaced(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// unreachable says what to do about a daemon that gives no answer.
func (c *Client) unreachable(err error) error {
	hint := "is `vpngw run` running? another socket is named with --control"
	var out net.Error
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "run as root; a member of the socket's group may look, with status"
	case errors.As(err, &out) && out.Timeout():
		hint = fmt.Sprintf("it has not answered within %v", answerTime)
	}
	// The operating system's error suffices; the layers around it repeat the path.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%w on %s (%s): %w", ErrUnreachable, c.path, hint, err)
}
