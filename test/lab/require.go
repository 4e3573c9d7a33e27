package lab

import (
	"os"
	"os/exec"
	"strings"
)

// require skips the test when the process is not root or a tool is missing; with
// CI=true it fails the test instead.
func require(t T, tools []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "NEEDS ROOT: network namespaces cannot be made; run sudo make test")
	}
	NeedsTools(t, tools...)
}

func lacking(t T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// NeedsTools skips the test when a program is missing; with CI=true it fails the test instead.
func NeedsTools(t T, tools ...string) {
	t.Helper()
	var missing []string
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if missing != nil {
		lacking(t, "NEEDS %s: run sudo test/setup.sh", strings.Join(missing, ", "))
	}
}
