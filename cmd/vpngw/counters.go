package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/gateway"
)

func newCounters(s *settings) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "counters [NAME]",
		Short: "Count what was dropped and refused, by name",
		Long: `Counters counts the packets that were dropped and the messages that were refused since
the daemon started, or those of one connection or tunnel.

  no-sa       packets for a tunnel that is not up
  no-policy   packets that no Child SA's selectors cover
  neighbour   those of them to multicast and link-local addresses, which a kernel sends by itself
  replay      repeated packets
  bad-icv     forged ones
  icv-length  those of a peer that cuts SHA-256 to another length (sha256_96)
  cleartext   packets from a network behind a tunnel that did not come through one

IKE counts messages that no IKE SA got. "ESP, in all" has the packets of the tunnels too.
What is not named was not counted.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw counters
  vpngw counters hq
  vpngw counters --json | jq '.tunnels.hq'`,
		Args: noneOrOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := counters(cmd.Context(), control.NewClient(s.control), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			if err := printDrops(cmd.OutOrStdout(), c); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), totals(c, len(args) > 0))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the counts for programs")
	return cmd
}

// counters asks for the counts of the daemon, or of a connection or tunnel.
func counters(ctx context.Context, client *control.Client, name string) (gateway.Counters, error) {
	c, err := client.Counters(ctx)
	if err != nil || name == "" {
		return c, err
	}
	st, err := client.Status(ctx)
	if err != nil {
		return c, err
	}
	if st, err = named(st, name); err != nil {
		return c, err
	}
	all := c.Tunnels
	c = gateway.Counters{Tunnels: map[string]map[string]uint64{}}
	for _, conn := range st.Connections {
		for _, t := range conn.Tunnels {
			c.Tunnels[t.Name] = all[t.Name]
		}
	}
	return c, nil
}

// totals are the sums; of tunnels alone these of their packets.
func totals(c gateway.Counters, tunnels bool) string {
	sum := func(of ...map[string]uint64) (n uint64) {
		for _, counts := range of {
			for _, k := range counts {
				n += k
			}
		}
		return n
	}
	if tunnels {
		return fmt.Sprintf("packets dropped: %d", sum(slices.Collect(maps.Values(c.Tunnels))...))
	}
	return fmt.Sprintf("packets dropped: %d, of them %d by the kernel; messages refused: %d", sum(c.ESP, c.Host), sum(c.Host), sum(c.IKE))
}

// printDrops prints a table, one line for each counter.
func printDrops(w io.Writer, c gateway.Counters) error {
	table := show.Table{Columns: []show.Column{{Heading: "WHERE", Least: 16}, {Heading: "WHAT", Least: 16}, {Heading: "HOW MANY", Least: 8}}}
	rows := func(where string, counts map[string]uint64) {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			table.Rows = append(table.Rows, []string{where, show.Plain(name), fmt.Sprint(counts[name])})
		}
	}
	rows("IKE", c.IKE)
	rows("ESP, in all", c.ESP)
	rows("this host", c.Host)
	for _, name := range slices.Sorted(maps.Keys(c.Tunnels)) {
		rows("tunnel "+show.Plain(name), c.Tunnels[name])
	}
	return show.Write(w, table.Lines(width(w)))
}

// width is how many columns a table for w may have.
func width(w io.Writer) int { return cmp.Or(columns(w), show.Width) }
