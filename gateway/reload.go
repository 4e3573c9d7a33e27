package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"vpngw/config"
)

// InvalidConfigError is a reload's answer to a file with errors, which changes nothing.
type InvalidConfigError struct{ Problems config.Problems }

func (e *InvalidConfigError) Error() string {
	return "the configuration has errors; nothing was changed"
}

// Reload reads the configuration again and brings what runs in step with it.
// Connections that have not changed keep their devices and SAs and lose no
// packet. A configuration with errors changes nothing.
func (g *Gateway) Reload(ctx context.Context) error {
	if g.Load == nil {
		return errors.New("this daemon cannot reload")
	}
	// Reading a large file takes a while, so it is done here and not in the
	// loop; one after the other, so that the newest file wins.
	select {
	case g.reloading <- struct{}{}:
		defer func() { <-g.reloading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, problems := g.Load()
	if c == nil {
		return &InvalidConfigError{problems}
	}
	for _, p := range problems {
		g.Log.Warn("config: " + p.String())
	}
	if err := conflict(c); err != nil {
		return err
	}
	return g.call(ctx, func() error { return g.adopt(c, time.Now()) })
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
		err := g.Reload(g.io)
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
func (g *Gateway) adopt(c *config.Config, now time.Time) error {
	if !slices.Equal(c.Listen, g.config.Listen) {
		return errors.New("`listen` has changed: the sockets are opened at the start only, so restart the daemon; nothing was changed")
	}
	wanted := wantedOf(c)
	taken := map[string]string{}
	for _, t := range g.tunnels {
		taken[t.tunnel.Name] = t.device
	}
	names, err := deviceNames(wanted, taken)
	if err != nil {
		return err
	}

	var tunnels, closing []*tunnel
	byName := map[string]*tunnel{}
	added, changed := 0, 0
	for _, w := range wanted {
		t := g.byName[w.tunnel.Name]
		switch {
		case t == nil:
			t = newTunnel(w, names[w.tunnel.Name])
			t.fault = opening
			added++
		case t.same(w):
		case t.device != names[w.tunnel.Name] || t.tunnel.CopyDSCP != w.tunnel.CopyDSCP:
			// A device of its own again: the old one goes like a removed tunnel's.
			closing = append(closing, t)
			held := t.held
			t = newTunnel(w, names[w.tunnel.Name])
			t.fault, t.held = opening, held
			changed++
		default:
			changed++
		}
		t.wanted, t.stale = w, true
		tunnels, byName[w.tunnel.Name] = append(tunnels, t), t
	}
	removed := 0
	for _, t := range g.tunnels {
		if byName[t.tunnel.Name] == nil {
			closing = append(closing, t)
			removed++
		}
	}

	// What goes, goes first: a new tunnel may want its device or its peer.
	g.config = c
	g.tunnels, g.byName = tunnels, byName
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
	g.Log.Info("reloaded", "added", added, "changed", changed, "removed", removed, "kept", len(tunnels)-added-changed)
	return nil
}

// opening is the fault of a tunnel whose device is about to be made.
const opening = "its device is being made"
