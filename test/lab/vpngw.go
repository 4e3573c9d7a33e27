package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Vpngw is a running vpngw daemon.
type Vpngw struct {
	*Process
	Control string // its control socket
	Config  string // its configuration file

	ns    *Namespace
	state string
	args  []string
}

// Vpngw starts the daemon in the namespace; args are additional arguments of
// `vpngw run`. It returns when the daemon answers on its control socket.
func (n *Namespace) Vpngw(c Config, args ...string) *Vpngw {
	n.lab.Helper()
	return n.vpngw(c.write(n.lab, n.role), args...)
}

func (n *Namespace) vpngw(config string, args ...string) *Vpngw {
	n.lab.Helper()
	v := &Vpngw{ns: n, args: args, Control: filepath.Join(n.lab.Dir, n.role+".sock"), state: filepath.Join(n.lab.Dir, n.role+"-state")}
	if err := os.MkdirAll(v.state, 0o700); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	v.Config = config
	v.Restart()
	return v
}

// VpngwText starts the daemon with a configuration as text.
func (n *Namespace) VpngwText(config string, args ...string) *Vpngw {
	n.lab.Helper()
	return n.vpngw(n.lab.File(n.role+".yaml", config), args...)
}

// Restart starts the daemon again. It kills the daemon first if it still runs.
func (v *Vpngw) Restart() {
	v.ns.lab.Helper()
	if v.Process != nil {
		v.Kill()
	}
	v.Process = v.ns.Start("vpngw", v.ns.lab.Binary(), append([]string{
		"run", "-c", v.Config, "--control", v.Control, "--state", v.state, "--log-level", "debug",
	}, v.args...)...)
	v.ns.lab.Await(Patience, v.Name+" answers on its control socket", func() (bool, string) {
		v.mustRun()
		out, err := v.Try("status", "--json")
		return err == nil, out
	})
}

// Host is the namespace that the daemon runs in.
func (v *Vpngw) Host() *Namespace { return v.ns }

// Try runs a vpngw command for this daemon and returns its output and error.
func (v *Vpngw) Try(args ...string) (string, error) {
	out, err := exec.Command(v.ns.lab.Binary(), append(args, "--control", v.Control)...).CombinedOutput()
	return string(out), err
}

