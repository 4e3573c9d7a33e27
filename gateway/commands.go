package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpngw/ike/sa"
)

// ErrStopped is what commands get when the daemon is on its way out.
var ErrStopped = errors.New("the daemon is shutting down")

// UnknownNameError is what Up, Down and Rekey answer to a name that nothing has.
type UnknownNameError struct {
	Name  string
	Known []string // names of connections
}

func (e *UnknownNameError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("there is no connection %q: none is configured", e.Name)
	}
	return fmt.Sprintf("there is no connection %q; there is %s", e.Name, list(e.Known))
}

// call runs f in the control loop.
func (g *Gateway) call(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case g.commands <- func(time.Time) { done <- f() }:
		return <-done
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Up brings a connection, or one tunnel of it, up and keeps it up. One that only
// answers begins too from then on. It does not wait until it is up: Status tells.
func (g *Gateway) Up(ctx context.Context, name string) error {
	return g.eachNamed(ctx, name, func(t *tunnel) {
		g.Log.Info("up", "conn", t.conn.Name, "tunnel", t.tunnel.Name)
		t.held = false
		now := time.Now()
		if !t.initiates() {
			t.raised = true
			g.setPeers(now)
		}
		g.ike.Do(now, sa.Raise{Tunnel: t.tunnel.Name})
	})
}

// Down takes a connection, or one tunnel of it, down and holds it down until Up
// or a restart of the daemon.
func (g *Gateway) Down(ctx context.Context, name string) error {
	return g.eachNamed(ctx, name, func(t *tunnel) {
		g.Log.Info("down", "conn", t.conn.Name, "tunnel", t.tunnel.Name)
		t.held = true
		g.ike.Do(time.Now(), sa.Lower{Tunnel: t.tunnel.Name})
	})
}

// Rekey replaces the Child SAs of a connection, or of one tunnel of it, as their
// lifetimes would; with ike, the IKE SA that carries them instead.
func (g *Gateway) Rekey(ctx context.Context, name string, ike bool) error {
	return g.eachNamed(ctx, name, func(t *tunnel) {
		g.Log.Info("rekey", "conn", t.conn.Name, "tunnel", t.tunnel.Name, "ike", ike)
		if ike {
			g.ike.Do(time.Now(), sa.RekeyIKE{Tunnel: t.tunnel.Name})
		} else {
			g.ike.Do(time.Now(), sa.Rekey{Tunnel: t.tunnel.Name})
		}
	})
}

// eachNamed runs f for the tunnels of a connection, or for the tunnel of that name.
func (g *Gateway) eachNamed(ctx context.Context, name string, f func(*tunnel)) error {
	return g.call(ctx, func() error {
		var hit []*tunnel
		var known []string
		for _, t := range g.tunnels {
			if t.conn.Name == name {
				hit = append(hit, t)
			}
			if !slices.Contains(known, t.conn.Name) {
				known = append(known, t.conn.Name)
			}
		}
		if t := g.byName[name]; len(hit) == 0 && t != nil {
			hit = append(hit, t)
		}
		if len(hit) == 0 {
			return &UnknownNameError{name, known}
		}
		for _, t := range hit {
			f(t)
		}
		// The answer comes after the deed: status asked next shows it.
		g.perform()
		g.settle(time.Now())
		return nil
	})
}
