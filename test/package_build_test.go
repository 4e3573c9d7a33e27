package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// cyclonedx is the Go module that has CycloneDX's schemas.
const cyclonedx = "github.com/CycloneDX/cyclonedx-go@v0.9.3"

// checkout copies this checkout, without .git and what git ignores, into a directory.
func checkout(t *testing.T, to string) {
	t.Helper()
	script := `mkdir -p "$1" && cd .. && git -c safe.directory='*' ls-files -zco --exclude-standard | tar --null -T - -c | tar -x -C "$1"`
	if out, err := exec.Command("bash", "-o", "pipefail", "-c", script, "bash", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Two builds, in directories of other names, by umask and time zone of their own, and the second without the first's compiler cache, make the same
// files bit for bit. What they make is looked at in the subtests.
func TestPackageBuildsAreEqual(t *testing.T) {
	needsPackages(t, "lintian", "rpm", "dpkg-deb")
	args := []string{"dist", "VERSION=v1.0.0", "PKGVERSION=1.0.0", "COMMIT=0123456789abcdef", "SOURCE_DATE_EPOCH=1795799629"}
	nfpm := filepath.Join(t.TempDir(), "nfpm")
	run(t, "bash", "-ec", `cd .. && go build -modfile=tools/go.mod -o "$1" github.com/goreleaser/nfpm/v2/cmd/nfpm`, "bash", nfpm)
	var dirs [2]string
	for i, env := range [][]string{
		{"umask 022", "export TZ=UTC"},
		{"umask 077", "export TZ=Asia/Shanghai LC_ALL=C.UTF-8 GOCACHE=" + t.TempDir()},
	} {
		dirs[i] = filepath.Join(t.TempDir(), strings.Repeat("longer", i), "dist")
		source := filepath.Join(t.TempDir(), strings.Repeat("elsewhere", i), "source")
		checkout(t, source)
		script := strings.Join(append(env, "export NFPM="+nfpm, `make -s -C "$@"`), "\n")
		run(t, "bash", append([]string{"-ec", script, "bash", source, "DISTDIR=" + dirs[i]}, args...)...)
	}
	sums := [2]string{}
	for i, dir := range dirs {
		run(t, "bash", "-ec", `cd "$1" && sha256sum --quiet -c SHA256SUMS`, "bash", dir)
		text, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(text)
	}
	t.Logf("\n%s", sums[0])
	if sums[0] != sums[1] {
		t.Errorf("the second build is different:\n%s", sums[1])
	}
	want := []string{
		"vpngw-1.0.0-1.aarch64.rpm", "vpngw-1.0.0-1.x86_64.rpm", "vpngw-1.0.0-linux-amd64.cdx.json", "vpngw-1.0.0-linux-amd64.tar.gz",
		"vpngw-1.0.0-linux-arm64.cdx.json", "vpngw-1.0.0-linux-arm64.tar.gz", "vpngw_1.0.0-1_amd64.deb", "vpngw_1.0.0-1_arm64.deb",
	}
	var got []string
	for line := range strings.Lines(sums[0]) {
		got = append(got, strings.Fields(line)[1])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("made %q, want %q", got, want)
	}
	t.Run("deb", func(t *testing.T) { debIsSound(t, dirs[0]) })
	t.Run("rpm", func(t *testing.T) { rpmIsSound(t, dirs[0]) })
	t.Run("tarball", func(t *testing.T) { tarballIsSound(t, dirs[0]) })
	t.Run("bill of materials", func(t *testing.T) { billIsValid(t, dirs[0]) })
}

// wanted are paths with their modes and owners that every package has; the zsh completion is where the distribution has it.
func wanted(zsh string) []string {
	return []string{
		"-rwxr-xr-x root/root /usr/bin/vpngw",
		"-rw-r--r-- root/root /usr/lib/systemd/system/vpngw.service",
		"-rw-r--r-- root/root /usr/lib/sysusers.d/vpngw.conf",
		"-rw-r--r-- root/root /usr/share/bash-completion/completions/vpngw",
		"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/vpngw.fish",
		"-rw-r--r-- root/root /usr/share/zsh/" + zsh + "/_vpngw",
		"-rw-r--r-- root/root /usr/share/man/man1/vpngw.1.gz",
		"-rw-r--r-- root/root /usr/share/man/man1/vpngw-status.1.gz",
		"-rw-r--r-- root/root /usr/share/man/man5/vpngw.yaml.5.gz",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/README.md",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/changelog.gz",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/licenses.txt",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/sbom.cdx.json",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/examples/vpngw.yaml",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/examples/sysctl.d/60-vpngw.conf",
		"-rw-r--r-- root/root /usr/share/doc/vpngw/examples/modules-load.d/vpngw.conf",
	}
}

func contains(t *testing.T, list string, want []string) {
	t.Helper()
	lines := strings.Split(list, "\n")
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("no %q in\n%s", w, list)
		}
	}
}

