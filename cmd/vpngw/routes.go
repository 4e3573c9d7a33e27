package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/gateway"
)

func newRoutes(s *settings) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "routes [NAME]",
		Short: "Show where each route comes from, and whether it is in the kernel",
		Long: `Routes shows what each tunnel leads to, or each tunnel of one connection, or one tunnel.

FROM is "static" (the configuration), "bgp" (the peer tells it) or "inside" (the addresses
in the tunnel). "-" is a prefix that the peer told in an earlier session: it has no route,
but its packets do not leave in clear until the peer is heard and no longer tells it.

KERNEL is "yes"; "other" where another tunnel of the connection has the route; "blocked"
where packets to the prefix leave by no device; else "no". WHY says what keeps it out.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw routes
  vpngw routes hq
  vpngw routes --json | jq -r '.routes[] | select(.installed | not) | .prefix'`,
		Args: noneOrOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := control.NewClient(s.control).Routes(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), control.Routes{Routes: list})
			}
			return printRoutes(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything, for programs")
	return cmd
}

// printRoutes prints a table, one line for each prefix of each tunnel. A reason that has no room there has a line of its own.
func printRoutes(w io.Writer, list []gateway.RouteStatus) error {
	table := show.Table{Columns: []show.Column{
		{Heading: "TUNNEL", Least: 12, Middle: true},
		{Heading: "PREFIX", Least: 18},
		{Heading: "FROM", Least: 10},
		{Heading: "DEVICE", Least: 6},
		{Heading: "METRIC", Least: 6},
		{Heading: "KERNEL", Least: 7},
	}}
	whys := []string{"WHY"}
	for _, r := range list {
		kernel, why := "no", r.Why
		switch {
		case r.Installed:
			kernel = "yes"
		case r.Other != "":
			kernel, why = "other", "tunnel "+r.Other+" has it"
		case r.Guarded:
			kernel = "blocked"
		}
		table.Rows = append(table.Rows, []string{show.Plain(r.Tunnel), show.Plain(r.Prefix), cmp.Or(show.Plain(strings.Join(r.Sources, "+")), "-"), show.Plain(r.Device), fmt.Sprint(r.Metric), kernel})
		whys = append(whys, cmp.Or(show.Plain(why), "-"))
	}
	limit := width(w)
	return show.Write(w, table.With(whys, limit))
}
