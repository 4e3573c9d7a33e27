package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"vpngw/config"
	"vpngw/config/chosen"
	"vpngw/config/load"
	"vpngw/control"
	"vpngw/control/metrics"
	"vpngw/control/page"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/host"
	"vpngw/store"
)

func newRun(s *settings) *cobra.Command {
	var file, keylog string
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the daemon in the foreground",
		Long: `Run brings the tunnels of the configuration up and keeps them up until SIGTERM or
SIGINT. SIGHUP, like "vpngw reload", reads the file again: a file with errors
changes nothing, and connections that have not changed lose no packet.

It needs root or CAP_NET_ADMIN and CAP_NET_RAW, /dev/net/tun, and UDP ports 500
and 4500, and it is the only vpngw of its network namespace. Run names what is
missing, with the remedy. It changes no sysctl of
other devices. When it ends it removes its devices, addresses and routes; the next
start removes what a killed daemon left behind.

From the first start on, what a tunnel's routes cover goes into the tunnel or is
dropped, and nothing leaves this host in clear: beside each route stands an
unreachable route of a worse metric. It is there before the tunnel first comes up, and
stays when the daemon ends, until "vpngw down", a reload without the connection, or
"vpngw clean" takes it out. "before_up: pass" beside a body does without.

Routes into a tunnel appear when it first comes up; its own address, if it has one,
is there before. They stay while the tunnel is interrupted.

Where this host is the cloud ("side: cloud") and a body leaves a value to the
cloud, such as the pre-shared key, the first start makes the value and keeps it in
the directory of --state. There it also keeps which tunnels "vpngw down" holds, and
what ran before a "vpngw reload --confirm" until that is confirmed: a start before
then, or after the daemon has gone back, runs that and not the file's new text. A
file that was edited since is run.

Under systemd (Type=notify) it reports when it is ready and how many tunnels are up. With
WatchdogSec= it also reports that it is well, while the control loop and every thread that
carries packets takes turns.`,
		Example: `  vpngw run -c /etc/vpngw/vpngw.yaml
  vpngw run -c vpngw.yaml --control /run/lab/control.sock --state /run/lab/state`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), s, file, keylog, cmd.ErrOrStderr())
		},
	}
	fileFlag(cmd, &file)
	cmd.Flags().StringVar(&keylog, "insecure-keylog", "", "append every key to `file`, for Wireshark: anyone who reads it can read the traffic")
	cmd.Flags().MarkHidden("insecure-keylog")
	return cmd
}

