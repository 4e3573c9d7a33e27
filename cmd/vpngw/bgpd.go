package main

import (
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"vpngw/bgp"
	"vpngw/host"
)

// newBGPd is the child process that `run` starts for a group of tunnels with BGP.
func newBGPd() *cobra.Command {
	var c bgp.Child
	var router string
	var listen []string
	cmd := &cobra.Command{
		Use:    "bgpd",
		Short:  "Speak BGP for the daemon, which starts this itself",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parent, err := host.BeginChild()
			if err != nil {
				return err
			}
			if c.RouterID, err = netip.ParseAddr(router); err != nil {
				return err
			}
			for _, s := range listen {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return err
				}
				c.Listen = append(c.Listen, a)
			}
			slices.SortFunc(c.Listen, netip.Addr.Compare)
			return c.Serve(parent, cmd.ErrOrStderr(), func() []error { return host.Confine(bgp.Port) })
		},
	}
	cmd.Flags().Uint32Var(&c.ASN, "as", 0, "AS `number` of this end")
	cmd.Flags().StringVar(&router, "router-id", "", "BGP identifier, an IPv4 `address`")
	cmd.Flags().StringSliceVar(&listen, "listen", nil, "`addresses` to listen on")
	cmd.Flags().StringVar(&c.Socket, "socket", "", "`path` of the socket of GoBGP's API")
	return cmd
}
