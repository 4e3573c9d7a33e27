// Package watch is `vpngw status --watch`: the tunnels in place on a terminal, with their rates and the traffic of the
// last minute, and everything about one of them. A Model decides from handed-in statuses, keys and times; only Run and the
// commands that Update returns ask the daemon and the clock.
package watch

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"vpngw/desired"
	"vpngw/gateway"
)

// Source is a daemon: a *control.Client.
type Source interface {
	Status(ctx context.Context) (desired.Status, error)
	Counters(ctx context.Context) (gateway.Counters, error)
	Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error)
}

// Options are how the tunnels are shown.
type Options struct {
	Filter string         // what they are filtered by at first
	Color  bool           //
	Zone   *time.Location // of the times that are shown
}

// Run shows what a daemon tells until the user quits or ctx ends. Standard input and output are the terminal.
func Run(ctx context.Context, s Source, o Options) error {
	// A given profile keeps bubbletea from running `tmux info` to find out.
	profile := colorprofile.ASCII
	if o.Color {
		profile = colorprofile.ANSI
	}
	m := New(o)
	m.ask = func(q question) tea.Msg { return look(ctx, s, q) }
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithColorProfile(profile)).Run()
	if ctx.Err() != nil {
		return nil // it was told to end
	}
	return err
}

// question is what the daemon is asked for in one look.
type question struct {
	tunnel string // the one that is shown alone; empty: none
	after  uint64 // the last event of it that is known
}

// Look is what the daemon answered.
type Look struct {
	At     time.Time
	Took   time.Duration
	Status desired.Status
	Err    error

	Of     string // the tunnel that the rest is of
	Drops  map[string]uint64
	Events []gateway.Event
}

// lookTime is how long an answer is waited for.
const lookTime = 10 * time.Second

func look(ctx context.Context, s Source, q question) Look {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	l := Look{Of: q.tunnel}
	begin := time.Now()
	l.Status, l.Err = s.Status(ctx)
	l.At = time.Now()
	l.Took = l.At.Sub(begin)
	if l.Err != nil || q.tunnel == "" {
		return l
	}
	// Without them the tunnel is still shown: it may have left the configuration meanwhile.
	if c, err := s.Counters(ctx); err == nil {
		l.Drops = c.Tunnels[q.tunnel]
	}
	l.Events, _ = s.Events(ctx, q.tunnel, q.after, 0)
	return l
}

// pause is how long to wait until the next look: a second, or longer where the daemon has much to tell.
func pause(took time.Duration) time.Duration { return max(time.Second, 10*took) }
