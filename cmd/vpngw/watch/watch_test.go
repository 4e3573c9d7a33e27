package watch

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"vpngw/cmd/vpngw/show"
	"vpngw/cmd/vpngw/show/showtest"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/tunnel"
)

var update = flag.Bool("update", false, "write testdata")

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// watching is a model of n connections after some looks, one a second.
func watching(n, looks, width, height int) *Model {
	m := New(Options{Zone: time.UTC})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for i := range looks {
		m.Update(seen(n, i))
	}
	return m
}

// seen is the answer to a look some seconds after the begin.
func seen(n, second int) Look {
	at := begin.Add(time.Duration(second) * time.Second)
	return Look{At: at, Status: showtest.Fleet(n, begin, at)}
}

// keys presses keys: single letters, or names in angle brackets.
func keys(m *Model, text string) (last tea.Cmd) {
	for _, k := range regexp.MustCompile(`<\w+>|.`).FindAllString(text, -1) {
		codes := map[string]rune{
			"<enter>": tea.KeyEnter, "<esc>": tea.KeyEscape, "<up>": tea.KeyUp, "<down>": tea.KeyDown, "<pgdown>": tea.KeyPgDown, "<pgup>": tea.KeyPgUp,
			"<home>": tea.KeyHome, "<end>": tea.KeyEnd, "<backspace>": tea.KeyBackspace,
		}
		msg := tea.KeyPressMsg{Code: codes[k]}
		if msg.Code == 0 {
			msg = tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		}
		_, last = m.Update(msg)
	}
	return last
}

// screen is what the model draws, without styles. It fits the terminal, whatever happens.
func screen(t *testing.T, m *Model) string {
	t.Helper()
	lines := m.Lines()
	if len(lines) != m.height {
		t.Errorf("%d lines for a terminal of %d", len(lines), m.height)
	}
	for _, l := range lines {
		if show.Columns(l) > m.width {
			t.Errorf("%d columns for a terminal of %d: %q", show.Columns(l), m.width, l)
		}
	}
	text := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(strings.Join(lines, "\n")+"\n", "")
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(text, "")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestScreensOfManySizes(t *testing.T) {
	for _, n := range []int{0, 1, 20, 500} {
		golden(t, fmt.Sprintf("%d.txt", n), screen(t, watching(n, 30, 80, 24)))
	}
	golden(t, "wide.txt", screen(t, watching(20, 30, 140, 12)))
	m := New(Options{Zone: time.UTC})
	if got := screen(t, m); !strings.Contains(got, "asking the daemon") {
		t.Errorf("before the first answer:\n%s", got)
	}
	// No size breaks it.
	m = watching(20, 3, 80, 24)
	for _, width := range []int{0, 1, 2, 5, 20, 39, 60, 79, 80, 99, 100, 119} {
		for _, height := range []int{1, 2, 3, 4, 5, 6, 10, 100} {
			m.Update(tea.WindowSizeMsg{Width: width, Height: height})
			if len(m.Lines()) != height || m.View().Content == "" && width > 0 && height > 2 {
				t.Fatalf("%d by %d: %d lines", width, height, len(m.Lines()))
			}
			keys(m, "<end><enter>")
			m.Lines()
			keys(m, "<pgdown><esc><home>")
		}
	}
}

func TestOneTunnelIsShownWithItsEvents(t *testing.T) {
	m := watching(20, 10, 80, 40)
	keys(m, "<down><down>")
	asked := question{}
	m.ask = func(q question) tea.Msg { asked = q; return nil }
	keys(m, "<enter>")
	m.look()()
	if asked.tunnel != "上海办公室-2" || asked.after != 0 {
		t.Errorf("asked %+v", asked)
	}
	l := seen(20, 10)
	l.Of, l.Drops = asked.tunnel, map[string]uint64{"no-sa": 3}
	l.Events = []gateway.Event{
		{Number: 7, Time: begin, Severity: diag.Info, State: tunnel.Connecting},
		{Number: 9, Time: begin.Add(time.Second), Severity: diag.Error, Was: tunnel.Connecting, State: tunnel.Waiting, Report: diag.Report{Why: "no \x1b[2J answer"}},
	}
	m.Update(l)
	golden(t, "alone.txt", screen(t, m))
	m.look()()
	if asked.after != 9 {
		t.Errorf("asked %+v", asked)
	}
	other := l
	other.Of, other.Events = "another", []gateway.Event{{Number: 10, State: tunnel.Up}}
	m.Update(other)
	if len(m.events) != 2 {
		t.Errorf("events of another tunnel are shown: %v", m.events)
	}
	l.Events = l.Events[:1] // the daemon has started again
	m.Update(l)
	if len(m.events) != 1 {
		t.Errorf("after a restart: %v", m.events)
	}
	m.Update(Look{At: begin.Add(time.Minute), Status: showtest.Fleet(1, begin, begin)})
	if got := screen(t, m); !strings.Contains(got, "tunnel 上海办公室-2 is not configured any more") {
		t.Errorf("got\n%s", got)
	}
	keys(m, "<esc>")
	if got := screen(t, m); !strings.Contains(got, "> hq ") {
		t.Errorf("got\n%s", got)
	}
}

func TestALostDaemonIsToldAndComesBack(t *testing.T) {
	m := watching(1, 3, 80, 24)
	lost := Look{At: begin.Add(20 * time.Second), Err: errors.New("the vpngw daemon is not reachable on \x1b[2J")}
	_, cmd := m.Update(lost)
	if cmd == nil {
		t.Error("it is not asked again")
	}
	got := screen(t, m)
	for _, want := range []string{"no answer from the daemon for 18s; this is what it told last", "> hq "} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
	m.Update(seen(1, 21))
	if got := screen(t, m); strings.Contains(got, "no answer") {
		t.Errorf("it is back:\n%s", got)
	}
	m = New(Options{})
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 24})
	m.Update(lost)
	if got := screen(t, m); !strings.Contains(got, "! no answer from the daemon; asking again: the vpngw daemon is not reachable on ?[2J") {
		t.Errorf("it was never there:\n%s", got)
	}
}

