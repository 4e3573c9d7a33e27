package test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// told is an event as `vpngw events --json` prints it. It follows the documentation.
type told struct {
	Number uint64 `json:"number"`
	Tunnel string `json:"tunnel"`
	State  string `json:"state"`
	Code   string `json:"code"`
}

func toldBy(t *testing.T, text string) (out []told) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var e told
		if strings.HasPrefix(lines.Text(), "{") && json.Unmarshal(lines.Bytes(), &e) == nil {
			out = append(out, e)
		}
	}
	return out
}

// Events and their numbers outlive a daemon that is stopped, killed, and stopped with its file damaged; who follows misses and
// repeats nothing.
func TestEventsOutliveDaemons(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", natSuites)}})
	file := filepath.Join(n.Dir, "customer-state", "events")
	follower := n.Customer.Start("follower", n.Binary(), "events", "-f", "--json", "--control", gw.Control)
	started := 0
	again := func(code string) {
		t.Helper()
		gw.Restart()
		started++
		n.Await(lab.Patience, "the follower hears "+code, func() (bool, string) {
			all := follower.Log()
			return strings.Count(all, `"code":"daemon-started"`)+strings.Count(all, `"code":"daemon-recovered"`) == started+1 && strings.Contains(all, code), all
		})
	}
	n.Await(lab.Patience, "the follower hears of the start", func() (bool, string) { return strings.Contains(follower.Log(), "daemon-started"), follower.Log() })
	gw.Command("down", "row")
	gw.Stop()
	again("daemon-started")
	gw.Kill()
	again("daemon-recovered")
	before := toldBy(t, gw.Command("events", "--json"))
	gw.Stop()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again("daemon-started")
	gw.AwaitLog("is damaged; it is now")
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Error(err)
	}
	after := toldBy(t, gw.Command("events", "--json"))
	if len(after) < len(before) || before[0] != after[0] { // one line is lost, and some are new
		t.Errorf("%d events are left of %d and more", len(after), len(before))
	}
	heard := toldBy(t, follower.Log())
	last := uint64(0)
	held := false
	for _, e := range heard {
		if e.Number <= last {
			t.Errorf("event %d comes after %d", e.Number, last)
		}
		last = e.Number
		held = held || e.Code == "operator-down"
	}
	if len(heard) < len(after) || !held || !strings.Contains(follower.Log(), "waiting for the next one") {
		t.Errorf("the follower heard %d events of %d:\n%s", len(heard), len(after), follower.Log())
	}
	for _, e := range after {
		if !slices.Contains(heard, e) {
			t.Errorf("the follower missed %+v", e)
		}
	}
	gw.Stop()
	follower.Kill()
}
