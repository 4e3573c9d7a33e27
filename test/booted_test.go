package test

import (
	"os"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// needsSystemd skips a test that boots a Debian: make systemd-test runs them.
func needsSystemd(t *testing.T) {
	t.Helper()
	if os.Getenv("SYSTEMD_TEST") == "" {
		t.Skip("boots a Debian with systemd: make systemd-test")
	}
}

func TestADebianBoots(t *testing.T) {
	needsSystemd(t)
	for _, suite := range []string{"bookworm", "trixie"} {
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
