package main

import (
	"log/slog"

	"vpngw/bgp"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/host"
)

var _ gateway.Speaker = (*bgp.Speaker)(nil)

// speaking makes the speakers of groups, whose children the host starts. dir is for the children's sockets.
func speaking(h *host.Host, log *slog.Logger, dir string) gateway.Speaking {
	return func(c bgp.Config, report func(bgp.Report), event func(string, diag.Cause)) gateway.Speaker {
		return bgp.New(bgp.Options{Starter: children{h}, Dir: dir, Log: log, Report: report, Event: event}, c)
	}
}

// children is the host as bgp's Starter.
type children struct{ host *host.Host }

// Start starts `vpngw bgpd`.
func (c children) Start(s bgp.Spec) (bgp.Process, error) {
	child, err := c.host.StartChild(host.ChildSpec{Args: s.Args, Dir: s.Dir, Stderr: s.Stderr, Memory: s.Memory})
	if err != nil {
		return nil, err
	}
	return child, nil
}
