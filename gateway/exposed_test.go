package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"vpngw/diag"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// logged is what a LogKeys under way has given.
type logged struct {
	mu   sync.Mutex
	rows []KeyRows
	done chan error
	stop context.CancelFunc
}

func logKeys(r *running, name string, during time.Duration) *logged {
	ctx, stop := context.WithCancel(context.Background())
	l := &logged{done: make(chan error, 1), stop: stop}
	go func() {
		l.done <- r.LogKeys(ctx, name, during, func(k KeyRows) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.rows = append(l.rows, k)
			return nil
		})
	}()
	synctest.Wait()
	return l
}

// of are the rows of a table so far.
func (l *logged) of(table sa.KeyTable) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		if r.Table == string(table) {
			out = append(out, strings.Split(strings.TrimSpace(r.Rows), "\n")...)
		}
	}
	return out
}

// said are the codes of the events of a tunnel.
func said(t *testing.T, r *running, name string) (out []diag.Code) {
	t.Helper()
	list, err := r.Events(t.Context(), name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Code != "" {
			out = append(out, e.Code)
		}
	}
	return out
}

func exposures(t *testing.T, r *running, name string) (out []ExposureStatus) {
	t.Helper()
	st, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range st.Connections {
		for _, tu := range c.Tunnels {
			if tu.Name == name {
				out = append(out, tu.Exposed...)
			}
		}
	}
	return out
}

// A key log has the keys of now and each new one of its own tunnel, until its time is over. Without one there is none.
func TestAKeyLogHasThePresentKeysAndTheNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var always bytes.Buffer
		n := newNet()
		other := lab()
		other.Tunnels[0].Remote.ID = ipsec.ParseIdentity("lab.example.org") // an IKE SA of its own
		r := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1", "192.168.4.1"), configOf(hq(), other), Options{KeyLog: &always, Log: slog.New(slog.NewTextHandler(&log, nil))})
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1", "10.20.0.1"), configOf(mirror(hq()), mirror(other)), Options{})
		defer cloud.stop()
		time.Sleep(20 * time.Second)
		r.wantState("hq", tunnel.Up)
		r.wantState("lab", tunnel.Up)

		l := logKeys(r, "hq", time.Hour)
		ikes, esp := l.of(sa.IKEv2Keys), l.of(sa.ESPKeys)
		if len(ikes) != 1 || len(esp) != 2 {
			t.Fatalf("the present keys: %q and %q", ikes, esp)
		}
		for _, row := range append(slices.Clone(ikes), esp...) {
			if strings.Count(always.String(), row) != 1 {
				t.Errorf("--insecure-keylog has not the row %.60q", row)
			}
		}
		if first := l.rows[0]; !slices.Equal(first.Tunnels, []string{"hq"}) || first.Until == nil {
			t.Errorf("the first are %+v", first)
		}
		if x := exposures(t, r, "hq"); len(x) != 2 || x[0].What != Keys || x[0].Until != nil || x[1].What != Keys || x[1].Until == nil {
			t.Errorf("status: %+v", x)
		}
		if x := exposures(t, r, "lab"); len(x) != 1 {
			t.Errorf("status of another: %+v", x)
		}
		if got := said(t, r, "hq"); !slices.Contains(got, diag.KeysExposed) {
			t.Errorf("events: %v", got)
		}

		for _, name := range []string{"hq", "lab"} {
			for _, what := range []Rekeying{RekeyChildren, RekeyIKE} {
				if err := r.Rekey(t.Context(), name, what); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
			}
		}
		if ikes, esp := l.of(sa.IKEv2Keys), l.of(sa.ESPKeys); len(ikes) != 2 || len(esp) != 4 {
			t.Errorf("with the new keys: %q and %q", ikes, esp)
		}
		time.Sleep(time.Hour)
		if err := <-l.done; err != nil {
			t.Error(err)
		}
		if x := exposures(t, r, "hq"); len(x) != 1 {
			t.Errorf("status behind the end: %+v", x)
		}
		if got := said(t, r, "hq"); got[len(got)-1] != diag.ExposureEnded {
			t.Errorf("events: %v", got)
		}
		before := len(l.rows)
		if err := r.Rekey(t.Context(), "hq", RekeyChildren); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if len(l.rows) != before {
			t.Error("a key was written behind the end")
		}
		r.stop()
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "code=keys-exposed") {
			t.Error("the log does not warn")
		}
		for _, row := range append(ikes, esp...) {
			for _, field := range strings.Split(row, ",") {
				if field = strings.Trim(field, `"`); len(field) >= 32 && !strings.Contains(field, " ") && strings.Contains(log.String(), strings.TrimPrefix(field, "0x")) {
					t.Errorf("the log has a key: %.8s…", field)
				}
			}
		}
	})
}

func TestKeyLogsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		unknown, busy := (*UnknownNameError)(nil), (*BusyError)(nil)
		if l := logKeys(r, "hg", time.Hour); !errors.As(<-l.done, &unknown) {
			t.Error("a name that nothing has is not refused")
		}
		var list []*logged
		for range MaxExposed {
			list = append(list, logKeys(r, "hq", time.Hour))
		}
		if l := logKeys(r, "lab", time.Hour); !errors.As(<-l.done, &busy) {
			t.Error("one too many is not refused")
		}
		list[0].stop()
		if err := <-list[0].done; err != nil {
			t.Error(err)
		}
		last := logKeys(r, "lab", time.Hour)
		if x := exposures(t, r, "lab"); len(x) != 1 {
			t.Errorf("status: %+v", x)
		}

		// A reader that takes nothing costs a bounded memory, and is told what it has lost.
		stuck := make(chan struct{})
		done := make(chan error, 1)
		list[1].stop()
		<-list[1].done
		var lost int
		go func() {
			done <- r.LogKeys(t.Context(), "hq", time.Minute, func(k KeyRows) error {
				<-stuck
				lost += k.Lost
				return nil
			})
		}()
		synctest.Wait()
		row := bytes.Repeat([]byte("x"), 1000)
		size := 0
		r.call(t.Context(), func(time.Time) error {
			for range 3000 {
				r.keyLog(sa.ESPKeys, "hq").Write(row)
			}
			for _, x := range r.exposed.list {
				x.rows.mu.Lock()
				size = max(size, x.rows.size)
				x.rows.mu.Unlock()
			}
			if r.keyLog(sa.ESPKeys, "nobody's") != nil {
				t.Error("a key of another tunnel would be copied")
			}
			return nil
		})
		close(stuck)
		if size > maxKeyRows {
			t.Errorf("%d bytes wait", size)
		}
		time.Sleep(time.Minute)
		if err := <-done; err != nil || lost != 3000-maxKeyRows/1000 {
			t.Errorf("%v, %d lost", err, lost)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if err := <-last.done; err != nil {
			t.Errorf("at the daemon's end: %v", err)
		}
	})
}

// fakeTap shows what a test has queued.
type fakeTap struct {
	sources []host.TapSource
	mu      sync.Mutex
	queue   []host.Tapped
	closed  bool
}

func (t *fakeTap) Aim(source int, peers []netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sources[source].Peers = peers
	return nil
}

func (t *fakeTap) Read(wait time.Duration, take func(host.Tapped)) error {
	t.mu.Lock()
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	for _, p := range queue {
		take(p)
	}
	if len(queue) == 0 {
		time.Sleep(wait)
	}
	return nil
}

func (t *fakeTap) Stats() []host.TapStats {
	out := make([]host.TapStats, len(t.sources))
	out[0].Dropped = 7
	return out
}

func (t *fakeTap) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// startCapture starts a capture and returns the fake tap, and what ends it.
func startCapture(r *running, q CaptureRequest, w io.Writer) (*fakeTap, func() (Captured, error)) {
	ctx, stop := context.WithCancel(context.Background())
	type result struct {
		n   Captured
		err error
	}
	done := make(chan result, 1)
	before := r.host.theTap()
	go func() {
		n, err := r.Capture(ctx, q, w)
		done <- result{n, err}
	}()
	synctest.Wait()
	end := func() (Captured, error) {
		stop()
		got := <-done
		return got.n, got.err
	}
	if now := r.host.theTap(); now != before {
		return now, end
	}
	return nil, end
}

// theTap is the newest.
func (h *fakeHost) theTap() *fakeTap {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tap
}

func (t *fakeTap) put(p ...host.Tapped) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, p...)
}

