package show

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"vpngw/config"
	"vpngw/desired"
	"vpngw/gateway"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// Options are how a status is shown.
type Options struct {
	Now   time.Time
	Width int // of the terminal; 0: Width
	Color bool
}

func (o Options) width() int { return cmp.Or(o.Width, Width) }

// states are what each state looks like, in the order from well to ill. The mark tells it without colour.
var states = []struct {
	state tunnel.State
	mark  string
	style ansi.Style
}{
	{tunnel.Up, "+", ansi.NewStyle().ForegroundColor(ansi.Green)},
	{tunnel.Degraded, "!", ansi.NewStyle().ForegroundColor(ansi.Yellow)},
	{tunnel.Connecting, "!", ansi.NewStyle().ForegroundColor(ansi.Red)},
	{tunnel.Waiting, "~", ansi.NewStyle().ForegroundColor(ansi.Cyan)},
	{tunnel.Down, "-", ansi.NewStyle().Faint()},
}

// Rank orders states, the well first.
func Rank(s tunnel.State) int {
	for i, st := range states {
		if st.state == s {
			return i
		}
	}
	return len(states)
}

// Mark is the sign of a state.
func Mark(s tunnel.State) string {
	if r := Rank(s); r < len(states) {
		return states[r].mark
	}
	return "?"
}

// Paint colours a text as the state is.
func Paint(s tunnel.State, text string) string {
	if r := Rank(s); r < len(states) {
		return states[r].style.Styled(text)
	}
	return text
}

// Name is what a tunnel is called among all: its own name, which mostly has the connection's in it.
func Name(c *gateway.ConnectionStatus, t *gateway.TunnelStatus) string {
	if strings.HasPrefix(t.Name, c.Name) {
		return Plain(t.Name)
	}
	return Plain(c.Name + "/" + t.Name)
}

// Standby reports whether it is the one of two tunnels that does not have the traffic.
func Standby(t *gateway.TunnelStatus) bool { return t.Role != string(config.Single) && !t.Active }

// Status is a line for each tunnel, with why it is not well below it, and what else there is to say at the end.
func Status(st desired.Status, o Options) []string {
	if len(st.Connections) == 0 {
		return withNote(st, o, []string{"no connection is configured"})
	}
	table := Table{Columns: []Column{
		{Heading: "TUNNEL", Least: 12, Middle: true},
		{Heading: "DEVICE", Least: 6, Drop: 2},
		{Heading: "STATE", Least: 22},
		{Heading: "SINCE", Right: true, Least: 6},
		{Heading: "PEER", Least: 9},
		{Heading: "IKE", Least: 3},
		{Heading: "SAS", Right: true, Least: 3, Drop: 1},
		{Heading: "IN", Right: true, Least: 7},
		{Heading: "OUT", Right: true, Least: 7},
	}}
	var tunnels []*gateway.TunnelStatus
	weak := false
	for i := range st.Connections {
		c := &st.Connections[i]
		for j := range c.Tunnels {
			t := &c.Tunnels[j]
			state := Mark(t.State) + " " + string(t.State)
			if Standby(t) {
				state += " (standby)"
			}
			weak = weak || Weak(t)
			tunnels = append(tunnels, t)
			table.Rows = append(table.Rows, []string{
				Name(c, t), Plain(t.Device), Plain(state), Ago(o.Now.Sub(t.Since)), Plain(cmp.Or(t.Remote, t.RemoteName)), version(t), fmt.Sprint(len(t.Children)), Bytes(t.Traffic.BytesIn), Bytes(t.Traffic.BytesOut),
			})
		}
	}
	if o.Color {
		table.Paint = func(row int, column, cell string) string {
			if column == "STATE" {
				return Paint(tunnels[row].State, cell)
			}
			return cell
		}
	}
	lines := table.Lines(o.width())
	out := lines[:1:1]
	for i, t := range tunnels {
		out = append(out, lines[i+1])
		if t.Why != "" {
			out = append(out, Wrap("  "+Plain(t.Why), o.width(), 4)...)
		}
	}
	for i := range st.Connections {
		c := &st.Connections[i]
		for j := range c.Tunnels {
			t := &c.Tunnels[j]
			lines := []string{BFD(t, o.Now), Session(t, o.Now), leak(t)}
			for _, x := range obstacles(t) {
				lines = append(lines, Plain(t.Name)+" has in its way: "+x)
			}
			for _, x := range t.Exposed {
				lines = append(lines, Exposed(t.Name, x))
			}
			for _, line := range lines {
				if line != "" {
					out = append(out, Wrap(line, o.width(), 2)...)
				}
			}
		}
		if len(c.Unserved) > 0 {
			out = append(out, Wrap(unserved(c), o.width(), 2)...)
		}
	}
	for _, x := range st.Obstacles {
		out = append(out, Wrap("in the way of all: "+Plain(x.Why), o.width(), 2)...)
	}
	if weak {
		out = append(out, Wrap(`"!" behind the version of IKE: algorithms are weak; "vpngw status NAME" marks them`, o.width(), 2)...)
	}
	if len(tunnels) > 1 {
		out = append(out, Wrap(Summary(st), o.width(), 2)...)
	}
	return withNote(st, o, out)
}

