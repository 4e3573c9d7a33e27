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
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/control/metrics"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// fakeDaemon records its commands.
type fakeDaemon struct {
	told   []string
	asked  []string // for events
	status desired.Status
	err    error
}

func (d *fakeDaemon) Status(context.Context) (desired.Status, error) { return d.status, d.err }

func (d *fakeDaemon) Counters(context.Context) (gateway.Counters, error) {
	return gateway.Counters{ESP: map[string]uint64{"no-sa": 3}}, d.err
}

// Events has one event, of number 7.
func (d *fakeDaemon) Events(_ context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error) {
	d.asked = append(d.asked, fmt.Sprintf("events of %q after %d, wait %v", name, after, wait))
	if after >= 7 {
		return []gateway.Event{}, d.err
	}
	return []gateway.Event{{Number: 7, Tunnel: "hq", State: tunnel.Up}}, d.err
}

func (d *fakeDaemon) Diagnose(_ context.Context, name string) ([]doctor.Diagnosis, error) {
	d.asked = append(d.asked, "diagnosis of "+name)
	return []doctor.Diagnosis{{Tunnel: name, State: tunnel.Up}}, d.err
}

func (d *fakeDaemon) Explain(_ context.Context, name string) (desired.Explained, error) {
	return desired.Explained{File: "explained " + name}, d.err
}

func (d *fakeDaemon) Routes(_ context.Context, name string) ([]gateway.RouteStatus, error) {
	d.asked = append(d.asked, "routes of "+name)
	return []gateway.RouteStatus{{Tunnel: "hq", Prefix: "10.1.0.0/16", Sources: []string{"bgp"}, Path: []uint32{64600}}}, d.err
}

func (d *fakeDaemon) Up(_ context.Context, name string) error {
	d.told = append(d.told, "up "+name)
	return d.err
}

func (d *fakeDaemon) Down(_ context.Context, name string) error {
	d.told = append(d.told, "down "+name)
	return d.err
}

func (d *fakeDaemon) Failover(_ context.Context, name string) error {
	d.told = append(d.told, "failover "+name)
	return d.err
}

func (d *fakeDaemon) Failback(_ context.Context, name string) error {
	d.told = append(d.told, "failback "+name)
	return d.err
}

func (d *fakeDaemon) Rekey(_ context.Context, name string, what gateway.Rekeying) error {
	d.told = append(d.told, fmt.Sprintf("%s of %s", what, name))
	return d.err
}

func (d *fakeDaemon) Reload(context.Context) (desired.Reloaded, error) {
	d.told = append(d.told, "reload")
	return desired.Reloaded{Adopted: gateway.Adopted{Added: 2, Faults: []gateway.Fault{{Tunnel: "hq", Report: diag.Report{Why: "no"}}}}}, d.err
}

func (d *fakeDaemon) Plan(context.Context) (desired.Planned, error) {
	d.told = append(d.told, "plan")
	return desired.Planned{Plan: gateway.Plan{Unchanged: 3}, Warnings: diag.Problems{{Message: "weak"}}}, d.err
}

func (d *fakeDaemon) Try(_ context.Context, during time.Duration) (desired.Reloaded, error) {
	d.told = append(d.told, fmt.Sprintf("try %v", during))
	return desired.Reloaded{Adopted: gateway.Adopted{Kept: 4}}, d.err
}

func (d *fakeDaemon) Confirm(context.Context) error {
	d.told = append(d.told, "confirm")
	return d.err
}

// LogKeys has a key, and goes on until ctx ends.
func (d *fakeDaemon) LogKeys(ctx context.Context, name string, during time.Duration, take func(gateway.KeyRows) error) error {
	d.told = append(d.told, fmt.Sprintf("keylog %s for %v", name, during))
	if d.err != nil {
		return d.err
	}
	if err := take(gateway.KeyRows{Tunnels: []string{name}}); err != nil {
		return err
	}
	if during > time.Second {
		<-ctx.Done()
	}
	return take(gateway.KeyRows{Table: "esp_sa", Rows: "the last\n"})
}

// Capture has a packet of some bytes, and goes on until ctx ends.
func (d *fakeDaemon) Capture(ctx context.Context, r gateway.CaptureRequest, w io.Writer) (gateway.Captured, error) {
	d.told = append(d.told, fmt.Sprintf("capture %+v", r))
	if d.err != nil {
		return gateway.Captured{}, d.err
	}
	if _, err := w.Write([]byte("a packet, ")); err != nil {
		return gateway.Captured{}, err
	}
	if r.For > time.Second {
		<-ctx.Done()
	}
	_, err := w.Write([]byte("the end"))
	return gateway.Captured{Packets: 1, Dropped: 2}, err
}

func (d *fakeDaemon) Exposition(context.Context) (metrics.Text, error) {
	return metrics.Text{Plain: []byte("vpngw_tunnels 7\n"), Gzip: []byte("packed")}, d.err
}

