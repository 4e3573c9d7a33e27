package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// journalSocket is where systemd's journal takes entries, as datagrams: https://systemd.io/JOURNAL_NATIVE_PROTOCOL. Package
// go-systemd/journal sends to no other path, so no test could look, and waits for a journal that hangs.
const journalSocket = "/run/systemd/journal/socket"

// Bounds of an entry. The kernel takes datagrams of some 200 KiB.
const (
	maxJournalMessage = 32 << 10
	maxJournalValue   = 2 << 10
	maxJournalEntry   = 64 << 10
	maxJournalName    = 64 // of the journal itself
)

// A journal hangs when a datagram waits for it longer than journalWait. What is logged in journalPause after that is lost: the control
// loop logs too, and must not wait.
const (
	journalWait  = 50 * time.Millisecond
	journalPause = time.Second
)

// journal is a slog.Handler that makes each line an entry of the journal: MESSAGE is the line without its time and level,
// and each attribute is a field too, so `journalctl CODE=psk-mismatch` finds it.
type journal struct {
	to      *journalSocketWriter
	level   slog.Leveler
	instead slog.Handler      // takes a line that the socket refuses
	text    *slog.TextHandler // writes the attributes into line
	line    *lockedBuffer
	fields  []byte // of With
	group   string // of WithGroup, as the beginning of a field's name
}

// lockedBuffer is a text that one caller makes at a time.
type lockedBuffer struct {
	sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.text = append(b.text, p...)
	return len(p), nil
}

// newJournal makes a handler that sends to a socket. What cannot be sent goes to instead.
func newJournal(path string, level slog.Leveler, instead slog.Handler) (*journal, error) {
	to := &journalSocketWriter{path: path}
	if err := to.dial(); err != nil {
		return nil, fmt.Errorf("the log cannot go to the journal: %w; choose another --log-format", err)
	}
	line := new(lockedBuffer)
	return &journal{to: to, level: level, instead: instead, line: line, text: slog.NewTextHandler(line, &slog.HandlerOptions{
		Level: slog.Level(-1 << 20),
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if level, ok := a.Value.Any().(slog.Level); len(groups) == 0 && a.Key == slog.LevelKey && ok && level == ownLevel {
				return slog.Attr{}
			}
			if len(groups) == 0 && a.Key == slog.MessageKey && a.Value.String() == "" {
				return slog.Attr{}
			}
			return a
		},
	})}, nil
}

// ownLevel marks the level that the text leaves out.
const ownLevel = slog.Level(-1<<20 + 1)

func (j *journal) Enabled(_ context.Context, l slog.Level) bool { return l >= j.level.Level() }

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *j
	next.instead = j.instead.WithAttrs(attrs)
	next.text = j.text.WithAttrs(attrs).(*slog.TextHandler)
	next.fields = slices.Clone(j.fields)
	for _, a := range attrs {
		next.fields = appendAttr(next.fields, j.group, a)
	}
	return &next
}

func (j *journal) WithGroup(name string) slog.Handler {
	next := *j
	next.instead = j.instead.WithGroup(name)
	next.text = j.text.WithGroup(name).(*slog.TextHandler)
	next.group = j.group + name + "_"
	return &next
}

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	b := appendField(nil, "SYSLOG_IDENTIFIER", "vpngw", maxJournalValue)
	b = appendField(b, "PRIORITY", priorityOf(r.Level), maxJournalValue)
	b = appendField(b, "MESSAGE", j.message(ctx, r), maxJournalMessage)
	b = append(b, j.fields...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, j.group, a)
		return true
	})
	if err := j.to.send(b); err != nil {
		return j.instead.Handle(ctx, r)
	}
	return nil
}

