package main

import (
	"crypto/fips140"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// These are set by the linker (see the Makefile).
var (
	version    = "devel"
	commit     string // in full
	commitTime string // RFC 3339, in UTC: the time of the build would make each build another file
)

// built says what this program was made from, and how it runs.
type built struct {
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`
	CommitTime string `json:"commit_time,omitempty"`
	Go         string `json:"go"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	FIPS140    bool   `json:"fips140"`
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Version prints the version, the Go release and the platform of this program in the
first line, then its commit, and whether cryptography runs in Go's FIPS 140-3 mode,
which GODEBUG=fips140=on in the environment turns on.`,
		Example: `  vpngw version
  vpngw version --json | jq -r .commit`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := built{version, commit, commitTime, runtime.Version(), runtime.GOOS, runtime.GOARCH, fips140.Enabled()}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), b)
			}
			b.print(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// print writes b for people. Scripts read the first line, so it stays as it is.
func (b built) print(w io.Writer) {
	fmt.Fprintf(w, "vpngw %s %s %s/%s\n", b.Version, b.Go, b.OS, b.Arch)
	if b.Commit != "" {
		fmt.Fprintf(w, "commit %s of %s\n", b.Commit, b.CommitTime)
	}
	mode := "off"
	if b.FIPS140 {
		mode = "on"
	}
	fmt.Fprintf(w, "FIPS 140-3 mode: %s\n", mode)
}
