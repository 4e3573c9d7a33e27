package bgp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"vpngw/diag"
)

// maxLine bounds a line of the child's log, in bytes; what is longer is cut off.
const maxLine = 4096

// lines cuts the child's log into lines and hands them on. The child may be in a stranger's hands: nothing it
// writes grows beyond maxLine.
type lines struct {
	line []byte
	each func(line []byte)
}

func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		if room := maxLine - len(l.line); len(part) > room {
			part = part[:room] // the rest is left out
		}
		l.line = append(l.line, part...)
		if !whole {
			break
		}
		if len(l.line) > 0 {
			l.each(l.line)
		}
		l.line = l.line[:0]
	}
	return n, nil
}

// parse reads a line of the child's log. Anything else that it writes, such as the trace of a panic, is no record.
func parse(line []byte) (record, bool) {
	if len(line) == 0 || line[0] != '{' {
		return record{}, false
	}
	var r record
	if json.Unmarshal(line, &r) != nil {
		return record{}, false
	}
	return r, true
}

// reasons turns records into what they say about sessions. GoBGP says one thing in several records, the telling one
// first.
type reasons struct {
	explained map[netip.Addr]bool // since the last change of state
}

// note returns what a record says about a neighbour's session; ok is false for what does not matter to it.
func (s *reasons) note(r record) (neighbour netip.Addr, cause diag.Cause, ok bool) {
	if r.Topic != "Peer" {
		return neighbour, cause, false
	}
	neighbour, err := netip.ParseAddr(r.Key)
	if err != nil {
		return neighbour, cause, false
	}
	follows := r.Message == "state changed" || r.Message == "Peer Down"
	if cause, ok = r.cause(); ok && follows && s.explained[neighbour] {
		ok = false
	}
	if s.explained == nil {
		s.explained = make(map[netip.Addr]bool)
	}
	switch {
	case r.Message == "state changed":
		delete(s.explained, neighbour)
	case ok && r.Message != "failed to connect" && len(s.explained) < maxSessions:
		s.explained[neighbour] = true
	}
	cause.Peer = netip.AddrPortFrom(neighbour, 0)
	return neighbour, cause, ok
}

func (r record) cause() (diag.Cause, bool) {
	switch r.Message {
	case "received notification":
		c := diag.Cause{Code: diag.BGPNotification, Notify: notification(r.Code, r.Subcode), Theirs: printable(r.Text)}
		if r.Code == 2 && r.Subcode == 2 {
			c.Code = diag.BGPAS
		}
		return c, true
	case "sent notification":
		return r.refused(), true
	case "hold timer expired":
		return diag.Cause{Code: diag.BGPHold}, true
	case "prefix limit reached":
		return diag.Cause{Code: diag.BGPLimit, Count: prefixBackstop, Name: r.Family}, true
	case "Capability was disabled":
		return diag.Cause{Code: diag.BGPFamily, Name: printable(r.Family), Err: printable(r.Error)}, true
	case "failed to connect":
		return r.unconnected(), true
	case "Peer Down":
		switch r.Ended {
		case "read-failed", "write-failed", "graceful-restart":
			return diag.Cause{Code: diag.BGPDown, Err: "the peer closed the connection without a word"}, true
		}
	case "state changed":
		return r.opened()
	}
	return diag.Cause{}, false
}

// refused is why we have ended the session.
func (r record) refused() diag.Cause {
	switch {
	case r.Code == 2 && r.Subcode == 2:
		c := diag.Cause{Code: diag.BGPAS}
		var want, got uint32
		if n, _ := fmt.Sscanf(r.Error, "as number mismatch expected %d, received %d", &want, &got); n == 2 {
			c.Ours, c.Theirs = asn(want), asn(got)
		}
		return c
	case r.Code == 4:
		return diag.Cause{Code: diag.BGPHold}
	case r.Code == 6 && r.Subcode == 1:
		return diag.Cause{Code: diag.BGPLimit, Count: prefixBackstop}
	}
	return diag.Cause{Code: diag.BGPNotification, Notify: notification(r.Code, r.Subcode), Err: printable(r.Error), Name: "sent"}
}

