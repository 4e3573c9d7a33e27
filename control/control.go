// Package control serves and calls the daemon's control interface: HTTP with JSON on a Unix socket.
//
//	GET  /v1/status           what `vpngw status --json` prints
//	GET  /v1/counters         counts of dropped packets and refused messages, by name
//	GET  /v1/events           the last changes of tunnels, the oldest first; ?name=N those of a connection or tunnel,
//	                          &after=NUMBER only later ones, &wait=SECONDS (at most 30) waits for one if there is none yet
//	GET  /v1/diagnosis?name=N what is wrong with a connection or tunnel and this host, and who has to change what
//	GET  /v1/version          {"version":"…"}
//	POST /v1/up   {"name":N}  bring a connection or a tunnel up and keep it up
//	POST /v1/down {"name":N}  take it down and hold it down
//	POST /v1/rekey {"name":N} rekey its Child SAs now, with "ike":true its IKE SA
//	POST /v1/reload           read the config file again; answers what that changed
//
// A successful request without a result answers {}. A failed request answers
// {"error":"a sentence"}, a reload of an invalid file adds "problems".
//
// The kernel says which user a client is (SO_PEERCRED). Root and the user that the daemon
// runs as may send every request. Another user who may open the socket (mode 0660: a member
// of its group) may only look: the GET requests. The server bounds the size of body and
// header, the time for each request and the number of connections.
package control

import (
	"context"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
)

// DefaultSocket is the path of the socket where --control names no other.
const DefaultSocket = "/run/vpngw/control.sock"

// Daemon is commanded through the socket: a *gateway.Gateway, with the *desired.State
// that reloads.
type Daemon interface {
	Status(context.Context) (gateway.Status, error)
	Counters(context.Context) (gateway.Counters, error)
	Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error)
	Diagnose(ctx context.Context, name string) ([]doctor.Diagnosis, error)
	Up(ctx context.Context, name string) error
	Down(ctx context.Context, name string) error
	Rekey(ctx context.Context, name string, ike bool) error
	Reload(context.Context) (desired.Reloaded, error)
}

// Bounds on what a client can ask of the daemon.
const (
	maxBody        = 4 << 10 // a name
	maxHeader      = 8 << 10
	maxConnections = 32               // of users who may command, and again of users who may only look
	requestTime    = 10 * time.Second // for reading a request
	answerTime     = time.Minute      // for executing it and writing the answer; a large file takes long to load
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