func names(m *Model) (out []string) {
	for _, r := range m.rows {
		out = append(out, r.name)
	}
	return out
}

func TestFilter(t *testing.T) {
	m := watching(20, 3, 80, 24)
	keys(m, "/LABx<backspace>")
	if got := names(m); len(got) != 4 || !strings.Contains(screen(t, m), "/LAB█") {
		t.Errorf("while it is typed: %q\n%s", got, screen(t, m))
	}
	keys(m, "<enter>s")
	if got := screen(t, m); !strings.Contains(got, `with "LAB"; sorted by name`) {
		t.Errorf("got\n%s", got)
	}
	keys(m, "<esc>")
	if len(m.rows) != 24 {
		t.Errorf("without it: %q", names(m))
	}
	keys(m, "/connecting<enter>")
	if got := names(m); len(got) != 3 {
		t.Errorf("by state: %q", got)
	}
	keys(m, "/zzz")
	if got := screen(t, m); !strings.Contains(got, `no tunnel has "connectingzzz"`) {
		t.Errorf("got\n%s", got)
	}
	if keys(m, "q"); m.filter != "connectingzzzq" {
		t.Error("q ends it while the filter is typed")
	}
	if cmd := keys(m, "<esc>q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
}

func TestSort(t *testing.T) {
	m := watching(12, 3, 80, 24)
	configured := names(m)
	keys(m, "<end>")
	chosen := m.rows[m.cursor].name
	for _, want := range []string{"branch-1", "a-connection-with-a-rather-long-name-3", "", "hq"} {
		keys(m, "s")
		if m.rows[m.cursor].name != chosen {
			t.Errorf("sorted %s: another is chosen", orders[m.order].name)
		}
		switch got := m.rows[0].name; {
		case orders[m.order].name == "by name":
			if !strings.HasPrefix(got, "a-connection") {
				t.Errorf("by name: %q", names(m))
			}
		case orders[m.order].name == "by rate":
			if m.rows[0].rate() < m.rows[5].rate() || m.rows[0].rate() == 0 {
				t.Errorf("by rate: %q", names(m))
			}
		case got != want:
			t.Errorf("sorted %s: %q is first, want %q", orders[m.order].name, got, want)
		}
	}
	keys(m, "r")
	if m.rows[len(m.rows)-1].name != "hq" {
		t.Errorf("reversed: %q", names(m))
	}
	keys(m, "rs")
	if got := names(m); strings.Join(got, " ") != strings.Join(configured, " ") {
		t.Errorf("as configured: %q, want %q", got, configured)
	}
}

func TestScroll(t *testing.T) {
	m := watching(500, 2, 80, 24)
	for _, c := range []struct {
		keys        string
		cursor, top int
	}{
		{"<down>", 1, 0},
		{"<up><up>", 0, 0},
		{"<pgdown>", 19, 1},
		{"jjj", 22, 4},
		{"<end>", 599, 581},
		{"<down><pgdown>", 599, 581},
		{"kk", 597, 581},
		{"<pgup>", 578, 578},
		{"<home>", 0, 0},
	} {
		keys(m, c.keys)
		if m.cursor != c.cursor || m.top != c.top {
			t.Errorf("after %s: row %d, first %d; want %d, %d", c.keys, m.cursor, m.top, c.cursor, c.top)
		}
	}
}

func TestRatesOfTwoLooks(t *testing.T) {
	h := newHistory()
	traffic := func(in, out uint64) gateway.TrafficStatus { return gateway.TrafficStatus{BytesIn: in, BytesOut: out} }
	h.add(begin, traffic(1000, 0))
	if h.in != 0 || strings.TrimSpace(h.spark(60)) != "" {
		t.Errorf("after one look: %v, %q", h.in, h.spark(60))
	}
	h.add(begin.Add(2*time.Second), traffic(3000, 500))
	if h.in != 8000 || h.out != 2000 {
		t.Errorf("got %v and %v bit/s, want 8000 and 2000", h.in, h.out)
	}
	h.add(begin.Add(3*time.Second), traffic(3000, 500))
	h.add(begin.Add(4*time.Second), traffic(4250, 500))
	if got := strings.TrimLeft(h.spark(60), " "); got != "██▁█" {
		t.Errorf("got %q", got)
	}
	h.add(begin.Add(5*time.Second), traffic(100, 0)) // the daemon has started again
	if h.in != 800 || h.out != 0 {
		t.Errorf("after a restart: %v and %v bit/s, want 800 and 0", h.in, h.out)
	}
	h.rest(begin.Add(7 * time.Second))
	if got := strings.TrimLeft(h.spark(60), " "); got != "██▁█▂  " || h.in != 0 {
		t.Errorf("nobody answers: %q, %v bit/s", got, h.in)
	}
	h.add(begin.Add(8*time.Second), traffic(1e9, 0))
	if h.in != 0 {
		t.Errorf("what came meanwhile is counted as of now: %v", h.in)
	}
	h.add(begin.Add(1000*time.Second), traffic(1e9, 0))
	h.add(begin.Add(900*time.Second), traffic(1e9, 0)) // the clock was set back
	if got := h.spark(15); show.Columns(got) != 15 {
		t.Errorf("got %q", got)
	}
}