// serve starts a server for d and returns its socket. change is done to the server before.
func serve(t *testing.T, d Daemon, change ...func(*Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(d, "1.2.3", slog.New(slog.DiscardHandler))
	for _, f := range change {
		f(s)
	}
	s.serve(l)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func TestClientCommandsTheDaemon(t *testing.T) {
	d := &fakeDaemon{status: desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{{
		Name: "hq", Dialect: "native", Side: "customer",
		Tunnels: []gateway.TunnelStatus{{
			Name: "hq", State: tunnel.Up, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			IKE:      &gateway.IKEStatus{Version: 2, SPIi: "0123456789abcdef"},
			Children: []gateway.ChildStatus{{BytesIn: 1 << 60, Drops: map[string]uint64{"replay": 1}}},
		}},
	}}}, Reload: &desired.ReloadStatus{State: "unconfirmed", Until: time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC), Note: "wait"}}}
	c, ctx := NewClient(serve(t, d)), context.Background()
	got, err := c.Status(ctx)
	if err != nil || !reflect.DeepEqual(got, d.status) {
		t.Errorf("got status %+v, %v; want %+v", got, err, d.status)
	}
	if n, err := c.Counters(ctx); err != nil || n.ESP["no-sa"] != 3 {
		t.Errorf("got counters %+v, %v", n, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "1.2.3" {
		t.Errorf("got version %v, %v", v, err)
	}
	if err := errors.Join(c.Up(ctx, "hq"), c.Down(ctx, "a b/ü"), c.Failover(ctx, "hq"), c.Failback(ctx, "lab"), c.Rekey(ctx, "hq", gateway.RekeyChildren), c.Rekey(ctx, "hq", gateway.RekeyIKE), c.Rekey(ctx, "lab", gateway.TryRekey)); err != nil {
		t.Error(err)
	}
	if done, err := c.Reload(ctx); err != nil || done.Added != 2 || len(done.Faults) != 1 || done.Faults[0].Why != "no" {
		t.Errorf("got %+v, %v", done, err)
	}
	if p, err := c.Plan(ctx); err != nil || p.Unchanged != 3 || len(p.Warnings) != 1 {
		t.Errorf("got plan %+v, %v", p, err)
	}
	if done, err := c.Try(ctx, time.Minute); err != nil || done.Kept != 4 {
		t.Errorf("got %+v, %v", done, err)
	}
	if err := c.Confirm(ctx); err != nil {
		t.Error(err)
	}
	for _, after := range []uint64{0, 7} {
		list, err := c.Events(ctx, "a b/ü", after, time.Minute)
		if err != nil || len(list) != 1-int(after)/7 || after == 0 && (list[0].Number != 7 || list[0].State != tunnel.Up) {
			t.Errorf("got events %+v, %v", list, err)
		}
	}
	if want := []string{"up hq", "down a b/ü", "failover hq", "failback lab", "rekey the Child SAs of hq", "rekey the IKE SA of hq", "try to rekey the Child SAs of lab", "reload", "plan", "try 1m0s", "confirm"}; !reflect.DeepEqual(d.told, want) {
		t.Errorf("the daemon heard %q, want %q", d.told, want)
	}
	for _, name := range []string{"", "a b/ü"} {
		if list, err := c.Routes(ctx, name); err != nil || len(list) != 1 || list[0].Path[0] != 64600 {
			t.Errorf("got routes %+v, %v", list, err)
		}
	}
	if want := []string{`events of "a b/ü" after 0, wait 30s`, `events of "a b/ü" after 7, wait 30s`, "routes of ", "routes of a b/ü"}; !reflect.DeepEqual(d.asked, want) {
		t.Errorf("the daemon heard %q, want %q", d.asked, want)
	}
}

func TestAQueryOfEventsIsChecked(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	for _, q := range []string{"after=x", "after=-1", "after=18446744073709551616", "wait=31", "wait=1s", "follow=2", "follow=yes"} {
		if got, body := ask(t, path, "GET /v1/events?"+q+" HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusBadRequest || !strings.Contains(body, "must be a number") {
			t.Errorf("%s: got %d: %s", q, got, body)
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("the daemon heard %q", d.asked)
	}
}

func TestTheTimeOfATryIsChecked(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	for _, q := range []string{"", "seconds=", "seconds=4", "seconds=3601", "seconds=-60", "seconds=1m", "seconds=99999999999"} {
		if got, body := ask(t, path, "POST /v1/try?"+q+" HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusBadRequest || !strings.Contains(body, "from 5 to 3600") {
			t.Errorf("%s: got %d: %s", q, got, body)
		}
	}
	if len(d.told) > 0 {
		t.Errorf("the daemon heard %q", d.told)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	problem := diag.Problem{Severity: diag.Error, File: "x.yaml", Line: 3, Message: "no"}
	for _, c := range []struct {
		err  error
		want int
	}{
		{&gateway.UnknownNameError{Name: "hg", Known: []string{"hq"}}, http.StatusNotFound},
		{&desired.InvalidError{Problems: diag.Problems{problem}}, http.StatusUnprocessableEntity},
		{&tunnel.SwitchError{Tunnel: "hq-2", Stays: "hq-1"}, http.StatusConflict},
		{&desired.PendingError{Until: time.Now()}, http.StatusConflict},
		{&desired.NotPendingError{}, http.StatusConflict},
		{gateway.ErrStopped, http.StatusServiceUnavailable},
		{errors.New("something else"), http.StatusInternalServerError},
	} {
		path := serve(t, &fakeDaemon{err: c.err})
		_, err := NewClient(path).Reload(context.Background())
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Message != c.err.Error() {
			t.Errorf("got %v, want a RefusedError that says %q", err, c.err)
			continue
		}
		if c.want == http.StatusUnprocessableEntity && (len(refused.Problems) != 1 || refused.Problems[0].Line != 3) {
			t.Errorf("got problems %+v", refused.Problems)
		}
		if got, _ := ask(t, path, "POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n"); got != c.want {
			t.Errorf("%v: got status %d, want %d", c.err, got, c.want)
		}
	}
}

// ask writes raw bytes and reads one HTTP answer.
func ask(t *testing.T, path, request string) (int, string) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return askOn(t, conn, request)
}

// askOn is ask on a connection that is open, which it closes.
func askOn(t *testing.T, conn net.Conn, request string) (int, string) {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // cut off where the server didn't want the rest
	return resp.StatusCode, string(body)
}

func TestHostileRequestsAreRefused(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for _, c := range []struct {
		name, request string
		want          int
	}{
		{"not HTTP", "\x16\x03\x01\r\n\r\n", 400},
		{"unknown path", "GET /v1/keys HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"wrong method", "GET /v1/up HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"a way out", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 307},
		{"no body", post(""), 400},
		{"not JSON", post("hq"), 400},
		{"null", post("null"), 400},
		{"wrong type", post(`{"name":["hq"]}`), 400},
		{"unknown key", post(`{"name":"hq","force":true}`), 400},
		{"two bodies", post(`{"name":"hq"}{"name":"lab"}`), 400},
		{"empty name", post(`{"name":""}`), 400},
		{"long name", post(`{"name":"` + strings.Repeat("x", maxName+1) + `"}`), 400},
		{"a reload of 4 GB", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n" + strings.Repeat("x", maxBody+1), 413},
		{"a name of 4 GB", "POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n" + `{"name":"` + strings.Repeat("x", maxBody+1), 413},
		{"chunks without end", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n", 300), 413},
		{"no level", strings.Replace(post(`{"level":"loud"}`), "up", "log-level", 1), 400},
		{"a level for too long", strings.Replace(post(`{"level":"debug","for_s":86401}`), "up", "log-level", 1), 400},
		{"a level for less than no time", strings.Replace(post(`{"level":"debug","for_s":-1}`), "up", "log-level", 1), 400},
		{"deep", post(strings.Repeat("[", maxBody-1)), 400},
		{"large", post(`{"name":"` + strings.Repeat("x", maxBody) + `"}`), 413},
		{"endless head", "GET /v1/status HTTP/1.1\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 20), 431},
	} {
		got, body := ask(t, path, c.request)
		if got != c.want {
			t.Errorf("%s: got %d, want %d: %.200s", c.name, got, c.want, body)
		}
	}
	if len(d.told) > 0 {
		t.Errorf("the daemon heard %q", d.told)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	path := serve(t, &fakeDaemon{})
	if _, err := Listen(path); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrRunning with the path", err)
	}
	if _, err := NewClient(path).Status(context.Background()); err != nil {
		t.Errorf("the first no longer answers: %v", err)
	}
}

func TestSocketOfAKilledDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v; want mode 0660", info.Mode(), err)
	}
}

func TestWhatIsNoSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v, want an error", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "data" {
		t.Error("the file was touched")
	}
}

func TestNoDaemonIsUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	_, err := NewClient(path).Status(context.Background())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrUnreachable with the path", err)
	}
}

func TestDaemonThatEndsBeforeItsAnswerIsUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"} {
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1000))
			io.WriteString(c, answer)
			c.Close()
		}()
		if _, err := NewClient(path).Status(context.Background()); !errors.Is(err, ErrUnreachable) {
			t.Errorf("after %q: got %v, want ErrUnreachable", answer, err)
		}
	}
}

func TestSocketOfOthersSaysWhoMayOpenIt(t *testing.T) {
	denied := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}
	err := NewClient("/run/x.sock").unreachable(denied)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "group") || strings.Contains(err.Error(), "running?") {
		t.Errorf("got %v", err)
	}
}