func withNote(st desired.Status, o Options, lines []string) []string {
	if r := st.Reload; r != nil {
		lines = append(lines, Wrap(Plain(r.Note), o.width(), 2)...)
	}
	return lines
}

// Summary is how many tunnels there are in each state.
func Summary(st desired.Status) string {
	n, by := 0, map[tunnel.State]int{}
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			n++
			by[t.State]++
		}
	}
	var parts []string
	for _, s := range states {
		if by[s.state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[s.state], s.state))
		}
	}
	if len(parts) == 0 {
		return Count(n, "tunnel")
	}
	return Count(n, "tunnel") + ": " + strings.Join(parts, ", ")
}

// version is the version of IKE, with "!" where an algorithm or mode is weak.
func version(t *gateway.TunnelStatus) string {
	if t.IKE == nil {
		return "-"
	}
	v := fmt.Sprintf("v%d", t.IKE.Version)
	if Weak(t) {
		v += "!"
	}
	return v
}

// Weak reports whether a tunnel's SAs have weak algorithms, or come from aggressive mode.
func Weak(t *gateway.TunnelStatus) bool {
	if t.IKE != nil && (t.IKE.Mode == aggressive || strings.Contains(Marked(t.IKE.Proposal), "!")) {
		return true
	}
	for _, c := range t.Children {
		if strings.Contains(Marked(c.Proposal), "!") {
			return true
		}
	}
	return false
}

const aggressive = "aggressive" // weak, as `vpngw check` warns

// Marked puts a "!" behind each weak algorithm of a proposal.
func Marked(proposal string) string {
	names := strings.Split(proposal, "-")
	for i, n := range names {
		if a := ipsec.ByName(n); a != nil && a.Weak != "" {
			names[i] += "!"
		}
	}
	return Plain(strings.Join(names, "-"))
}

// leak says where packets can leave in clear; empty: nowhere.
func leak(t *gateway.TunnelStatus) string {
	if t.Leak != gateway.LeakPossible {
		return ""
	}
	return fmt.Sprintf("%s can leak: %s", Plain(t.Name), Plain(t.LeakWhy))
}

// obstacles are what of the host is in the way of a tunnel, but for what leak and its cause say.
func obstacles(t *gateway.TunnelStatus) (out []string) {
	for _, x := range t.Obstacles {
		if x.Code != t.LeakCode && x.Code != t.Code {
			out = append(out, Plain(x.Why))
		}
	}
	return out
}

func unserved(c *gateway.ConnectionStatus) string {
	return fmt.Sprintf("%s runs without, since it is not served yet: %s", Plain(c.Name), Plain(strings.Join(c.Unserved, ", ")))
}
