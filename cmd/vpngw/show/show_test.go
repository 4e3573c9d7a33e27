package show

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vpngw/cmd/vpngw/show/showtest"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/tunnel"
)

var update = flag.Bool("update", false, "write testdata")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// golden compares a text with a file.
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

func TestStatusFitsTheTerminal(t *testing.T) {
	for _, n := range []int{0, 1, 20, 500} {
		st := showtest.Fleet(n, now.Add(-30*time.Second), now)
		lines := Status(st, Options{Now: now})
		if n <= 20 {
			golden(t, fmt.Sprintf("status-%d.txt", n), strings.Join(lines, "\n")+"\n")
		}
		widths := []int{40, 80, 100, 132, 200}
		if n > 20 {
			widths = []int{100}
		}
		for _, width := range widths {
			o := Options{Now: now, Width: width}
			lines := Status(st, o)
			for i := range st.Connections {
				c := &st.Connections[i]
				for j := range c.Tunnels {
					lines = append(lines, Tunnel(c, &c.Tunnels[j], nil, o)...)
				}
			}
			for _, l := range lines {
				if width >= 80 && Columns(l) > width {
					t.Errorf("%d tunnels, %d columns: a line has %d: %s", n, width, Columns(l), l)
				}
			}
		}
	}
}

// Without its colours a coloured status is the plain one: nothing is told by colour alone.
func TestColourAddsNothing(t *testing.T) {
	st := showtest.Fleet(20, now, now)
	coloured := strings.Join(Status(st, Options{Now: now, Color: true}), "\n")
	without := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured, "")
	if coloured == without {
		t.Error("nothing is coloured")
	}
	if plain := strings.Join(Status(st, Options{Now: now}), "\n"); without != plain {
		t.Errorf("got\n%s\nwant\n%s", without, plain)
	}
}

func TestTunnelSaysEverything(t *testing.T) {
	st := showtest.Fleet(8, now.Add(-time.Minute), now)
	c := &st.Connections[7]
	u := &c.Tunnels[0]
	u.Advice = diag.Advice{Side: diag.Theirs, Change: []string{"HealthCheckConfig.dip"}}
	u.Health = &gateway.HealthStatus{State: "ill", Source: "10.1.0.1", Target: "10.2.0.1", Sent: 9, Answered: 6, Lost: 3, RTTLast: 1.25, RTTMin: 1, RTTAvg: 1.125}
	u.BFD = &gateway.BFDStatus{State: "down", Since: now.Add(-2 * time.Minute), Remote: "169.254.1.1", Interval: 1000}
	u.Session = &gateway.SessionStatus{
		State: "idle", Since: now.Add(-time.Minute), Local: "169.254.1.2", Remote: "169.254.1.1", LocalAS: 65001, RemoteAS: 64600, In: 1, Refused: 2, Flaps: 1,
		Reasons: []gateway.RefusedStatus{{Prefix: "0.0.0.0/0", Report: diag.Report{Why: "it holds the peer's own address"}}, {Prefix: "10.9.0.0/16", Report: diag.Report{Why: "evil \x1b[2J"}}},
		Report:  diag.Report{Why: "the peer closed it"},
	}
	u.Leak, u.LeakWhy = gateway.LeakPossible, "packets to 10.7.0.1 leave in clear by eth0"
	u.Obstacles = []doctor.Finding{{Report: diag.Report{Why: u.LeakWhy, Code: u.LeakCode}}, {Report: diag.Report{Why: "this host's NAT gives packets into the tunnel vpngw0 another source", Code: diag.SNAT}}}
	u.Children[0].Drops = map[string]uint64{"replay": 2}
	u.Children[0].Note = "the peer names no form of sequence numbers (ESN), so they have 32 bits"
	c.Unserved = []string{"multicast"}
	golden(t, "tunnel.txt", strings.Join(Tunnel(c, u, map[string]uint64{"no-sa": 12, "bad-icv": 1}, Options{Now: now}), "\n")+"\n")
}

