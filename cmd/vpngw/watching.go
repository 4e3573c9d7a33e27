package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/watch"
	"vpngw/control"
)

// watchStatus shows the tunnels in place until the user quits.
func watchStatus(cmd *cobra.Command, client *control.Client, filter string, color bool) error {
	if !terminal(os.Stdin) || !terminal(cmd.OutOrStdout()) {
		return &usageError{errors.New("--watch needs a terminal as standard input and output; without it status prints once")}
	}
	// The first answer comes before the screen is taken, so that what is wrong with the socket stays to be read.
	if _, err := client.Version(cmd.Context()); err != nil {
		return err
	}
	return watch.Run(cmd.Context(), client, watch.Options{Filter: filter, Color: color})
}
