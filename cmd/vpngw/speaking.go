package main

import (
	"log/slog"
	"path/filepath"
	"strings"

	"vpngw/bgp"
	"vpngw/control"
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

// childDir is the directory of the children's sockets: bgp beside the control socket, or for a daemon with another control socket
// one by its name, as several may lie in one directory.
func childDir(path string) string {
	dir, name := filepath.Split(path)
	if name == filepath.Base(control.DefaultSocket) {
		return filepath.Join(dir, "bgp")
	}
	return filepath.Join(dir, strings.TrimSuffix(name, ".sock")+".bgp")
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
