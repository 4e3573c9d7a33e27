package main

import (
	"github.com/spf13/cobra"

	"vpngw/control"
	"vpngw/gateway"
)

func newUp(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "up NAME",
		Short: "Bring a connection up and keep it up",
		Long: `Up brings a connection, or one tunnel of it, up and keeps it up. It undoes
"vpngw down". A connection that only answers initiates from then on, until a
restart of the daemon. A BGP process that pauses because it ended too often starts
at once. Up does not wait until the tunnel is up: see "vpngw status".
It needs root, or the user that the daemon runs as.`,
		Example: `  vpngw up hq`,
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return control.NewClient(s.control).Up(cmd.Context(), args[0])
		},
	}
}

func newDown(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "down NAME",
		Short: "Take a connection down and hold it down",
		Long: `Down takes a connection, or one tunnel of it, down: vpngw tells the peer, removes
the routes and refuses the peer's attempts. Packets for the networks behind it then go
where this host's other routes lead. The tunnel stays down until "vpngw up":
neither a reload nor a restart of the daemon changes that, for it is kept in the
directory of --state. It needs root, or the user that the daemon runs as.`,
		Example: `  vpngw down hq
  vpngw down hq-2        of two tunnels, the second`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return control.NewClient(s.control).Down(cmd.Context(), args[0])
		},
	}
}

func newRekey(s *settings) *cobra.Command {
	var ike bool
	cmd := &cobra.Command{
		Use:   "rekey NAME",
		Short: "Replace the keys of a connection now",
		Long: `Rekey starts a rekey of the Child SAs of a connection, or of one tunnel of it, as
the end of their lifetime would. It does not wait for the new SAs: "vpngw events" tells of
them. In operation lifetimes start rekeys, so this is for the search for a fault.
It needs root, or the user that the daemon runs as.`,
		Example: `  vpngw rekey hq
  vpngw rekey --ike hq`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			what := gateway.RekeyChildren
			if ike {
				what = gateway.RekeyIKE
			}
			return control.NewClient(s.control).Rekey(cmd.Context(), args[0], what)
		},
	}
	cmd.Flags().BoolVar(&ike, "ike", false, "rekey the IKE SA instead")
	return cmd
}