func TestBFD(t *testing.T) {
	for want, b := range map[string]gateway.BFDStatus{
		"hq BFD to 169.254.1.1: up for 2m0s; a packet every 300 ms, dead after 900 ms without one": {
			State: "up", Since: now.Add(-2 * time.Minute), Remote: "169.254.1.1", Interval: 300, Detect: 900,
		},
		"hq BFD to 169.254.1.1: down for 2m0s; a packet every 1000 ms; 7 from elsewhere dropped; the peer was never heard: has it BFD?": {
			State: "down", Since: now.Add(-2 * time.Minute), Remote: "169.254.1.1", Interval: 1000, Discarded: 7, Report: diag.Report{Why: "the peer was never heard: has it BFD?"},
		},
		"hq BFD to 169.254.1.1: rests": {State: "rests", Remote: "169.254.1.1"},
	} {
		if got := BFD(&gateway.TunnelStatus{Name: "hq", BFD: &b}, now); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestSessionCountsInGoodGrammar(t *testing.T) {
	for want, s := range map[string]gateway.SessionStatus{
		"hq BGP to 169.254.1.1 (AS 64600): established; 1 prefix in, 0 out; ended once":      {State: "established", In: 1, Flaps: 1},
		"hq BGP to 169.254.1.1 (AS 64600): established; 0 prefixes in, 1 out; ended twice":   {State: "established", Out: 1, Flaps: 2},
		"hq BGP to 169.254.1.1 (AS 64600): established; 2 prefixes in, 0 out; ended 3 times": {State: "established", In: 2, Flaps: 3},
	} {
		s.Remote, s.RemoteAS = "169.254.1.1", 64600
		if got := Session(&gateway.TunnelStatus{Name: "hq", Session: &s}, now); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// Names and reasons that could move the cursor are harmless, and none breaks a table.
func TestHostileTextsAreHarmless(t *testing.T) {
	evil := "a\x1b[2J\nb\u202e\u0000" + strings.Repeat("界", 300)
	u := gateway.TunnelStatus{
		Name: evil, Device: evil, State: tunnel.State(evil), Role: evil, Remote: evil, Local: evil, Leak: gateway.LeakPossible, LeakWhy: evil, Report: diag.Report{Why: evil, Code: diag.Code(evil)},
		Advice: diag.Advice{Change: []string{evil}}, IKE: &gateway.IKEStatus{State: evil, Proposal: evil, Mode: evil, NAT: evil, SPIi: evil, SPIr: evil},
		Children: []gateway.ChildStatus{{Proposal: evil, LocalTS: []string{evil}, SPIIn: evil, Note: evil, Drops: map[string]uint64{evil: 1}}},
		Health:   &gateway.HealthStatus{State: evil, Target: evil, Source: evil}, BFD: &gateway.BFDStatus{State: evil, Remote: evil, Report: diag.Report{Why: evil}},
		Session: &gateway.SessionStatus{State: evil, Local: evil, Remote: evil, Refused: 1, Reasons: []gateway.RefusedStatus{{Prefix: evil, Report: diag.Report{Why: evil}}}},
	}
	u.Obstacles = []doctor.Finding{{Report: diag.Report{Why: evil, Code: "x"}}}
	c := gateway.ConnectionStatus{Name: evil, Dialect: evil, Side: evil, Tunnels: []gateway.TunnelStatus{u}, Unserved: []string{evil}}
	st := desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{c, c}, Obstacles: u.Obstacles}, Reload: &desired.ReloadStatus{Note: evil}}
	for _, l := range append(Status(st, Options{Now: now}), Tunnel(&c, &u, map[string]uint64{evil: 1}, Options{Now: now})...) {
		if strings.ContainsAny(l, "\x1b\n\x00\u202e") || Columns(l) > Width {
			t.Errorf("a line of %d columns: %q", Columns(l), l)
		}
	}
}

func TestTextsFitTheirColumns(t *testing.T) {
	for _, c := range []struct{ text, fit, middle string }{
		{"", "          ", ""},
		{"hq", "hq        ", "hq"},
		{"a-long-name-1", "a-long-na…", "a-lon…me-1"},
		{"上海办公室", "上海办公室", "上海办公室"},
		{"上海办公室-1", "上海办公… ", "上海…室-1"},
	} {
		if got := Fit(c.text, 10); got != c.fit {
			t.Errorf("Fit(%q): got %q, want %q", c.text, got, c.fit)
		}
		if got := CutMiddle(c.text, 10); got != c.middle {
			t.Errorf("CutMiddle(%q): got %q, want %q", c.text, got, c.middle)
		}
	}
	for columns := range 12 {
		for _, s := range []string{"", "a", "上海办公室-1", "a-long-name-1"} {
			if got := Columns(Fit(s, columns)); got != columns {
				t.Errorf("Fit(%q, %d) has %d columns", s, columns, got)
			}
			if got := Columns(CutMiddle(s, columns)); got > columns {
				t.Errorf("CutMiddle(%q, %d) has %d columns", s, columns, got)
			}
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1500000: "1.5 MB", 999_600: "1 MB", 1 << 63: "9.22 EB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d): got %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 61 * time.Second: "1m1s", 25 * time.Hour: "1d1h", 3000 * time.Hour: "125d"} {
		if got := Ago(d); got != want {
			t.Errorf("Ago(%v): got %q, want %q", d, got, want)
		}
	}
}

// A wrapped text has lost nothing but spaces, whatever it is of.
func TestWrapLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "of", "10.1.0.0/16", "上海办公室", "zürich", "a-connection-with-a-rather-long-name", strings.Repeat("x", 70), " ", "  ", "…", "(error)", "e\u0301", "👩‍💻"}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	for range 1000 {
		s := "  name        "
		for range r.IntN(30) {
			s += words[r.IntN(len(words))] + strings.Repeat(" ", r.IntN(2))
		}
		columns, indent := 30+r.IntN(80), r.IntN(10)
		lines := Wrap(s, columns, indent)
		if got := squeeze(strings.Join(lines, " ")); got != squeeze(s) {
			t.Fatalf("%q\nbecame %q", s, lines)
		}
		for _, l := range lines {
			if Columns(l) > columns {
				t.Fatalf("%d columns, want at most %d: %q", Columns(l), columns, l)
			}
		}
	}
}
