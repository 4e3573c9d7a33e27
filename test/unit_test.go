package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// maxExposure bounds what systemd-analyze(1) finds in the unit, of 10: the lower the better.
const maxExposure = 2.1

// unitFile is the unit as `make install` installs it, with a program that exists.
func unitFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../cmd/vpngw/vpngw.service.in")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vpngw.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "@BIN@", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// exposure is the overall figure in the output of `systemd-analyze security`.
func exposure(t *testing.T, out string) float64 {
	t.Helper()
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no figure in\n%s", out)
	}
	figure, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return figure
}

func TestUnitIsValidAndHardened(t *testing.T) {
	lab.NeedsTools(t, "systemd-analyze")
	file := unitFile(t)
	// It complains of other units of this machine too, and of a user that is not there: that is not an error of the unit.
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "vpngw") {
			t.Errorf("verify: %s", line)
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := exposure(t, string(out)); got > maxExposure {
		t.Errorf("the exposure is %v, want %v at most\n%s", got, maxExposure, out)
	}
}