func run(ctx context.Context, s *settings, file, keylog string, stderr io.Writer) error {
	log, level, err := s.logger(stderr)
	if err != nil {
		return err
	}
	if err := host.Undumpable(); err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	// The claim comes first: a second daemon must touch nothing, the files of --state included.
	h, err := host.New(host.Config{Log: log})
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Claim(); err != nil {
		return err
	}
	state := desired.New(sourceOf(file, s.state), s.state, log)
	first, problems, err := state.First()
	for _, p := range problems {
		if p.Severity == diag.Warning && !p.Refused {
			log.Warn("config: " + p.String())
		} else {
			fmt.Fprintln(stderr, p)
		}
	}
	if err != nil {
		return err
	}
	if first == nil {
		return fmt.Errorf("%s has errors; nothing was started", file)
	}
	keys, err := openKeyLog(keylog)
	if err != nil {
		return err
	}
	if keys != nil {
		log.Warn("every key is written to a file: anyone who can read it can read the traffic", "file", keylog)
		defer keys.Close()
	}

	holds, err := desired.OpenHolds(s.state)
	if err != nil {
		return err
	}
	l, err := control.Listen(s.control)
	if err != nil {
		return err
	}
	defer l.Close()
	o := gateway.Options{
		Host:    gateway.System{Host: h},
		Log:     log,
		Version: version,
		Holds:   holds,
		Notify: func(state string) {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Debug("cannot tell systemd", "state", state, "err", err)
			}
		},
	}
	if o.Watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("no watchdog", "err", err)
	}
	if keys != nil {
		o.KeyLog = keys
	}
	o.BGP = speaking(h, log, childDir(s.control))
	noticeGuards(log, first.Config, s.state)
	if ring := openEvents(log, s.state, &o); ring != nil {
		defer ring.Close()
	}
	g, err := gateway.New(first.Config, o)
	if err != nil {
		return err
	}
	log.Info("starting", "version", version, "config", file, "control", s.control)
	d := commanded{g, state, metrics.New(source{g, state}, version), level}
	public := control.NewPublic(d, log)
	defer public.Close()
	name, _ := os.Hostname() // without one the page says none
	status := page.New(d, name, "vpngw "+version)
	public.Handle("GET /{$}", status)
	adopted := adopting{g, public, status}
	adopted.show(first.Metrics)
	go status.Run(ctx)
	state.Drive(adopted)
	go state.Run(ctx, hangup)
	server := control.Serve(l, d, version, log)
	defer server.Close()
	if err := g.Run(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// openEvents has o keep events in the directory state. It returns nil if they cannot be kept.
func openEvents(log *slog.Logger, state string, o *gateway.Options) *store.Ring {
	ring, recorded, damage, err := store.Dir(state).OpenRing("events", gateway.KeptEvents)
	if damage != nil {
		log.Warn("events of earlier runs are lost", "err", damage)
	}
	if err != nil {
		log.Warn("events are in memory only: a restart forgets them", "err", err)
		return nil
	}
	o.Record, o.Recorded = ring, recorded
	return ring
}

// commanded is what the control socket commands.
type commanded struct {
	*gateway.Gateway
	*desired.State
	*metrics.Page
	*logLevel
}

// Status and Plan are the State's, which uses the Gateway's.
func (c commanded) Status(ctx context.Context) (desired.Status, error) { return c.State.Status(ctx) }
func (c commanded) Plan(ctx context.Context) (desired.Planned, error)  { return c.State.Plan(ctx) }

// source is where metrics come from.
type source struct {
	*gateway.Gateway
	*desired.State
}

// adopting is the gateway, whose configuration says too where metrics are served.
type adopting struct {
	*gateway.Gateway
	public *control.Public
	page   *page.Page
}

func (a adopting) show(m config.Metrics) {
	a.page.Show(m.Page)
	a.public.Listen(m.Listen)
}

// Adopt adopts a configuration, and serves metrics as it says.
func (a adopting) Adopt(ctx context.Context, c *config.Config) (gateway.Adopted, error) {
	done, err := a.Gateway.Adopt(ctx, c)
	if err == nil {
		a.show(c.Metrics)
	}
	return done, err
}

// AdoptForNow is Adopt.
func (a adopting) AdoptForNow(ctx context.Context, c *config.Config) (gateway.Adopted, error) {
	done, err := a.Gateway.AdoptForNow(ctx, c)
	if err == nil {
		a.show(c.Metrics)
	}
	return done, err
}

// sourceOf is the configuration file as a source. What this host, being the cloud, is to choose is kept in the
// directory state.
func sourceOf(file, state string) desired.Source {
	return desired.Source{
		Trusted: load.Trusted,
		Load:    func() (*desired.Loaded, diag.Problems) { return loadToRun(file, state) },
		Look: func() (*desired.Loaded, diag.Problems) {
			r, problems := readConfig(file)
			return complete(r, problems, state, nil)
		},
		Again: func(text []byte) (*desired.Loaded, diag.Problems) {
			var src load.Source
			if err := json.Unmarshal(text, &src); err != nil {
				return nil, diag.Problems{unusable(state, err)}
			}
			r, problems := src.Load(loadOptions)
			return complete(r, problems, state, rand.Reader)
		},
	}
}

// noticeGuards warns once, at the first start that guards routes.
func noticeGuards(log *slog.Logger, c *config.Config, state string) {
	guarded := slices.ContainsFunc(c.Connections, func(c *config.Connection) bool {
		return slices.ContainsFunc(c.Tunnels, func(t config.Tunnel) bool { return !t.Pass && len(t.Routes) > 0 })
	})
	if !guarded {
		return
	}
	first, err := desired.First(state, "guards")
	if err != nil {
		log.Debug("cannot remember a notice", "err", err)
	}
	if first || err != nil {
		log.Warn("from now on nothing that a tunnel's routes cover leaves in clear: it is dropped before the tunnel is first up, and also after this daemon ends. " +
			"`vpngw down NAME` and `vpngw clean` undo that; `before_up: pass` beside a body lets it pass")
	}
}

// loadToRun loads the configuration and sets the values that this host, being the cloud,
// is to choose. It keeps them in the directory state.
func loadToRun(file, state string) (*desired.Loaded, diag.Problems) {
	r, problems := readConfig(file)
	return complete(r, problems, state, rand.Reader)
}

// complete sets the values that this host is to choose. Without random it chooses none, and leaves out those that are
// not chosen yet.
func complete(r *load.Result, problems diag.Problems, state string, random io.Reader) (*desired.Loaded, diag.Problems) {
	if r == nil {
		return nil, problems
	}
	source := r.Source // r itself is much larger, and is not kept
	l := &desired.Loaded{
		Config: r.Config, Text: func() ([]byte, error) { return json.Marshal(source) },
		Result: func() (*load.Result, diag.Problems) { return source.Load(loadOptions) },
	}
	if problems.Refused() {
		return l, problems
	}
	err := chosen.Fill(r.Drafts, filepath.Join(state, "chosen"), random)
	if err != nil && (random != nil || !errors.Is(err, chosen.ErrNone)) {
		return nil, append(problems, unusable(state, err))
	}
	return l, problems
}

func unusable(state string, err error) diag.Problem {
	return diag.Problem{Severity: diag.Error, Code: "vpngw.state.unusable", File: state, Message: err.Error()}
}

// openKeyLog opens the file of --insecure-keylog. Without a path it returns nil.
func openKeyLog(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--insecure-keylog: %w", err)
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0) {
		err = fmt.Errorf("%s is not a file for its owner alone (mode 0600): remove it, or name another", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("--insecure-keylog: %w", err)
	}
	return f, nil
}
