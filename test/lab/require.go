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
	lacking := t.Skipf
	if os.Getenv("CI") == "true" {
		lacking = t.Fatalf
	}
	if os.Geteuid() != 0 {
		lacking("NEEDS ROOT: network namespaces cannot be made; run sudo make test")
	}
	var missing []string
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if missing != nil {
		lacking("NEEDS %s: run sudo test/setup.sh", strings.Join(missing, ", "))
	}
}