func TestACaptureHasAnOuterAndAnInnerInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		var file bytes.Buffer
		q := CaptureRequest{Name: "hq", For: time.Minute, Snaplen: 1000, Inner: true, Outer: true}
		tap, end := startCapture(r, q, &file)
		peer := hq().Tunnels[0].Remote.Address
		if len(tap.sources) != 2 || !slices.Equal(tap.sources[0].Peers, []netip.Addr{peer}) || tap.sources[1].Device != "vpngw0" {
			t.Fatalf("the sources are %+v", tap.sources)
		}
		if got := said(t, r, "hq"); !slices.Contains(got, diag.PacketsExposed) {
			t.Errorf("events: %v", got)
		}
		if x := exposures(t, r, "hq"); len(x) != 1 || x[0].What != Packets {
			t.Errorf("status: %+v", x)
		}
		esp := append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 50, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, make([]byte, 8)...)
		web := slices.Clone(esp)
		web[9] = 6
		inner := udpPacket(addr("192.168.3.7"), addr("10.10.9.9"), 1)
		tap.put(host.Tapped{Source: 0, At: time.Now(), Out: true, Data: esp}, host.Tapped{Source: 0, At: time.Now(), Data: web}, host.Tapped{Source: 1, At: time.Now(), Data: inner})
		time.Sleep(2 * time.Second)
		n, err := end()
		if err != nil || n != (Captured{Packets: 2, Dropped: 7}) || !tap.closed {
			t.Errorf("%+v, %v, closed %v", n, err, tap.closed)
		}
		rd, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range [][]byte{esp, inner} {
			data, ci, err := rd.ReadPacketData()
			if err != nil || !bytes.Equal(data, want) || ci.InterfaceIndex != i {
				t.Errorf("packet %d: %x, %+v, %v", i, data, ci, err)
			}
		}
		if _, _, err := rd.ReadPacketData(); err != io.EOF {
			t.Errorf("behind the last packet: %v", err)
		}
		for i, name := range []string{"outer", "inner"} {
			if in, err := rd.Interface(i); err != nil || in.Name != name || in.Statistics.PacketsDropped != uint64(7-7*i) {
				t.Errorf("interface %d: %+v, %v", i, in, err)
			}
		}
		if got := said(t, r, "hq"); got[len(got)-1] != diag.ExposureEnded {
			t.Errorf("events: %v", got)
		}
		if x := exposures(t, r, "hq"); len(x) != 0 {
			t.Errorf("status behind the end: %+v", x)
		}
	})
}

func TestCapturesEndAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		q := CaptureRequest{Name: "hq", For: time.Hour, Snaplen: 1000, Inner: true}
		var file bytes.Buffer
		_, end := startCapture(r, q, &file)
		busy := (*BusyError)(nil)
		none := &bytes.Buffer{}
		if _, err := r.Capture(t.Context(), q, none); !errors.As(err, &busy) || !strings.Contains(err.Error(), "tunnel hq is captured already") {
			t.Errorf("a second capture of a tunnel: %v", err)
		}
		end()

		// By number, even within a super-packet's own.
		q.Count = 3
		tap, reached := startCapture(r, q, &file)
		for range 9 {
			tap.put(host.Tapped{At: time.Now(), Data: udpPacket(addr("192.168.3.7"), addr("10.10.9.9"), 1)})
		}
		time.Sleep(time.Second)
		if x := exposures(t, r, "hq"); len(x) != 0 {
			t.Errorf("it goes on behind the last packet: %+v", x)
		}
		if n, err := reached(); err != nil || n.Packets != 3 {
			t.Errorf("%+v, %v", n, err)
		}

		// By time.
		q.Count, q.For = 0, 30*time.Second
		startCapture(r, q, &file)
		time.Sleep(29 * time.Second)
		if x := exposures(t, r, "hq"); len(x) != 1 {
			t.Errorf("it has ended too early: %+v", x)
		}
		time.Sleep(2 * time.Second)
		if x := exposures(t, r, "hq"); len(x) != 0 {
			t.Errorf("it goes on behind its time: %+v", x)
		}

		// By an error, of which nothing is left.
		r.host.failTap(errors.New("no CAP_NET_RAW"))
		if _, err := r.Capture(t.Context(), q, none); err == nil || !strings.Contains(err.Error(), "capture of hq: no CAP_NET_RAW") {
			t.Errorf("got %v", err)
		}
		r.host.failTap(nil)
		if x := exposures(t, r, "hq"); len(x) != 0 || none.Len() > 0 {
			t.Errorf("status %+v, %d bytes", x, none.Len())
		}
		if tap, end := startCapture(r, q, brokenWriter{}); tap == nil {
			t.Error("no tap")
		} else if _, err := end(); err != io.ErrClosedPipe {
			t.Errorf("got %v", err)
		}

		// By the daemon's end; the next knows nothing of it.
		q.For = time.Hour
		_, end = startCapture(r, q, &file)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if _, err := end(); err != nil {
			t.Errorf("at the daemon's end: %v", err)
		}
		again := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer again.stop()
		if x := exposures(t, again, "hq"); len(x) != 0 {
			t.Errorf("behind a restart: %+v", x)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func (h *fakeHost) failTap(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tapError = err
}

// Not more tunnels than MaxExposed are captured at a time.
func TestAdmitCountsTunnels(t *testing.T) {
	var x exposed
	for i := range MaxExposed - 1 {
		x.list = append(x.list, &exposure{what: Packets, tunnels: []string{fmt.Sprint(i)}})
	}
	if err := x.admit(Packets, []string{"a"}); err != nil {
		t.Error(err)
	}
	if err := x.admit(Packets, []string{"a", "b"}); err == nil {
		t.Error("one too many")
	}
	if err := x.admit(Keys, []string{"a", "b"}); err != nil {
		t.Error(err)
	}
	if b, err := json.Marshal(KeyRows{Lost: 1}); err != nil || string(b) != `{"lost":1}` {
		t.Errorf("%s, %v", b, err)
	}
}
