package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpngw/config/begin"
	"vpngw/config/export"
)

func TestShellsGetAScript(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var stdout, stderr strings.Builder
		if code := vpngw([]string{"completion", shell}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d: %s", shell, code, &stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here", shell)
			continue
		}
		check := exec.Command(path, "-n", "/dev/stdin")
		check.Stdin = strings.NewReader(stdout.String())
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s does not take its script: %v %s", shell, err, out)
		}
	}
	var stdout, stderr strings.Builder
	if code := vpngw([]string{"completion", "tcsh"}, &stdout, &stderr); code != exitUsage || stdout.Len() > 0 {
		t.Errorf("exit code %d for a shell that is not known", code)
	}
}

// completions are what the shell is offered behind words, without what describes it.
func completions(t *testing.T, words ...string) []string {
	t.Helper()
	var stdout, stderr strings.Builder
	if code := vpngw(append([]string{"__completeNoDesc"}, words...), &stdout, &stderr); code != 0 {
		t.Errorf("%q: exit code %d: %s", words, code, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[:len(lines)-1] // the last is for the script
}

func TestNamesComeFromTheConfigurationWhereNoDaemonAnswers(t *testing.T) {
	dir := t.TempDir()
	file, none := filepath.Join(dir, "vpngw.yaml"), filepath.Join(dir, "none.sock")
	text := `version: 1
connections:
  - name: hq
    native: {local: {address: 203.0.113.9, subnets: [10.1.0.0/16]}, remote: {address: 198.51.100.1, subnets: [10.2.0.0/16]}, psk: a-key-for-this-test}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words []string
		want  []string
	}{
		{[]string{"explain", "-c", file, ""}, []string{"hq"}},
		{[]string{"explain", "-c", file, "x"}, nil},
		{[]string{"explain", "-c", file, "hq", ""}, nil},
		{[]string{"explain", "-c", filepath.Join(dir, "missing"), ""}, nil},
		{[]string{"--control", none, "reload", ""}, nil},
		{[]string{"export", "hq", "--format", "s"}, export.Formats()},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
		{[]string{"--log-level", ""}, []string{"debug", "info", "warn", "error"}},
		{[]string{"--log-format", ""}, []string{"auto", "text", "json", "journal"}},
		{[]string{"events", "--severity", ""}, []string{"info", "warning", "error"}},
		{[]string{"init", "--dialect", ""}, begin.Dialects()},
		{[]string{"init", "--ike-version", ""}, []string{"1", "2", "any"}},
		{[]string{"probe", "--ike-version", ""}, []string{"1", "2"}},
		{[]string{"fail"}, []string{"failback", "failover"}},
	} {
		got := completions(t, c.words...)
		if len(got) != len(c.want) || slices.Compare(got, c.want) != 0 {
			t.Errorf("%q: got %q, want %q", c.words, got, c.want)
		}
	}
}
