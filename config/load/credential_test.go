package load

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// credentials are a folder's key and body, as systemd hands them over to a daemon that is not root.
func credentials(t *testing.T, f folder) (dir string) {
	t.Helper()
	dir = t.TempDir()
	body, err := os.ReadFile(f.body)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "hq", "a-key-of-the-credential-1", 0o440) // the group's bits are the mask of an ACL
	write(t, dir, "hq.json", string(body), 0o400)
	return dir
}

func TestCredentials(t *testing.T) {
	f := newFolder(t)
	dir := credentials(t, f)
	const both = "version: 1\nconnections: [{alibaba: credential:hq.json, psk_file: credential:hq}]"
	main := write(t, f.dir, "credentials.yaml", both, 0o600)

	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	r, ps := File(main, Options{})
	if r == nil {
		t.Fatalf("refused:\n%s", lines(ps))
	}
	if got := r.Connections[0].Tunnels[0].PSK; string(got) != "a-key-of-the-credential-1" {
		t.Errorf("the key is %d bytes, want the credential's", len(got))
	}
	if key, _, err := Key("credential:hq"); err != nil || len(key) != 25 {
		t.Errorf("Key: %d bytes, %v", len(key), err)
	}
	// What a reload on trial goes back to needs neither the files nor systemd.
	text, err := json.Marshal(r.Source)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	var again Source
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if r, ps := again.Load(Options{}); r == nil {
		t.Errorf("again: refused:\n%s", lines(ps))
	}

	for _, c := range []struct {
		what, credential, dir string
		says                  []string
	}{
		{"no systemd", "hq", "", []string{"only systemd hands over credential hq", "LoadCredential=hq:FILE", "CREDENTIALS_DIRECTORY=/run/credentials/vpngw.service"}},
		{"not handed over", "other", dir, []string{"no credential other", "LoadCredential=other:FILE", "restart"}},
		{"a path", "../hq", dir, []string{`is "../hq"`, "without a slash"}},
		{"the directory", "..", dir, []string{"without a slash"}},
		{"an absolute path", "/etc/passwd", dir, []string{"without a slash"}},
		{"no name", "", dir, []string{`is ""`, "without a slash"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", c.dir)
			for _, text := range []string{
				"version: 1\nconnections: [{alibaba: body.json, psk_file: 'credential:" + c.credential + "'}]",
				"version: 1\nconnections: [{alibaba: 'credential:" + c.credential + "', psk_file: hq.psk}]",
			} {
				r, ps := File(write(t, f.dir, "bad.yaml", text, 0o600), Options{})
				if r != nil || len(ps) == 0 {
					t.Fatalf("%s: taken", text)
				}
				for _, want := range c.says {
					if !strings.Contains(lines(ps), want) {
						t.Errorf("%s: got\n%s\nwant %q in it", text, lines(ps), want)
					}
				}
			}
		})
	}
	// Somebody else's directory is no better than somebody else's file.
	chmod(t, filepath.Join(dir, "hq"), 0o644)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	f.refused(t, write(t, f.dir, "bad.yaml", "version: 1\nconnections: [{alibaba: body.json, psk_file: 'credential:hq'}]", 0o600), "vpngw.psk_file.exposed", "everybody on this host can read")
}

// The daemon is not root under systemd: root owns the configuration, and the daemon's group reads it.
func TestRootsFilesForTheDaemonsGroup(t *testing.T) {
	const id = 29817
	if path := os.Getenv("VPNGW_TEST_LOAD"); path != "" {
		r, ps := File(path, Options{})
		fmt.Printf("loaded %v as %d\n%s", r != nil, os.Geteuid(), lines(ps))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it runs as another user")
	}
	dir, err := os.MkdirTemp("", "vpngw-load") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	chmod(t, dir, 0o755)
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "load.test", string(program), 0o755)
	f := newFolder(t)
	etc := filepath.Join(dir, "etc")
	if err := os.Rename(f.dir, etc); err != nil {
		t.Fatal(err)
	}
	chmod(t, etc, 0o750)
	files := []string{"vpngw.yaml", "body.json", "hq.psk"}
	for _, name := range append(files, ".") {
		if err := os.Chown(filepath.Join(etc, name), 0, id); err != nil {
			t.Fatal(err)
		}
	}
	load := func() string {
		cmd := exec.Command(filepath.Join(dir, "load.test"), "-test.run=^TestRootsFilesForTheDaemonsGroup$")
		cmd.Env = []string{"VPNGW_TEST_LOAD=" + filepath.Join(etc, "vpngw.yaml")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	for _, name := range files {
		chmod(t, filepath.Join(etc, name), 0o640)
	}
	if got := load(); !strings.HasPrefix(got, "loaded true as 29817\n") {
		t.Errorf("refused: %s", got)
	}
	for _, name := range files {
		chmod(t, filepath.Join(etc, name), 0o600)
		want := fmt.Sprintf("user %d, which this process runs as, may not read it: chown root:%d %s", id, id, filepath.Join(etc, name))
		if got := load(); !strings.HasPrefix(got, "loaded false") || !strings.Contains(got, want) {
			t.Errorf("%s of root alone: got %s\nwant %q in it", name, got, want)
		}
		chmod(t, filepath.Join(etc, name), 0o640)
	}
}

// Root checks a file whose keys systemd has given to the unit's user.
func TestRootReadsTheCredentialsOfAUnit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NEEDS ROOT")
	}
	f := newFolder(t)
	dir := credentials(t, f)
	main := write(t, f.dir, "credentials.yaml", "version: 1\nconnections: [{alibaba: credential:hq.json, psk_file: credential:hq}]", 0o600)
	for _, name := range []string{"hq", "hq.json"} {
		if err := os.Chown(filepath.Join(dir, name), 4321, 4321); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir+"/")
	if r, ps := File(main, Options{}); r == nil {
		t.Errorf("refused:\n%s", lines(ps))
	}
	// Such a file elsewhere is still its owner's to change.
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	if err := Trusted(filepath.Join(dir, "hq")); err == nil {
		t.Error("a file of another user is trusted")
	}
}