// Command runs a vpngw command for this daemon and returns its output. It fails
// the test when the command fails.
func (v *Vpngw) Command(args ...string) string {
	v.ns.lab.Helper()
	out, err := v.Try(args...)
	if err != nil {
		v.ns.lab.Fatalf("vpngw %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Reload replaces the configuration and has the daemon load it.
func (v *Vpngw) Reload(c Config) {
	v.ns.lab.Helper()
	v.Write(c)
	v.Command("reload")
}

// Write replaces the configuration, of which the daemon hears nothing yet.
func (v *Vpngw) Write(c Config) {
	v.ns.lab.Helper()
	c.write(v.ns.lab, v.ns.role)
}

// Status is the output of `vpngw status --json`. It follows the documentation.
type Status struct {
	Connections []ConnectionStatus `json:"connections"`
	Obstacles   []Obstacle         `json:"obstacles"`
	Reload      *struct {
		State string    `json:"state"` // unconfirmed, gone-back
		Until time.Time `json:"until"`
		Note  string    `json:"note"`
	} `json:"reload"`
}

// Obstacle is what of the host is in the way.
type Obstacle struct {
	Code string `json:"code"`
	Why  string `json:"why"`
}

// ConnectionStatus is one connection's part of a Status.
type ConnectionStatus struct {
	Name    string         `json:"name"`
	Dialect string         `json:"dialect"`
	Side    string         `json:"side"`
	Tunnels []TunnelStatus `json:"tunnels"`
}

// TunnelStatus is one tunnel's part of a Status.
type TunnelStatus struct {
	Name   string    `json:"name"`
	Role   string    `json:"role"`
	Active bool      `json:"active"`
	State  string    `json:"state"` // up, degraded, connecting, waiting, down
	Since  time.Time `json:"since"`
	Why    string    `json:"why"`
	Code   string    `json:"code"`
	Device string    `json:"device"`
	Local  string    `json:"local"`
	Remote string    `json:"remote"`
	IKE    *struct {
		Version  int    `json:"version"`
		Mode     string `json:"mode"`
		State    string `json:"state"`
		Proposal string `json:"proposal"`
		NAT      string `json:"nat"`
		Encap    bool   `json:"encap"`
		SPIi     string `json:"spi_i"`
		SPIr     string `json:"spi_r"`
	} `json:"ike"`
	Children  []ChildStatus `json:"children"`
	RemoteNth int           `json:"remote_nth"`
	RemoteOf  int           `json:"remote_of"`
	Obstacles []Obstacle    `json:"obstacles"`
	Leak      string        `json:"leak"`
	LeakWhy   string        `json:"leak_why"`
	Health    *HealthStatus `json:"health"` // nil: this end does not ping
	BFD       *BFDStatus    `json:"bfd"`    // nil: no BFD
	Session   *struct {
		State string `json:"state"`
		Flaps int    `json:"flaps"` // how often it has ended
	} `json:"session"` // nil: no BGP
}

// BFDStatus is BFD's part of a Status.
type BFDStatus struct {
	State     string    `json:"state"` // rests, down, init, up
	Since     time.Time `json:"since"`
	Interval  float64   `json:"interval_ms"`
	Detect    float64   `json:"detect_ms"`
	Discarded int       `json:"discarded"`
	Why       string    `json:"why"`
}

// HealthStatus is the health check's part of a Status.
type HealthStatus struct {
	State                string `json:"state"` // unknown, healthy, ill
	Source, Target       string
	Sent, Answered, Lost int
	RTTLast              float64 `json:"rtt_last_ms"`
	RTTMin               float64 `json:"rtt_min_ms"`
	RTTAvg               float64 `json:"rtt_avg_ms"`
}

// ChildStatus is one Child SA's part of a Status.
type ChildStatus struct {
	SPIIn      string            `json:"spi_in"`
	SPIOut     string            `json:"spi_out"`
	Proposal   string            `json:"proposal"`
	LocalTS    []string          `json:"local_ts"`
	RemoteTS   []string          `json:"remote_ts"`
	BytesIn    uint64            `json:"bytes_in"`
	BytesOut   uint64            `json:"bytes_out"`
	PacketsIn  uint64            `json:"packets_in"`
	PacketsOut uint64            `json:"packets_out"`
	Drops      map[string]uint64 `json:"drops"`
}

// Status asks the daemon for its status.
func (v *Vpngw) Status() Status {
	v.ns.lab.Helper()
	s, err := v.status()
	if err != nil {
		v.ns.lab.Fatalf("%s: status: %v", v.Name, err)
	}
	return s
}

func (v *Vpngw) status() (s Status, err error) {
	out, err := exec.Command(v.ns.lab.Binary(), "status", "--json", "--control", v.Control).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// Tunnel is the status of one tunnel.
func (v *Vpngw) Tunnel(name string) TunnelStatus {
	v.ns.lab.Helper()
	t := find(v.Status(), name)
	if t == nil {
		v.ns.lab.Fatalf("%s has no tunnel %s: %+v", v.Name, name, v.Status())
	}
	return *t
}

func find(s Status, tunnel string) *TunnelStatus {
	for _, c := range s.Connections {
		for i := range c.Tunnels {
			if c.Tunnels[i].Name == tunnel {
				return &c.Tunnels[i]
			}
		}
	}
	return nil
}

// AwaitState waits until a tunnel has a state, and returns its status then.
func (v *Vpngw) AwaitState(tunnel, state string, within time.Duration) TunnelStatus {
	v.ns.lab.Helper()
	var got TunnelStatus
	v.await(tunnel, within, "is "+state, func(t TunnelStatus) bool {
		got = t
		return t.State == state
	})
	return got
}

// AwaitUp waits until a tunnel is up.
func (v *Vpngw) AwaitUp(tunnel string) TunnelStatus {
	v.ns.lab.Helper()
	return v.AwaitState(tunnel, "up", Patience)
}

// AwaitWhy waits until a tunnel's `why` contains the texts, in any case of
// letters, and returns the status then.
func (v *Vpngw) AwaitWhy(tunnel string, texts ...string) TunnelStatus {
	v.ns.lab.Helper()
	var got TunnelStatus
	v.await(tunnel, Patience, fmt.Sprintf("says why: %q", texts), func(t TunnelStatus) bool {
		got = t
		return !slices.ContainsFunc(texts, func(text string) bool {
			return !strings.Contains(strings.ToLower(t.Why), strings.ToLower(text))
		})
	})
	return got
}

func (v *Vpngw) await(tunnel string, within time.Duration, what string, cond func(TunnelStatus) bool) {
	v.ns.lab.Helper()
	v.ns.lab.Await(within, v.Name+": tunnel "+tunnel+" "+what, func() (bool, string) {
		s, err := v.status()
		if err != nil {
			return false, err.Error()
		}
		t := find(s, tunnel)
		if t == nil {
			return false, "there is no such tunnel"
		}
		return cond(*t), fmt.Sprintf("%s: %s", t.State, t.Why)
	})
}
