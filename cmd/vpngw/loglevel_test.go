package main

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/control"
)

func (d *canned) LogLevel() control.LogLevel { return d.level }

func (d *canned) SetLogLevel(to slog.Level, during time.Duration) control.LogLevel {
	var until time.Time
	if during > 0 {
		until = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(during)
	}
	d.level = control.LogLevelOf(to, until)
	return d.level
}

// The last change counts: an earlier one does not end it.
func TestALogLevelGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		l := &logLevel{usual: slog.LevelWarn}
		l.Set(slog.LevelWarn)
		l.log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: &l.LevelVar}))
		want := func(level string, until bool) {
			t.Helper()
			synctest.Wait()
			if now := l.LogLevel(); now.Level != level || (now.Until != nil) != until {
				t.Errorf("the level is %+v, want %s", now, level)
			}
		}
		want("warn", false)
		if got := l.SetLogLevel(slog.LevelDebug, time.Minute); got.Level != "debug" || !got.Until.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("%+v", got)
		}
		want("debug", true)
		time.Sleep(59 * time.Second)
		l.SetLogLevel(slog.LevelInfo, time.Minute)
		time.Sleep(59 * time.Second)
		want("info", true)
		time.Sleep(time.Second)
		want("warn", false)
		l.SetLogLevel(slog.LevelDebug, time.Minute)
		l.SetLogLevel(slog.LevelError, 0)
		time.Sleep(time.Hour)
		want("error", false)
		if n := strings.Count(text.String(), "operator: log level"); n != 4 || !strings.Contains(text.String(), "usual one again") {
			t.Errorf("the log says\n%s", text.String())
		}
	})
}
