package desired

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

// file is a source of one text, which names the one connection of its configuration; "bad" is no configuration.
type file struct{ text string }

func (f *file) source() Source {
	again := func(text []byte) (*Loaded, diag.Problems) {
		name := strings.Trim(string(text), `"`)
		if name == "bad" {
			return nil, diag.Problems{{Severity: diag.Error, Message: "bad"}}
		}
		return &Loaded{
			Config: &config.Config{Connections: []*config.Connection{{Name: name}}},
			Text:   func() ([]byte, error) { return []byte(`"` + name + `"`), nil },
		}, nil
	}
	load := func() (*Loaded, diag.Problems) { return again([]byte(f.text)) }
	return Source{Load: load, Look: load, Again: again}
}

// life is one run of a daemon.
type life struct {
	*testing.T
	*State
	d   *daemon
	end func() // as kill -9 does: nothing is written
	log logged
}

// logged is a log that a test reads while the daemon runs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// begin starts a daemon of f and of what is in dir.
func begin(t *testing.T, f *file, dir string) *life {
	t.Helper()
	l := &life{T: t, d: &daemon{}}
	l.State = New(f.source(), dir, slog.New(slog.NewTextHandler(&l.log, nil)))
	first, problems, err := l.First()
	if err != nil {
		t.Fatal(err, problems)
	}
	l.d.adopted = append(l.d.adopted, first.Config)
	l.Drive(l.d)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.State.Run(ctx, nil); close(done) }()
	l.end = func() { cancel(); <-done }
	return l
}

func (l *life) runs(want string) {
	l.Helper()
	synctest.Wait()
	if got := l.d.last().Connections[0].Name; got != want {
		l.Errorf("%s runs, want %s", got, want)
	}
}

// says checks the state of the last reload in the status; empty: there is nothing to say.
func (l *life) says(want string) {
	l.Helper()
	st, err := l.Status(context.Background())
	if err != nil {
		l.Fatal(err)
	}
	got := ""
	if st.Reload != nil {
		got = st.Reload.State
		if !strings.Contains(st.Reload.Note, "vpngw") {
			l.Errorf("it does not say what to do: %q", st.Reload.Note)
		}
	}
	if got != want {
		l.Errorf("status says %q, want %q", got, want)
	}
}

func (l *life) try(during time.Duration) {
	l.Helper()
	if _, err := l.Try(context.Background(), during); err != nil {
		l.Fatal(err)
	}
}

func (l *life) reload() {
	l.Helper()
	if _, err := l.Reload(context.Background()); err != nil {
		l.Fatal(err)
	}
}

// empty checks that nothing is kept, no key above all.
func (l *life) empty(dir string) {
	l.Helper()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		l.Errorf("there is %v", left)
	}
}

func TestATrialGoesBackAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, f := t.TempDir(), &file{"old"}
		l := begin(t, f, dir)
		f.text = "new"
		l.try(time.Minute)
		l.runs("new")
		l.says("unconfirmed")
		if i, err := os.Stat(filepath.Join(dir, trialRecord)); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("the record has keys, and is %v, %v", i, err)
		}
		var pending *PendingError
		if _, err := l.Reload(context.Background()); !errors.As(err, &pending) {
			t.Errorf("a reload meanwhile: %v, want a PendingError", err)
		}
		if _, err := l.Try(context.Background(), time.Minute); !errors.As(err, &pending) {
			t.Errorf("a try meanwhile: %v, want a PendingError", err)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		l.runs("new")
		time.Sleep(time.Nanosecond)
		l.runs("old")
		l.says("gone-back")
		l.d.wantTold(t, "was not confirmed", diag.ConfigOnTrial, diag.ConfigGoneBack)
		if !strings.Contains(l.log.String(), "was not confirmed") {
			t.Errorf("the log says\n%s", &l.log)
		}
		var late *NotPendingError
		if err := l.Confirm(context.Background()); !errors.As(err, &late) || !strings.Contains(err.Error(), "too late") {
			t.Errorf("a late confirmation: %v", err)
		}
		l.end()

		// The file has the same text: no restart runs it.
		for range 2 {
			l = begin(t, f, dir)
			l.runs("old")
			l.says("gone-back")
			l.d.wantTold(t, "was not confirmed", diag.ConfigGoneBack)
			l.end()
		}
		// A reload does.
		l = begin(t, f, dir)
		l.reload()
		l.runs("new")
		l.says("")
		l.empty(dir)
		l.end()
	})
}

func TestAConfirmedTrialStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, f := t.TempDir(), &file{"old"}
		l := begin(t, f, dir)
		var none *NotPendingError
		if err := l.Confirm(context.Background()); !errors.As(err, &none) || strings.Contains(err.Error(), "late") {
			t.Errorf("nothing waits: %v", err)
		}
		f.text = "new"
		l.try(time.Minute)
		time.Sleep(59 * time.Second)
		if err := l.Confirm(context.Background()); err != nil {
			t.Fatal(err)
		}
		l.says("")
		l.empty(dir)
		l.d.wantTold(t, "is confirmed", diag.ConfigOnTrial, diag.ConfigConfirmed)
		if !l.d.kept {
			t.Error("the daemon does not hear of it")
		}
		// The next one has its own time: the alarm of the first does not end it.
		f.text = "newer"
		l.try(2 * time.Minute)
		time.Sleep(time.Minute)
		l.runs("newer")
		time.Sleep(time.Minute)
		l.runs("new")
		time.Sleep(time.Hour)
		l.runs("new")
		l.end()
	})
}

func TestADaemonThatEndsOnTrialGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{time.Second, time.Hour} {
			dir, f := t.TempDir(), &file{"old"}
			l := begin(t, f, dir)
			f.text = "new"
			l.try(time.Minute)
			l.end()
			time.Sleep(after)
			f.text = "edited" // while it was on trial nobody has asked for this either
			l = begin(t, f, dir)
			l.runs("old")
			l.says("gone-back")
			if !strings.Contains(l.log.String(), "was not confirmed") {
				t.Errorf("the log says\n%s", &l.log)
			}
			l.end()
		}
	})
}

func TestAFileEditedAfterGoingBackIsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, f := t.TempDir(), &file{"old"}
		l := begin(t, f, dir)
		f.text = "new"
		l.try(time.Minute)
		time.Sleep(2 * time.Minute)
		l.runs("old")
		l.end()
		f.text = "bad" // runs nowhere
		l = begin(t, f, dir)
		l.runs("old")
		l.end()
		f.text = "mended"
		l = begin(t, f, dir)
		l.runs("mended")
		l.says("")
		l.empty(dir)
		l.end()
	})
}

func TestATrialThatCannotBeAdoptedOrKeptChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, f := t.TempDir(), &file{"old"}
		l := begin(t, f, dir)
		f.text = "bad"
		var invalid *InvalidError
		if _, err := l.Try(context.Background(), time.Minute); !errors.As(err, &invalid) {
			t.Errorf("got %v, want an InvalidError", err)
		}
		for _, during := range []time.Duration{0, MinTrial - 1, MaxTrial + 1} {
			if _, err := l.Try(context.Background(), during); err == nil {
				t.Errorf("%v: no error", during)
			}
		}
		f.text = "new"
		cannot := errors.New("cannot")
		l.d.fail(cannot)
		if _, err := l.Try(context.Background(), time.Minute); !errors.Is(err, cannot) {
			t.Errorf("got %v, want the daemon's error", err)
		}
		l.d.fail(nil)
		l.runs("old")
		l.says("")
		l.empty(dir)

		if err := os.Mkdir(filepath.Join(dir, trialRecord), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Try(context.Background(), time.Minute); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("what runs cannot be kept: %v", err)
		}
		l.runs("old")
		l.end()
	})
}

func TestGoingBackIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &file{"old"}
		l := begin(t, f, t.TempDir())
		f.text = "new"
		l.try(MinTrial)
		l.d.fail(errors.New("cannot"))
		time.Sleep(MinTrial)
		l.runs("new")
		l.d.fail(nil)
		time.Sleep(retryBack)
		l.runs("old")
		l.end()
	})
}

func TestARecordThatCannotBeReadIsNamed(t *testing.T) {
	for _, text := range []string{"", "{", `{"back": 1}`, `{"previous": "bad"}`, "{}"} {
		dir := t.TempDir()
		path := filepath.Join(dir, trialRecord)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &file{"new"}
		source := f.source()
		again := source.Again
		source.Again = func(text []byte) (*Loaded, diag.Problems) {
			if len(text) == 0 {
				text = []byte("bad")
			}
			return again(text)
		}
		s := New(source, dir, slog.New(slog.DiscardHandler))
		if l, _, err := s.First(); l != nil || err == nil || !strings.Contains(err.Error(), "remove") || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, %v, want an error that says to remove %s", text, l, err, path)
		}
	}
}
