package desired

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/gateway"
)

// daemon records the configurations that it adopts.
type daemon struct {
	mu      sync.Mutex // for the tests whose Run adopts by itself
	adopted []*config.Config
	kept    bool // what AdoptForNow has adopted
	told    []diag.Cause
	err     error
}

func (d *daemon) Tell(c diag.Cause) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, c)
}

// wantTold compares the codes of what was told since the last call, and looks for a text in the last.
func (d *daemon) wantTold(t *testing.T, text string, codes ...diag.Code) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var got []diag.Code
	last := ""
	for _, c := range d.told {
		got, last = append(got, c.Code), c.String()
	}
	d.told = nil
	if !slices.Equal(got, codes) || !strings.Contains(last, text) {
		t.Errorf("events %q, the last one %q; want %q, with %q in it", got, last, codes, text)
	}
}

func (d *daemon) Adopt(_ context.Context, c *config.Config) (gateway.Adopted, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return gateway.Adopted{}, d.err
	}
	d.adopted = append(d.adopted, c)
	return gateway.Adopted{Added: 1}, nil
}

// fail has Adopt fail from now on, or not any more.
func (d *daemon) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// last is what was adopted last.
func (d *daemon) last() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.adopted[len(d.adopted)-1]
}

func (d *daemon) AdoptForNow(ctx context.Context, c *config.Config) (gateway.Adopted, error) {
	d.kept = false
	return d.Adopt(ctx, c)
}

func (d *daemon) Keep(context.Context) error { d.kept = true; return nil }

func (d *daemon) Plan(_ context.Context, c *config.Config) (gateway.Plan, error) {
	return gateway.Plan{Unchanged: len(c.Connections)}, d.err
}

func (d *daemon) Status(context.Context) (gateway.Status, error) { return gateway.Status{}, d.err }

// driving is a State that has d adopt what load gives.
func driving(d *daemon, load func() (*config.Config, diag.Problems), log *slog.Logger) *State {
	look := func() (*Loaded, diag.Problems) {
		c, problems := load()
		if c == nil {
			return nil, problems
		}
		return &Loaded{Config: c}, problems
	}
	s := New(Source{Load: look, Look: look}, "", log)
	s.running = &Loaded{Config: &config.Config{}}
	s.Drive(d)
	return s
}

// A reload has the daemon go on with the connections that are as they were, and not with equal ones.
func TestReloadKeepsConnectionsThatAreAsTheyWere(t *testing.T) {
	d := &daemon{}
	load := func() *config.Config {
		return &config.Config{Connections: []*config.Connection{
			{Name: "a", Tunnels: []config.Tunnel{{Name: "a", MTU: 1400}}}, {Name: "b", Tunnels: []config.Tunnel{{Name: "b", MTU: 1400}}},
		}}
	}
	next := load()
	s := driving(d, func() (*config.Config, diag.Problems) { return next, nil }, slog.New(slog.DiscardHandler))
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := d.last().Connections
	next = load()
	next.Connections[1].Tunnels[0].MTU = 1300
	next.Connections = append(next.Connections, &config.Connection{Name: "c"})
	slices.Reverse(next.Connections)
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	is := d.last().Connections
	if is[0].Name != "c" || is[2] != was[0] {
		t.Errorf("a is another one, or the order is not the file's: %v", is)
	}
	if is[1] == was[1] || is[1].Tunnels[0].MTU != 1300 || was[1].Tunnels[0].MTU != 1400 {
		t.Errorf("b runs with an MTU of %d, want 1300", is[1].Tunnels[0].MTU)
	}
}

func TestReloadWithErrorsChangesNothing(t *testing.T) {
	d := &daemon{}
	var c *config.Config
	problems := diag.Problems{{Severity: diag.Error, Message: "no"}}
	s := driving(d, func() (*config.Config, diag.Problems) { return c, problems }, slog.New(slog.DiscardHandler))
	var invalid *InvalidError
	if _, err := s.Reload(context.Background()); !errors.As(err, &invalid) || len(invalid.Problems) != 1 {
		t.Errorf("got %v, want an InvalidError with the problem", err)
	}
	d.wantTold(t, "a reload changed nothing: : error: no", diag.ConfigRefused)
	c, problems = &config.Config{}, diag.Problems{{Severity: diag.Warning, Refused: true}}
	if _, err := s.Reload(context.Background()); !errors.As(err, &invalid) {
		t.Errorf("what run refuses: got %v, want an InvalidError", err)
	}
	d.wantTold(t, "run refuses this", diag.ConfigRefused)
	if len(d.adopted) > 0 {
		t.Error("something was adopted")
	}
	problems = diag.Problems{{Severity: diag.Warning, Message: "weak"}}
	done, err := s.Reload(context.Background())
	if err != nil || done.Added != 1 || len(done.Warnings) != 1 || len(d.adopted) != 1 || d.adopted[0] != c {
		t.Errorf("got %+v, %v", done, err)
	}
	d.wantTold(t, "1 tunnels added, 0 changed", diag.ConfigAdopted)
	if p, err := s.Plan(context.Background()); err != nil || p.Unchanged != 0 || len(p.Warnings) != 1 || len(d.adopted) != 1 {
		t.Errorf("got plan %+v, %v, adopted %d", p, err, len(d.adopted))
	}
	d.err = errors.New("cannot")
	if _, err := s.Reload(context.Background()); !errors.Is(err, d.err) {
		t.Errorf("got %v, want the daemon's error", err)
	}
	d.wantTold(t, "cannot", diag.ConfigRefused)
}

func TestHangupReloadsAndLogsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &daemon{}
		var problems diag.Problems
		s := driving(d, func() (*config.Config, diag.Problems) { return &config.Config{}, problems }, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(context.Background())
		hangup := make(chan os.Signal)
		done := make(chan struct{})
		go func() { s.Run(ctx, hangup); close(done) }()
		hangup <- syscall.SIGHUP
		synctest.Wait()
		if len(d.adopted) != 1 {
			t.Fatal("a hangup does not reload")
		}
		problems = diag.Problems{{Severity: diag.Error, Message: "a bad line", File: "vpngw.yaml"}}
		hangup <- syscall.SIGHUP
		synctest.Wait()
		if len(d.adopted) != 1 || !strings.Contains(log.String(), "a bad line") || !strings.Contains(log.String(), "reload failed") {
			t.Errorf("adopted %d times, and the log says\n%s", len(d.adopted), &log)
		}
		cancel()
		<-done
	})
}

func TestOneReloadWaitsForTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{}
		gate := make(chan struct{})
		loads := 0
		s := driving(d, func() (*config.Config, diag.Problems) { loads++; <-gate; return &config.Config{}, nil }, slog.New(slog.DiscardHandler))
		for range 2 {
			go s.Reload(context.Background())
		}
		synctest.Wait()
		if loads != 1 {
			t.Errorf("%d loads at once, want 1", loads)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := s.Reload(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v from a reload that nobody waits for", err)
		}
		close(gate)
		synctest.Wait()
		if len(d.adopted) != 2 {
			t.Errorf("adopted %d times, want 2", len(d.adopted))
		}
	})
}
