package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/control"
	"vpngw/gateway"
)

func newEvents(s *settings) *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show how tunnels have changed lately, and why",
		Long: `Events shows the last changes of tunnels, the oldest first, or those of one connection
or tunnel: when, how bad it is, what the state was and is, the code of the cause and
its sentence. The daemon keeps the last 1000 since its start.

With --follow it goes on with each new event until it is interrupted or the daemon
ends. With --json each event is a line of JSON.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw events hq
  vpngw events --follow
  vpngw events --json | jq -r 'select(.severity == "error") | .code'`,
		Args: noneOrOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, out := control.NewClient(s.control), cmd.OutOrStdout()
			name := strings.Join(args, "")
			print := printEvent
			if asJSON {
				print = func(w io.Writer, e gateway.Event) error { return json.NewEncoder(w).Encode(e) }
			}
			for last, wait := uint64(0), time.Duration(0); ; wait = eventsWait {
				list, err := client.Events(cmd.Context(), name, last, wait)
				if err != nil {
					return err
				}
				for _, e := range list {
					last = e.Number
					if err := print(out, e); err != nil {
						return err
					}
				}
				if !follow {
					return nil
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new event")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each event")
	return cmd
}

// eventsWait is how long one request waits for an event.
const eventsWait = 20 * time.Second

// printEvent prints an event in a line.
func printEvent(w io.Writer, e gateway.Event) error {
	change := string(e.State)
	if e.Was != e.State && e.Was != "" {
		change = string(e.Was) + " -> " + change
	}
	line := fmt.Sprintf("%s %-7s %s: %s", e.Time.Local().Format(time.RFC3339), e.Severity, plain(e.Tunnel), change)
	if e.Tunnel == "" { // of all the connection's tunnels
		line = fmt.Sprintf("%s %-7s %s: BGP", e.Time.Local().Format(time.RFC3339), e.Severity, plain(e.Connection))
	}
	if e.Code != "" {
		line += fmt.Sprintf(" (%s): %s", e.Code, plain(e.Why))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
