package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

// InvalidConfigError is a reload's answer to a file with errors, which changes nothing.
type InvalidConfigError struct{ Problems diag.Problems }

func (e *InvalidConfigError) Error() string {
	return "the configuration has errors; nothing was changed"
}

// Reloaded is what a reload has done, in tunnels, and what is wrong though it
// has been done.
type Reloaded struct {
	Added    int           `json:"added"`
	Changed  int           `json:"changed"`
	Removed  int           `json:"removed"`
	Kept     int           `json:"kept"`
	Warnings diag.Problems `json:"warnings"`
	Faults   []Fault       `json:"faults"`
}

// Fault is a tunnel that is down because it has no device. It is tried again.
type Fault struct {
	Tunnel string `json:"tunnel"`
	Why    string `json:"why"`
}

// Reload reads the configuration again and brings what runs in step with it.
// Connections that have not changed keep their devices and SAs and lose no
// packet. A configuration with errors changes nothing.
func (g *Gateway) Reload(ctx context.Context) (Reloaded, error) {
	if g.Load == nil {
		return Reloaded{}, errors.New("this daemon cannot reload")
	}
	// Reading a large file takes a while, so it is done here and not in the
	// loop; one after the other, so that the newest file wins.
	select {
	case g.reloading <- struct{}{}:
		defer func() { <-g.reloading }()
	case <-ctx.Done():
		return Reloaded{}, ctx.Err()
	}
	c, problems := g.Load()
	if c == nil || problems.Refused() {
		return Reloaded{}, &InvalidConfigError{problems}
	}
	for _, p := range problems {
		g.Log.Warn("config: " + p.String())
	}
	if err := conflict(c); err != nil {
		return Reloaded{}, err
	}
	var done Reloaded
	err := g.call(ctx, func() (err error) {
		done, err = g.adopt(c, time.Now())
		return err
	})
	done.Warnings = append(done.Warnings, problems...)
	return done, err
}

// reloadOnHangup reloads for each SIGHUP. There is nobody to answer, so
// problems are logged.
func (g *Gateway) reloadOnHangup() error {
	for {
		select {
		case <-g.io.Done():
			return nil
		case <-g.Hangup:
		}
		_, err := g.Reload(g.io)
		if invalid := (*InvalidConfigError)(nil); errors.As(err, &invalid) {
			for _, p := range invalid.Problems {
				g.Log.Error("config: " + p.String())
			}
		}
		if err != nil && g.io.Err() == nil {
			g.Log.Error("reload failed", "err", err)
		}
	}
}

// adopt makes c the running configuration.
func (g *Gateway) adopt(c *config.Config, now time.Time) (Reloaded, error) {
	if keys := c.Startup.Diff(g.config.Startup); len(keys) > 0 {
		return Reloaded{}, fmt.Errorf("a reload cannot change `%s`: restart the daemon; nothing was changed", strings.Join(keys, "`, `"))
	}
	wanted := wantedOf(c)
	taken := map[string]string{}
	for _, t := range g.tunnels {
		taken[t.tunnel.Name] = t.device
	}
	names, err := deviceNames(wanted, taken)
	if err != nil {
		return Reloaded{}, err
	}

	done := Reloaded{Warnings: diag.Problems{}, Faults: []Fault{}}
	var tunnels, closing []*tunnel
	byName := map[string]*tunnel{}
	for _, w := range wanted {
		t := g.byName[w.tunnel.Name]
		switch {
		case t == nil:
			t = newTunnel(w, names[w.tunnel.Name])
			t.fault = opening
			done.Added++
		case t.same(w):
		case t.device != names[w.tunnel.Name] || t.tunnel.CopyDSCP != w.tunnel.CopyDSCP:
			// A device of its own again: the old one goes like a removed tunnel's.
			closing = append(closing, t)
			held, raised := t.held, t.raised
			t = newTunnel(w, names[w.tunnel.Name])
			t.fault, t.held, t.raised = opening, held, raised
			done.Changed++
		default:
			done.Changed++
		}
		t.wanted, t.stale = w, true
		tunnels, byName[w.tunnel.Name] = append(tunnels, t), t
	}
	for _, t := range g.tunnels {
		if byName[t.tunnel.Name] == nil {
			closing = append(closing, t)
			done.Removed++
		}
	}

	g.config = c
	g.tellUnserved()
	g.tunnels, g.byName = tunnels, byName
	g.see()
	// What goes, goes first: a new tunnel may want its device or its peer.
	g.setPeers(now)
	g.perform()
	for _, t := range closing {
		g.close(t)
	}
	for _, t := range tunnels {
		if t.fault == opening {
			g.open(t, now)
		}
	}
	g.setPeers(now)
	g.perform()
	g.settle(now)
	done.Kept = len(tunnels) - done.Added - done.Changed
	g.Log.Info("reloaded", "added", done.Added, "changed", done.Changed, "removed", done.Removed, "kept", done.Kept)
	for _, t := range tunnels {
		if t.fault != "" {
			done.Faults = append(done.Faults, Fault{t.tunnel.Name, t.fault})
		}
	}
	return done, nil
}

// opening is the fault of a tunnel whose device is about to be made.
const opening = "its device is being made"
