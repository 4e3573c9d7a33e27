package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config/begin"
	"vpngw/config/export"
	"vpngw/control"
)

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes command lines in a shell",
		Long: `Completion prints a script with which bash, zsh or fish complete vpngw's command lines:
commands, flags, and names of connections and tunnels. The names come from the daemon, or
from the configuration where no daemon answers.`,
		Example: `  vpngw completion bash > /etc/bash_completion.d/vpngw
  vpngw completion zsh  > /usr/local/share/zsh/site-functions/_vpngw
  vpngw completion fish > /etc/fish/completions/vpngw.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch strings.Join(args, " ") {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return &usageError{fmt.Errorf("one shell is needed: bash, zsh or fish")}
		},
	}
}

// completing has a command complete the arguments and flags that it takes.
func completing(cmd *cobra.Command, s *settings) {
	if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil && !cmd.DisableFlagParsing && cmd.HasParent() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		if strings.Contains(cmd.Use, "NAME") {
			cmd.ValidArgsFunction = s.names
		}
	}
	for flag, words := range map[string][]string{
		"dialect":     begin.Dialects(),
		"format":      export.Formats(),
		"side":        {"customer\tthis end of a connection to a cloud", "cloud\tthe cloud's end"},
		"ike-version": {"1", "2"}, // of a command that takes more words it has its own
		"log-level":   logLevels,
		"log-format":  logFormats,
		"severity":    severities,
		"color":       colors,
	} {
		if f := cmd.Flags().Lookup(flag); f != nil || cmd.PersistentFlags().Lookup(flag) != nil {
			cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	if cmd.PersistentFlags().Lookup("state") != nil {
		cmd.MarkPersistentFlagDirname("state")
	}
}

// completionTime is how long the daemon is asked for names: somebody waits with a finger on the Tab key.
const completionTime = 500 * time.Millisecond

// names completes the name of a connection or tunnel. Whatever fails, there are no names: a message would stand in the
// command line that is being typed.
func (s *settings) names(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	var out []string
	seen := map[string]bool{}
	add := func(name, what string) {
		if strings.HasPrefix(name, begin) && !seen[name] && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			out = append(out, name+"\t"+show.Plain(what))
		}
		seen[name] = true
	}
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if cmd.Flags().Lookup("config") == nil { // such a command asks the daemon
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		if st, err := control.NewClient(s.control).Status(ctx); err == nil {
			for _, c := range st.Connections {
				if len(c.Tunnels) == 1 && c.Tunnels[0].Name == c.Name {
					add(c.Name, string(c.Tunnels[0].State))
					continue
				}
				add(c.Name, "connection of "+show.Count(len(c.Tunnels), "tunnel"))
				for _, t := range c.Tunnels {
					add(t.Name, "tunnel, "+string(t.State))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		}
	}
	file := defaultConfig
	if f := cmd.Flags().Lookup("config"); f != nil && f.Value.String() != "" {
		file = f.Value.String()
	}
	if r, _ := readConfig(file); r != nil {
		for _, d := range r.Drafts {
			add(d.Connection.Name, d.Dialect)
			for _, t := range d.Connection.Tunnels {
				add(t.Name, "tunnel of "+d.Connection.Name)
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
