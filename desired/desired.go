// Package desired loads the configuration that should run and has the daemon
// adopt it: on SIGHUP, and when an operator asks for it, for good or until it is
// confirmed. The source today is one file; objects of an API and leases between nodes
// will be further sources. It knows nothing of tunnels, sockets or keys.
package desired

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"

	"vpngw/config"
	"vpngw/config/load"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/store"
)

// Loaded is a configuration and what it was made of.
type Loaded struct {
	*config.Config
	// Text returns what Source.Again makes the same configuration of, keys included. The same source gives the same text.
	Text func() ([]byte, error)
	// Result loads it again, with where each value comes from; nil: nobody can.
	Result func() (*load.Result, diag.Problems)
}

// Source gives configurations. A nil Loaded, or a refusal among the problems, means that nothing may be adopted.
type Source struct {
	Load  func() (*Loaded, diag.Problems)            // reads the source
	Look  func() (*Loaded, diag.Problems)            // as Load, and has no effect
	Again func(text []byte) (*Loaded, diag.Problems) // loads a Loaded's Text
	// Trusted says how others could change a file in the state directory that a Text is kept in; nil: nobody is asked.
	Trusted func(path string) error
}

// Daemon runs a configuration: a *gateway.Gateway.
type Daemon interface {
	Adopt(ctx context.Context, c *config.Config) (gateway.Adopted, error)
	AdoptForNow(ctx context.Context, c *config.Config) (gateway.Adopted, error) // Keep or another Adopt follows
	Keep(ctx context.Context) error
	Plan(ctx context.Context, c *config.Config) (gateway.Plan, error)
	Status(context.Context) (gateway.Status, error)
	Tell(diag.Cause) // makes an event of it
}

// State connects a source of configurations with the daemon that adopts them. First comes first, then Drive;
// all else may be called from any goroutine after these.
type State struct {
	source Source
	dir    store.Dir
	log    *slog.Logger
	daemon Daemon

	token    chan struct{} // held by whatever changes what runs
	planning chan struct{} // held by the Plan that is under way
	expired  chan struct{} // has a value when a confirmation may be overdue

	mu      sync.Mutex // guards the fields below, which the holder of token alone changes
	running *Loaded
	trial   *trial // nil: what runs is confirmed
}

// New makes a State that keeps in the directory dir what must outlive the daemon.
func New(s Source, dir string, log *slog.Logger) *State {
	return &State{
		source: s, dir: store.Dir(dir), log: log,
		token: make(chan struct{}, 1), planning: make(chan struct{}, 1), expired: make(chan struct{}, 1),
	}
}

// Drive has d run what s says.
func (s *State) Drive(d Daemon) {
	s.daemon = d
	if s.onTrial() != nil {
		d.Tell(diag.Cause{Code: diag.ConfigGoneBack})
	}
}

// InvalidError is a reload's answer to a source with errors, which changes nothing.
type InvalidError struct{ Problems diag.Problems }

func (e *InvalidError) Error() string {
	return "the configuration has errors; nothing was changed"
}

// Reloaded says what a reload changed. Warnings did not prevent it.
type Reloaded struct {
	gateway.Adopted
	Warnings diag.Problems `json:"warnings"`
}

// Planned says what a reload would change. Warnings would not prevent it.
type Planned struct {
	gateway.Plan
	Warnings diag.Problems `json:"warnings"`
}

// Reload loads the source again and has the daemon adopt the result. Connections
// that have not changed keep their devices and SAs and lose no packet. A
// configuration with errors changes nothing, nor does a reload while one waits for its confirmation.
func (s *State) Reload(ctx context.Context) (Reloaded, error) {
	// Loading takes a while; one reload waits for the other, so that the newest file is the last
	// one adopted.
	if err := take(ctx, s.token); err != nil {
		return Reloaded{}, err
	}
	defer release(s.token)
	next, problems, err := s.load()
	if err != nil {
		return Reloaded{}, err
	}
	done, err := s.daemon.Adopt(ctx, next.Config)
	s.tell(diag.Cause{Code: diag.ConfigAdopted}, done, err)
	if err == nil {
		err = s.settle(next)
	}
	return Reloaded{done, append(diag.Problems{}, problems...)}, err
}

// manyNew is how many new connections are worth a collection before they are adopted.
const manyNew = 100

// load loads the source for a reload, and logs its warnings. Connections that are as they were stay the ones that run, and what loading
// leaves is collected before many new ones are adopted: what lies among it leaves holes for good.
func (s *State) load() (*Loaded, diag.Problems, error) {
	if t := s.onTrial(); t != nil && !t.Back {
		return nil, nil, &PendingError{t.until()}
	}
	defer gateway.Burst()()
	next, problems := s.source.Load()
	if next == nil || problems.Refused() {
		err := &InvalidError{problems}
		s.tell(diag.Cause{}, gateway.Adopted{}, err)
		return nil, nil, err
	}
	for _, p := range problems {
		s.log.Warn("config: " + p.String())
	}
	if next.Share(s.running.Config) > manyNew {
		runtime.GC()
	}
	return next, problems, nil
}

// tell makes an event of a configuration that the daemon has adopted, or of why it has not.
func (s *State) tell(c diag.Cause, done gateway.Adopted, err error) {
	invalid := (*InvalidError)(nil)
	switch {
	case err == nil:
		c.Ours = fmt.Sprintf("%d tunnels added, %d changed, %d removed, %d kept", done.Added, done.Changed, done.Removed, done.Kept)
	case errors.As(err, &invalid):
		c = diag.Cause{Code: diag.ConfigRefused, Err: firstOf(invalid.Problems)}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, gateway.ErrStopped):
		return
	default:
		c = diag.Cause{Code: diag.ConfigRefused, Err: err.Error()}
	}
	if c.Code != diag.ConfigOnTrial { // Try logs the time of its end
		log := s.log.Info
		if c.Severity() == diag.Error {
			log = s.log.Error
		}
		log(c.String(), "code", c.Code)
	}
	s.daemon.Tell(c)
}

// firstOf is the first of the problems that refuse a configuration, and how many more there are.
func firstOf(ps diag.Problems) string {
	ps = slices.DeleteFunc(slices.Clone(ps), func(p diag.Problem) bool { return !(diag.Problems{p}).Refused() })
	switch len(ps) {
	case 0:
		return "the configuration has errors"
	case 1:
		return ps[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", ps[0], len(ps)-1)
}

// Plan loads the source and says what a reload would change. It changes nothing.
func (s *State) Plan(ctx context.Context) (Planned, error) {
	if err := take(ctx, s.planning); err != nil {
		return Planned{}, err
	}
	defer release(s.planning)
	next, problems := s.source.Look()
	if next == nil || problems.Refused() {
		return Planned{}, &InvalidError{problems}
	}
	p, err := s.daemon.Plan(ctx, next.Config)
	return Planned{p, append(diag.Problems{}, problems...)}, err
}

func take(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func release(token chan struct{}) { <-token }

// Run reloads for each value of hangup, and goes back when a reload was not confirmed in time, until ctx ends.
// Nobody waits for an answer, so Run logs the problems.
func (s *State) Run(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.expired:
			s.expire(ctx)
			continue
		case <-hangup:
		}
		_, err := s.Reload(ctx)
		if invalid := (*InvalidError)(nil); errors.As(err, &invalid) {
			for _, p := range invalid.Problems {
				s.log.Error("config: " + p.String())
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("reload failed", "err", err)
		}
	}
}
