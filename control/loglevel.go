package control

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// LogLevel is the answer to GET and POST /v1/log-level.
type LogLevel struct {
	Level string `json:"level"` // the least that is logged: debug, info, warn, error, or one between, such as info+2
	// Until is when it goes back to the level that the daemon was started with.
	Until *time.Time `json:"until,omitempty"`
}

// LogLevelOf says what level is logged; until zero: to the daemon's end.
func LogLevelOf(level slog.Level, until time.Time) LogLevel {
	l := LogLevel{Level: nameOf(level)}
	if !until.IsZero() {
		l.Until = &until
	}
	return l
}

func nameOf(l slog.Level) string { return strings.ToLower(l.String()) }

// MaxLogLevelTime is the longest time to another log level.
const MaxLogLevelTime = 24 * time.Hour

// level is the body of POST /v1/log-level.
type level struct {
	Level string `json:"level"`
	For   int    `json:"for_s,omitempty"` // seconds; 0: until the daemon ends

	parsed slog.Level // by check
}

func (l *level) name() string { return l.Level }
func (l *level) form() string { return `{"level":"debug"} or {"level":"debug","for_s":600}` }

func (l *level) check() error {
	if err := l.parsed.UnmarshalText([]byte(l.Level)); err != nil {
		return fmt.Errorf("level is %q; it can be debug, info, warn or error", l.Level)
	}
	if most := int(MaxLogLevelTime / time.Second); l.For < 0 || l.For > most {
		return fmt.Errorf("for_s must be from 1 to %d, and is %d", most, l.For)
	}
	return nil
}
