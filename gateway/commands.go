package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// ErrStopped answers every command while the daemon shuts down.
var ErrStopped = errors.New("the daemon is shutting down")

// UnknownNameError is the answer of a command to an unknown name.
type UnknownNameError struct {
	Name  string
	Known []string // names of connections
}

func (e *UnknownNameError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("there is no connection %q: none is configured", e.Name)
	}
	return fmt.Sprintf("there is no connection %q; there is %s", e.Name, sa.Few(e.Known))
}

// call runs f in the control loop.
func (g *Gateway) call(ctx context.Context, f func(now time.Time) error) error {
	done := make(chan error, 1)
	select {
	case g.commands <- func(now time.Time) { done <- f(now) }:
		return <-done
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Up brings a connection, or one tunnel of it, up and keeps it up. A tunnel that only
// responds initiates too from then on. Up returns before the tunnel is up: Status tells.
// An error of Options.Holds does not stop it.
func (g *Gateway) Up(ctx context.Context, name string) error {
	return g.eachNamed(ctx, "up", name, func(now time.Time, e *entry) error {
		g.note(now, e, tunnel.Held{Tunnel: e.tunnel.Name, Held: false})
		if !e.group.Initiates(e.tunnel.Name) {
			g.note(now, e, tunnel.Raised{Tunnel: e.tunnel.Name})
			g.peers.changed(e.peer)
			g.tellPeers(now)
		}
		g.ike.Do(now, sa.Raise{Tunnel: e.tunnel.Name})
		g.speakers.hurry(e.group.name)
		return g.remember(e, false)
	})
}

// Down takes a connection, or one tunnel of it, down and holds it down until Up. An error of
// Options.Holds does not stop it.
func (g *Gateway) Down(ctx context.Context, name string) error {
	return g.eachNamed(ctx, "down", name, func(now time.Time, e *entry) error {
		g.note(now, e, tunnel.Held{Tunnel: e.tunnel.Name, Held: true})
		g.left.due = true
		g.ike.Do(now, sa.Lower{Tunnel: e.tunnel.Name})
		return g.remember(e, true)
	})
}

// remember keeps over a restart that the operator holds a tunnel, or does no more.
func (g *Gateway) remember(e *entry, held bool) error {
	if err := g.Holds.Hold(e.tunnel.Name, held); err != nil {
		return fmt.Errorf("tunnel %s is as you asked, but a restart of the daemon will forget it: %w", e.tunnel.Name, err)
	}
	return nil
}

// Rekeying is what Rekey replaces.
type Rekeying string

const (
	RekeyChildren Rekeying = "rekey the Child SAs" // as their lifetimes would
	RekeyIKE      Rekeying = "rekey the IKE SA"    // that carries them
	// TryRekey is RekeyChildren where IKEv2 has them. A refusal is told as a difference in PFS and has no other consequence.
	TryRekey Rekeying = "try to rekey the Child SAs"
)

// Rekey replaces SAs of a connection, or of one tunnel of it.
func (g *Gateway) Rekey(ctx context.Context, name string, what Rekeying) error {
	return g.eachNamed(ctx, string(what), name, func(now time.Time, e *entry) error {
		if what == RekeyIKE {
			g.ike.Do(now, sa.RekeyIKE{Tunnel: e.tunnel.Name})
		} else {
			g.ike.Do(now, sa.Rekey{Tunnel: e.tunnel.Name, Trial: what == TryRekey})
		}
		return nil
	})
}

// eachNamed applies an operator's command to each tunnel of the connection of
// that name, or to the one tunnel of that name.
func (g *Gateway) eachNamed(ctx context.Context, verb, name string, f func(time.Time, *entry) error) error {
	return g.call(ctx, func(now time.Time) error {
		hit, err := g.fleet.named(name)
		if err != nil {
			return err
		}
		var errs []error
		for _, e := range hit {
			g.Log.Info("operator: "+verb, "conn", e.conn.Name, "tunnel", e.tunnel.Name)
			errs = append(errs, f(now, e))
		}
		// The command takes effect before its answer, so that the next status shows it.
		g.perform(now)
		for _, e := range hit {
			g.decide(now, e.group)
		}
		g.tellPeers(now)
		g.perform(now)
		return errors.Join(errs...)
	})
}
