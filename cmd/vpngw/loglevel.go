package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/control"
)

var logLevels = []string{"debug", "info", "warn", "error"}

func newLogLevel(s *settings) *cobra.Command {
	var during time.Duration
	cmd := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Show or change what the running daemon logs",
		Long: `Log-level changes the least level that the running daemon logs: debug, info, warn or
error. That lasts until the daemon ends; with --for the daemon goes back by itself, to
the level that it was started with (--log-level of "vpngw run"). Without a level it
shows the present one. No level logs a key.

To change it takes root, or the user that the daemon runs as; members of the socket's
group may look.`,
		Example: `  vpngw log-level debug --for 10m   look closely for ten minutes
  vpngw log-level                   what is logged now, and until when
  vpngw log-level info`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("one level is enough; there are %d", len(args))}
			}
			if len(args) == 0 && during != 0 {
				return &usageError{fmt.Errorf("--for needs a level: debug, info, warn or error")}
			}
			if during == 0 {
				return nil
			}
			return checkFor(during, control.MaxLogLevelTime)
		},
		ValidArgs: logLevels,
		RunE: func(cmd *cobra.Command, args []string) error {
			client := control.NewClient(s.control)
			now, err := control.LogLevel{}, error(nil)
			if len(args) == 0 {
				now, err = client.LogLevel(cmd.Context())
			} else {
				var to slog.Level
				if err := to.UnmarshalText([]byte(args[0])); err != nil {
					return &usageError{fmt.Errorf("the level is %q; it can be debug, info, warn or error", args[0])}
				}
				now, err = client.SetLogLevel(cmd.Context(), to, during)
			}
			if err != nil {
				return err
			}
			return printLogLevel(cmd.OutOrStdout(), now)
		},
	}
	cmd.Flags().DurationVar(&during, "for", 0, "go back after this `time`, such as 10m or 2h (1s to 24h)")
	return cmd
}

func printLogLevel(w io.Writer, l control.LogLevel) error {
	line := show.Plain(l.Level)
	if l.Until != nil {
		line += " until " + l.Until.Local().Format(time.RFC3339)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// logLevel is the least level that is logged. It can be changed while the daemon runs. Safe for concurrent use.
type logLevel struct {
	slog.LevelVar
	log *slog.Logger

	mu     sync.Mutex
	usual  slog.Level // that of the command line
	back   *time.Timer
	until  time.Time
	change int
}

func (l *logLevel) LogLevel() control.LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	return control.LogLevelOf(l.Level(), l.until)
}

// SetLogLevel changes the level, for a time or, with none, for good. The last change counts.
func (l *logLevel) SetLogLevel(to slog.Level, during time.Duration) control.LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		l.back.Stop()
	}
	l.until = time.Time{}
	l.change++
	l.Set(to)
	if during > 0 {
		l.until = time.Now().Add(during).Round(time.Second)
		change := l.change
		l.back = time.AfterFunc(during, func() { l.goBack(change) })
	}
	now := control.LogLevelOf(to, l.until)
	said := []any{"to", now.Level}
	if now.Until != nil {
		said = append(said, "until", now.Until.Local().Format(time.RFC3339))
	}
	l.log.Log(context.Background(), max(to, slog.LevelInfo), "operator: log level", said...)
	return now
}

// goBack ends a change, if no other has come since.
func (l *logLevel) goBack(change int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if change != l.change {
		return
	}
	l.until = time.Time{}
	l.Set(l.usual)
	l.log.Log(context.Background(), max(l.usual, slog.LevelInfo), "the log level is the usual one again", "level", control.LogLevelOf(l.usual, l.until).Level)
}
