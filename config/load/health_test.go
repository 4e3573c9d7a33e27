package load

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"vpngw/config"
)

const insideBlock = "inside: {local: 169.254.11.2/30, remote: 169.254.11.1}"

func TestHealthBesideABody(t *testing.T) {
	local, remote := netip.MustParseAddr("169.254.11.2"), netip.MustParseAddr("169.254.11.1")
	target := netip.MustParseAddr("10.20.0.1")
	for _, tt := range []struct {
		body, beside string
		want         *config.Health // as Asked has it; nil: this end does not ping
	}{
		{"", "", nil},
		{insideBlock, "health: {}", &config.Health{Source: local, Target: remote, Interval: 5 * time.Second, Retries: 3, Ours: true}},
		{"", "health: {target: 10.20.0.1}", &config.Health{Target: target, Interval: 5 * time.Second, Retries: 3, Ours: true}},
		{insideBlock, "health: {target: 10.20.0.1, interval: 500ms, timeout: 2s, retries: 5, policy: reserve}", &config.Health{
			Source: local, Target: target, Interval: 500 * time.Millisecond, Timeout: 2 * time.Second, Retries: 5, Ours: true, Keep: true,
		}},
		{insideBlock, `health: {target: "fd00::1"}`, &config.Health{Target: netip.MustParseAddr("fd00::1"), Interval: 5 * time.Second, Retries: 3, Ours: true}},
		{insideBlock + "\n      health_check: {policy: reserve}", "", &config.Health{Source: local, Target: remote, Interval: 5 * time.Second, Retries: 3, Ours: true, Keep: true}},
		{insideBlock + "\n      health_check: {from: remote}", "", nil},
		{insideBlock + "\n      health_check: {from: remote}", "health: {retries: 1}", &config.Health{Source: local, Target: remote, Interval: 5 * time.Second, Retries: 1, Ours: true}},
		{insideBlock + "\n      health_check: {retries: 7}", "health: {retries: 1}", &config.Health{Source: local, Target: remote, Interval: 5 * time.Second, Retries: 1, Ours: true}},
		{"health_check: {retries: 7}", "", nil}, // there is nothing to ping
	} {
		tun := tunnel(t, tt.body, tt.beside)
		got := tun.Asked()
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s %s: got %+v, want %+v", tt.body, tt.beside, got, tt.want)
		}
	}
}

func TestHealthThatCannotBeIsRefused(t *testing.T) {
	for _, tt := range []struct{ body, beside, want string }{
		{"", "health: {}", "a target is needed"},
		{"", `health: {target: 10.20.0.1, source: "fd00::1"}`, "not of the address family of the target"},
		{"", "health: {target: 10.20.0.1, interval: 10ms}", "interval"},
		{"", "health: {target: 10.20.0.1, retries: 0}", "retries"},
		{"", "health: {target: 10.20.0.1, policy: keep}", "policy"},
		{"", "health: on", "health"},
		{"", "failover: {hold: 0}", "hold"},
		{"", "failover: {switch_back: never}", "switch_back"},
	} {
		c, ps := parseText(nil, "f", []byte(lab(key+"\n      "+tt.body, tt.beside)))
		if c != nil || !strings.Contains(lines(ps), tt.want) {
			t.Errorf("%s: got %v\n%s", tt.beside, c != nil, lines(ps))
		}
	}
}

// What stands beside one connection of a pair holds for both; what stands beside both must be the same.
func TestFailoverOfAPair(t *testing.T) {
	manual := config.Switching{Hold: 30 * time.Second, Manual: true}
	short := config.Switching{Hold: 5 * time.Second}
	for _, tt := range []struct {
		first, second string
		want          config.Switching
		problem       string
	}{
		{"", "", config.DefaultSwitching, ""},
		{"failover: {switch_back: manual}", "", manual, ""},
		{"", "failover: {hold: 5s}", short, ""},
		{"failover: {hold: 5s}", "failover: {hold: 5000ms, switch_back: auto}", short, ""},
		{"failover: {hold: 5s}", "failover: {hold: 6s}", config.Switching{}, `connections[1].failover: it differs from the failover of connection "hq-1"`},
	} {
		beside := func(s string) string { return strings.TrimSuffix("pair: hq\n    "+s, "\n    ") }
		c, ps := parseText(nil, "f", []byte(fileOf(entry(1, "", beside(tt.first)), entry(2, "", beside(tt.second)))))
		switch {
		case tt.problem != "":
			if c != nil || !strings.Contains(lines(ps), tt.problem) {
				t.Errorf("%q, %q: got\n%s", tt.first, tt.second, lines(ps))
			}
		case c == nil:
			t.Errorf("%q, %q: got\n%s", tt.first, tt.second, lines(ps))
		default:
			for _, conn := range c.Connections {
				if conn.Switching != tt.want {
					t.Errorf("%q, %q: %s has %+v, want %+v", tt.first, tt.second, conn.Name, conn.Switching, tt.want)
				}
			}
		}
	}
	c, ps := parseText(nil, "f", []byte(lab(key, "failover: {hold: 5s}")))
	if c == nil || c.Connections[0].Switching != (config.Switching{}) || !strings.Contains(lines(ps), "the connection has one tunnel and is of no pair") {
		t.Errorf("of one tunnel: got\n%s", lines(ps))
	}
}