// message is the text of a line, without its time and level.
func (j *journal) message(ctx context.Context, r slog.Record) string {
	attrs := slog.NewRecord(time.Time{}, ownLevel, "", 0)
	r.Attrs(func(a slog.Attr) bool { attrs.AddAttrs(a); return true })
	j.line.Lock()
	defer j.line.Unlock()
	j.line.text = j.line.text[:0]
	if err := j.text.Handle(ctx, attrs); err != nil {
		return r.Message
	}
	return strings.TrimRight(r.Message+" "+strings.TrimSuffix(string(j.line.text), "\n"), " ")
}

// priorityOf is a level in the words of syslog(3).
func priorityOf(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	case l >= slog.LevelInfo:
		return "6"
	}
	return "7"
}

// appendAttr appends an attribute as fields, as long as the entry has room.
func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "_"
		}
		for _, a := range v.Group() {
			b = appendAttr(b, group, a)
		}
		return b
	}
	value := v.String()
	name := fieldName(group + a.Key)
	if value == "" || name == "" || len(b)+len(name)+min(len(value), maxJournalValue)+16 > maxJournalEntry {
		return b
	}
	return appendField(b, name, value, maxJournalValue)
}

// appendField appends a field. One with a line feed has its length in front of it, so no value can look like another field.
func appendField(b []byte, name, value string, most int) []byte {
	if len(value) > most {
		value = value[:most]
	}
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

// reserved are fields with a meaning of their own to the journal.
var reserved = map[string]bool{
	"MESSAGE": true, "MESSAGE_ID": true, "PRIORITY": true, "CODE_FILE": true, "CODE_LINE": true, "CODE_FUNC": true, "ERRNO": true, "TID": true,
	"SYSLOG_FACILITY": true, "SYSLOG_IDENTIFIER": true, "SYSLOG_PID": true, "SYSLOG_TIMESTAMP": true, "SYSLOG_RAW": true,
	"INVOCATION_ID": true, "USER_INVOCATION_ID": true, "DOCUMENTATION": true, "UNIT": true, "USER_UNIT": true,
}

// fieldName is an attribute's key as the journal takes names: capitals, digits and underscores, and no underscore or digit first.
func fieldName(key string) string {
	if key == "conn" {
		return "CONNECTION"
	}
	name := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_0123456789")
	if reserved[name] || strings.HasPrefix(name, "COREDUMP_") || strings.HasPrefix(name, "OBJECT_") {
		name = "VPNGW_" + name
	}
	return name[:min(len(name), maxJournalName)]
}

// journalSocketWriter sends entries. Safe for concurrent use.
type journalSocketWriter struct {
	path string

	mu    sync.Mutex
	conn  *net.UnixConn
	pause time.Time // until then the journal hangs
	lost  int       // lines since it hangs
}

func (w *journalSocketWriter) dial() error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: w.path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if w.conn != nil {
		w.conn.Close()
	}
	w.conn = conn
	return nil
}

// send sends the entry of a line, or counts it as lost while the journal hangs. An error: the socket refuses it.
func (w *journalSocketWriter) send(entry []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.pause) {
		w.lost++
		return nil
	}
	err := w.write(now, entry)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		if err = w.dial(); err == nil { // the journal may have begun anew
			err = w.write(now, entry)
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.lost++
		w.pause = time.Now().Add(journalPause)
		return nil
	case err != nil:
		return err
	}
	if w.lost > 0 {
		b := appendField(nil, "SYSLOG_IDENTIFIER", "vpngw", maxJournalValue)
		b = appendField(b, "PRIORITY", priorityOf(slog.LevelWarn), maxJournalValue)
		b = appendField(b, "MESSAGE", fmt.Sprintf("log lines are lost: the journal took none for a while count=%d", w.lost), maxJournalValue)
		if w.write(now, b) == nil {
			w.lost = 0
		}
	}
	return nil
}

func (w *journalSocketWriter) write(now time.Time, entry []byte) error {
	w.conn.SetWriteDeadline(now.Add(journalWait))
	_, err := w.conn.Write(entry)
	return err
}
