// Package desired loads the configuration that should run and has the daemon
// adopt it: on SIGHUP, and when an operator asks for it. The source today is one
// file; objects of an API and leases between nodes will be further sources. It
// knows nothing of tunnels, sockets or keys.
package desired

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/gateway"
)

// Load reads a source again. A nil Config, or a refusal among the problems, means
// that nothing may be adopted.
type Load func() (*config.Config, diag.Problems)

// Daemon adopts a configuration: a *gateway.Gateway.
type Daemon interface {
	Adopt(ctx context.Context, c *config.Config) (gateway.Adopted, error)
}

// State connects a source of configurations with the daemon that adopts them.
type State struct {
	load   Load
	daemon Daemon
	log    *slog.Logger
	token  chan struct{} // held by the reload that is under way
}

// New makes a State.
func New(load Load, d Daemon, log *slog.Logger) *State {
	return &State{load: load, daemon: d, log: log, token: make(chan struct{}, 1)}
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

// Reload loads the source again and has the daemon adopt the result. Connections
// that have not changed keep their devices and SAs and lose no packet. A
// configuration with errors changes nothing. It may be called from any goroutine.
func (s *State) Reload(ctx context.Context) (Reloaded, error) {
	// Loading takes a while; one reload waits for the other, so that the newest file is the last
	// one adopted.
	select {
	case s.token <- struct{}{}:
		defer func() { <-s.token }()
	case <-ctx.Done():
		return Reloaded{}, ctx.Err()
	}
	c, problems := s.load()
	if c == nil || problems.Refused() {
		return Reloaded{}, &InvalidError{problems}
	}
	for _, p := range problems {
		s.log.Warn("config: " + p.String())
	}
	done, err := s.daemon.Adopt(ctx, c)
	return Reloaded{done, append(diag.Problems{}, problems...)}, err
}

// Run reloads for each value of hangup until ctx ends. Nobody waits for an
// answer, so Run logs the problems.
func (s *State) Run(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
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
