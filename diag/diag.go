// Package diag says why something is as it is: the one table of causes that
// status, logs, events and docs/diagnosis.md speak from. A Cause is a stable code
// with the details of the case; the table gives its severity, its sentence,
// which side has to change which parameter, and what the clouds call it. The
// sentence of a Cause is made here and nowhere else. No logic, no I/O.
package diag

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Severity says how bad a cause is.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Code names a cause. Codes are stable: programs compare them.
type Code string

// Cause is why a tunnel, an SA or the daemon is as it is. The zero Cause says
// that nothing is wrong. A Code's row in the table says which details its
// sentence has; the others are unset. No detail ever holds a secret.
type Cause struct {
	Code Code

	Peer   netip.AddrPort // the other end; with port 0 an address alone
	Addr   netip.Addr     // one of this host's addresses, or a cloud's
	Prefix netip.Prefix   // a route
	Device string
	Name   string // a connection, tunnel or child that is concerned

	Ours    string // what we have, ask for or expect, in the field's words
	Theirs  string // what came from the peer
	Message string // the IKE message that is concerned: "message 3 of main mode"
	Notify  string // the peer's notification, by its registered name
	Version int    // of IKE
	Count   int
	After   time.Duration
	Err     string // what the operating system or a decoder said

	// Because is an earlier cause that explains this one; at most one element.
	// As a slice it keeps causes from being compared with ==: use Equal.
	Because []Cause
}

// OK reports whether nothing is wrong.
func (c Cause) OK() bool { return c.Code == "" }

// Is reports whether c is of a code.
func (c Cause) Is(code Code) bool { return c.Code == code }

// Since is c, explained by an earlier cause.
func (c Cause) Since(earlier Cause) Cause {
	c.Because = nil
	if !earlier.OK() {
		c.Because = []Cause{earlier}
	}
	return c
}

// Equal reports whether two causes say the same.
func (c Cause) Equal(d Cause) bool {
	if len(c.Because) != len(d.Because) {
		return false
	}
	for i := range c.Because {
		if !c.Because[i].Equal(d.Because[i]) {
			return false
		}
	}
	return c.flat() == d.flat()
}

// flat is every detail of c but Because, which can be compared.
func (c Cause) flat() [14]any {
	return [...]any{
		c.Code, c.Peer, c.Addr, c.Prefix, c.Device, c.Name, c.Ours, c.Theirs, c.Message,
		c.Notify, c.Version, c.Count, c.After, c.Err,
	}
}

// String is the sentence of a cause, without a full stop; empty when nothing is wrong.
func (c Cause) String() string {
	if c.OK() {
		return ""
	}
	e := Lookup(c.Code)
	if e == nil {
		return string(c.Code)
	}
	s := c.fill(e.Sentence)
	if len(c.Because) > 0 {
		s += ": " + c.Because[0].String()
	}
	return s
}

// Severity is that of the cause's code.
func (c Cause) Severity() Severity {
	if e := Lookup(c.Code); e != nil {
		return e.Severity
	}
	return Error
}

// Report is a cause for people and programs at once, as status prints it in JSON.
type Report struct {
	Why  string `json:"why"`  // the sentence; empty when nothing is wrong
	Code Code   `json:"code"` // empty when nothing is wrong
}

// Report says c in both ways.
func (c Cause) Report() Report { return Report{c.String(), c.Code} }

// First is the first of causes with something to say, or the zero Cause.
func First(causes ...Cause) Cause {
	for _, c := range causes {
		if !c.OK() {
			return c
		}
	}
	return Cause{}
}

// Event is a cause that came about at a time, for a tunnel of a connection.
type Event struct {
	At     time.Time
	Conn   string
	Tunnel string // empty: the connection, or with an empty Conn the daemon
	Cause  Cause
}

// Entry is one row of the table.
type Entry struct {
	Code     Code
	Severity Severity
	// Sentence is the text with {details}: {peer} {host} {addr} {prefix} {device} {name}
	// {ours} {theirs} {message} {notify} {version} {count} {after} {err} {hint}. {host} is Peer's
	// address, {hint} is what Notify can mean, and a part in [brackets] is left out when one of its details is unset.
	Sentence string
	Side     Side
	Change   string // which parameter to change, in native's words; empty: none
}

// Side is which end has to change something.
type Side string

const (
	Ours    Side = "ours"
	Theirs  Side = "theirs"
	Either  Side = "either"  // both have to be brought in step
	Path    Side = "path"    // the network between
	Nowhere Side = "nothing" // nothing is to be changed
)

// Lookup is the row of a code, or nil.
func Lookup(code Code) *Entry { return byCode[code] }

var byCode = func() map[Code]*Entry {
	m := make(map[Code]*Entry, len(Table))
	for i := range Table {
		m[Table[i].Code] = &Table[i]
	}
	return m
}()

// detail is one {detail} of a sentence; false: it is unset.
func (c Cause) detail(name string) (string, bool) {
	text := func(s string) (string, bool) { return s, s != "" }
	switch name {
	case "peer":
		if c.Peer.Port() == 0 {
			return c.Peer.Addr().String(), c.Peer.Addr().IsValid()
		}
		return c.Peer.String(), c.Peer.IsValid()
	case "host":
		return c.Peer.Addr().String(), c.Peer.Addr().IsValid()
	case "port":
		return strconv.Itoa(int(c.Peer.Port())), c.Peer.Port() != 0
	case "addr":
		return c.Addr.String(), c.Addr.IsValid()
	case "prefix":
		return c.Prefix.String(), c.Prefix.IsValid()
	case "device":
		return text(c.Device)
	case "name":
		return text(c.Name)
	case "ours":
		return text(c.Ours)
	case "theirs":
		return text(c.Theirs)
	case "message":
		return text(c.Message)
	case "notify":
		return text(c.Notify)
	case "version":
		return strconv.Itoa(c.Version), c.Version != 0
	case "count":
		return strconv.Itoa(c.Count), c.Count != 0
	case "after":
		return c.After.String(), c.After != 0
	case "err":
		return text(c.Err)
	case "hint":
		return text(c.hint())
	}
	return "", false
}

// fill puts the details into a sentence.
func (c Cause) fill(sentence string) string {
	var b strings.Builder
	for sentence != "" {
		i := strings.IndexAny(sentence, "[{")
		if i < 0 {
			b.WriteString(sentence)
			break
		}
		b.WriteString(sentence[:i])
		closing := byte('}')
		if sentence[i] == '[' {
			closing = ']'
		}
		j := strings.IndexByte(sentence[i:], closing)
		if j < 0 {
			b.WriteString(sentence[i:])
			break
		}
		inner := sentence[i+1 : i+j]
		sentence = sentence[i+j+1:]
		if closing == ']' {
			if c.has(inner) {
				b.WriteString(c.fill(inner))
			}
			continue
		}
		text, ok := c.detail(inner)
		if !ok {
			text = "(unknown)"
		}
		b.WriteString(text)
	}
	return b.String()
}

// has reports whether every detail of a part is set.
func (c Cause) has(part string) bool {
	for _, name := range details(part) {
		if _, ok := c.detail(name); !ok {
			return false
		}
	}
	return true
}

// details are the names in {braces}.
func details(sentence string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(sentence, "{")
		if !ok {
			return out
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return out
		}
		out, sentence = append(out, name), after
	}
}
