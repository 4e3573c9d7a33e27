package lab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// victim is the environment variable that makes this test binary a process that
// owns a Lab and waits to be ended.
const victim = "LAB_VICTIM"

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestVictim is not a test: it is the process that the tests below end.
func TestVictim(t *testing.T) {
	if os.Getenv(victim) == "" {
		return
	}
	l := New(t)
	n := l.Namespace("a")
	n.Resolves("192.0.2.1")
	p := n.Start("sleep", "sleep", "1000")
	t.Logf("%d", p.PID())
	os.Stdout.WriteString("tag " + l.tag + "\n")
	select {}
}

// startVictim starts the process and returns it with the tag of its Lab, which is complete.
func startVictim(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	require(t, []string{"ip"})
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victim+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if tag, ok := strings.CutPrefix(lines.Text(), "tag "); ok {
			if len(leftOf(tag)) == 0 {
				t.Fatalf("the lab %s is not complete", tag)
			}
			return cmd, tag
		}
	}
	t.Fatal("no lab was made")
	return nil, ""
}

// leftOf returns the namespaces and files of a Lab that still exist.
func leftOf(tag string) []string {
	var left []string
	for _, dir := range []string{"/run/netns", "/etc/netns", os.TempDir()} {
		paths, _ := filepath.Glob(filepath.Join(dir, tag+"*"))
		left = append(left, paths...)
	}
	return left
}

func TestInterruptedLabCleansUp(t *testing.T) {
	cmd, tag := startVictim(t)
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	if left := leftOf(tag); len(left) > 0 {
		t.Errorf("after SIGINT there is still %v", left)
	}
}

func TestKilledLabIsSweptByTheNext(t *testing.T) {
	cmd, tag := startVictim(t)
	sweep()
	if len(leftOf(tag)) == 0 {
		t.Errorf("the lab of a living process was swept away")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(leftOf(tag)) == 0 {
		t.Errorf("nothing to sweep: the test shows nothing")
	}
	sweep()
	if left := leftOf(tag); len(left) > 0 {
		t.Errorf("after the sweep there is still %v", left)
	}
}
