package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/tunnel"
)

func newDoctor(s *settings) *cobra.Command {
	var asJSON, rekey bool
	cmd := &cobra.Command{
		Use:   "doctor NAME",
		Short: "Find out why a tunnel does not do what it should, and what to change",
		Long: `Doctor examines the tunnels of a connection, or one tunnel, and the host: the addresses,
the route to the peer, the packet filter for UDP 500, UDP 4500, ESP and what is forwarded,
NAT, what the negotiation said, which ports the peer answers on, the length of the ICV
(sha256_96), ip_forward, rp_filter, routes and selectors, packets in one direction only,
lifetimes, other programs on the ports, the MTU and the clock. Of each finding it says what
is wrong, and who has to change which parameter, in the words of the connection's body.
The daemon looks. It needs no DNS, since a configuration has addresses only. One thing it
tries: what carries by IKEv2 is rekeyed first, without loss, because a difference in PFS
shows in no other way before the lifetime's end. --rekey=false does without, as for
who may only look.

Root, the user that the daemon runs as and members of the socket's group may look.`,
		Example: `  vpngw doctor hq
  vpngw doctor hq --json | jq -r '.tunnels[].findings[].code'
  vpngw doctor hq --rekey=false`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client := control.NewClient(s.control)
			if rekey {
				if err := tryRekey(cmd.Context(), client, args[0]); err != nil {
					return err
				}
			}
			list, err := client.Diagnose(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), control.Diagnoses{Tunnels: list})
			} else {
				err = printDiagnoses(cmd.OutOrStdout(), list, time.Now())
			}
			for _, d := range list {
				if err == nil && d.Ill() {
					err = errSaid
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&rekey, "rekey", true, "rekey the Child SAs of IKEv2 first, to see whether both ends agree on PFS")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings for programs")
	return cmd
}

// rekeyTime is how long an answer to a rekey is waited for.
const rekeyTime = 5 * time.Second

// tryRekey rekeys what a name has of IKEv2, and waits until other Child SAs carry or there is a cause why not. Who may not rekey goes without.
func tryRekey(ctx context.Context, c *control.Client, name string) error {
	was, err := rekeyable(ctx, c, name)
	if err != nil || len(was) == 0 {
		return err
	}
	if refused := (*control.RefusedError)(nil); errors.As(c.Rekey(ctx, name, gateway.TryRekey), &refused) {
		return nil
	}
	end := time.Now().Add(rekeyTime)
	for wait := 50 * time.Millisecond; time.Now().Before(end); wait *= 2 { // each look is a whole status
		is, err := rekeyable(ctx, c, name)
		if old := slices.DeleteFunc(slices.Clone(is), func(spi string) bool { return !slices.Contains(was, spi) }); err != nil || len(is) >= 2*len(old) {
			return err // for each old one that lingers there is a new one
		}
		select {
		case <-time.After(min(wait, time.Until(end))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// rekeyable are the inbound SPIs of a name's Child SAs that a rekey by IKEv2 would replace: those of tunnels that are up without a complaint.
func rekeyable(ctx context.Context, c *control.Client, name string) ([]string, error) {
	s, err := c.Status(ctx)
	var out []string
	for _, conn := range s.Connections {
		for _, t := range conn.Tunnels {
			if (conn.Name == name || t.Name == name) && t.State == tunnel.Up && t.Code == "" && t.IKE != nil && t.IKE.Version == 2 {
				for _, child := range t.Children {
					out = append(out, child.SPIIn)
				}
			}
		}
	}
	return out, err
}

// printDiagnoses prints each finding in a line, and what to do in a second.
func printDiagnoses(w io.Writer, list []doctor.Diagnosis, now time.Time) error {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s: %s for %s\n", show.Plain(d.Tunnel), d.State, show.Ago(now.Sub(d.Since)))
		for _, f := range d.Findings {
			fmt.Fprintf(&b, "  %s (%s): %s\n", f.Severity, f.Code, show.Plain(f.Why))
			if f.Do != "" {
				fmt.Fprintf(&b, "    %s\n", show.Plain(f.Do))
			}
		}
		if !d.Ill() {
			fmt.Fprintf(&b, "  nothing is wrong; looked at: %s\n", strings.Join(d.Checked, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
