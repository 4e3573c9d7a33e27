package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/man"
	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/control"
)

//go:embed vpngw.example.yaml
var exampleFile string

// paths are the files that every manual page names.
var paths = []man.Path{
	{Path: defaultConfig, What: "the configuration, where the systemd unit has it"},
	{Path: control.DefaultSocket, What: "the daemon's control socket (--control)"},
	{Path: defaultState, What: "keys and addresses that the daemon chose, tunnels that are held down, and a reload that waits for its confirmation (--state)"},
}

const (
	defaultConfig = "/etc/vpngw/vpngw.yaml"
	defaultState  = "/var/lib/vpngw"
)

// newMan is for those who make packages.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Long: `Man writes the manual pages of every command and of vpngw.yaml into a directory. Their
date is $SOURCE_DATE_EPOCH, or today.`,
		Example: `  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) vpngw man debian/man`,
		Args:    one("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := man.Pages{Date: time.Now(), Version: version, Exits: exitCodes, Files: paths}
			if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
				seconds, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
				}
				p.Date = time.Unix(seconds, 0)
			}
			table := load.Table().Type.(*dialect.Object)
			for _, page := range append(p.Commands(cmd.Root()), p.File(table, exampleFile)) {
				if err := os.WriteFile(filepath.Join(args[0], page.File), []byte(page.Text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
