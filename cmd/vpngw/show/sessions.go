package show

import (
	"fmt"
	"time"

	"vpngw/gateway"
)

// BFD says how the BFD session of a tunnel is; empty: it has none.
func BFD(t *gateway.TunnelStatus, now time.Time) string {
	if t.BFD == nil {
		return ""
	}
	return Plain(t.Name) + " BFD " + bfd(t.BFD, now)
}

func bfd(b *gateway.BFDStatus, now time.Time) string {
	line := fmt.Sprintf("to %s: %s", Plain(b.Remote), Plain(b.State))
	if !b.Since.IsZero() {
		line += " for " + Ago(now.Sub(b.Since))
	}
	if b.Interval > 0 {
		line += fmt.Sprintf("; a packet every %g ms", b.Interval)
	}
	if b.Detect > 0 {
		line += fmt.Sprintf(", dead after %g ms without one", b.Detect)
	}
	if b.Discarded > 0 {
		line += fmt.Sprintf("; %d from elsewhere dropped", b.Discarded)
	}
	if b.Why != "" {
		line += "; " + Plain(b.Why)
	}
	return line
}

// Session says how the BGP session of a tunnel is; empty: it has none.
func Session(t *gateway.TunnelStatus, now time.Time) string {
	s := t.Session
	if s == nil {
		return ""
	}
	refused := ""
	if n := len(s.Reasons); n > 0 {
		refused = fmt.Sprintf(" (%s: %s)", Plain(s.Reasons[n-1].Prefix), Plain(s.Reasons[n-1].Why))
	}
	return Plain(t.Name) + " BGP " + session(s, refused, now)
}

// session says how a BGP session is. refused follows the number of prefixes that are refused.
func session(s *gateway.SessionStatus, refused string, now time.Time) string {
	line := fmt.Sprintf("to %s (AS %d): %s", Plain(s.Remote), s.RemoteAS, Plain(s.State))
	if !s.Since.IsZero() {
		line += " for " + Ago(now.Sub(s.Since))
	}
	if s.Stale {
		line += ", its routes are from before a restart"
	}
	line += fmt.Sprintf("; %s in, %d out", Count(s.In, "prefix"), s.Out)
	if s.Refused > 0 {
		line += fmt.Sprintf(", %d refused%s", s.Refused, refused)
	}
	if s.Hold > 0 {
		line += fmt.Sprintf("; hold %gs", s.Hold)
	}
	if s.Flaps > 0 {
		line += "; ended " + times(s.Flaps)
	}
	if s.Why != "" {
		line += "; last: " + Plain(s.Why)
	}
	return line
}
