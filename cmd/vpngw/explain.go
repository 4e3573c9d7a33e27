package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config/explain"
	"vpngw/config/load"
	"vpngw/diag"
)

func newExplain() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain [NAME] -c FILE",
		Short: "Show every effective parameter of each tunnel, and where it comes from",
		Long: `Explain shows what a configuration means: every parameter of each tunnel, or of
the connection or tunnel NAME, with its value, its form in IKE's messages, and
its source:

  given (FILE:LINE)  the line that gives it
  default (PAGE)     the cloud's default, from the page of its API
  ours               vpngw's default

"!" marks what RFC 8247 (IKE) or RFC 8221 (ESP) advises against. Explain never
shows pre-shared keys, touches nothing and needs no daemon.`,
		Example: `  vpngw explain hq -c vpngw.yaml
  vpngw explain -c vpngw.yaml --json | jq -r '.tunnels[].parameters[] | select(.weak != "") | .name'`,
		Args: noneOrOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := trace(cmd, file)
			if err != nil {
				return err
			}
			name := strings.Join(args, "")
			ts := explain.Of(s, name)
			if name != "" && len(ts) == 0 {
				return unknownName(s, name)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string][]explain.Tunnel{"tunnels": ts})
			}
			return printExplain(cmd.OutOrStdout(), ts)
		},
	}
	fileFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"tunnels":[…]}`)
	return cmd
}

// trace loads a file. On an error it has printed the problems.
func trace(cmd *cobra.Command, file string) (*load.Result, error) {
	r, problems := readConfig(file)
	if problems.Failed() {
		for _, p := range problems {
			if p.Severity == diag.Error {
				fmt.Fprintln(cmd.ErrOrStderr(), p)
			}
		}
		return nil, errSaid
	}
	return r, nil
}

func unknownName(s *load.Result, name string) error {
	known := ""
	for _, c := range s.Connections {
		known += " " + c.Name
	}
	if known == "" {
		return fmt.Errorf("no connection is called %q: the file has no connections", name)
	}
	return fmt.Errorf("no connection is called %q; there are:%s", name, known)
}

// printExplain prints a table for each tunnel.
func printExplain(w io.Writer, ts []explain.Tunnel) error {
	for i, t := range ts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s (%s, side %s)\n", t.Name, t.Dialect, t.Side)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  PARAMETER\tVALUE\tON THE WIRE\tSOURCE\tWEAK")
		for _, p := range t.Parameters {
			mark := ""
			if p.Weak != "" {
				mark = "\t! " + p.Weak
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s%s\n", p.Name, show.Plain(p.Value), cmp.Or(show.Plain(p.Wire), "-"), show.Plain(p.From()), mark)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}
