package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/control"
	"vpngw/doctor"
)

func newDoctor(s *settings) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor NAME",
		Short: "Find out why a tunnel does not do what it should, and what to change",
		Long: `Doctor examines the tunnels of a connection, or one tunnel, and the host: the addresses,
the route to the peer, the packet filter for UDP 500, UDP 4500, ESP and what is forwarded,
NAT, what the negotiation said, which ports the peer answers on, the length of the ICV
(sha256_96), ip_forward, rp_filter, routes and selectors, packets in one direction only,
lifetimes, other programs on the ports, the MTU and the clock. Of each finding it says what
is wrong, and who has to change which parameter, in the words of the connection's body.
The daemon looks; it sends nothing and changes nothing. It needs no DNS, since a
configuration has addresses only.

The exit code is 0 when nothing was found that should be changed, and 1 otherwise.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := control.NewClient(s.control).Diagnose(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), control.Diagnoses{Tunnels: list})
			} else {
				err = printDiagnoses(cmd.OutOrStdout(), list, time.Now())
			}
			for _, d := range list {
				if err == nil && d.Ill() {
					err = errSaid
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings for programs")
	return cmd
}

// printDiagnoses prints each finding in a line, and what to do in a second.
func printDiagnoses(w io.Writer, list []doctor.Diagnosis, now time.Time) error {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s: %s for %s\n", plain(d.Tunnel), d.State, ago(now.Sub(d.Since)))
		for _, f := range d.Findings {
			fmt.Fprintf(&b, "  %s (%s): %s\n", f.Severity, f.Code, plain(f.Why))
			if f.Do != "" {
				fmt.Fprintf(&b, "    %s\n", plain(f.Do))
			}
		}
		if !d.Ill() {
			fmt.Fprintf(&b, "  nothing is wrong; looked at: %s\n", strings.Join(d.Checked, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
