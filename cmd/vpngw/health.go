package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/tunnel"
)

func newHealth(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "health [NAME]",
		Short: "Tell by the exit code whether every wanted tunnel is up",
		Long: `Health prints nothing and ends with 0 when every wanted tunnel is up, or every wanted
tunnel of one connection, or one tunnel. Otherwise it ends with 1 and prints a line for
each tunnel that is not up. It ends with 3 when there is no daemon. It is the health
check of the container image.

A tunnel that "vpngw down" holds down is not wanted. One that waits for a packet
(start: onTraffic) counts as up. Of two tunnels both must be up: health asks for what
"vpngw status" calls up, and a standby that is missing is not.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw health || vpngw status        what is not up, and why
  docker inspect -f '{{.State.Health.Status}}' vpngw`,
		Args: noneOrOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := control.NewClient(s.control).Status(cmd.Context())
			if err != nil {
				return err
			}
			if st, err = named(st, strings.Join(args, "")); err != nil {
				return err
			}
			sick := ailing(st, time.Now())
			for _, line := range sick {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			if len(sick) > 0 {
				return errSaid
			}
			return nil
		},
	}
}

// ailing has a line for each wanted tunnel that is not up.
func ailing(st desired.Status, now time.Time) (lines []string) {
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			if t.State == tunnel.Up || t.Code == diag.OperatorDown || t.Code == diag.AwaitsTraffic {
				continue
			}
			line := fmt.Sprintf("%s is %s for %s", show.Plain(t.Name), show.Plain(string(t.State)), show.Ago(now.Sub(t.Since)))
			if t.Why != "" {
				line += ": " + show.Plain(t.Why)
			}
			lines = append(lines, line)
		}
	}
	return lines
}
