package watch

import (
	"time"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"vpngw/desired"
	"vpngw/gateway"
)

// Model is what is on the screen. Not safe for concurrent use.
type Model struct {
	o   Options
	ask func(question) tea.Msg

	width, height int

	now    time.Time // of the last look
	seen   time.Time // of the last answer; zero: there was none
	err    error     // why there was none last; nil: there was one
	status desired.Status
	past   map[string]*history // by tunnel

	rows    []row // as filtered and sorted
	cursor  int   // the chosen row
	top     int   // the first row on the screen
	order   int
	reverse bool
	filter  string
	typing  bool // the filter

	open   string // the tunnel that is shown alone; empty: none
	scroll int    // its first line on the screen
	drops  map[string]uint64
	events []gateway.Event // of it, the oldest first
}

// New is the model before the first look.
func New(o Options) *Model {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	return &Model{o: o, filter: o.Filter, past: map[string]*history{}, width: 80, height: 24, ask: func(question) tea.Msg { return nil }}
}

// shownEvents is how many events of a tunnel are kept.
const shownEvents = 100

type again struct{} // it is time for the next look

// Init looks for the first time.
func (m *Model) Init() tea.Cmd { return m.look() }

func (m *Model) look() tea.Cmd {
	q := question{tunnel: m.open}
	if n := len(m.events); n > 0 {
		q.after = m.events[n-1].Number
	}
	return func() tea.Msg { return m.ask(q) }
}

// Update takes a key, an answer of the daemon, or a size.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.clamp()
	case Look:
		m.take(msg)
		return m, tea.Tick(pause(msg.Took), func(time.Time) tea.Msg { return again{} })
	case again:
		return m, m.look()
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// take takes the daemon's answer.
func (m *Model) take(l Look) {
	m.now, m.err = l.At, l.Err
	if l.Err != nil {
		for _, h := range m.past {
			h.rest(l.At)
		}
		m.arrange()
		return
	}
	m.seen, m.status = l.At, l.Status
	there := map[string]bool{}
	for _, c := range l.Status.Connections {
		for _, t := range c.Tunnels {
			there[t.Name] = true
			m.history(t.Name).add(l.At, t.Traffic)
		}
	}
	for name := range m.past {
		if !there[name] {
			delete(m.past, name)
		}
	}
	if l.Of == m.open && m.open != "" {
		m.drops = l.Drops
		if n := len(l.Events); n > 0 && len(m.events) > 0 && l.Events[n-1].Number <= m.events[len(m.events)-1].Number {
			m.events = nil // those of an earlier daemon
		}
		m.events = append(m.events, l.Events...)
		m.events = m.events[max(len(m.events)-shownEvents, 0):]
	}
	m.arrange()
}

func (m *Model) history(tunnel string) *history {
	h := m.past[tunnel]
	if h == nil {
		h = newHistory()
		m.past[tunnel] = h
	}
	return h
}

// key obeys a key.
func (m *Model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case m.typing:
		m.typed(name, k.Text)
		return nil
	case name == "q":
		return tea.Quit
	case m.open != "":
		m.keyAlone(name)
		return nil
	}
	switch name {
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
		m.arrange()
	case "s":
		m.order = (m.order + 1) % len(orders)
		m.arrange()
	case "r":
		m.reverse = !m.reverse
		m.arrange()
	case "enter":
		if m.cursor < len(m.rows) {
			m.open, m.scroll, m.drops, m.events = m.rows[m.cursor].Name, 0, nil, nil
		}
	default:
		m.cursor = moved(m.cursor, name, m.page(), len(m.rows))
		m.clamp()
	}
	return nil
}

// keyAlone obeys a key while one tunnel is shown.
func (m *Model) keyAlone(name string) {
	switch name {
	case "esc", "enter", "backspace", "left":
		m.open, m.drops, m.events = "", nil, nil
	default:
		m.scroll = moved(m.scroll, name, m.height-3, len(m.alone())-(m.height-3)+1)
	}
}

// typed obeys a key while the filter is typed.
func (m *Model) typed(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	default:
		for _, r := range text {
			if unicode.IsPrint(r) && len(m.filter) < 100 {
				m.filter += string(r)
			}
		}
	}
	m.arrange()
}

// moved is where a key moves a place among n.
func moved(at int, key string, page, n int) int {
	switch key {
	case "up", "k":
		at--
	case "down", "j":
		at++
	case "pgup", "ctrl+b":
		at -= page
	case "pgdown", "ctrl+f", "space":
		at += page
	case "home", "g":
		at = 0
	case "end", "G":
		at = n - 1
	}
	return max(min(at, n-1), 0)
}
