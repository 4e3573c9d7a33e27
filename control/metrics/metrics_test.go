package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/gateway"
	"vpngw/host"
	"vpngw/tunnel"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// fake is a Source that counts how often it is asked.
type fake struct {
	gateway.Metrics
	asked  int
	err    error
	reload *desired.ReloadStatus
	wait   time.Duration
}

func (f *fake) LastReload() *desired.ReloadStatus { return f.reload }

// source is a fake as a Source: a method cannot have the name of an embedded field.
type source struct{ *fake }

func (s source) Metrics(ctx context.Context) (gateway.Metrics, error) {
	s.asked++
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return gateway.Metrics{}, ctx.Err()
	}
	return s.fake.Metrics, s.err
}

var at = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// figures are those of a daemon with a tunnel that has everything and one that has nothing.
func figures() gateway.Metrics {
	healthy, down := dpd.Healthy, dpd.BFDState(1)
	full := gateway.TunnelMetrics{
		Conn: "hq", Name: "hq-master", Group: "hq", Dialect: "alibaba", Side: "customer", Role: "master", Device: "vpngw0", Remote: netip.MustParseAddr("198.51.100.1").String(),
		State: tunnel.Up, Since: at.Add(-time.Hour), Active: true, IKE: at.Add(-90 * time.Minute), Children: 1, Child: at.Add(-30 * time.Second),
		Traffic: gateway.TrafficStatus{BytesIn: 1, BytesOut: 2, PacketsIn: 3, PacketsOut: 4}, Drops: map[string]uint64{"replay": 5}, TUNDrops: 6,
		Health: &healthy, Pings: dpd.Count{Answered: 7, Lost: 8, Last: 9 * time.Millisecond}, BFD: &down, BFDSpoilt: 10,
		BGP: &gateway.SessionStatus{State: "established", Since: at.Add(-time.Minute), In: 11, Out: 12, Refused: 13, Flaps: 14},
	}
	full.Tally = gateway.Tally{
		Established: 15, Failed: 16, IKERekeys: 17, IKERekeysFailed: 18, ChildRekeys: 19, ChildRekeysFailed: 20,
		LivenessAnswered: 21, LivenessLost: 22, LivenessTook: 23 * time.Millisecond, Switches: 24,
	}
	m := gateway.Metrics{
		Tunnels: []gateway.TunnelMetrics{full, {
			Conn: `b"r\anch`, Name: "branch", Group: "branch", Dialect: "native", Side: "cloud", Role: "single", Device: "vpngw1", Remote: "2001:db8::1",
			State: tunnel.Connecting, Since: at, Cause: diag.Cause{Code: diag.NoAnswer},
		}},
		Groups:   []gateway.GroupMetrics{{Name: "hq", Tunnels: 2, Up: 1}},
		HalfOpen: 25, Cookies: 26, IKE: map[string]uint64{"malformed": 27}, Drops: map[string]uint64{"replay": 5, "no-sa": 28}, Discards: 29,
		Engines: []time.Duration{30 * time.Second, 0}, Loop: 31 * time.Millisecond,
		Sockets: []gateway.SocketMetrics{{Kind: "natt", Local: "0.0.0.0:4500", SocketStats: host.SocketStats{KernelDrops: 32, SendErrors: 33}}},
	}
	for i, h := range []*gateway.Histogram{&m.Handshakes, &m.ChildRekeys, &m.IKERekeys, &m.Liveness, &m.Health} {
		h.Counts[i], h.Counts[len(gateway.Bounds)] = 2, 1
		h.Sum = time.Duration(i+1) * time.Minute
	}
	return m
}

func present() *collector {
	return newCollector(func() *snapshot {
		return &snapshot{Metrics: figures(), version: "1.2.3", reload: "unconfirmed", at: at}
	})
}

// What Prometheus reads of a daemon is in testdata.
func TestTheTextIsAsExpected(t *testing.T) {
	const golden = "testdata/metrics.txt"
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(present())
	p := Page{registry: r}
	if err := p.render(); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`goversion="[^"]*"`).ReplaceAll(p.text.Plain, []byte(`goversion="go"`))
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	have, wanted := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for _, l := range have {
		if !slices.Contains(wanted, l) {
			t.Errorf("more: %s", l)
		}
	}
	for _, l := range wanted {
		if !slices.Contains(have, l) {
			t.Errorf("missing: %s", l)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(p.text.Gzip))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, p.text.Plain) {
		t.Errorf("packed is not the same: %v", err)
	}
}

