package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
)

func newReload(s *settings) *cobra.Command {
	var plan, asJSON bool
	var confirm time.Duration
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `Reload makes the daemon read its configuration again, as SIGHUP does, and prints
how many tunnels were added, changed and removed. Connections that have not
changed keep their SAs and lose no packet. It needs root, or the user that the
daemon runs as.

A file with errors changes nothing: Reload prints its problems, and the exit code
is 1. It prints warnings too, and each tunnel that got no device: the daemon goes
on trying, and the exit code is 0. A reload cannot change "listen", "offload",
"raw_frames", "discard_cleartext" and "threads": restart the daemon for these.

With --plan it changes nothing, and says what a reload would do to each connection
and by which settings:

  nothing  nothing that runs depends on the setting
  live     the change takes effect, and the SAs go on
  rekey    Child SAs are replaced: others are negotiated, for at most 30 seconds,
           and then the old ones are deleted; the IKE SA stays
  restart  the tunnel goes down and comes up again

With --confirm TIME (5s to 1h) the daemon goes back to the configuration before
after that time, unless "vpngw confirm" comes first; it goes back too when it ends
or is killed before. Until then other reloads are refused. After it has gone back
the file still has the new text: "vpngw status" says so until the next reload.`,
		Example: `  vpngw reload --plan
  vpngw reload --confirm 60s && ping -c 3 10.20.0.1 && vpngw confirm`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, out := control.NewClient(s.control), cmd.OutOrStdout()
			trial := cmd.Flags().Changed("confirm")
			switch {
			case plan && trial:
				return &usageError{errors.New("--plan changes nothing, so there is nothing to --confirm: give one of the two")}
			case trial && (confirm < desired.MinTrial || confirm > desired.MaxTrial || confirm%time.Second != 0):
				return &usageError{fmt.Errorf("--confirm is %v; it can be whole seconds from %v to %v", confirm, desired.MinTrial, desired.MaxTrial)}
			case plan:
				p, err := client.Plan(cmd.Context())
				if err := printProblems(cmd.ErrOrStderr(), p.Warnings, err); err != nil {
					return err
				}
				if asJSON {
					return printJSON(out, p)
				}
				return printPlan(out, p.Plan)
			}
			reload := client.Reload
			if trial {
				reload = func(ctx context.Context) (desired.Reloaded, error) { return client.Try(ctx, confirm) }
			}
			done, err := reload(cmd.Context())
			if err := printProblems(cmd.ErrOrStderr(), done.Warnings, err); err != nil {
				return err
			}
			for _, f := range done.Faults {
				fmt.Fprintf(cmd.ErrOrStderr(), "tunnel %s is down: %s\n", f.Tunnel, f.Why)
			}
			if asJSON {
				return printJSON(out, done)
			}
			fmt.Fprintf(out, "reloaded: %s added, %d changed, %d removed, %d as before\n",
				show.Count(done.Added, "tunnel"), done.Changed, done.Removed, done.Kept)
			if trial {
				fmt.Fprintf(out, "the daemon goes back in %v, or when it ends before, unless `vpngw confirm` comes first\n", confirm)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&plan, "plan", false, "change nothing, and say what a reload would change")
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "go back after this `time`, unless \"vpngw confirm\" comes first")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer for programs")
	return cmd
}

func newConfirm(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep what \"vpngw reload --confirm\" has changed",
		Long: `Confirm keeps the configuration that "vpngw reload --confirm TIME" has adopted: the
daemon does not go back. When no reload waits for it, it fails.
It needs root, or the user that the daemon runs as.`,
		Example: `  vpngw reload --confirm 60s && ping -c 3 10.20.0.1 && vpngw confirm`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := control.NewClient(s.control).Confirm(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "confirmed")
			return nil
		},
	}
}

// printProblems prints the warnings of an answer, or the problems of a refusal, which it returns.
func printProblems(w io.Writer, problems diag.Problems, err error) error {
	if refused := (*control.RefusedError)(nil); errors.As(err, &refused) {
		problems = refused.Problems
	}
	problems.Write(w)
	return err
}

// printPlan prints a line for each connection that changes, and how many do not.
func printPlan(w io.Writer, p gateway.Plan) error {
	if len(p.DaemonRestart) > 0 {
		fmt.Fprintf(w, "a reload is refused because of `%s`: a restart of the daemon brings that and what follows\n", strings.Join(p.DaemonRestart, "`, `"))
	}
	for _, c := range p.Connections {
		fmt.Fprintf(w, "%s: %s\n", show.Plain(c.Name), show.Plain(changeText(c)))
	}
	if len(p.Connections) == 0 {
		_, err := fmt.Fprintf(w, "nothing changes: %s as before\n", show.Count(p.Unchanged, "connection"))
		return err
	}
	_, err := fmt.Fprintf(w, "%s, %d as before\n", show.Count(len(p.Connections), "connection")+changesWord(len(p.Connections)), p.Unchanged)
	return err
}

func changesWord(n int) string {
	if n == 1 {
		return " changes"
	}
	return " change"
}

// changeText says what becomes of a connection, and by which settings.
func changeText(c gateway.ConnectionChange) string {
	if c.Change != gateway.Changed {
		return string(c.Change)
	}
	var parts []string
	for _, t := range c.Tunnels {
		text := string(t.Change)
		if t.Change == gateway.Changed {
			var fields []string
			for _, f := range t.Fields {
				if len(t.Fields) > 1 && f.Class != t.Class {
					f.Field += " (" + string(f.Class) + ")"
				}
				fields = append(fields, f.Field)
			}
			text = string(t.Class) + ", by " + strings.Join(fields, ", ")
		}
		if len(c.Tunnels) > 1 || t.Name != c.Name {
			text = t.Name + " " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
