package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config/explain"
	"vpngw/config/load"
	"vpngw/control"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/support"
	"vpngw/tunnel"
)

func newBundle(s *settings) *cobra.Command {
	var file, out string
	var names bool
	cmd := &cobra.Command{
		Use:   "bundle [-o FILE.tar.gz]",
		Short: "Pack what a support case needs into one archive, without keys",
		Long: `Bundle writes an archive (mode 0600) with what somebody needs who shall find a fault from
afar: versions, the effective configuration, status, events, counters, routes, what the
doctor finds about tunnels that are not up, and the state of this host's network. --names
lists the files, and manifest.json in the archive says what is in them, and what is not there
and why.

It holds no key. The configuration is written as its tables read it, without keys and
comments; a file with errors is left out, and its problems are there. Before anything is
written, it is searched for each key that the configuration knows, in every usual form.
Addresses and names of networks are in it.

It changes nothing, works without a daemon, and takes 20 MB and a few minutes at most. Run
it as root: else what other users may not read is missing.`,
		Example: `  vpngw bundle -o case.tar.gz
  vpngw bundle --names`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, problems := readConfig(file)
			if l, ps := complete(r, problems, s.state, nil); l != nil { // with the keys that this host has chosen
				problems = ps
			}
			pieces := slices.Concat(ofFile(file, r, problems), ofDaemon(control.NewClient(s.control)), support.Host())
			if names {
				tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, p := range pieces {
					fmt.Fprintf(tw, "%s\t%s\n", p.Name, p.Says)
				}
				return tw.Flush()
			}
			now := time.Now()
			if out == "" {
				out = "vpngw-bundle-" + now.UTC().Format("20060102-150405") + ".tar.gz"
			}
			var notes []string
			var keys [][]byte
			if r != nil {
				keys = explain.Keys(r)
			} else {
				notes = append(notes, "the configuration could not be loaded, so its keys are not known and were not searched for; no file of it is in here")
			}
			return bundle(cmd.Context(), cmd.OutOrStdout(), out, now, pieces, keys, notes)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the archive's `file`, or - for standard output; by default vpngw-bundle-TIME.tar.gz here")
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "the configuration `file`")
	cmd.Flags().BoolVar(&names, "names", false, "list the files that the archive would have, and write none")
	return cmd
}

// bundle writes the archive.
func bundle(ctx context.Context, say io.Writer, name string, now time.Time, pieces []support.Piece, keys [][]byte, notes []string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if name == "-" {
		_, err := support.Write(ctx, say, now, pieces, keys, notes...)
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	m, err := support.Write(ctx, f, now, pieces, keys, notes...)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return err
	}
	there, replaced := 0, 0
	lacking := map[string][]string{} // by why
	var reasons []string
	for _, e := range m.Entries {
		if e.Bytes > 0 {
			there++
		}
		if replaced += e.Redacted; e.Missing != "" {
			if lacking[e.Missing] == nil {
				reasons = append(reasons, e.Missing)
			}
			lacking[e.Missing] = append(lacking[e.Missing], e.Name)
		}
	}
	for _, why := range reasons {
		fmt.Fprintf(say, "missing or not complete: %s\n  %s\n", strings.Join(lacking[why], ", "), show.Plain(why))
	}
	for _, note := range m.Notes {
		fmt.Fprintf(say, "note: %s\n", note)
	}
	if replaced > 0 {
		fmt.Fprintf(say, "%s found and replaced; manifest.json says where\n", show.Count(replaced, "key"))
	}
	fmt.Fprintf(say, "wrote %s: %d of %d files; it has addresses and names of networks, and no key\n", name, there, len(m.Entries))
	return nil
}

// ofFile are the pieces that the configuration file tells.
func ofFile(name string, r *load.Result, problems diag.Problems) []support.Piece {
	loaded := func(text func() ([]byte, error)) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			if r == nil {
				return nil, fmt.Errorf("%s could not be loaded; config/problems.txt says why", name)
			}
			return text()
		}
	}
	return []support.Piece{
		{Name: "config/problems.txt", Says: "what `vpngw check` says of the configuration file", Gather: func(context.Context) ([]byte, error) {
			var b strings.Builder
			printCheck(&b, name, r, problems)
			return []byte(b.String()), nil
		}},
		{Name: "config/file.yaml", Says: "what the file and the bodies say, without keys and comments", Gather: loaded(func() ([]byte, error) { return []byte(explain.Text(r)), nil })},
		{Name: "config/effective.json", Says: "every effective parameter by the file", Gather: loaded(func() ([]byte, error) { return indented(explain.Of(r, "")) })},
	}
}

// ofDaemon are the pieces that the daemon tells.
func ofDaemon(c *control.Client) []support.Piece {
	get := func(path string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return c.Get(ctx, path) }
	}
	return []support.Piece{
		{Name: "vpngw/version.txt", Says: "this program", Gather: func(context.Context) ([]byte, error) { return []byte(version + "\n"), nil }},
		{Name: "vpngw/daemon.json", Says: "the daemon's version", Gather: get("/v1/version")},
		{Name: "vpngw/running.json", Says: "every effective parameter of what runs", Gather: get("/v1/config")},
		{Name: "vpngw/status.json", Says: "how the tunnels stand", Gather: get("/v1/status")},
		{Name: "vpngw/events.json", Says: "how they have changed", Gather: get("/v1/events")},
		{Name: "vpngw/counters.json", Says: "what was dropped", Gather: get("/v1/counters")},
		{Name: "vpngw/routes.json", Says: "what each tunnel leads to", Gather: get("/v1/routes")},
		{Name: "vpngw/metrics.txt", Says: "metrics, where the daemon has them", Gather: get("/metrics")},
		{Name: "vpngw/doctor.json", Says: "what the doctor finds about tunnels that are not up", Gather: func(ctx context.Context) ([]byte, error) { return examined(ctx, c) }},
	}
}

// maxExamined bounds the connections that are examined.
const maxExamined = 20

// examined is what the doctor finds about connections with a tunnel that is not up.
func examined(ctx context.Context, c *control.Client) ([]byte, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out []doctor.Diagnosis
	n := 0
	for _, conn := range s.Connections {
		if !slices.ContainsFunc(conn.Tunnels, func(t gateway.TunnelStatus) bool { return t.State != tunnel.Up }) {
			continue
		}
		if n++; n > maxExamined {
			err = fmt.Errorf("more than %d connections are not up; the others were not examined", maxExamined)
			break
		}
		d, e := c.Diagnose(ctx, conn.Name)
		if out = append(out, d...); e != nil {
			err = e
			break
		}
	}
	text, e := indented(out)
	return text, errors.Join(err, e)
}

func indented(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}