// A name keeps its letters as a label, in every script and with what the format escapes.
func TestNamesOfEveryScriptAreLabels(t *testing.T) {
	for _, name := range []string{"北京-办公室.1", "दिल्ली", "שלום", "cafe\u0301", "İstanbul", `b"r\anch`} {
		m := figures()
		m.Tunnels = m.Tunnels[:1]
		m.Tunnels[0].Conn, m.Tunnels[0].Name = name, name+"-1"
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(newCollector(func() *snapshot { return &snapshot{Metrics: m, version: "1.2.3", at: at} }))
		p := Page{registry: r}
		if err := p.render(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		label := `tunnel="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name+"-1") + `"`
		if !strings.Contains(string(p.text.Plain), label) {
			t.Errorf("%s: no %s", name, label)
		}
	}
}

// Names, types and help are as Prometheus's linter wants them.
func TestTheLinterFindsNothing(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(present())
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every metric of the table is told with its type and labels, and no other.
func TestTheTableIsComplete(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(present())
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range families {
		got[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	for _, row := range table() {
		if got[row.name] != string(row.kind) {
			t.Errorf("%s is %q, and in the table a %s", row.name, got[row.name], row.kind)
		}
		delete(got, row.name)
	}
	for name := range got {
		t.Errorf("%s is not in the table", name)
	}
}

// markdown is the table of all metrics of ours, for docs/metrics.md.
func markdown() string {
	var b strings.Builder
	b.WriteString("| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, r := range table() {
		labels := slices.Clone(r.labels)
		for i, l := range labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.name, r.kind, strings.Join(labels, ", "), r.help)
	}
	return b.String()
}

// docs/metrics.md has the table.
func TestTheDocsHaveTheTable(t *testing.T) {
	const path = "../../docs/metrics.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- table -->\n", "<!-- end of the table -->\n"
	head, rest, ok := strings.Cut(string(b), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+begin+markdown()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		table = markdown()
	}
	if table != markdown() {
		t.Errorf("the table in %s is another: go test ./control/metrics -update", path)
	}
}

// Two registries can have a collector each: none is global. One that has it refuses it a second time.
func TestCollectorsRegisterWhereTheyAreAsked(t *testing.T) {
	a, b, c := prometheus.NewRegistry(), prometheus.NewRegistry(), present()
	for _, r := range []*prometheus.Registry{a, b} {
		if err := r.Register(c); err != nil {
			t.Error(err)
		}
	}
	twice := prometheus.AlreadyRegisteredError{}
	if err := a.Register(present()); !errors.As(err, &twice) {
		t.Errorf("a second time: %v", err)
	}
}

// Whoever asks within a second gets the text of the one who asked first; those who come meanwhile wait for it. An error is
// handed to nobody else.
func TestManyAsksCostOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{Metrics: figures(), wait: 100 * time.Millisecond}
		p := New(source{f}, "1.2.3")
		ask := func() (Text, error) { return p.Exposition(context.Background()) }
		texts := make(chan Text, 100)
		for range 100 {
			go func() {
				text, err := ask()
				if err != nil {
					t.Error(err)
				}
				texts <- text
			}()
		}
		synctest.Wait()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if f.asked != 1 || len(texts) != 100 {
			t.Errorf("%d snapshots for %d texts, want 1 for 100", f.asked, len(texts))
		}
		if text := <-texts; !bytes.Contains(text.Plain, []byte("\ngo_goroutines ")) || !bytes.Contains(text.Plain, []byte("\nprocess_start_time_seconds ")) {
			t.Error("Go and the process are not told of")
		}
		time.Sleep(time.Second)
		f.err = errors.New("shutting down")
		if _, err := ask(); err == nil || f.asked != 2 {
			t.Errorf("after a second: %v, %d snapshots", err, f.asked)
		}
		f.err, f.reload = nil, &desired.ReloadStatus{State: "gone-back"}
		text, err := ask()
		if err != nil || !bytes.Contains(text.Plain, []byte(`vpngw_reload_pending{state="gone-back"} 1`)) {
			t.Errorf("after the error: %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.Sleep(2 * time.Second)
		f.wait = time.Hour
		gone := make(chan error, 1)
		go func() { _, err := p.Exposition(ctx); gone <- err }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who goes meanwhile: %v", err)
		}
	})
}
