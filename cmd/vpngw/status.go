package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"vpngw/config"
	"vpngw/control"
	"vpngw/desired"
	"vpngw/gateway"
	"vpngw/ipsec"
)

func newStatus(s *settings) *cobra.Command {
	var asJSON, drops bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what every tunnel does, and why one is not up",
		Long: `Status shows one line for each tunnel.

  up          SAs carry every pair of subnets; a packet sent now gets through
  degraded    SAs carry some pairs only, or another route blocks one of ours
  connecting  not up yet; vpngw keeps trying
  waiting     not up yet; the peer has to begin
  down        taken down by "vpngw down", or without a device

A tunnel is degraded too while its health check finds nobody, or BFD has lost the peer. Of two tunnels, the one
without the traffic is marked "(standby)". WHY is the last failure. A line below the table names
each tunnel of which packets can leave in clear, and by which route: the kernel was asked where it
would send them. Others say how a tunnel's BFD and BGP sessions are ("vpngw routes" has what BGP told). IN and OUT count the bytes of inner packets that the present Child SAs have
carried. Algorithms marked "!" are weak.

With --drops it counts what was dropped and refused since the daemon started, by
name: "no-sa" are packets for a tunnel that is not up, "no-policy" packets that
no Child SA's selectors cover, "neighbour" those of them to multicast and link-local
addresses, which a kernel sends by itself, "replay" repeated packets, "bad-icv" forged
ones, "icv-length" those of a peer that cuts SHA-256 to another length (sha256_96).

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, out := control.NewClient(s.control), cmd.OutOrStdout()
			if drops {
				c, err := client.Counters(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(out, c)
				}
				return printDrops(out, c)
			}
			st, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, st)
			}
			return printStatus(out, st, time.Now())
		},
	}
	cmd.Flags().BoolVar(&drops, "drops", false, "show what was dropped and refused instead")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything, for programs")
	return cmd
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printDrops prints a table, one line for each counter.
func printDrops(w io.Writer, c gateway.Counters) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "WHERE\tWHAT\tHOW MANY")
	rows := func(where string, counts map[string]uint64) {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(tw, "%s\t%s\t%d\n", where, name, counts[name])
		}
	}
	rows("IKE", c.IKE)
	rows("ESP, in all", c.ESP)
	rows("this host", c.Host)
	for _, name := range slices.Sorted(maps.Keys(c.Tunnels)) {
		rows("tunnel "+plain(name), c.Tunnels[name])
	}
	return tw.Flush()
}

// printStatus prints a table, one line for each tunnel.
func printStatus(w io.Writer, st desired.Status, now time.Time) error {
	if r := st.Reload; r != nil {
		defer fmt.Fprintln(w, plain(r.Note))
	}
	if len(st.Connections) == 0 {
		fmt.Fprintln(w, "no connection is configured")
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CONNECTION\tTUNNEL\tDEVICE\tSTATE\tSINCE\tPEER\tIKE\tCHILD SAS\tIN\tOUT\tWHY")
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			var in, out uint64
			for _, ch := range t.Children {
				in += ch.BytesIn
				out += ch.BytesOut
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				plain(c.Name), plain(t.Name), plain(t.Device), stateColumn(t), ago(now.Sub(t.Since)), t.Remote,
				ikeColumn(t.IKE), childrenColumn(t.Children), bytes(in), bytes(out), plain(dash(t.Why)))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			if t.BFD != nil {
				fmt.Fprintln(w, bfdLine(t, now))
			}
			if t.Session != nil {
				fmt.Fprintln(w, sessionLine(t, now))
			}
			for _, x := range t.Exposed {
				fmt.Fprintln(w, exposedLine(t.Name, x))
			}
			if t.Leak == gateway.LeakPossible {
				fmt.Fprintf(w, "%s can leak: %s\n", plain(t.Name), plain(t.LeakWhy))
			}
		}
		if len(c.Unserved) > 0 {
			fmt.Fprintf(w, "%s runs without, since it is not served yet: %s\n", plain(c.Name), plain(strings.Join(c.Unserved, ", ")))
		}
	}
	return nil
}

// bfdLine says how the BFD session of a tunnel is.
func bfdLine(t gateway.TunnelStatus, now time.Time) string {
	b := t.BFD
	line := fmt.Sprintf("%s BFD to %s: %s", plain(t.Name), plain(b.Remote), plain(b.State))
	if !b.Since.IsZero() {
		line += " for " + ago(now.Sub(b.Since))
	}
	if b.Interval > 0 {
		line += fmt.Sprintf("; a packet every %g ms", b.Interval)
	}
	if b.Detect > 0 {
		line += fmt.Sprintf(", dead after %g ms without one", b.Detect)
	}
	if b.Discarded > 0 {
		line += fmt.Sprintf("; %d from elsewhere dropped", b.Discarded)
	}
	if b.Why != "" {
		line += "; " + plain(b.Why)
	}
	return line
}

// sessionLine says how the BGP session of a tunnel is.
func sessionLine(t gateway.TunnelStatus, now time.Time) string {
	s := t.Session
	line := fmt.Sprintf("%s BGP to %s (AS %d): %s", plain(t.Name), plain(s.Remote), s.RemoteAS, plain(s.State))
	if !s.Since.IsZero() {
		line += " for " + ago(now.Sub(s.Since))
	}
	if s.Stale {
		line += ", its routes are from before a restart"
	}
	line += fmt.Sprintf("; %d prefixes in, %d out", s.In, s.Out)
	if s.Refused > 0 {
		line += fmt.Sprintf(", %d refused", s.Refused)
		if n := len(s.Reasons); n > 0 {
			line += fmt.Sprintf(" (%s: %s)", plain(s.Reasons[n-1].Prefix), plain(s.Reasons[n-1].Why))
		}
	}
	if s.Hold > 0 {
		line += fmt.Sprintf("; hold %gs", s.Hold)
	}
	if s.Flaps > 0 {
		line += fmt.Sprintf("; ended %d times", s.Flaps)
	}
	if s.Why != "" {
		line += "; last: " + plain(s.Why)
	}
	return line
}

// stateColumn marks the one of two tunnels that does not have the traffic.
func stateColumn(t gateway.TunnelStatus) string {
	if t.Role != string(config.Single) && !t.Active {
		return string(t.State) + " (standby)"
	}
	return string(t.State)
}

func ikeColumn(i *gateway.IKEStatus) string {
	if i == nil {
		return "-"
	}
	v := fmt.Sprintf("v%d", i.Version)
	if i.Mode != "" {
		v += " " + i.Mode
	}
	if i.Mode == "aggressive" { // weak, as `vpngw check` warns
		v += "!"
	}
	return v + " " + i.State + " " + dash(marked(i.Proposal))
}

// childrenColumn is the number of Child SAs, and the algorithms of the newest.
func childrenColumn(cs []gateway.ChildStatus) string {
	if len(cs) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d %s", len(cs), marked(cs[len(cs)-1].Proposal))
}

// marked puts a "!" behind each weak algorithm of a proposal.
func marked(proposal string) string {
	names := strings.Split(proposal, "-")
	for i, n := range names {
		if a := ipsec.ByName(n); a != nil && a.Weak != "" {
			names[i] += "!"
		}
	}
	return strings.Join(names, "-")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ago is a duration in its two largest units.
func ago(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

func bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for ; f >= 999.5 && unit < 5; unit++ {
		f /= 1000
	}
	return fmt.Sprintf("%.3g %cB", f, " kMGTP"[unit])
}

// plain replaces unprintable characters, so that a text from the peer can't move the cursor.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
