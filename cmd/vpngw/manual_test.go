package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// manual writes the manual pages into a new directory.
func manual(t *testing.T) (dir string, pages map[string]string) {
	t.Helper()
	dir, pages = t.TempDir(), map[string]string{}
	var stdout, stderr strings.Builder
	if code := vpngw([]string{"man", dir}, &stdout, &stderr); code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Fatalf("exit code %d: %s%s", code, &stdout, &stderr)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		pages[f.Name()] = string(text)
	}
	return dir, pages
}

func TestEveryCommandHasAManualPage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	_, pages := manual(t)
	_, again := manual(t)
	names := map[string]bool{"vpngw.1": true, "vpngw.yaml.5": true}
	for _, c := range newRoot().Commands() {
		if c.IsAvailableCommand() {
			names["vpngw-"+c.Name()+".1"] = true
		}
	}
	for name := range names {
		text := pages[name]
		for _, part := range []string{".TH ", " 2026-01-01 ", ".SH NAME", ".SH DESCRIPTION", ".SH FILES\n", defaultConfig, ".SH SEE ALSO"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", name, part)
			}
		}
		if strings.HasSuffix(name, ".1") && !strings.Contains(text, ".SH EXIT STATUS\n.TP\n.B \"0\"") {
			t.Errorf("%s has no exit codes", name)
		}
		if text != again[name] {
			t.Errorf("%s differs when it is written again", name)
		}
	}
	for name := range pages {
		if !names[name] {
			t.Errorf("there is a page %s", name)
		}
	}
	for _, key := range []string{"connections[].dpd.interval", "connections[].native.ike_version", "vpn_gateways.ID.address"} {
		if !strings.Contains(pages["vpngw.yaml.5"], `.B "`+key+`"`) {
			t.Errorf("vpngw.yaml.5 has no %s", key)
		}
	}
}

// A page is roff that groff has nothing to complain about.
func TestManualPagesAreValid(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no groff: test/setup.sh installs it")
		}
		t.Skip("no groff")
	}
	dir, pages := manual(t)
	for name := range pages {
		out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", filepath.Join(dir, name)).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// The codes that the page's table has are those of the program.
func TestExitCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exitCodes {
		means := e.Means
		if e.Of != "" {
			means = "`" + e.Of + "`: " + means
		}
		if !regexp.MustCompile(`(?m)^\| ` + string(rune('0'+e.Code)) + ` \|.*` + regexp.QuoteMeta(means)).Match(text) {
			t.Errorf("the table of exit codes has no %d: %s", e.Code, means)
		}
	}
}