func debIsSound(t *testing.T, dir string) {
	for _, arch := range []string{"amd64", "arm64"} {
		deb := filepath.Join(dir, "vpngw_1.0.0-1_"+arch+".deb")
		list := regexp.MustCompile(`(?m)^(\S+) (\S+) +\d+ \S+ \S+ \.(.*)$`).ReplaceAllString(run(t, "dpkg-deb", "-c", deb), "$1 $2 $3")
		contains(t, list, append(wanted("vendor-completions"),
			"drwxr-x--- root/root /etc/vpngw/",
			"-rw-r--r-- root/root /usr/share/doc/vpngw/copyright",
			"-rw-r--r-- root/root /usr/share/doc/vpngw/changelog.Debian.gz"))
		if got := run(t, "dpkg-deb", "-f", deb, "Architecture", "Version"); got != "Architecture: "+arch+"\nVersion: 1.0.0-1\n" {
			t.Errorf("%s says %s", deb, got)
		}
		run(t, "lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", "initial-upload-closes-no-bugs", deb)
	}
}

// There is no Fedora to install it in: rpm says what it would do.
func rpmIsSound(t *testing.T, dir string) {
	for _, arch := range []string{"x86_64", "aarch64"} {
		file := filepath.Join(dir, "vpngw-1.0.0-1."+arch+".rpm")
		list := run(t, "rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]", file)
		contains(t, list, append(wanted("site-functions"), "drwxr-x--- root/vpngw /etc/vpngw", "-rw-r--r-- root/root /usr/share/licenses/vpngw/LICENSE"))
		if got := run(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{BUILDHOST}", file); got != "vpngw 1.0.0 1 "+arch+" Apache-2.0 reproducible" {
			t.Error(got)
		}
		run(t, "rpm", "--dbpath", t.TempDir(), "-i", "--test", "--nodeps", "--ignorearch", file)
		for _, tag := range []string{"PREIN", "POSTIN", "PREUN", "POSTUN"} {
			script := run(t, "rpm", "-qp", "--qf", "%{"+tag+"}", file)
			if strings.Contains(script, "@common@") || strings.Contains(script, "@sysusers@") {
				t.Errorf("%s is not whole:\n%s", tag, script)
			}
			run(t, "sh", "-n", "-c", script)
		}
	}
}

func tarballIsSound(t *testing.T, dir string) {
	to := t.TempDir()
	run(t, "tar", "-xzf", filepath.Join(dir, "vpngw-1.0.0-linux-amd64.tar.gz"), "-C", to)
	root := filepath.Join(to, "vpngw-1.0.0-linux-amd64")
	for _, name := range []string{"vpngw", "vpngw.service", "README.md", "LICENSE", "licenses.txt", "sbom.cdx.json", "man/vpngw.1", "completions/vpngw.bash", "examples/vpngw.yaml"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	got := run(t, filepath.Join(root, "vpngw"), "version")
	if want := "commit 0123456789abcdef of 2026-11-27T17:13:49Z\n"; !strings.HasPrefix(got, "vpngw v1.0.0 go1.") || !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	if text := run(t, "file", filepath.Join(root, "vpngw")); !strings.Contains(text, "statically linked") {
		t.Error(text)
	}
}

func billIsValid(t *testing.T, dir string) {
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(run(t, "go", "mod", "download", "-json", cyclonedx)), &module); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		file := filepath.Join(module.Dir, "schema", name)
		if _, err := os.Stat(file); err != nil {
			file = strings.Replace(file, ".schema.json", ".schemax.json", 1) // as that module spells one of them
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "vpngw-1.0.0-linux-amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text []byte) error {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(doc)
	}
	if err := valid(text); err != nil {
		t.Errorf("%v", err)
	}
	if valid(bytes.Replace(text, []byte(`"type": "library"`), []byte(`"type": "book"`), 1)) == nil {
		t.Error("the schema takes anything")
	}
	// Every module in the program is in the bill.
	root := t.TempDir()
	run(t, "tar", "-xzf", filepath.Join(dir, "vpngw-1.0.0-linux-amd64.tar.gz"), "-C", root)
	for line := range strings.Lines(run(t, "go", "version", "-m", filepath.Join(root, "vpngw-1.0.0-linux-amd64", "vpngw"))) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" {
			if want := fmt.Sprintf("\"pkg:golang/%s@%s\"", f[1], f[2]); !bytes.Contains(text, []byte(want)) {
				t.Errorf("no %s in the bill", want)
			}
		}
	}
}
