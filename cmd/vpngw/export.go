package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/export"
	"vpngw/config/load"
)

// errLost says that an export lacks something that its format cannot say.
var errLost = errors.New("the format cannot say everything")

func newExport() *cobra.Command {
	var file, format, side string
	var reveal bool
	cmd := &cobra.Command{
		Use:   "export NAME -c FILE --format FORMAT",
		Short: "Print a connection for another program or for the other end",
		Long: `Export prints the connection NAME in another form: in vpngw's own words or a cloud's,
as a file that vpngw loads, or for strongSwan (swanctl) or Libreswan. Without --side
it is for this end; with the other --side it is what the other end needs. Of a pair
it prints both connections.

The pre-shared key stays in a file, which the text names; with --reveal the text
holds the key. What the format cannot say stands in the text as a comment and on
standard error, and the exit code is 4.`,
		Example: `  vpngw export hq -c vpngw.yaml --format swanctl --side cloud --reveal > hq.conf
  vpngw export hq -c vpngw.yaml --format native`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(export.Formats(), format) {
				return &usageError{fmt.Errorf("--format is %q; it can be %s", format, strings.Join(export.Formats(), ", "))}
			}
			s, err := trace(cmd, file)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(s.Drafts, func(d *dialect.Draft) bool { return d.Connection.Name == args[0] })
			if i < 0 {
				return unknownName(s, args[0])
			}
			d, standby := pairOf(s, s.Drafts[i])
			o := export.Options{Format: format, Side: d.Side, Reveal: reveal, Keys: keyFiles(d)}
			if standby != nil {
				o.Standby, o.Keys = standby.Connection, append(o.Keys, keyFiles(standby)...)
			}
			switch side {
			case "":
			case config.Customer.String():
				o.Side = config.Customer
			case config.Cloud.String():
				o.Side = config.Cloud
			default:
				return &usageError{fmt.Errorf("--side is %q; it can be customer or cloud", side)}
			}
			e := export.Write(d.Connection, o)
			if _, err := io.WriteString(cmd.OutOrStdout(), e.Text); err != nil {
				return err
			}
			for _, lost := range e.Lost {
				fmt.Fprintf(cmd.ErrOrStderr(), "vpngw: %s cannot say: %s\n", format, show.Plain(lost))
			}
			if len(e.Lost) > 0 {
				return errLost
			}
			return nil
		},
	}
	fileFlag(cmd, &file)
	cmd.Flags().StringVar(&format, "format", "", "the `format`: "+strings.Join(export.Formats(), ", "))
	cmd.Flags().StringVar(&side, "side", "", "the `end` that the text is for: customer or cloud; by default this one")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the pre-shared key")
	return cmd
}

// pairOf is the pair that d belongs to, or d and nil.
func pairOf(s *load.Result, d *dialect.Draft) (active, standby *dialect.Draft) {
	if d.Pair == "" {
		return d, nil
	}
	for _, other := range s.Drafts {
		if other.Pair == d.Pair && other != d {
			standby = other
		}
	}
	if d.Tunnels[0].Role == config.Standby {
		return standby, d
	}
	return d, standby
}

// keyFiles are the files that psk_file names, one for each tunnel; empty where a tunnel has
// none.
func keyFiles(d *dialect.Draft) []string {
	v := d.Entry.Field("psk_file")
	out := make([]string, len(d.Tunnels))
	for i := range out {
		if out[i] = v.Text(); d.Before+i < len(v.Items()) {
			out[i] = v.Items()[d.Before+i].Text()
		}
	}
	return out
}
