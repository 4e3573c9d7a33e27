package watch

import (
	"cmp"
	"slices"
	"strings"

	"vpngw/cmd/vpngw/show"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// row is one tunnel in the list.
type row struct {
	name string // as it is shown
	conn *gateway.ConnectionStatus
	*gateway.TunnelStatus
	traffic *history
}

func (r *row) rate() float64 { return r.traffic.in + r.traffic.out }

// matches reports whether a text is in what the row says.
func (r *row) matches(filter string) bool {
	filter = strings.ToLower(filter)
	for _, s := range []string{r.name, string(r.State), r.Remote, r.Device, r.Why, string(r.Code)} {
		if strings.Contains(strings.ToLower(s), filter) {
			return true
		}
	}
	return false
}

// orders are what the list is sorted by, one after the other.
var orders = []struct {
	name    string
	compare func(a, b *row) int
}{
	{"as configured", func(*row, *row) int { return 0 }},
	{"by name", func(a, b *row) int { return strings.Compare(a.name, b.name) }},
	{"by state, the ill first", func(a, b *row) int { return cmp.Compare(slices.Index(ill, a.State), slices.Index(ill, b.State)) }},
	{"by rate", func(a, b *row) int { return cmp.Compare(b.rate(), a.rate()) }},
	{"by time, the last change first", func(a, b *row) int { return b.Since.Compare(a.Since) }},
}

// ill are the states in the order in which they want somebody to look.
var ill = []tunnel.State{tunnel.Connecting, tunnel.Degraded, tunnel.Waiting, tunnel.Down, tunnel.Up}

// arrange makes the list anew, and keeps the tunnel chosen that is chosen.
func (m *Model) arrange() {
	chosen := ""
	if m.cursor < len(m.rows) {
		chosen = m.rows[m.cursor].Name
	}
	m.rows = m.rows[:0]
	for i := range m.status.Connections {
		c := &m.status.Connections[i]
		for j := range c.Tunnels {
			t := &c.Tunnels[j]
			r := row{show.Name(c, t), c, t, m.history(t.Name)}
			if r.matches(m.filter) {
				m.rows = append(m.rows, r)
			}
		}
	}
	slices.SortStableFunc(m.rows, func(a, b row) int { return orders[m.order].compare(&a, &b) })
	if m.reverse {
		slices.Reverse(m.rows)
	}
	if i := slices.IndexFunc(m.rows, func(r row) bool { return r.Name == chosen }); i >= 0 {
		m.cursor = i
	}
	m.clamp()
}

// clamp keeps the chosen row in the list, and on the screen.
func (m *Model) clamp() {
	m.cursor = max(min(m.cursor, len(m.rows)-1), 0)
	page := max(m.page(), 1)
	m.top = max(min(m.top, m.cursor, len(m.rows)-page), m.cursor-page+1, 0)
}
