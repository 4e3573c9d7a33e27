package main

import (
	"github.com/spf13/cobra"

	"vpngw/control"
)

func newFailover(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "failover NAME",
		Short: "Move the traffic to the standby tunnel",
		Long: `Failover moves the traffic of a connection with two tunnels, or of the pair that the
connection is of, to the standby tunnel, and keeps it there until "vpngw failback" or a
restart of the daemon. Both tunnels stay up. While the standby is not well, the active
tunnel has the traffic. If the standby cannot take it now, nothing changes, and the exit
code is 1. With "balance: true" there is no standby, and failover is refused. It needs
root, or the user that the daemon runs as.`,
		Example: `  vpngw failover hq`,
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return control.NewClient(s.control).Failover(cmd.Context(), args[0])
		},
	}
}

func newFailback(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "failback NAME",
		Short: "Move the traffic back to the active tunnel",
		Long: `Failback moves the traffic of a connection with two tunnels, or of the pair that the
connection is of, back to the active tunnel at once, and undoes "vpngw failover". With
"switch_back: manual" it is the only way back. If the active tunnel cannot take the
traffic now, the exit code is 1: with "switch_back: auto" the traffic goes back when the
tunnel has been well for a while. With "balance: true" a tunnel that left shares the
traffic again at once. It needs root, or the user that the daemon runs as.`,
		Example: `  vpngw failback hq`,
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return control.NewClient(s.control).Failback(cmd.Context(), args[0])
		},
	}
}
