package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/diag"
	"vpngw/store"
)

// disk is a Record. It fails, or hangs, as long as the test says.
type disk struct {
	mu      sync.Mutex
	records [][]byte
	synced  int // of records
	syncs   int
	err     error
	hang    chan struct{}
}

func (d *disk) Append(records ...[]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang != nil {
		<-d.hang
	}
	if d.err == nil {
		d.records = append(d.records, records...)
	}
	return d.err
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = len(d.records)
	d.syncs++
	return d.err
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// text is a log's.
type text struct {
	mu sync.Mutex
	strings.Builder
}

func (l *text) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

// read returns all events after a number, as numbers and codes.
func read(t *testing.T, r *running, after uint64) (string, []Event) {
	t.Helper()
	list, err := r.Events(t.Context(), "", after, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%d %s%s", e.Number, e.Tunnel, e.Code))
	}
	return strings.Join(out, ", "), list
}

// A follower who asks for what comes after the last event that it knows misses and repeats nothing, whether the daemon ends in order
// or is killed, and each event keeps its time.
func TestEventsOutliveTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		r := start(t, officeHost(), configOf(hq()), Options{Record: &d, Version: "1.2.3"})
		synctest.Wait()
		_, first := read(t, r, 0)
		if first[0].Code != diag.DaemonStarted || first[0].Why != "the daemon 1.2.3 has started" || first[0].Severity != diag.Info {
			t.Errorf("the first event is %+v", first[0])
		}
		last := first[len(first)-1].Number
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)

		r = start(t, officeHost(), configOf(hq()), Options{Record: &d, Recorded: d.records})
		synctest.Wait()
		all, list := read(t, r, 0)
		for i, e := range first {
			if list[i].Number != e.Number || !list[i].Time.Equal(e.Time) || list[i].Why != e.Why || list[i].State != e.State {
				t.Errorf("event %d was %+v and is %+v", i, e, list[i])
			}
		}
		for i, e := range list {
			if e.Number != uint64(i+1) {
				t.Fatalf("after an end in order numbers are left out: %s", all)
			}
		}
		_, news := read(t, r, last)
		if len(news) != len(list)-len(first) || !strings.Contains(all, string(diag.DaemonStopped)) {
			t.Errorf("the follower is told %+v of %s", news, all)
		}
		// It was told of an event that a crash keeps from the disk.
		synctest.Wait()
		killed := d.records[:len(d.records)-1]
		told := list[len(list)-1].Number
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}

		d.records = killed
		r = start(t, officeHost(), configOf(hq()), Options{Record: &d, Recorded: killed})
		synctest.Wait()
		text, news := read(t, r, told)
		if len(news) == 0 || news[0].Code != diag.DaemonRecovered || news[0].Severity != diag.Warning || news[0].Number <= told {
			t.Errorf("after a crash the follower is told %q", text)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A storm of events does not make the disk write each by itself, and none waits for long.
func TestEventsGoToTheDiskTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		r := start(t, officeHost(), configOf(hq()), Options{Record: &d})
		time.Sleep(time.Minute)
		synctest.Wait()
		before, syncs := len(d.records), d.syncs
		const n = 1000
		for range n {
			r.Tell(diag.Cause{Code: diag.ConfigConfirmed})
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if len(d.records) != before+n {
			t.Errorf("the end of the process would lose %d events", before+n-len(d.records))
		}
		if d.syncs > syncs+2 {
			t.Errorf("%d writes of the disk in a second", d.syncs-syncs)
		}
		time.Sleep(syncEvery)
		synctest.Wait()
		if d.synced != len(d.records) {
			t.Errorf("%d of %d events are on the disk", d.synced, len(d.records))
		}
		r.Tell(diag.Cause{Code: diag.ConfigConfirmed})
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if d.synced != len(d.records) {
			t.Errorf("at the end %d of %d events are on the disk", d.synced, len(d.records))
		}
	})
}

