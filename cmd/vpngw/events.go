package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/diag"
	"vpngw/gateway"
)

func newEvents(s *settings) *cobra.Command {
	var f eventFilter
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show how tunnels and the daemon have changed lately, and why",
		Long: `Events shows the last changes of tunnels, connections and the daemon itself, the
oldest first, or those of one connection or tunnel: when, how bad it is, what the
state was and is, the code of the cause and its sentence. The daemon keeps the last
10000, over restarts too, in the directory of its --state.

With --follow it goes on with each new event until it is interrupted. When the daemon
ends it waits for the next one, and goes on where it was. With --json each event is a
line of JSON; "who" and "change" say who has to change which parameter. Under systemd
each event is in the journal as well, so "journalctl CODE=psk-mismatch" finds it.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw events hq --since 1h                what befell the connection "hq" in the last hour
  vpngw events -f --severity warning        what goes wrong from now on, and what did
  vpngw events -n 20 --json | jq -r .code   the codes of the last 20`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return noneOrOneName(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, out := control.NewClient(s.control), cmd.OutOrStdout()
			name := strings.Join(args, "")
			print := func(e gateway.Event) error { return printEvent(out, e) }
			if asJSON {
				print = func(e gateway.Event) error { return json.NewEncoder(out).Encode(e) }
			}
			list, err := client.Events(cmd.Context(), name, 0, 0)
			if err != nil {
				return err
			}
			last := uint64(0)
			if len(list) > 0 {
				last = list[len(list)-1].Number
			}
			for _, e := range f.of(time.Now(), list) {
				if err := print(e); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			return followEvents(cmd.Context(), client, cmd.ErrOrStderr(), name, last, func(e gateway.Event) error {
				if !f.severe(e) {
					return nil
				}
				return print(e)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new event")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each event")
	cmd.Flags().DurationVar(&f.since, "since", 0, "leave out what is older than this `time`, such as 30m or 12h")
	cmd.Flags().IntVarP(&f.last, "lines", "n", 0, "show only the last `number` of them")
	cmd.Flags().StringVar(&f.severity, "severity", "", "leave out what is less severe than this `severity`: info, warning or error")
	return cmd
}

// eventFilter says which events are shown.
type eventFilter struct {
	since    time.Duration // 0: all
	last     int           // 0: all
	severity string        // the least; empty: all
}

// severities are those of events, the least first.
var severities = []string{string(diag.Info), string(diag.Warning), string(diag.Error)}

func (f *eventFilter) check() error {
	switch {
	case f.severity != "" && !slices.Contains(severities, f.severity):
		return &usageError{fmt.Errorf("--severity is %q; it can be info, warning or error", f.severity)}
	case f.since < 0:
		return &usageError{fmt.Errorf("--since is %v; it is a time such as 1h, counted back from now", f.since)}
	case f.last < 0:
		return &usageError{fmt.Errorf("-n is %d; it is how many events are shown", f.last)}
	}
	return nil
}

// severe reports whether an event is severe enough.
func (f *eventFilter) severe(e gateway.Event) bool {
	return slices.Index(severities, string(e.Severity)) >= slices.Index(severities, f.severity)
}

func (f *eventFilter) of(now time.Time, list []gateway.Event) []gateway.Event {
	list = slices.DeleteFunc(list, func(e gateway.Event) bool {
		return f.since > 0 && now.Sub(e.Time) > f.since || !f.severe(e)
	})
	if f.last > 0 {
		list = list[max(0, len(list)-f.last):]
	}
	return list
}

// followPause is the time between two tries to reach a daemon that has ended.
const followPause = 300 * time.Millisecond

// followEvents prints each event after that of a number, over restarts of the daemon, until ctx ends.
func followEvents(ctx context.Context, client *control.Client, stderr io.Writer, name string, last uint64, print func(gateway.Event) error) error {
	said := false
	for {
		err := client.Follow(ctx, name, last, func(e gateway.Event) error {
			said, last = false, e.Number
			return print(e)
		})
		if !errors.Is(err, control.ErrUnreachable) || ctx.Err() != nil {
			return err
		}
		again := time.After(followPause)
		if _, err := client.Version(ctx); err != nil && !said {
			said = true
			fmt.Fprintln(stderr, "vpngw: the daemon has ended; waiting for the next one")
		}
		select {
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printEvent prints an event in a line.
func printEvent(w io.Writer, e gateway.Event) error {
	line := fmt.Sprintf("%s %-7s ", e.Time.Local().Format(time.RFC3339), e.Severity)
	switch {
	case e.Tunnel != "" && e.Was != e.State && e.Was != "":
		line += fmt.Sprintf("%s: %s -> %s", show.Plain(e.Tunnel), e.Was, e.State)
	case e.Tunnel != "":
		line += fmt.Sprintf("%s: %s", show.Plain(e.Tunnel), e.State)
	case e.Connection != "": // of all the connection's tunnels
		line += show.Plain(e.Connection) + ": BGP"
	default:
		line += "vpngw"
	}
	if e.Code != "" {
		line += fmt.Sprintf(" (%s): %s", e.Code, show.Plain(e.Why))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
