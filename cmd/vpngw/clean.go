package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"vpngw/host"
)

func newClean(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove what a stopped daemon left in the kernel",
		Long: `Clean removes everything of vpngw from this network namespace: the unreachable routes
that stay when the daemon ends, so that nothing leaves in clear, with the rules that
lead to them, and the devices, routes and rules of a daemon that was killed. Then
packets for the networks behind the tunnels go where this host's other routes lead.

The daemon must not run: "vpngw down NAME" takes out what one tunnel has. Clean needs
root or CAP_NET_ADMIN.`,
		Example: `  systemctl stop vpngw && vpngw clean`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, _, err := s.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			h, err := host.New(host.Config{Log: log})
			if err != nil {
				return err
			}
			defer h.Close()
			err = h.Clean()
			claimed := (*host.ClaimedError)(nil)
			switch {
			case errors.As(err, &claimed):
				return fmt.Errorf("%s runs here, and nothing was removed; stop it first, or take out what one tunnel has with `vpngw down NAME`", claimed.Holder)
			case errors.Is(err, fs.ErrPermission):
				return errors.New("the kernel refuses to remove routes; run as root, or with CAP_NET_ADMIN")
			case err != nil:
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing of vpngw is left in the kernel")
			return err
		},
	}
}