// While the disk fails the events stay in memory, which is said once, and are written later.
func TestEventsWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log text
		d := disk{err: errors.New("no space left")}
		r := start(t, officeHost(), configOf(hq()), Options{Record: &d, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 5 {
			time.Sleep(time.Minute)
			r.Tell(diag.Cause{Code: diag.ConfigConfirmed})
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "events are in memory only"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		d.fail(nil)
		time.Sleep(recordRetry)
		synctest.Wait()
		_, list := read(t, r, 0)
		if len(d.records) != len(list) || strings.Count(log.String(), "kept over a restart again") != 1 {
			t.Errorf("%d of %d events are written:\n%s", len(d.records), len(list), log.String())
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if last, _ := lastOf(d.records); last.Code != diag.DaemonStopped {
			t.Errorf("the last event written is %+v", last)
		}
	})
}

// A disk that answers nothing delays neither the control loop nor, beyond its grace, the end.
func TestAHangingDiskDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disk{hang: make(chan struct{})}
		r := start(t, officeHost(), configOf(hq()), Options{Record: &d})
		begun := time.Now()
		for range 2 * KeptEvents {
			r.Tell(diag.Cause{Code: diag.ConfigConfirmed})
		}
		if err := r.Down(t.Context(), "hq"); err != nil || time.Since(begun) > 0 {
			t.Errorf("down took %v, %v", time.Since(begun), err)
		}
		if _, list := read(t, r, 0); len(list) != KeptEvents {
			t.Errorf("%d events are kept", len(list))
		}
		begun = time.Now()
		if err := r.stop(); err != nil || time.Since(begun) > recordGrace+shutdownGrace {
			t.Errorf("the end took %v, %v", time.Since(begun), err)
		}
		close(d.hang)
		synctest.Wait()
	})
}

// Records that are no events of ours, or whose numbers do not rise, are left out.
func TestForeignRecordsAreNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorded := [][]byte{
			[]byte(`{"number":4,"code":"daemon-stopped"}`), []byte(`{"number":3}`), []byte("null"), []byte("{"), nil, []byte(`{"number":-1}`),
			[]byte(`{"number":18446744073709551615}`), []byte(`{"number":5,"connection":"gone","tunnel":"gone","code":"daemon-stopped"}`),
		}
		r := start(t, officeHost(), configOf(hq()), Options{Recorded: recorded})
		synctest.Wait()
		text, _ := read(t, r, 0)
		if !strings.HasPrefix(text, "4 daemon-stopped, 5 gonedaemon-stopped, 6 daemon-started, 7 hq") {
			t.Errorf("events are %s", text)
		}
		if list, err := r.Events(t.Context(), "gone", 0, 0); err != nil || len(list) != 1 {
			t.Errorf("events of a connection that is configured no more: %+v, %v", list, err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkEventsOfEarlierRuns is the part of a start that waits for 10 000 events on the disk.
func BenchmarkEventsOfEarlierRuns(b *testing.B) {
	dir := store.Dir(b.TempDir())
	ring, _, _, err := dir.OpenRing("events", KeptEvents)
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Time: time.Now().UTC(), Severity: diag.Warning, Connection: "hq", Tunnel: "hq-1", Was: "up", State: "connecting", Report: diag.Report{Why: strings.Repeat("x", 150), Code: diag.PeerDead}}
	for i := range 2*KeptEvents - 1 {
		e.Number = uint64(i + 1)
		if err := (&recorder{to: ring}).write([]Event{e}); err != nil {
			b.Fatal(err)
		}
	}
	ring.Close()
	b.ResetTimer()
	for b.Loop() {
		ring, records, _, err := dir.OpenRing("events", KeptEvents)
		if err != nil || len(records) != KeptEvents {
			b.Fatal(len(records), err)
		}
		newEvents().resume(records)
		ring.Close()
	}
}
