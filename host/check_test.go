package host

import (
	"os"
	"strings"
	"testing"
)

func TestCheckNamesEachObstacleWithItsRemedy(t *testing.T) {
	s, h := world(t)
	set := func(knob, value string) {
		t.Helper()
		s.must(os.WriteFile("/proc/sys/net/ipv4/"+knob, []byte(value), 0o644))
	}
	set("ip_forward", "1")
	set("conf/all/rp_filter", "0")
	set("conf/eth0/rp_filter", "0")
	set("conf/eth1/rp_filter", "0")
	if got := h.Check(); len(got) > 0 {
		t.Errorf("on a good host: %v", got)
	}
	set("ip_forward", "0")
	set("conf/eth0/rp_filter", "1")
	got := h.Check()
	if len(got) != 2 || got[0].Code != "ip-forward" || got[1].Code != "rp-filter" || got[0].Fatal || got[1].Fatal ||
		!strings.Contains(got[0].Message, "sysctl -w net.ipv4.ip_forward=1") ||
		!strings.Contains(got[1].Message, "rp_filter is 1 on eth0") {
		t.Errorf("got %v", got)
	}
	set("conf/all/rp_filter", "1")
	if got := h.Check(); len(got) != 2 || !strings.Contains(got[1].Message, "on all devices") {
		t.Errorf("got %v", got)
	}
	set("conf/all/rp_filter", "2") // loose wins
	if got := h.Check(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	s.open(h) // our own ports are no finding
	if got := h.Check(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	for _, f := range got {
		if strings.Contains(f.Message, "\n") {
			t.Errorf("not one line: %q", f.Message)
		}
	}
}
