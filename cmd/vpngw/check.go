package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config"
	"vpngw/config/load"
	"vpngw/diag"
	"vpngw/ipsec"
)

func newCheck() *cobra.Command {
	var file string
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a configuration file; touch nothing",
		Long: `Check reads the configuration as "vpngw run" would and names every problem at
once, each with file, line and column. It needs no daemon, and root only where
the files are root's.

A file that others could change is an error: the configuration, and each body and
key that it names, must belong to root or to the user that runs this command, be
writable by no other user and group, and lie in no directory that everybody may
write to, unless it is sticky.

Errors keep the daemon from starting and a reload from taking effect: exit code
1. Warnings do not: exit code 0, or 1 with --strict. Warnings that say "run
refuses this" are about a body that is valid for the cloud and cannot run here as
it stands, such as one without the key that the cloud chose.`,
		Example: `  vpngw check -c vpngw.yaml
  vpngw check -c vpngw.yaml --json | jq '.problems[] | select(.severity == "error")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, problems := readConfig(file)
			if asJSON {
				if err := problems.WriteJSON(cmd.OutOrStdout()); err != nil {
					return err
				}
			} else {
				printCheck(cmd.OutOrStdout(), file, r, problems)
			}
			if problems.Failed() || strict && len(problems) > 0 {
				return errSaid
			}
			return nil
		},
	}
	fileFlag(cmd, &file)
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"problems":[…]}`)
	return cmd
}

// printCheck prints the problems and, if none is an error, a summary of each tunnel.
func printCheck(w io.Writer, file string, r *load.Result, problems diag.Problems) {
	warnings, refused := 0, 0
	problems.Write(w)
	for _, p := range problems {
		if p.Severity == diag.Warning {
			warnings++
		}
		if p.Refused {
			refused++
		}
	}
	if problems.Failed() {
		fmt.Fprintf(w, "%s: %s, %s\n", file, show.Count(len(problems)-warnings, "error"), show.Count(warnings, "warning"))
		return
	}
	for _, conn := range r.Drafts {
		for _, t := range conn.Tunnels {
			fmt.Fprintf(w, "%s (%s, side %v): %v [%v] %v === %v [%v] %v\n", t.Name, conn.Dialect, conn.Side,
				t.Local.Address, t.Local.ID, t.Local.Subnets, t.Remote.Where(), t.Remote.ID, t.Remote.Subnets)
			fmt.Fprintf(w, "  %s %s; ESP %s\n", ikeText(t), join(t.IKEProposals), join(t.ESPProposals))
			if t.BGP != nil {
				fmt.Fprintln(w, "  "+bgpText(&t))
			}
		}
		for _, n := range conn.Notes {
			fmt.Fprintln(w, "  note: "+n)
		}
	}
	verdict := "ok"
	if refused > 0 {
		verdict = "valid, but run refuses it as it stands"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s\n", file, verdict, show.Count(len(r.Connections), "connection"), show.Count(warnings, "warning"))
}

// bgpText is the BGP session of a tunnel.
func bgpText(t *config.Tunnel) string {
	between := "addresses that the cloud chooses"
	if t.Inside.IsValid() {
		between = fmt.Sprintf("%v and %v", t.Inside.Addr(), t.Peer)
	}
	told := cmp.Or(strings.Join(load.Announced(t.BGP), ", "), "nothing")
	return fmt.Sprintf("BGP between %s, AS %d and %d; announces %s", between, t.Local.ASN, t.Remote.ASN, told)
}

// ikeText is the version of IKE, and the mode of IKEv1.
func ikeText(t config.Tunnel) string {
	one := "IKEv1 main mode"
	if t.Aggressive {
		one = "IKEv1 aggressive mode"
	}
	switch t.IKEVersion {
	case 1:
		return one
	case 2:
		return "IKEv2"
	}
	return "IKEv2 or " + one
}

func join(ps []ipsec.Proposal) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
