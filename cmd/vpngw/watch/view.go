package watch

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"vpngw/cmd/vpngw/show"
	"vpngw/diag"
)

// View draws the screen.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.Lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "vpngw status"
	return v
}

// Lines are the lines of the screen.
func (m *Model) Lines() []string {
	lines := []string{m.title(), m.news()}
	if m.open != "" {
		alone := m.alone()
		lines = append(lines, alone[min(m.scroll, len(alone)):]...)
		return m.framed(lines, "Esc back  ↑↓ scroll  q quit")
	}
	lines = append(lines, m.list()...)
	keys := "↑↓ choose  Enter one tunnel  / filter  s sort  r reverse  q quit"
	if m.typing {
		keys = "Enter keep the filter  Esc no filter"
	}
	lines = m.framed(lines, keys)
	if n := len(lines); n > 2 && m.cursor < len(m.rows) && m.rows[m.cursor].Why != "" {
		lines[n-2] = show.Cut(show.Plain(m.rows[m.cursor].name+": "+m.rows[m.cursor].Why), m.width)
	}
	return lines
}

// framed are exactly as many lines as the screen has, with the keys in the last one.
func (m *Model) framed(lines []string, keys string) []string {
	if m.height < 1 {
		return nil
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:m.height-1:m.height-1], keys)
	for i, l := range lines {
		lines[i] = show.Cut(l, m.width)
	}
	return lines
}

// title says how many tunnels there are, and when that was.
func (m *Model) title() string {
	if m.seen.IsZero() {
		return "vpngw"
	}
	left, right := "vpngw  "+show.Summary(m.status), m.seen.In(m.o.Zone).Format(time.TimeOnly)
	if room := m.width - len(right) - 1; room > 20 {
		return show.Fit(left, room) + " " + right
	}
	return left
}

// news says that the daemon is lost, and else what of all is shown.
func (m *Model) news() string {
	if m.err != nil {
		text := "! no answer from the daemon"
		if !m.seen.IsZero() {
			text += " for " + show.Ago(m.now.Sub(m.seen)) + "; this is what it told last"
		}
		text += "; asking again: " + show.Plain(m.err.Error())
		if m.o.Color {
			return show.Alarm(show.Cut(text, m.width))
		}
		return text
	}
	switch {
	case m.typing:
		return "/" + m.filter + "█"
	case m.open != "":
		return ""
	}
	var parts []string
	if m.filter != "" {
		parts = append(parts, fmt.Sprintf("with %q", m.filter))
	}
	if n := len(m.rows); n > m.page() {
		parts = append(parts, fmt.Sprintf("%d to %d of %d", m.top+1, min(m.top+m.page(), n), n))
	}
	sorted := "sorted " + orders[m.order].name
	if m.reverse {
		sorted += ", reversed"
	}
	if r := m.status.Reload; r != nil {
		parts = append(parts, show.Plain(r.Note))
	}
	return strings.Join(append(parts, sorted), "; ")
}

// page is how many rows the screen has: title, news, headings, why and keys take the rest.
func (m *Model) page() int { return max(m.height-5, 0) }

// Widths of columns.
const (
	stateWidth = 12 // and that of standby, where there is room
	standby    = " standby"
	sinceWidth = 6
	rateWidth  = 8
	edge       = 2 // the mark of the chosen row
)

// list is the table of tunnels.
func (m *Model) list() []string {
	switch {
	case m.seen.IsZero() && m.err == nil:
		return []string{"asking the daemon …"}
	case m.seen.IsZero():
		return nil
	case len(m.rows) == 0 && m.filter != "":
		return []string{fmt.Sprintf("no tunnel has %q in its name, state, peer, device or cause", m.filter)}
	case len(m.rows) == 0:
		return []string{"no connection is configured"}
	}
	spark, stateWidth := 15, stateWidth
	if m.width >= 100 {
		spark, stateWidth = 20, stateWidth+len(standby)
	}
	name := len("TUNNEL")
	for i := range m.rows {
		name = max(name, show.Columns(m.rows[i].name))
	}
	rest := m.width - edge - stateWidth - sinceWidth - 2*rateWidth - spark - 5*2
	name = max(min(name, rest, 40), 8)
	rest -= name + 2
	line := func(name0, state, since, in, out, last, says string) string {
		cells := []string{show.Fit(show.CutMiddle(name0, name), name), show.Fit(state, stateWidth), right(since, sinceWidth), right(in, rateWidth), right(out, rateWidth), show.Fit(last, spark)}
		if rest >= 10 {
			cells = append(cells, show.Cut(says, rest))
		}
		return strings.Join(cells, "  ")
	}
	lines := []string{show.Bold("  " + line("TUNNEL", "STATE", "SINCE", "BIT/S IN", "OUT", "LAST MINUTE", "WHY"))}
	for i := m.top; i < min(m.top+m.page(), len(m.rows)); i++ {
		r := &m.rows[i]
		state := show.Mark(r.State) + " " + show.Plain(string(r.State))
		if show.Standby(r.TunnelStatus) && len(state+standby) <= stateWidth {
			state += standby
		}
		state = show.Fit(state, stateWidth)
		if m.o.Color && i != m.cursor {
			state = show.Paint(r.State, state)
		}
		text := line(r.name, state, show.Ago(m.now.Sub(r.Since)), show.Rate(r.traffic.in, ""), show.Rate(r.traffic.out, ""), r.traffic.spark(spark), show.Plain(r.Why))
		if i == m.cursor {
			lines = append(lines, show.Chosen("> "+show.Fit(text, m.width-edge)))
		} else {
			lines = append(lines, "  "+text)
		}
	}
	return lines
}

func right(s string, columns int) string {
	s = show.Cut(s, columns)
	return strings.Repeat(" ", max(columns-show.Columns(s), 0)) + s
}

// alone are the lines about the tunnel that is shown alone.
func (m *Model) alone() []string {
	o := show.Options{Now: m.now, Width: m.width, Color: m.o.Color}
	for i := range m.status.Connections {
		c := &m.status.Connections[i]
		for j := range c.Tunnels {
			t := &c.Tunnels[j]
			if t.Name != m.open {
				continue
			}
			lines := show.Tunnel(c, t, m.drops, o)
			h := m.history(t.Name)
			lines = append(lines, fmt.Sprintf("  rate        %sbit/s in, %sbit/s out", show.Rate(h.in, " "), show.Rate(h.out, " ")), "  last minute "+h.spark(min(minute, max(m.width-14, 10))))
			if len(m.events) > 0 {
				lines = append(lines, "", show.Bold("LAST EVENTS"))
			}
			for k := len(m.events) - 1; k >= 0; k-- {
				e := &m.events[k]
				text := fmt.Sprintf("%s  %s", e.Time.In(m.o.Zone).Format(time.DateTime), e.State)
				if e.Was != "" && e.Was != e.State {
					text = fmt.Sprintf("%s  %s to %s", e.Time.In(m.o.Zone).Format(time.DateTime), e.Was, e.State)
				}
				if e.Why != "" {
					text += ": " + e.Why
				}
				if e.Severity == diag.Error {
					text += " (error)"
				}
				lines = append(lines, show.Wrap(show.Plain(text), m.width, 4)...)
			}
			return lines
		}
	}
	return []string{fmt.Sprintf("tunnel %s is not configured any more", show.Plain(m.open))}
}
