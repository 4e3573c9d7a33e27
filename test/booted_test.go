package test

import (
	"strings"
	"testing"

	"vpngw/test/lab"
)

func TestSystemdBoots(t *testing.T) {
	needsSystemd(t)
	for _, suite := range debians {
		t.Run(suite, func(t *testing.T) {
			l := lab.New(t)
			gw := l.Namespace("gw").Boot(lab.Boot{Suite: suite, Binds: []string{l.Binary() + ":/usr/bin/vpngw"}})
			if got := gw.Exec("systemctl", "is-system-running"); strings.TrimSpace(got) != "running" {
				t.Errorf("got %s\n%s", got, gw.Exec("systemctl", "--failed"))
			}
			t.Log(gw.Exec("cat", "/proc/1/cgroup"), gw.Exec("vpngw", "version"))
		})
	}
}
