package gateway

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// Exposure is what of a tunnel leaves the daemon on an explicit command, for somebody who looks for a mistake.
type Exposure string

const (
	Keys    Exposure = "keys"
	Packets Exposure = "packets"
)

// MaxExposed bounds the key logs, and again the tunnels that are captured.
const MaxExposed = 4

// BusyError is the answer to a key log or a capture too many.
type BusyError struct{ Text string }

func (e *BusyError) Error() string { return e.Text }

// exposed are the key logs and captures. Nothing of them outlives the daemon. The control loop owns it.
type exposed struct{ list []*exposure }

type exposure struct {
	what    Exposure
	tunnels []string
	until   time.Time
	rows    *keyRows // of a key log
}

func (x *exposed) count(what Exposure, each func(*exposure) int) (n int) {
	for _, e := range x.list {
		if e.what == what {
			n += each(e)
		}
	}
	return n
}

// admit says why there is no room for one more, or nil.
func (x *exposed) admit(what Exposure, names []string) error {
	if what == Keys {
		if x.count(what, func(*exposure) int { return 1 }) == MaxExposed {
			return &BusyError{Text: fmt.Sprintf("%d `vpngw keylog` run already; end one of them first", MaxExposed)}
		}
		return nil
	}
	for _, e := range x.list {
		for _, name := range names {
			if e.what == what && slices.Contains(e.tunnels, name) {
				return &BusyError{Text: fmt.Sprintf("tunnel %s is captured already, until %s; end that `vpngw capture` first", name, e.until.Format(time.TimeOnly))}
			}
		}
	}
	if n := x.count(what, func(e *exposure) int { return len(e.tunnels) }); n+len(names) > MaxExposed {
		return &BusyError{Text: fmt.Sprintf("%d tunnels are captured already, and there can be %d; name one tunnel, or end a `vpngw capture` first", n, MaxExposed)}
	}
	return nil
}

// status lists what of a tunnel is exposed. always: all keys are, as long as the daemon runs.
func (x *exposed) status(tunnel string, always bool) []ExposureStatus {
	var out []ExposureStatus
	if always {
		out = append(out, ExposureStatus{What: Keys})
	}
	for _, e := range x.list {
		if slices.Contains(e.tunnels, tunnel) {
			until := e.until.UTC().Round(0)
			out = append(out, ExposureStatus{e.what, &until})
		}
	}
	return out
}

// expose begins a key log or a capture of the tunnels of a name. It runs in the control loop.
func (g *Gateway) expose(now time.Time, what Exposure, name string, during time.Duration) (*exposure, []*entry, error) {
	hit, err := g.fleet.named(name)
	if err != nil {
		return nil, nil, err
	}
	x := &exposure{what: what, until: now.Add(during)}
	for _, e := range hit {
		x.tunnels = append(x.tunnels, e.tunnel.Name)
	}
	if err := g.exposed.admit(what, x.tunnels); err != nil {
		return nil, nil, err
	}
	g.exposed.list = append(g.exposed.list, x)
	code := diag.KeysExposed
	if what == Packets {
		code = diag.PacketsExposed
	}
	g.tellExposed(now, x, diag.Cause{Code: code, After: during})
	return x, hit, nil
}

// conceal ends a key log or a capture.
func (g *Gateway) conceal(x *exposure) {
	g.call(context.Background(), func(now time.Time) error {
		g.exposed.list = slices.DeleteFunc(g.exposed.list, func(o *exposure) bool { return o == x })
		command := "keylog"
		if x.what == Packets {
			command = "capture"
		}
		g.tellExposed(now, x, diag.Cause{Code: diag.ExposureEnded, Name: command})
		return nil
	})
}

// tellExposed makes an event and a line of the log of each tunnel that still exists.
func (g *Gateway) tellExposed(now time.Time, x *exposure, why diag.Cause) {
	for _, name := range x.tunnels {
		e := g.fleet.byName[name]
		if e == nil {
			continue
		}
		state := e.status().State
		g.events.add(eventOf(now, e, tunnel.Changed{Conn: e.conn.Name, Tunnel: name, Was: state, State: state, Cause: why}))
		log := g.Log.With("conn", e.conn.Name, "tunnel", name, "code", why.Code)
		if why.Severity() == diag.Warning {
			log.Warn(why.String())
		} else {
			log.Info(why.String())
		}
	}
}

// exposesKeys reports whether keys are written down anywhere.
func (g *Gateway) exposesKeys() bool {
	return g.KeyLog != nil || slices.ContainsFunc(g.exposed.list, func(x *exposure) bool { return x.rows != nil })
}

// keyLog is ike.Config's KeyLog: nowhere, but for a key log of one of these tunnels, or of all.
func (g *Gateway) keyLog(table sa.KeyTable, tunnels ...string) io.Writer {
	var to []io.Writer
	if g.KeyLog != nil {
		to = append(to, g.KeyLog)
	}
	for _, x := range g.exposed.list {
		if x.rows != nil && slices.ContainsFunc(tunnels, func(t string) bool { return slices.Contains(x.tunnels, t) }) {
			to = append(to, tableWriter{x.rows, table})
		}
	}
	switch len(to) {
	case 0:
		return nil
	case 1:
		return to[0]
	}
	return io.MultiWriter(to...)
}
