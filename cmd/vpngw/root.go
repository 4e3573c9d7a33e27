package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	sdjournal "github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"vpngw/config/load"
	"vpngw/control"
	"vpngw/diag"
	"vpngw/gateway"
)

// settings are the flags that every command has.
type settings struct {
	control   string
	state     string
	logLevel  slog.Level
	logFormat string
}

var logFormats = []string{"auto", "text", "json", "journal"}

func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "vpngw",
		Short: "The customer's, or the cloud's, end of an IPsec VPN",
		Long: `vpngw is one end of an IPsec VPN. It takes its settings from the very request
body that created the connection in the cloud, negotiates with IKEv2 (RFC 7296) or
IKEv1 (RFC 2409), and carries packets with ESP (RFC 4303) over one TUN device for
each tunnel.

  vpngw check -c FILE     check the configuration; name every problem at once
  vpngw run   -c FILE     run the daemon (as root; systemd starts it so)
  vpngw status            show what each tunnel does, and why one is not up`,
		Example: `  vpngw check -c /etc/vpngw/vpngw.yaml && systemctl reload vpngw
  vpngw down hq           take the connection "hq" down until "vpngw up hq"
  vpngw status --json | jq -r '.connections[].tunnels[] | "\(.name) \(.state)"'`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			why := fmt.Sprintf("there is no command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				why += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return &usageError{fmt.Errorf("%s", why)}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })

	f := root.PersistentFlags()
	f.StringVar(&s.control, "control", control.DefaultSocket, "the daemon's control `socket`")
	f.StringVar(&s.state, "state", defaultState, "`directory` of what outlives the daemon")
	f.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "least `level` that is logged: debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "auto", "`format` of the log: text or json on standard error, journal (systemd's, with fields), or auto: journal where standard error is the journal, else text")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(logFormats, s.logFormat) {
			return &usageError{fmt.Errorf("--log-format is %q; it can be text, json, journal or auto", s.logFormat)}
		}
		return nil
	}

	for _, g := range groups(s) {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, cmd := range g.commands {
			cmd.GroupID = g.title
			root.AddCommand(cmd)
			completing(cmd, s)
		}
	}
	completing(root, s)
	root.AddCommand(newBGPd())
	root.SetHelpCommandGroupID(others)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 100"))
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		fmt.Fprint(cmd.OutOrStdout(), exitText(cmd.Name()))
	})
	return root
}

// group is a group of commands, as the help lists them.
type group struct {
	title    string
	commands []*cobra.Command
}

const others = "Others"

func groups(s *settings) []group {
	return []group{
		{"The configuration", []*cobra.Command{
			newInit(),
			newCheck(),
			newExplain(),
			newExport(),
			newDiff(s),
			newSchema(),
			newProbe(s),
		}},
		{"The daemon", []*cobra.Command{
			newRun(s),
			newReload(s),
			newConfirm(s),
			newLogLevel(s),
			newClean(s),
		}},
		{"Tunnels", []*cobra.Command{
			newStatus(s),
			newHealth(s),
			newEvents(s),
			newRoutes(s),
			newCounters(s),
			newDoctor(s),
			newUp(s),
			newDown(s),
			newFailover(s),
			newFailback(s),
			newRekey(s),
			newCapture(s),
			newKeylog(s),
		}},
		{others, []*cobra.Command{
			newBundle(s),
			newVersion(),
			newCompletion(),
			newMan(),
		}},
	}
}

// exitText is the part of a command's help about the exit codes that mean something of its own.
func exitText(command string) string {
	var codes []string
	for _, e := range exitCodes {
		if e.Of == command {
			codes = append(codes, fmt.Sprintf("\n  %d  %s", e.Code, e.Means))
		}
	}
	if codes == nil {
		return ""
	}
	return "\nExit codes: 0 success, 1 an error, 2 a wrong command line, 3 no daemon. Of this command:" + strings.Join(codes, "") + "\n"
}

// logger logs to w or the journal, in the format and from the level that the flags give. The level can be changed.
func (s *settings) logger(w io.Writer) (*slog.Logger, *logLevel, error) {
	l := &logLevel{usual: s.logLevel}
	l.Set(s.logLevel)
	o := &slog.HandlerOptions{Level: &l.LevelVar}
	var h slog.Handler = slog.NewTextHandler(w, o)
	format := s.logFormat
	if format == "auto" && w == os.Stderr {
		if ours, _ := sdjournal.StderrIsJournalStream(); ours {
			format = "journal"
		}
	}
	switch format {
	case "json":
		h = slog.NewJSONHandler(w, o)
	case "journal":
		j, err := newJournal(journalSocket, &l.LevelVar, h)
		if err != nil && s.logFormat == "journal" {
			return nil, nil, err
		}
		if err == nil {
			h = j
		}
	}
	l.log = slog.New(h)
	return l.log, l, nil
}

// noArgs, one, oneName and noneOrOneName check the arguments behind a command.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("nothing may follow here, but %q does", args[0])}
	}
	return nil
}

// one checks that there is exactly one of what.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &usageError{fmt.Errorf("exactly one %s is needed; there are %d", what, len(args))}
		}
		return nil
	}
}

func oneName(cmd *cobra.Command, args []string) error {
	return one("name of a connection or tunnel")(cmd, args)
}

func noneOrOneName(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{fmt.Errorf("at most one name of a connection or tunnel may follow here; there are %d", len(args))}
	}
	return nil
}

// checkFor checks the time of --for.
func checkFor(during, most time.Duration) error {
	if during < time.Second || during > most {
		return &usageError{fmt.Errorf("--for is %v; it must be from 1s to %v", during, most)}
	}
	return nil
}

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, name, limit)
}

// readAtMost reads at most limit bytes from r, which is called name. More are an error.
func readAtMost(r io.Reader, name string, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}

// readConfig loads the configuration file for this daemon, whichever command asks.
func readConfig(file string) (*load.Result, diag.Problems) {
	return load.File(file, loadOptions)
}

var loadOptions = load.Options{Unserved: gateway.Unserved}

// fileFlag adds the mandatory flag -c.
func fileFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "the configuration `file` (YAML or JSON)")
	cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *file == "" {
			return &usageError{fmt.Errorf("which configuration? name the file with -c FILE")}
		}
		return nil
	}
}
