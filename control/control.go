// Package control serves and calls the daemon's control interface: HTTP with JSON on a Unix socket.
//
//	GET  /v1/status           what `vpngw status --json` prints
//	GET  /v1/counters         counts of dropped packets and refused messages, by name
//	GET  /v1/events           the last changes of tunnels and of the daemon, the oldest first; ?name=N those of a connection or tunnel,
//	                          &after=NUMBER only later ones, &wait=SECONDS (at most 30) waits for one if there is none yet;
//	                          &follow=1 answers a line of JSON for each, these and all to come
//	GET  /v1/diagnosis?name=N what is wrong with a connection or tunnel and this host, and who has to change what
//	GET  /v1/routes           what each tunnel leads to, and whether that is in the kernel; ?name=N that of a connection or tunnel
//	GET  /v1/config           the effective parameters of each tunnel, without keys; ?name=N those of a connection or tunnel
//	GET  /v1/version          {"version":"…"}
//	GET  /metrics             all metrics, as Prometheus has them
//	GET  /v1/log-level        {"level":"info"}, and "until" if it goes back to another then
//	POST /v1/log-level {"level":"debug"} changes it until the daemon ends, with "for_s":600 for so many seconds
//	GET  /v1/openapi.json     this in full, in the words of OpenAPI 3.0
//	POST /v1/up   {"name":N}  bring a connection or a tunnel up and keep it up
//	POST /v1/down {"name":N}  take it down and hold it down
//	POST /v1/failover {"name":N} move its traffic to the standby tunnel and keep it there
//	POST /v1/failback {"name":N} move it back to the active one
//	POST /v1/rekey {"name":N} rekey its Child SAs now, with "ike":true its IKE SA, with "trial":true where
//	                          IKEv2 has them: a refusal is told, and has no other consequence
//	POST /v1/reload           read the config file again; answers what that changed
//	POST /v1/plan             read it, change nothing; answers what a reload would change
//	POST /v1/try?seconds=N    a reload that the daemon goes back on after N seconds (5 to 3600), or at a restart before
//	POST /v1/confirm          keep what a try has adopted
//	POST /v1/keylog {"name":N,"seconds":S} its keys as Wireshark's rows, those of now and each new one: lines of JSON
//	POST /v1/capture {"name":N,"seconds":S} its packets as a pcapng file; "count", "snaplen", "inner", "outer"
//
// The last two answer until their time is over or the client closes its side of the connection; who takes nothing for
// 5 s is cut.
//
// A successful request without a result answers {}. A failed request answers
// {"error":"a sentence"}, a reload of an invalid file adds "problems". A plan and a try have paths of their
// own: a daemon that does not know them must not take them for a reload.
//
// The kernel says which user a client is (SO_PEERCRED). Root and the user that the daemon
// runs as may send every request. Another user who may open the socket (mode 0660: a member
// of its group) may only look: the GET requests. The server bounds the size of body and
// header, the time to send a request and the number of connections. An answer may be of any size and take any time,
// but a client that takes nothing of it for 5 s is cut off.
package control

import (
	"context"
	"io"
	"log/slog"
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
	Status(context.Context) (desired.Status, error)
	Counters(context.Context) (gateway.Counters, error)
	Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error)
	Diagnose(ctx context.Context, name string) ([]doctor.Diagnosis, error)
	Routes(ctx context.Context, name string) ([]gateway.RouteStatus, error)
	Explain(ctx context.Context, name string) (desired.Explained, error)
	Up(ctx context.Context, name string) error
	Down(ctx context.Context, name string) error
	Failover(ctx context.Context, name string) error
	Failback(ctx context.Context, name string) error
	Rekey(ctx context.Context, name string, what gateway.Rekeying) error
	Reload(context.Context) (desired.Reloaded, error)
	Plan(context.Context) (desired.Planned, error)
	Try(ctx context.Context, during time.Duration) (desired.Reloaded, error)
	Confirm(context.Context) error
	LogKeys(ctx context.Context, name string, during time.Duration, take func(gateway.KeyRows) error) error
	Capture(ctx context.Context, r gateway.CaptureRequest, w io.Writer) (gateway.Captured, error)
	Exposer
	LogLevel() LogLevel
	SetLogLevel(level slog.Level, during time.Duration) LogLevel // during 0: until the daemon ends
}

// Bounds on what a client can ask of the daemon.
const (
	maxBody        = 1 << 20
	maxName        = 255 // bytes of a name in a body
	maxHeader      = 8 << 10
	maxConnections = 32               // of users who may command, and again of users who may only look
	requestTime    = 10 * time.Second // for reading a request
	takeTime       = 5 * time.Second  // for taking some of an answer
	answerTime     = time.Minute      // for executing a request and taking the answer, as Client has it; a large file takes long to load
	idleTime       = 30 * time.Second
)

// target is the body of up, down, failover and failback.
type target struct {
	Name string `json:"name"`
}

func (t *target) name() string { return t.Name }

// rekey is the body of rekey.
type rekey struct {
	target
	IKE   bool `json:"ike,omitempty"`
	Trial bool `json:"trial,omitempty"` // a refusal is told, and has no other consequence
}

func (r *rekey) what() gateway.Rekeying {
	switch {
	case r.IKE:
		return gateway.RekeyIKE
	case r.Trial:
		return gateway.TryRekey
	}
	return gateway.RekeyChildren
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
