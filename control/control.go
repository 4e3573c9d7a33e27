// Package control is the daemon's face: HTTP with JSON on a Unix socket.
//
//	GET  /v1/status           what `vpngw status --json` prints
//	GET  /v1/counters         what was dropped and refused, by name
//	GET  /v1/version          {"version":"…"}
//	POST /v1/up   {"name":N}  bring a connection or a tunnel up and keep it up
//	POST /v1/down {"name":N}  take it down and hold it down
//	POST /v1/rekey {"name":N} rekey its Child SAs now, with "ike":true its IKE SA
//	POST /v1/reload           read the config file again: what that has changed
//
// A request that succeeds and has nothing to say answers {}. One that fails
// answers {"error":"a sentence"}, a reload with a bad file adds "problems".
//
// Whoever may open the socket (its owner and group: mode 0660) may do all of
// this; there is no other authentication. What comes in is bounded all the same: size of
// body and header, time for each request, number of connections.
package control

import (
	"context"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
)

// DefaultSocket is where the daemon listens when nobody says otherwise.
const DefaultSocket = "/run/vpngw/control.sock"

// Daemon is commanded through the socket: a *gateway.Gateway, with the *desired.State
// that reloads.
type Daemon interface {
	Status(context.Context) (gateway.Status, error)
	Counters(context.Context) (gateway.Counters, error)
	Up(ctx context.Context, name string) error
	Down(ctx context.Context, name string) error
	Rekey(ctx context.Context, name string, ike bool) error
	Reload(context.Context) (desired.Reloaded, error)
}

// Bounds on what a client can ask of the daemon.
const (
	maxBody        = 4 << 10 // a name
	maxHeader      = 8 << 10
	maxConnections = 16
	requestTime    = 10 * time.Second // to read one
	answerTime     = time.Minute      // to work and write; a reload of a large file takes its time
	idleTime       = 30 * time.Second
)

// target is the body of up and down.
type target struct {
	Name string `json:"name"`
}

func (t *target) name() string { return t.Name }

// rekey is the body of rekey.
type rekey struct {
	target
	IKE bool `json:"ike,omitempty"`
}

// Version is the answer to GET /v1/version.
type Version struct {
	Version string `json:"version"`
}

// failure is the answer to a request that failed.
type failure struct {
	Error    string        `json:"error"`
	Problems diag.Problems `json:"problems,omitempty"`
}
