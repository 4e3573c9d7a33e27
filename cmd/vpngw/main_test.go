package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vpngw/control"
	"vpngw/control/metrics"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/tunnel"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vpngw": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"daemon": answering,
		},
		Setup: func(e *testscript.Env) error {
			// Unix socket paths are short: 107 bytes.
			dir, err := os.MkdirTemp("", "vpngw")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(dir) })
			e.Setenv("SOCKET", dir+"/control.sock")
			here, err := os.Getwd()
			e.Setenv("EXAMPLE", here+"/vpngw.example.yaml")
			return err
		},
	})
}

// exits runs a command and checks its exit code: exits CODE COMMAND ARGS…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// answering is the command that answers on $SOCKET with the status, and the
// answers to a reload and a plan, that files hold: daemon STATUS [RELOADED [PLANNED]]
func answering(ts *testscript.TestScript, _ bool, args []string) {
	var d canned
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &d.status))
	if len(args) > 1 {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &d.reloaded))
	}
	if len(args) > 2 {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &d.planned))
	}
	l, err := control.Listen(ts.Getenv("SOCKET"))
	ts.Check(err)
	s := control.Serve(l, &d, "test", slog.New(slog.DiscardHandler))
	ts.Defer(func() { s.Close() })
}

// canned is a daemon with one status, that knows one connection.
type canned struct {
	status    desired.Status
	reloaded  desired.Reloaded
	planned   desired.Planned
	explained desired.Explained
	level     control.LogLevel
}

func (d *canned) Exposition(context.Context) (metrics.Text, error) { return metrics.Text{}, nil }

func (d *canned) Status(context.Context) (desired.Status, error) { return d.status, nil }
func (d *canned) Counters(context.Context) (gateway.Counters, error) {
	return gateway.Counters{
		IKE:     map[string]uint64{"unknown-spi": 2, "malformed": 1},
		Tunnels: map[string]map[string]uint64{"hq": {}, "lab": {"no-sa": 12}},
	}, nil
}

// LogKeys has a key of hq.
func (d *canned) LogKeys(_ context.Context, name string, during time.Duration, take func(gateway.KeyRows) error) error {
	if name != "hq" {
		return &gateway.UnknownNameError{Name: name, Known: []string{"hq", "lab"}}
	}
	until := time.Now().Add(during)
	if err := take(gateway.KeyRows{Tunnels: []string{name}, Until: &until}); err != nil {
		return err
	}
	return take(gateway.KeyRows{Table: "esp_sa", Rows: "a row of keys\n"})
}

// Capture has the request as its file.
func (d *canned) Capture(_ context.Context, r gateway.CaptureRequest, w io.Writer) (gateway.Captured, error) {
	if r.Name != "hq" {
		return gateway.Captured{}, &gateway.UnknownNameError{Name: r.Name, Known: []string{"hq", "lab"}}
	}
	_, err := fmt.Fprintf(w, "%+v\n", r)
	return gateway.Captured{Packets: 12, Dropped: 3}, err
}