// unconnected is why TCP could not connect. With another password, or none, the kernels drop all that comes: it looks
// like a peer that is not there.
func (r record) unconnected() diag.Cause {
	code := diag.BGPNoAnswer
	if strings.Contains(r.Error, "refused") {
		code = diag.BGPRefused
	}
	return diag.Cause{Code: code, Err: systemError(r.Error)}
}

// opened is why a session did not get beyond OPEN. What GoBGP says of it before the session is up is not a word about
// a NOTIFICATION: it reads it as an unexpected message.
func (r record) opened() (diag.Cause, bool) {
	if r.New != "BGP_FSM_IDLE" || r.Old != "BGP_FSM_OPENSENT" && r.Old != "BGP_FSM_OPENCONFIRM" {
		return diag.Cause{}, false
	}
	switch r.Ended {
	case "read-failed":
		return diag.Cause{Code: diag.BGPRefused, Err: "the peer closed the connection instead of an answer to OPEN"}, true
	case "invalid-msg":
		return diag.Cause{Code: diag.BGPNotification, Notify: "NOTIFICATION in answer to OPEN"}, true
	case "hold-timer-expired":
		return diag.Cause{Code: diag.BGPNoAnswer, Err: "no answer to OPEN"}, true
	}
	return diag.Cause{}, false
}

// systemError is what the system said, without the addresses before it.
func systemError(s string) string {
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	return printable(s)
}

// printable makes a peer's text fit for a log and a terminal: one line, bounded.
func printable(s string) string {
	const limit = 128
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit-1]) + "…"
	}
	return s
}

// notifications are the error codes of RFC 4271 section 4.5 and their subcodes, from 1 on, with those of RFC 4486,
// RFC 7313, RFC 8538 and RFC 9384.
var notifications = []struct {
	name     string
	subcodes []string
}{
	1: {"Message Header Error", []string{"Connection Not Synchronized", "Bad Message Length", "Bad Message Type"}},
	2: {"OPEN Message Error", []string{
		"Unsupported Version Number", "Bad Peer AS", "Bad BGP Identifier", "Unsupported Optional Parameter", "",
		"Unacceptable Hold Time", "Unsupported Capability",
	}},
	3: {"UPDATE Message Error", []string{
		"Malformed Attribute List", "Unrecognized Well-known Attribute", "Missing Well-known Attribute", "Attribute Flags Error",
		"Attribute Length Error", "Invalid ORIGIN Attribute", "", "Invalid NEXT_HOP Attribute", "Optional Attribute Error",
		"Invalid Network Field", "Malformed AS_PATH",
	}},
	4: {"Hold Timer Expired", nil},
	5: {"Finite State Machine Error", []string{
		"Receive Unexpected Message in OpenSent State", "Receive Unexpected Message in OpenConfirm State",
		"Receive Unexpected Message in Established State",
	}},
	6: {"Cease", []string{
		"Maximum Number of Prefixes Reached", "Administrative Shutdown", "Peer De-configured", "Administrative Reset",
		"Connection Rejected", "Other Configuration Change", "Connection Collision Resolution", "Out of Resources", "Hard Reset", "BFD Down",
	}},
	7: {"ROUTE-REFRESH Message Error", []string{"Invalid Message Length"}},
}

// notification names a NOTIFICATION.
func notification(code, subcode uint8) string {
	if int(code) >= len(notifications) || notifications[code].name == "" {
		return fmt.Sprintf("error %d/%d", code, subcode)
	}
	n := notifications[code]
	switch {
	case subcode == 0:
		return n.name
	case int(subcode) <= len(n.subcodes) && n.subcodes[subcode-1] != "":
		return n.name + ": " + n.subcodes[subcode-1]
	}
	return fmt.Sprintf("%s: %d", n.name, subcode)
}
