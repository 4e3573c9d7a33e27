package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// journald is the journal's end of its socket.
func journald(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

// entry reads a datagram as the journal does: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
func entry(t *testing.T, c *net.UnixConn) map[string]string {
	t.Helper()
	b := make([]byte, 1<<20)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for text := string(b[:n]); text != ""; {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			t.Fatalf("%q does not end", text)
		}
		name, value, simple := strings.Cut(line, "=")
		if !simple {
			size := int(binary.LittleEndian.Uint64([]byte(rest)))
			value, rest = rest[8:8+size], rest[8+size:]
			if !strings.HasPrefix(rest, "\n") {
				t.Fatalf("%s has no end", name)
			}
			rest = rest[1:]
		}
		if _, twice := out[name]; twice || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || name == "" || name[0] == '_' || len(name) > 64 {
			t.Errorf("field %q, twice: %v", name, twice)
		}
		out[name], text = value, rest
	}
	return out
}

func TestLinesAreEntriesOfTheJournal(t *testing.T) {
	c, path := journald(t)
	var level slog.LevelVar
	h, err := newJournal(path, &level, slog.DiscardHandler)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	nested := slog.Attr{Value: slog.GroupValue(slog.String("why", "the keys differ"), slog.String("code", "psk-mismatch"))}
	for _, tt := range []struct {
		say  func()
		want map[string]string
	}{
		{func() { log.Info("ready", "tunnels", 3) }, map[string]string{"MESSAGE": "ready tunnels=3", "PRIORITY": "6", "TUNNELS": "3"}},
		{
			func() {
				log.With("conn", "hq", "tunnel", "hq-1", "peer", "203.0.113.1").Warn("tunnel is connecting", nested)
			},
			map[string]string{
				"MESSAGE":  `tunnel is connecting conn=hq tunnel=hq-1 peer=203.0.113.1 why="the keys differ" code=psk-mismatch`,
				"PRIORITY": "4", "CONNECTION": "hq", "TUNNEL": "hq-1", "PEER": "203.0.113.1", "WHY": "the keys differ", "CODE": "psk-mismatch",
			},
		},
		{
			func() {
				log.Error("no", "err", errors.New("a\nMESSAGE=b\nCODE=c"), "level", slog.LevelInfo, "time", "now", "msg", "x")
			},
			map[string]string{
				"MESSAGE": `no err="a\nMESSAGE=b\nCODE=c" level=INFO time=now msg=x`, "PRIORITY": "3", "ERR": "a\nMESSAGE=b\nCODE=c", "LEVEL": "INFO",
				"TIME": "now", "MSG": "x",
			},
		},
		{func() { log.Info("two\nlines") }, map[string]string{"MESSAGE": "two\nlines", "PRIORITY": "6"}},
		{
			func() {
				log.WithGroup("ike").Info("x", "priority", 1, "_9é=\n", "y", slog.Group("sa", "id", 7), "", "nameless")
			},
			map[string]string{
				"MESSAGE": `x ike.priority=1 "ike._9é=\n"=y ike.sa.id=7 "ike."=nameless`, "PRIORITY": "6", "IKE_PRIORITY": "1", "IKE__9___": "y", "IKE_SA_ID": "7",
				"IKE_": "nameless",
			},
		},
		{
			func() {
				log.Info("x", "message", "m", "object_pid", 1, "5", "five", "_", "blank", "retry_in", time.Second)
			},
			map[string]string{
				"MESSAGE": `x message=m object_pid=1 5=five _=blank retry_in=1s`, "PRIORITY": "6", "VPNGW_MESSAGE": "m", "VPNGW_OBJECT_PID": "1", "RETRY_IN": "1s",
			},
		},
	} {
		tt.say()
		got := entry(t, c)
		tt.want["SYSLOG_IDENTIFIER"] = "vpngw"
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("got\n%q, want\n%q", got, tt.want)
		}
	}
	log.Debug("not logged")
	level.Set(slog.LevelDebug)
	log.Debug("logged")
	if got := entry(t, c); got["MESSAGE"] != "logged" || got["PRIORITY"] != "7" {
		t.Errorf("after a change of the level: %q", got)
	}

	var many []any // an entry stays small, whatever a peer says
	for i := range 200 {
		many = append(many, fmt.Sprintf("%s%d", strings.Repeat("k", 80), i), strings.Repeat("v", 10_000))
	}
	log.Info(strings.Repeat("m", 1<<20), many[:2]...)
	got := entry(t, c)
	if len(got["MESSAGE"]) != maxJournalMessage || len(got[strings.Repeat("K", 64)]) != maxJournalValue {
		t.Errorf("the message has %d bytes, the field %d", len(got["MESSAGE"]), len(got[strings.Repeat("K", 64)]))
	}
	for i := range 200 {
		many[2*i] = fmt.Sprintf("k%d", i)
	}
	log.Info("x", many...)
	if n := len(entry(t, c)); n < 10 || n > 64 {
		t.Errorf("%d fields of 200 are left", n)
	}
}

// A journal that begins anew loses nothing, and one that has gone leaves the lines on standard error.
func TestTheJournalGoesAndComes(t *testing.T) {
	c, path := journald(t)
	var text strings.Builder
	h, err := newJournal(path, slog.LevelInfo, slog.NewTextHandler(&text, nil))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	c.Close()
	log.Info("while it is away", "code", "x")
	if !strings.Contains(text.String(), `msg="while it is away" code=x`) {
		t.Errorf("standard error has %q", text.String())
	}
	log.With("tunnel", "hq").WithGroup("ike").Info("still", "spi", 1)
	if !strings.Contains(text.String(), `msg=still tunnel=hq ike.spi=1`) {
		t.Errorf("standard error has %q", text.String())
	}
	os.Remove(path)
	c, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	log.Info("after it came back")
	if got := entry(t, c); got["MESSAGE"] != "after it came back" {
		t.Errorf("got %q", got)
	}
	if _, err := newJournal(path+"x", slog.LevelInfo, slog.DiscardHandler); err == nil || !strings.Contains(err.Error(), "choose another --log-format") {
		t.Errorf("no journal: %v", err)
	}
}

// A journal that takes nothing costs lines, which it hears of later, and no waiting beyond journalWait in each journalPause.
func TestAJournalThatHangs(t *testing.T) {
	c, path := journald(t)
	h, err := newJournal(path, slog.LevelInfo, slog.DiscardHandler)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	for h.to.lost < 1000 { // fills the socket first
		log.Info(strings.Repeat("x", 1000))
		h.to.pause = time.Now().Add(time.Hour) // with its one wait the rest is lost at once
		if h.to.lost == 0 {
			h.to.pause = time.Time{}
		}
	}
	h.to.pause = time.Time{}
	lost := h.to.lost
	for len(waiting(c)) > 0 {
	}
	log.Info("it goes on")
	var got []string
	for range 2 {
		got = append(got, entry(t, c)["MESSAGE"])
	}
	if !slices.Equal(got, []string{"it goes on", fmt.Sprintf("log lines are lost: the journal took none for a while count=%d", lost)}) {
		t.Errorf("got %q", got)
	}
	if err := h.Handle(context.Background(), slog.Record{}); err != nil {
		t.Error(err)
	}
}

// waiting reads what waits.
func waiting(c *net.UnixConn) []byte {
	b := make([]byte, 1<<20)
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	n, _ := c.Read(b)
	return b[:n]
}