// Events are two, the second with a cause.
func (d *canned) Events(_ context.Context, name string, after uint64, _ time.Duration) ([]gateway.Event, error) {
	if name == "hg" {
		return nil, &gateway.UnknownNameError{Name: name, Known: []string{"hq", "lab"}}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := []gateway.Event{
		{Number: 1, Time: at, Severity: diag.Info, Connection: "hq", Tunnel: "hq", Was: tunnel.Connecting, State: tunnel.Up},
		{
			Number: 2, Time: at.Add(time.Minute), Severity: diag.Error, Connection: "lab", Tunnel: "lab", Was: tunnel.Up, State: tunnel.Connecting,
			Report: diag.Report{Why: "no answer \x1b[2J from the peer", Code: "no-answer"},
		},
	}
	return slices.DeleteFunc(all[min(after, 2):], func(e gateway.Event) bool { return name != "" && e.Tunnel != name }), nil
}

// Diagnose finds something wrong with lab only.
func (d *canned) Diagnose(_ context.Context, name string) ([]doctor.Diagnosis, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	switch name {
	case "hq":
		return []doctor.Diagnosis{{
			Tunnel: "hq", Connection: "hq", State: tunnel.Up, Since: at, Checked: []string{"addresses", "route"},
			Findings: []doctor.Finding{{Severity: diag.Info, Report: diag.Report{Why: "the clock is not kept", Code: diag.ClockUnset}}},
		}}, nil
	case "lab":
		a := diag.Advice{Side: diag.Either, Change: []string{"IkeConfig.Psk"}}
		return []doctor.Diagnosis{{
			Tunnel: "lab", Connection: "lab", State: tunnel.Connecting, Since: at, Checked: []string{"addresses", "route"},
			Findings: []doctor.Finding{{
				Severity: diag.Error, Report: diag.Report{Why: "the keys \x1b[2J differ", Code: diag.PSKMismatch}, Advice: a, Do: a.String(),
			}},
		}}, nil
	}
	return nil, &gateway.UnknownNameError{Name: name, Known: []string{"hq", "lab"}}
}

// Routes are one of each kind.
func (d *canned) Routes(_ context.Context, name string) ([]gateway.RouteStatus, error) {
	if err := d.known(name); name != "" && err != nil {
		return nil, err
	}
	hq := func(r gateway.RouteStatus) gateway.RouteStatus {
		r.Connection, r.Tunnel, r.Device, r.Metric = "hq", "hq", "vpngw0", 7300
		return r
	}
	return []gateway.RouteStatus{
		hq(gateway.RouteStatus{Prefix: "10.1.0.0/16", Sources: []string{"bgp"}, Installed: true, Guarded: true, Path: []uint32{64600}}),
		hq(gateway.RouteStatus{Prefix: "10.2.0.0/16", Sources: []string{"static", "bgp"}, Other: "hq-2", Guarded: true}),
		hq(gateway.RouteStatus{Prefix: "10.3.0.0/16", Sources: []string{}, Guarded: true, Report: diag.Report{Why: "no \x1b[2J session", Code: "bgp-not-established"}}),
		hq(gateway.RouteStatus{Prefix: "100.64.0.0/10", Sources: []string{"bgp"}, Report: diag.Report{Why: "the peer may not tell it", Code: "bgp-prefix-refused"}}),
	}, nil
}

// Explain explains nothing.
func (d *canned) Explain(_ context.Context, name string) (desired.Explained, error) {
	return d.explained, d.known(name)
}

func (d *canned) Up(_ context.Context, name string) error   { return d.known(name) }
func (d *canned) Down(_ context.Context, name string) error { return d.known(name) }

func (d *canned) Failover(_ context.Context, name string) error {
	if name == "lab" {
		return &tunnel.SwitchError{Stays: "lab"}
	}
	return d.known(name)
}
func (d *canned) Failback(_ context.Context, name string) error { return d.known(name) }

func (d *canned) Rekey(_ context.Context, name string, _ gateway.Rekeying) error {
	return d.known(name)
}

func (d *canned) Reload(context.Context) (desired.Reloaded, error) { return d.reloaded, nil }

func (d *canned) Plan(context.Context) (desired.Planned, error) { return d.planned, nil }

// Try says by what it adds how long it was told to wait.
func (d *canned) Try(_ context.Context, during time.Duration) (desired.Reloaded, error) {
	return desired.Reloaded{Adopted: gateway.Adopted{Added: int(during / time.Second)}}, nil
}

func (d *canned) Confirm(context.Context) error { return &desired.NotPendingError{} }

func (d *canned) known(name string) error {
	if name != "hq" {
		return &gateway.UnknownNameError{Name: name, Known: []string{"hq"}}
	}
	return nil
}

func TestEachMissingThingIsNamedInALineOfItsOwn(t *testing.T) {
	var out strings.Builder
	complain(&out, errors.New("no CAP_NET_ADMIN\nno /dev/net/tun"))
	if got, want := out.String(), "vpngw: no CAP_NET_ADMIN\nvpngw: no /dev/net/tun\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
