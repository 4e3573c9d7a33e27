package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Later commits have later versions, a release candidate comes before its release, and what is not committed shows.
func TestVersionOfAPackage(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../packaging/version.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sh := func(command string) string {
		t.Helper()
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_COMMITTER_DATE=2026-11-27T23:30:00-0100", "TZ=Asia/Shanghai")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := "git -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m x"
	var before string
	for _, step := range []struct{ do, want string }{
		{"git init -q . && echo a >file && git add file && " + commit, `0\.0~git20261128003000\.[0-9a-f]{7,}`},
		{"git tag v1.2.0-rc1", `1\.2\.0~rc1`},
		{commit, `1\.2\.0~rc1\+1\.g[0-9a-f]{7,}`},
		{"git tag v1.2.0", `1\.2\.0`},
		{"git tag nightly", `1\.2\.0`},
		{commit + " && " + commit, `1\.2\.0\+2\.g[0-9a-f]{7,}`},
		{"echo b >file", `1\.2\.0\+2\.g[0-9a-f]{7,}\+dirty`},
	} {
		sh(step.do)
		got := sh("sh " + script)
		if !regexp.MustCompile(`^` + step.want + `$`).MatchString(got) {
			t.Errorf("after %s: got %s, want %s", step.do, got, step.want)
		}
		if _, err := exec.LookPath("dpkg"); err == nil && before != "" && got != before {
			sh("dpkg --compare-versions " + before + " lt " + got)
		}
		before = got
	}
}

// The scripts of the packages are whole shell, also with what dist.sh puts into them.
func TestPackageScriptsParse(t *testing.T) {
	t.Parallel()
	common, err := os.ReadFile("../packaging/scripts/common.sh")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("../packaging/scripts/*")
	if len(files) < 9 {
		t.Errorf("only %q", files)
	}
	for _, file := range append(files, "../packaging/dist.sh", "../packaging/version.sh") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole := strings.Replace(string(text), "# @common@\n", string(common), 1)
		if out, err := exec.Command("sh", "-n", "-c", whole).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}
