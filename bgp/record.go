package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// record is one line of the child's log, as JSON.
type record struct {
	Level   string `json:"level"`
	Message string `json:"msg"`
	Key     string `json:"key,omitempty"` // the neighbour, for the topic Peer
	Topic   string `json:"topic,omitempty"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
	Ended   string `json:"reason,omitempty"` // how GoBGP calls what ended the session
	Error   string `json:"error,omitempty"`
	Code    uint8  `json:"code,omitempty"` // of a NOTIFICATION
	Subcode uint8  `json:"subcode,omitempty"`
	Text    string `json:"text,omitempty"` // RFC 9003
	Family  string `json:"family,omitempty"`
}

// unconfined is the message of our own about something that the system could not take from the child.
const unconfined = "not confined"

// Of what GoBGP logs at its debug level, these alone say why a session is not up.
var explains = map[string]bool{"failed to connect": true, "state changed": true}

// deadly says which failures GoBGP logs and goes on after, though a peer without the password would be let in.
var deadly = map[string]bool{"failed to set md5": true}

// lineLog is GoBGP's logger in the child: a line of JSON for each entry.
type lineLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineLog) Panic(msg string, f log.Fields) {
	l.write("panic", msg, f)
	panic(msg)
}

func (l *lineLog) Fatal(msg string, f log.Fields) {
	l.write("fatal", msg, f)
	os.Exit(1)
}

func (l *lineLog) Error(msg string, f log.Fields) { l.write("error", msg, f) }
func (l *lineLog) Warn(msg string, f log.Fields)  { l.write("warning", msg, f) }
func (l *lineLog) Info(msg string, f log.Fields)  { l.write("info", msg, f) }
func (l *lineLog) Debug(msg string, f log.Fields) {
	if explains[msg] {
		l.write("debug", msg, f)
	}
}

// GoBGP logs what explains a session at its debug level only.
func (l *lineLog) GetLevel() log.LogLevel { return log.DebugLevel }
func (l *lineLog) SetLevel(log.LogLevel)  {}

func (l *lineLog) write(level, msg string, f log.Fields) {
	var r record
	for name, v := range f {
		switch name {
		case "Topic":
			r.Topic = short(v)
		case "Key":
			r.Key = short(v)
		case "old":
			r.Old = short(v)
		case "new":
			r.New = short(v)
		case "reason", "Reason":
			r.Ended = short(v)
		case "Cap", "Family":
			r.Family = short(v)
		case "Communicated-Reason":
			r.Text = short(v)
		case "Code":
			r.Code, _ = v.(uint8)
		case "Subcode":
			r.Subcode, _ = v.(uint8)
		case "Error", "error", "Err", "Data":
			err, ok := v.(error)
			if !ok {
				continue // it may be a whole message
			}
			r.Error = short(err)
			if e, ok := errors.AsType[*bgp.MessageError](err); ok {
				r.Code, r.Subcode = e.TypeCode, e.SubTypeCode
			}
		}
	}
	l.line(level, msg, r)
	if deadly[msg] {
		os.Exit(1)
	}
}

func (l *lineLog) line(level, msg string, r record) {
	r.Level, r.Message = level, msg
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Write(append(b, '\n'))
}

// short is a value of the log, bounded.
func short(v any) string {
	const limit = 300
	s := fmt.Sprint(v)
	if len(s) > limit {
		s = s[:limit]
	}
	return s
}
