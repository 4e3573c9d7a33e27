package control

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func (d *fakeDaemon) LogLevel() LogLevel { return LogLevelOf(slog.LevelInfo, time.Time{}) }

func (d *fakeDaemon) SetLogLevel(to slog.Level, during time.Duration) LogLevel {
	d.told = append(d.told, fmt.Sprintf("log level %v for %v", to, during))
	return LogLevelOf(to, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
}

func TestTheLogLevelIsAskedForAndChanged(t *testing.T) {
	d := &fakeDaemon{}
	c, ctx := NewClient(serve(t, d)), t.Context()
	if l, err := c.LogLevel(ctx); err != nil || l.Level != "info" || l.Until != nil {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := c.SetLogLevel(ctx, slog.LevelWarn, 90*time.Second); err != nil || l.Level != "warn" || l.Until == nil {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := c.SetLogLevel(ctx, slog.LevelDebug, 0); err != nil {
		t.Error(err)
	}
	var refused *RefusedError
	if _, err := c.SetLogLevel(ctx, slog.LevelDebug, 2*MaxLogLevelTime); !errors.As(err, &refused) {
		t.Errorf("for two days: %v", err)
	}
	if got := strings.Join(d.told, ", "); got != "log level WARN for 1m30s, log level DEBUG for 0s" {
		t.Errorf("the daemon heard %s", got)
	}
}
